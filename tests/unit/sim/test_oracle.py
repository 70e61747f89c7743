"""The rules of the protocol, one by one, at their limits."""

import pytest

from sim.client.wire import UNKNOWN_U16
from sim.replay.oracle import Place, WorkerOracle, flat_distance_m

NOW = 1_700_000_000_000
LAT, LNG = 411_500_000, -86_100_000
M = 89.83
"""1e-7 degrees of latitude in a metre."""


def at(after_s: float, north_m: float = 0.0) -> Place:
    return Place(NOW + round(after_s * 1000), LAT + round(north_m * M), LNG)


@pytest.mark.parametrize(
    ("place", "accuracy_dm", "reason"),
    [
        (at(0), UNKNOWN_U16, None),
        (Place(0, LAT, LNG), UNKNOWN_U16, "invalid"),
        (Place(NOW, 0, 0), UNKNOWN_U16, "zero"),
        (Place(NOW, 900_000_001, LNG), UNKNOWN_U16, "invalid"),
        (Place(NOW, LAT, -1_800_000_001), UNKNOWN_U16, "invalid"),
        (at(30), UNKNOWN_U16, None),
        (at(30.001), UNKNOWN_U16, "future"),
        (at(-86_400), UNKNOWN_U16, None),
        (at(-86_400.001), UNKNOWN_U16, "past"),
        (at(0), 2_000, None),
        (at(0), 2_001, "inaccurate"),
    ],
)
def test_a_first_fix(place: Place, accuracy_dm: int, reason: str | None) -> None:
    oracle = WorkerOracle()
    assert oracle.take(place, accuracy_dm=accuracy_dm, now_ms=NOW) == reason
    assert oracle.accepted == (reason is None)
    assert oracle.newest == (place if reason is None else None)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (at(0), "duplicate"),
        (at(-1), None),
        (at(-10, 501), "jump"),
        (at(10, 499), None),
        (at(10, 501), "jump"),
        (at(0.001, 49), None),
        (at(0.001, 51), "jump"),
    ],
)
def test_a_second_fix(second: Place, reason: str | None) -> None:
    oracle = WorkerOracle()
    oracle.take(at(0), now_ms=NOW)
    assert oracle.take(second, now_ms=NOW) == reason


def test_a_refused_jump_does_not_move_the_worker() -> None:
    oracle = WorkerOracle()
    reasons = [oracle.take(place, now_ms=NOW) for place in (at(0), at(1, 5_000), at(2, 10))]
    assert reasons == [None, "jump", None]
    assert oracle.newest == at(2, 10)


def test_after_five_agreeing_jumps_the_worker_really_is_there() -> None:
    oracle = WorkerOracle()
    oracle.take(at(0), now_ms=NOW)
    reasons = [oracle.take(at(second, 9_000 + second), now_ms=NOW) for second in range(1, 8)]
    assert reasons == ["jump"] * 5 + [None, None]
    assert oracle.newest == at(7, 9_007)


def test_jumps_that_disagree_never_count() -> None:
    oracle = WorkerOracle()
    oracle.take(at(0), now_ms=NOW)
    reasons = [oracle.take(at(second, 9_000 * (1 + second % 2)), now_ms=NOW) for second in range(1, 15)]
    assert reasons == ["jump"] * 14


def test_an_accepted_fix_between_them_starts_the_count_anew() -> None:
    oracle = WorkerOracle()
    oracle.take(at(0), now_ms=NOW)
    for second in range(1, 5):
        assert oracle.take(at(second, 9_000), now_ms=NOW) == "jump"
    assert oracle.take(at(5), now_ms=NOW) is None
    assert [oracle.take(at(second, 9_000), now_ms=NOW) for second in range(6, 12)] == ["jump"] * 5 + [None]


def test_steps_at_the_very_limit_are_marked() -> None:
    oracle = WorkerOracle()
    oracle.take(at(0), now_ms=NOW)
    oracle.take(at(10, 500.1), now_ms=NOW)
    assert oracle.borderline == 1


def test_distance_takes_the_short_way_round() -> None:
    west, east = Place(1, 0, -1_799_999_000), Place(1, 0, 1_799_999_000)
    assert flat_distance_m(west, east) == pytest.approx(22.26, abs=0.01)


def test_a_late_fix_is_taken_and_moves_nobody() -> None:
    oracle = WorkerOracle()
    told = [oracle.take(place, now_ms=NOW) for place in (at(0), at(-3_600, 900), at(-3_600, 900), at(1, 5))]
    assert told == [None, None, "duplicate", None]
    assert (oracle.newest, oracle.accepted, oracle.late) == (at(1, 5), 3, 1)


def test_a_standing_phone_keeps_its_place() -> None:
    oracle = WorkerOracle()
    oracle.take(at(0), now_ms=NOW)
    assert oracle.take(at(5, 8), accuracy_dm=100, speed_cm_s=0, now_ms=NOW) is None
    assert oracle.newest == at(5)
    assert oracle.take(at(10, 12), accuracy_dm=100, speed_cm_s=0, now_ms=NOW) is None
    assert (oracle.newest, oracle.static) == (at(10, 12), 1)


def test_what_was_taken_before_duty_began_is_off_duty_and_close_to_it_undecided() -> None:
    oracle = WorkerOracle(time_scale=60, on_duty_since_ms=NOW - 3_600_000)

    assert oracle.take(at(0), now_ms=NOW) is None
    assert oracle.take(at(-1_800), now_ms=NOW) is None
    assert oracle.take(at(-7_200), now_ms=NOW) == "off_duty"
    assert oracle.take(at(-90_000), now_ms=NOW) == "past"
    assert oracle.borderline == 0

    oracle.take(at(-3_700), now_ms=NOW)
    assert oracle.borderline == 1
