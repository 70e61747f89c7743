"""The acceptance kernel against its plain twin, and the rules one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.geo import acceptance
from engine.geo.acceptance import ACCEPTED, LIMITS, REFUSALS, SUSPECT
from engine.geo.fixes import FIX, RECORD
from tests.property import acceptance_reference as reference

NOW_MS = 1_700_000_000_000
LISBON = (387_000_000, -91_000_000)
SLOTS = 3


class Table:
    """The kernel's tables for a few slots, everybody on duty."""

    def __init__(self) -> None:
        self.last = np.zeros(SLOTS, RECORD)
        self.suspects = np.zeros(SLOTS, SUSPECT)
        self.on_duty = np.ones(SLOTS, np.bool_)
        self.dirty = np.zeros(SLOTS, np.bool_)

    def accept(self, fixes: list[reference.Fix], slots: list[int]) -> list[str]:
        rows = np.array([(*fix, 65_535, 65_535, 255, 0) for fix in fixes], FIX)
        reasons = np.full(len(rows), 99, np.uint8)
        acceptance.accept(
            rows, np.array(slots, np.int64), self.last, self.suspects, self.on_duty, NOW_MS, LIMITS, reasons, self.dirty
        )
        return ["accepted" if reason == ACCEPTED else REFUSALS[reason].value for reason in reasons.tolist()]


def fix(age_ms: int = 0, *, north_m: float = 0, accuracy_dm: int = 65_535) -> reference.Fix:
    return (NOW_MS - age_ms, LISBON[0] + round(north_m / 111_319.49 * 1e7), LISBON[1], accuracy_dm)


@st.composite
def flushes(draw: st.DrawFn) -> list[tuple[int, reference.Fix]]:
    """Streams around one place in which every rule is broken often enough to be seen."""
    stream = []
    ts_ms = NOW_MS - draw(st.sampled_from([1_000, 60_000, 86_400_000]))
    for _ in range(draw(st.integers(1, 40))):
        ts_ms += draw(st.integers(-2_000, 15_000))
        stray = draw(st.sampled_from([0, 0, 0, 5_000_000, 5_000_000, 2_000_000_000]))
        lat_e7 = LISBON[0] + draw(st.integers(-3_000, 3_000)) + stray
        lng_e7 = LISBON[1] + draw(st.integers(-3_000, 3_000))
        if draw(st.integers(0, 20)) == 0:
            lat_e7, lng_e7 = 0, 0
        at_ms = draw(st.sampled_from([ts_ms, ts_ms, ts_ms, ts_ms, 0, NOW_MS + 40_000, NOW_MS - 90_000_000]))
        accuracy_dm = draw(st.sampled_from([65_535, 50, 2_000, 2_001]))
        stream.append((draw(st.integers(0, SLOTS - 1)), (at_ms, min(lat_e7, 2**31 - 1), lng_e7, accuracy_dm)))
    return stream


@given(stream=flushes(), cut=st.integers(0, 40), off_duty=st.sets(st.integers(0, SLOTS - 1), max_size=1))
def test_kernel_equals_the_plain_twin_however_the_stream_is_cut(
    stream: list[tuple[int, reference.Fix]], cut: int, off_duty: set[int]
) -> None:
    table = Table()
    workers = [reference.Worker(is_on_duty=slot not in off_duty) for slot in range(SLOTS)]
    table.on_duty[list(off_duty)] = False
    expected = [reference.accept(workers[slot], each, NOW_MS, LIMITS) for slot, each in stream]

    got = []
    for part in (stream[:cut], stream[cut:]):
        if part:
            got += table.accept([each for _, each in part], [slot for slot, _ in part])

    assert got == expected
    for slot, worker in enumerate(workers):
        kept = table.last[slot]
        assert (kept["ts_ms"], kept["lat_e7"], kept["lng_e7"]) == (worker.last or (0, 0, 0, 0))[:3]
        assert table.dirty[slot] == (worker.last is not None)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (fix(0, north_m=45 * 10 + 49), "accepted"),
        (fix(0, north_m=45 * 10 + 51), "jump"),
        (fix(10_000), "stale"),
        (fix(11_000), "stale"),
        (fix(-30_000), "accepted"),
        (fix(-30_001), "future"),
        (fix(0, accuracy_dm=2_000), "accepted"),
        (fix(0, accuracy_dm=2_001), "inaccurate"),
        ((NOW_MS, 0, 0, 0), "invalid"),
        ((NOW_MS, 900_000_001, 1, 0), "invalid"),
        ((NOW_MS, 1, -1_800_000_001, 0), "invalid"),
        ((NOW_MS, -(2**31), -(2**31), 0), "invalid"),
        ((0, *LISBON, 0), "invalid"),
        ((-5, *LISBON, 0), "invalid"),
        ((2**63 - 1, *LISBON, 0), "future"),
    ],
)
def test_limits_to_the_metre_and_the_millisecond(second: reference.Fix, reason: str) -> None:
    assert Table().accept([fix(10_000), second], [0, 0]) == ["accepted", reason]


def test_a_fix_older_than_a_day_is_stale_even_as_the_first() -> None:
    assert Table().accept([fix(86_400_001), fix(86_400_000)], [0, 1]) == ["stale", "accepted"]


def test_off_duty_leaves_no_trace() -> None:
    table = Table()
    table.on_duty[0] = False
    assert table.accept([fix(), (0, 0, 0, 0)], [0, 0]) == ["off_duty", "off_duty"]
    assert table.last[0]["ts_ms"] == 0
    assert not table.dirty.any()


def test_one_bad_accepted_fix_does_not_lock_a_worker_out() -> None:
    table = Table()
    far_away = fix(60_000, north_m=50_000)
    assert table.accept([far_away], [0]) == ["accepted"]
    honest = [fix(50_000 - second * 1_000, north_m=second) for second in range(7)]
    assert table.accept(honest, [0] * 7) == ["jump"] * LIMITS.jump_reset + ["accepted"] * 2
    assert table.last[0]["lat_e7"] == honest[-1][1]


def test_jumps_that_disagree_never_count() -> None:
    table = Table()
    table.accept([fix(60_000)], [0])
    teleports = [fix(50_000 - step * 1_000, north_m=20_000 * (step % 2 + 1)) for step in range(20)]
    assert set(table.accept(teleports, [0] * 20)) == {"jump"}


def test_a_step_over_the_180th_meridian_is_a_short_one() -> None:
    west, east = (NOW_MS - 10_000, 100, 1_799_999_000, 0), (NOW_MS, 100, -1_799_999_000, 0)
    assert Table().accept([west, east], [0, 0]) == ["accepted", "accepted"]
