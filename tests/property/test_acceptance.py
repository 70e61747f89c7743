"""The acceptance kernel against its plain twin, and the rules one by one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.vocabulary import FixFlag
from engine.geo import acceptance
from engine.geo.acceptance import REFUSALS, RULES, TAKEN, AcceptanceRules
from engine.geo.fixes import FIX
from engine.geo.worker_table import WorkerTable
from tests.property import acceptance_reference as reference
from tests.property.acceptance_reference import Fix

NOW_MS = 1_700_000_000_000
LISBON = (387_000_000, -91_000_000)
SLOTS = 3
WORDS = {code: each.value for code, each in (TAKEN | REFUSALS).items()}
STRICT = RULES._replace(period_ms=1_000, distance_m=2.0, static_m=20.0)
LAX = RULES._replace(static_m=0.0, reorder_ms=0)


class Table(WorkerTable):
    """The kernel's tables for a few slots, everybody on duty."""

    def __init__(self, rules: AcceptanceRules = RULES) -> None:
        super().__init__()
        self.rules = rules
        for slot in range(SLOTS):
            self.set_duty(slot, 0)

    def accept(self, fixes: list[Fix], slots: list[int] | None = None) -> list[str]:
        rows = np.array([each.row for each in fixes], FIX)
        codes = np.full(len(rows), 99, np.uint8)
        acceptance.accept(rows, np.array(slots or [0] * len(fixes)), self.columns, NOW_MS, self.rules, codes)
        return [WORDS[code] for code in codes.tolist()]


def fix(age_ms: int = 0, *, north_m: float = 0, accuracy_dm: int = 65_535, speed_cm_s: int = 65_535) -> Fix:
    return Fix(NOW_MS - age_ms, LISBON[0] + round(north_m / 111_319.49 * 1e7), LISBON[1], accuracy_dm, speed_cm_s)


@st.composite
def flushes(draw: st.DrawFn) -> list[tuple[int, Fix]]:
    """Streams around one place in which every rule is broken often enough to be seen."""
    stream = []
    ts_ms = NOW_MS - draw(st.sampled_from([1_000, 60_000, 86_400_000]))
    for _ in range(draw(st.integers(1, 40))):
        ts_ms += draw(st.sampled_from([0, -2_000, -500, 500, 1_000, 1_500, 5_000, 15_000, -40_000]))
        stray = draw(st.sampled_from([0, 0, 0, 5_000_000, 5_000_000, 2_000_000_000]))
        lat_e7 = LISBON[0] + draw(st.integers(-3_000, 3_000)) + stray
        lng_e7 = LISBON[1] + draw(st.integers(-3_000, 3_000))
        if draw(st.integers(0, 20)) == 0:
            lat_e7, lng_e7 = 0, 0
        at_ms = draw(st.sampled_from([ts_ms] * 6 + [0, NOW_MS + 40_000, NOW_MS - 90_000_000]))
        accuracy_dm = draw(st.sampled_from([65_535, 50, 100, 400, 2_000, 2_001]))
        speed_cm_s = draw(st.sampled_from([65_535, 0, 50, 51]))
        slot = draw(st.integers(0, SLOTS - 1))
        stream.append((slot, Fix(at_ms, min(lat_e7, 2**31 - 1), lng_e7, accuracy_dm, speed_cm_s)))
    return stream


@given(
    stream=flushes(),
    cut=st.integers(0, 40),
    since=st.lists(st.sampled_from([0, 0, NOW_MS - 50_000, None]), min_size=SLOTS, max_size=SLOTS),
    rules=st.sampled_from([RULES, STRICT, LAX]),
)
def test_kernel_equals_the_plain_twin_however_the_stream_is_cut(
    stream: list[tuple[int, Fix]], cut: int, since: list[int | None], rules: AcceptanceRules
) -> None:
    table = Table(rules)
    workers = [reference.Worker(counts_from_ms=since[slot]) for slot in range(SLOTS)]
    for slot in range(SLOTS):
        table.set_duty(slot, since[slot])
    expected = [reference.accept(workers[slot], each, NOW_MS, rules) for slot, each in stream]

    got = []
    for part in (stream[:cut], stream[cut:]):
        if part:
            got += table.accept([each for _, each in part], [slot for slot, _ in part])

    assert got == expected
    for slot, worker in enumerate(workers):
        kept, present = table.last[slot], worker.present or Fix(0, 0, 0)
        assert (kept["ts_ms"], kept["lat_e7"], kept["lng_e7"]) == (present.ts_ms, present.lat_e7, present.lng_e7)
        assert table.dirty[slot] == worker.moved


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        (fix(0, north_m=45 * 10 + 49), "accepted"),
        (fix(0, north_m=45 * 10 + 51), "jump"),
        (fix(10_000), "duplicate"),
        (fix(10_000, north_m=3), "duplicate"),
        (fix(11_000), "late"),
        (fix(20_000, north_m=45 * 10 + 49), "late"),
        (fix(20_000, north_m=45 * 10 + 51), "jump"),
        (fix(86_400_000), "late"),
        (fix(86_400_001), "past"),
        (fix(-30_000), "accepted"),
        (fix(-30_001), "future"),
        (fix(0, accuracy_dm=2_000), "accepted"),
        (fix(0, accuracy_dm=2_001), "inaccurate"),
        (fix(11_000, accuracy_dm=2_001), "inaccurate"),
        (fix(0, north_m=9.9, accuracy_dm=100, speed_cm_s=0), "static"),
        (fix(0, north_m=9.9, accuracy_dm=100, speed_cm_s=50), "static"),
        (fix(0, north_m=9.9, accuracy_dm=100, speed_cm_s=51), "accepted"),
        (fix(0, north_m=10.1, accuracy_dm=100, speed_cm_s=0), "accepted"),
        (fix(0, north_m=49.9, accuracy_dm=1_000, speed_cm_s=0), "static"),
        (fix(0, north_m=50.1, accuracy_dm=1_000, speed_cm_s=0), "accepted"),
        (fix(0, accuracy_dm=65_535, speed_cm_s=0), "accepted"),
        (fix(0, accuracy_dm=100, speed_cm_s=65_535), "accepted"),
        (Fix(NOW_MS, 0, 0), "zero"),
        (Fix(NOW_MS, 900_000_001, 1), "invalid"),
        (Fix(NOW_MS, 1, -1_800_000_001), "invalid"),
        (Fix(NOW_MS, -(2**31), -(2**31)), "invalid"),
        (Fix(0, *LISBON), "invalid"),
        (Fix(-5, *LISBON), "invalid"),
        (Fix(2**63 - 1, *LISBON), "future"),
    ],
)
def test_limits_to_the_metre_and_the_millisecond(second: Fix, outcome: str) -> None:
    assert Table().accept([fix(10_000), second]) == ["accepted", outcome]


def test_an_installation_may_ask_for_distance_and_period() -> None:
    table = Table(RULES._replace(period_ms=2_000, distance_m=5.0))
    assert table.accept([fix(10_000), fix(8_001, north_m=50), fix(8_000, north_m=4.9)]) == [
        "accepted",
        "too_soon",
        "near",
    ]
    assert (table.last[0]["ts_ms"], table.last[0]["lat_e7"]) == (NOW_MS - 8_000, LISBON[0]), "heard of, not moved"
    assert table.accept([fix(6_000, north_m=5.1)]) == ["accepted"]


def test_a_fix_older_than_a_day_is_past_even_as_the_first() -> None:
    assert Table().accept([fix(86_400_001), fix(86_400_000)], [0, 1]) == ["past", "accepted"]


def test_off_duty_leaves_no_trace() -> None:
    table = Table()
    table.set_duty(0, None)
    assert table.accept([fix(), Fix(0, 0, 0)]) == ["off_duty", "off_duty"]
    assert table.last[0]["ts_ms"] == 0
    assert not table.recent_ms.any()
    assert not table.dirty.any()


def test_a_batch_from_before_duty_began_leaves_no_trace() -> None:
    table = Table()
    table.set_duty(0, NOW_MS - 5_000)
    assert table.accept([fix(7_000), fix(5_001), fix(5_000), fix(6_000)]) == [
        "off_duty",
        "off_duty",
        "accepted",
        "off_duty",
    ]


def test_an_alarm_makes_fixes_count_off_duty_from_its_beginning_on_and_marks_them() -> None:
    table = Table()
    table.set_duty(0, None)
    table.set_alarm(0, NOW_MS - 5_000)
    spoofed = np.array([replace(fix(6_000)).row, replace(fix(4_000)).row], FIX)
    spoofed["flags"] = 255
    codes = np.zeros(2, np.uint8)
    acceptance.accept(spoofed, np.zeros(2, np.int64), table.columns, NOW_MS, RULES, codes)
    assert [WORDS[code] for code in codes.tolist()] == ["off_duty", "accepted"]
    assert table.last[0]["flags"] == 255
    table.set_duty(0, NOW_MS - 3_000)
    assert table.accept([fix(4_500), fix(3_000)]) == ["late", "accepted"], "the alarm still counts from its beginning"
    assert table.last[0]["flags"] == 0
    table.set_alarm(0, None)
    assert table.is_on_duty(0)
    table.set_duty(0, None)
    assert not table.counts(0)


def test_only_the_server_marks_a_record_as_off_duty() -> None:
    table = Table()
    row = np.array([fix().row], FIX)
    row["flags"] = 255
    acceptance.accept(row, np.zeros(1, np.int64), table.columns, NOW_MS, RULES, np.zeros(1, np.uint8))
    assert table.last[0]["flags"] == 255 - FixFlag.OFF_DUTY


def test_parked_drift_keeps_the_place_and_the_worker_alive() -> None:
    table = Table()
    drift = [fix(60_000 - at * 1_000, north_m=3 * (at % 3), accuracy_dm=80, speed_cm_s=0) for at in range(60)]
    assert table.accept(drift) == ["accepted"] + ["static"] * 59
    assert (table.last[0]["lat_e7"], table.last[0]["ts_ms"]) == (LISBON[0], NOW_MS - 1_000)
    crawl = [fix(-at * 1_000, north_m=at * 3, accuracy_dm=80, speed_cm_s=0) for at in range(1, 10)]
    assert table.accept(crawl).count("accepted") == 3, "whoever creeps away is followed at the radius"


def test_out_of_order_fixes_never_make_the_later_ones_jump() -> None:
    way = [fix(20_000 - at * 1_000, north_m=at * 30) for at in range(12)]
    shuffled = [way[at] for at in (0, 3, 1, 2, 5, 4, 8, 6, 7, 11, 9, 10)]
    expected = ["accepted", "accepted", "late", "late", "accepted", "late", *["accepted", "late", "late"] * 2]
    whole, single = Table(), Table()
    assert whole.accept(shuffled) == expected
    assert [single.accept([each])[0] for each in shuffled] == expected, "one flush or many"
    assert whole.last[0]["lat_e7"] == way[-1].lat_e7


def test_an_offline_batch_goes_to_the_trail_and_never_moves_the_present() -> None:
    table = Table()
    assert table.accept([fix(0, north_m=5_000)]) == ["accepted"]
    backlog = [fix(3_600_000 - at * 10_000, north_m=at * 14) for at in range(350)]
    assert set(table.accept(backlog)) == {"late"}
    assert table.last[0]["ts_ms"] == NOW_MS
    assert table.accept(backlog[-16:]) == ["duplicate"] * 16, "the newest sixteen are remembered"
    assert table.accept([fix(-1_000, north_m=5_010)]) == ["accepted"]


def test_one_bad_accepted_fix_does_not_lock_a_worker_out() -> None:
    table = Table()
    far_away = fix(60_000, north_m=50_000)
    assert table.accept([far_away]) == ["accepted"]
    honest = [fix(50_000 - second * 1_000, north_m=second) for second in range(7)]
    assert table.accept(honest) == ["jump"] * RULES.jump_reset + ["accepted"] * 2
    assert table.last[0]["lat_e7"] == honest[-1].lat_e7


@pytest.mark.parametrize(("back_ms", "believed_at"), [(1_500, 6), (4_500, 8)])
def test_order_within_three_seconds_does_not_matter_for_who_is_believed(back_ms: int, believed_at: int) -> None:
    table = Table()
    table.accept([fix(60_000, north_m=50_000)])
    honest = [fix(50_000 - second * 2_000, north_m=second) for second in range(9)]
    stray = fix(50_000 - 4_000 + back_ms, north_m=2)
    told = table.accept([*honest[:3], stray, *honest[3:]])
    assert told.index("accepted") == believed_at


def test_jumps_that_disagree_never_count() -> None:
    table = Table()
    table.accept([fix(60_000)])
    teleports = [fix(50_000 - step * 1_000, north_m=20_000 * (step % 2 + 1)) for step in range(20)]
    assert set(table.accept(teleports)) == {"jump"}


def test_a_step_over_the_180th_meridian_is_a_short_one() -> None:
    west, east = Fix(NOW_MS - 10_000, 100, 1_799_999_000), Fix(NOW_MS, 100, -1_799_999_000)
    assert Table().accept([west, east]) == ["accepted", "accepted"]


def test_every_code_has_one_meaning() -> None:
    assert sorted(WORDS) == list(range(acceptance.OUTCOMES))
    assert not TAKEN.keys() & REFUSALS.keys()
