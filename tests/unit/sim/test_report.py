"""What the report counts, and what it takes for granted: nothing."""

from collections.abc import Coroutine
from typing import Any

import h3
import numpy as np
import pytest
from rich.console import Console

from sim.client.customer_socket import Position
from sim.client.errors import Refused
from sim.client.latency import LatencyLog
from sim.client.worker_socket import SocketCounts
from sim.replay.cells import SLAB_DTYPE, Present, cell_of, check_consistent, check_expected
from sim.replay.desk import Desk, Ride
from sim.replay.eta import EtaSample, eta_error
from sim.replay.oracle import Place, WorkerOracle
from sim.replay.recording import RecordingBuilder, Trip
from sim.replay.report import REASONS, Run, account_for_fixes, build_report, print_report
from sim.replay.taxi import Taxi

TRIP = Trip("t1", 0, 1_000_000, 1_600_000, 41.15, -8.61, 41.17, -8.60)


class Phone:
    """What a report reads of a worker's socket."""

    def __init__(self, **counts: int) -> None:
        self.counts = SocketCounts(**counts)
        self.slot = 4


def taxi(*, accepted: int, refused: dict[str, int], told: dict[str, int], borderline: int = 0, **counts: int) -> Taxi:
    made = object.__new__(Taxi)
    made.oracle = WorkerOracle(accepted=accepted, borderline=borderline)
    made.oracle.refused.update(refused)
    made.fixes_refused = type(made.oracle.refused)(told)
    made.offers = type(made.oracle.refused)()
    made.faults = type(made.oracle.refused)()
    made.socket = Phone(**counts)  # type: ignore[assignment]
    return made


def spawn(work: Coroutine[Any, Any, None]) -> None:
    work.close()


def desk() -> Desk:
    return Desk(rest=None, spawn=spawn, service_code="cleaning", shift_ms=0)  # type: ignore[arg-type]


def report_of(*taxis: Taxi) -> dict[str, Any]:
    builder = RecordingBuilder("file.csv")
    builder.add(builder.worker("a"), 1_000, 41.0, -8.0)
    builder.add_trip(TRIP)
    return build_report(Run(builder.build(), 60.0, 1.0, is_complete=True), taxis, desk(), None)


def whole(fixes: int) -> dict[str, int]:
    return {"fixes_posted": fixes, "fixes_sent": fixes, "fixes_acknowledged": fixes}


def test_every_fix_is_accounted_for_by_reason() -> None:
    taxis = [
        taxi(accepted=95, refused={"jump": 5}, told={"jump": 5}, **whole(100)),
        taxi(accepted=9, refused={"duplicate": 1}, told={"duplicate": 1}, **whole(10)),
    ]
    fixes = account_for_fixes(taxis)
    assert (fixes["sent"], fixes["accepted"], fixes["refused_total"]) == (110, 104, 6)
    assert fixes["refused"] == dict.fromkeys(REASONS, 0) | {"duplicate": 1, "jump": 5}
    report = report_of(*taxis)
    assert report["ok"], report["checks"]


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (
            taxi(accepted=10, refused={}, told={}, fixes_posted=10, fixes_sent=10, fixes_acknowledged=9),
            "every fix was acknowledged",
        ),
        (
            taxi(accepted=9, refused={"jump": 1}, told={"duplicate": 1}, **whole(10)),
            "refused as the rules of the protocol say",
        ),
        (taxi(accepted=10, refused={}, told={"jump": 1}, **whole(10)), "refused as the rules of the protocol say"),
        (
            taxi(
                accepted=10, refused={}, told={}, fixes_posted=11, fixes_sent=10, fixes_acknowledged=10, fixes_dropped=1
            ),
            "no fix was dropped or resent",
        ),
    ],
)
def test_what_does_not_add_up_fails_by_name(wrong: Taxi, check: str) -> None:
    report = report_of(wrong)
    assert not report["checks"][check]
    assert not report["ok"]


def test_a_step_at_the_very_limit_may_go_either_way() -> None:
    assert report_of(taxi(accepted=10, refused={}, told={"jump": 1}, borderline=1, **whole(10)))["ok"]


def test_a_fix_of_another_kind_of_refusal_is_not_lost() -> None:
    fixes = account_for_fixes([taxi(accepted=1, refused={}, told={"moonshine": 1}, **whole(2))])
    assert fixes["refused"]["moonshine"] == 1


def test_the_table_shows_what_the_json_says() -> None:
    console = Console(record=True, width=120, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    report = report_of(taxi(accepted=95, refused={"jump": 5}, told={"jump": 5}, **whole(100)))
    report["eta"] = eta_error([EtaSample(100.0 + n, 60, 160, 100.0 + 2 * n, 500.0 + n) for n in range(20, 80)])
    report["redis"] = check_expected(Present({}, {}), {4: Place(1, 2, 3)}).as_dict()
    print_report(report, console)
    text = console.export_text()
    console.file.close()
    for words in (
        "fixes sent",
        "100",
        "refused: jump",
        "0 of 1",
        "ETA against the real trip",
        "accepted + refused = sent",
    ):
        assert words in text


# Cells


def present(slot: int, place: Place, *, cell: int | None = None, members: set[int] | None = None) -> Present:
    right = cell_of(place)
    in_cells = {right} if members is None else members
    record = np.zeros((), SLAB_DTYPE)
    record["ts_ms"], record["lat_e7"], record["lng_e7"] = place.ts_ms, place.lat_e7, place.lng_e7
    record["cell"] = right if cell is None else cell
    return Present({slot: record[()]}, {slot: frozenset(in_cells)} if in_cells else {})


PLACE = Place(5, 411_500_000, -86_100_000)
ELSEWHERE = Place(5, 412_500_000, -86_100_000)


def test_cells_come_from_h3_itself() -> None:
    assert h3.int_to_str(cell_of(PLACE)) == h3.latlng_to_cell(41.15, -8.61, 8)


def test_a_worker_in_exactly_the_right_cell_is_right() -> None:
    check = check_expected(present(4, PLACE), {4: PLACE})
    assert check.holds
    assert check.as_dict()["in_exactly_one_cell"] == 1
    assert check_consistent(present(4, PLACE)).holds


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (Present({}, {}), "absent"),
        (present(4, Place(6, PLACE.lat_e7, PLACE.lng_e7)), "another fix"),
        (present(4, PLACE, cell=cell_of(ELSEWHERE)), "record names cell"),
        (present(4, PLACE, members=set()), "member of 0 cells"),
        (present(4, PLACE, members={cell_of(PLACE), cell_of(ELSEWHERE)}), "member of 2 cells"),
    ],
)
def test_every_kind_of_wrong_is_found(found: Present, what: str) -> None:
    check = check_expected(found, {4: PLACE})
    assert not check.holds
    assert what in check.wrong[4][0]


def test_a_member_of_a_cell_without_a_record_is_wrong() -> None:
    check = check_consistent(Present({}, {9: frozenset({cell_of(PLACE)})}))
    assert check.wrong == {9: ["in a cell without a record"]}


def test_a_worker_off_duty_is_in_no_cell_and_that_is_right() -> None:
    assert check_consistent(present(4, PLACE, cell=0, members=set())).expected == 0


# ETA


def test_eta_error_counts_only_drives_from_one_place_to_another() -> None:
    samples = [
        EtaSample(240, 150, 400, 300, 2_000),
        EtaSample(700, 400, 900, 600, 4_000),
        EtaSample(10, 5, 20, 60, 2_000),
        EtaSample(10, 5, 20, 600, 100),
        EtaSample(10, 5, 20, 7_200, 9_000),
    ]
    error = eta_error(samples)
    assert (error["samples"], error["comparable"]) == (5, 2)
    assert error["promise"] == {"trips": 2, "mean_abs_s": 80.0, "median_share": 0.183, "mean_signed_s": 20.0}
    assert error["inside_interval_share"] == 1.0
    assert "judged_half" not in error


def test_the_anchor_has_not_seen_the_trips_that_judge_it() -> None:
    rng = np.random.default_rng(1)
    straight_m = rng.uniform(500, 5_000, 200)
    real_s = 130 + 0.1 * straight_m
    samples = [EtaSample(r * 1.5, r, r * 2, r, m) for r, m in zip(real_s.tolist(), straight_m.tolist(), strict=True)]
    judged = eta_error(samples)["judged_half"]
    assert judged["fitted_line"]["mean_abs_s"] < 0.1
    assert judged["promise"]["median_share"] == 0.5
    assert judged["promise"]["trips"] == 100


def test_no_sample_no_error() -> None:
    assert eta_error([]) == {"samples": 0, "comparable": 0}


# The desk


def ride_on(made: Desk, booking_id: str = "b1") -> Ride:
    ride = Ride(TRIP, None, booking_id=booking_id, asked_s=10.0, answered_s=10.02)  # type: ignore[arg-type]
    made.rides[booking_id] = ride
    return ride


def position(ts_ms: int, eta_s: float = 500.0) -> Position:
    return Position("b1", 41.17, -8.60, ts_ms, eta_s, 300.0, 800.0)


def test_the_promise_is_compared_at_the_last_position_of_the_trip() -> None:
    made = desk()
    made.slot_of_worker = {0: 4}
    ride = ride_on(made)
    made._take(ride, {"version": 3, "state": "assigned", "worker": {"slot": 4}})
    for ts_ms, eta_s in ((1_300_000, 1.0), (1_600_000, 500.0), (1_600_001, 2.0)):
        made._see_position(position(ts_ms, eta_s))
    [sample] = made.eta_samples()
    assert (sample.promised_s, sample.real_s) == (500.0, 600.0)
    assert sample.straight_m == pytest.approx(2_376, rel=0.01)
    assert made.counts.own_worker == 1


def test_another_worker_on_the_booking_says_nothing_of_this_trip() -> None:
    made = desk()
    made.slot_of_worker = {0: 4}
    made._take(ride_on(made), {"version": 3, "state": "assigned", "worker": {"slot": 9}})
    made._see_position(position(1_300_000))
    assert made.eta_samples() == []


def test_older_news_changes_nothing_and_completed_is_confirmed() -> None:
    started: list[str] = []

    def note(work: Coroutine[Any, Any, None]) -> None:
        started.append(work.__name__)
        work.close()

    made = Desk(rest=None, spawn=note, service_code="cleaning", shift_ms=0)  # type: ignore[arg-type]
    ride = ride_on(made)
    made._take(ride, {"version": 5, "state": "completed", "worker": None})
    made._take(ride, {"version": 4, "state": "in_progress", "worker": None})
    assert ride.state == "completed"
    assert started == ["_move"]


async def test_a_booking_is_made_once_and_news_that_overtook_its_answer_count() -> None:
    made = desk()

    class Rest:
        async def post(self, path: str, body: dict[str, Any], **_account: object) -> dict[str, Any]:
            assert path == "/v1/bookings"
            assert body["pin"] == {"lat": 41.15, "lng": -8.61}
            made._see({"booking_id": "b7", "version": 2, "state": "offered", "worker": None})
            made.offered("b7")
            return {"booking_id": "b7", "version": 1, "state": "searching", "worker": None}

    made._rest = Rest()  # type: ignore[assignment]
    await made._book(Ride(TRIP, None))  # type: ignore[arg-type]
    assert made.states() == {"offered": 1}
    from_request, from_answer = made.offer_latencies()
    assert len(from_request) == len(from_answer) == 1
    assert (from_answer.percentile(50) or 0) == 0


async def test_a_refused_booking_is_counted_with_its_reason() -> None:
    made = desk()

    class Rest:
        async def post(self, *_: object, **__: object) -> None:
            raise Refused("too_many", "slow down", status=429)

    made._rest = Rest()  # type: ignore[assignment]
    await made._book(Ride(TRIP, None))  # type: ignore[arg-type]
    assert made.counts.asked == 1
    assert made.counts.made == 0
    assert made.counts.refused == {"too_many: slow down": 1}


def test_latencies() -> None:
    log = LatencyLog(samples_max=10)
    assert log.summary() == {"count": 0, "p50_ms": None, "p99_ms": None, "max_ms": None}
    for sample in range(15):
        log.add(float(sample))
    assert len(log) == 10
    assert log.percentile(100) == 14.0
    log.clear()
    assert len(log) == 0
