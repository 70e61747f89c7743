import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.limits import REMATCH_LATER_MS, REMATCH_NEAR_MS, REMATCH_WITHIN_MS, REMATCHES_MAX
from engine.matcher.assignment.crews import Resource
from engine.matcher.assignment.window import Outcome, WindowPlan, WindowRules, late_chance, plan_window
from engine.matcher.assignment.window_seats import Candidates, Seats, Workers, open_seats

NOW_MS = 1_000_000_000
MIN = 60_000
NEVER = float("inf")


def candidates(drives: list[dict[int, float]]) -> Candidates:
    """One dictionary a seat: worker to minutes of drive, which is also the cost."""
    start = np.concatenate(([0], np.cumsum([len(each) for each in drives]))).astype(np.int32)
    drive_min = np.array([minutes for each in drives for minutes in each.values()], np.float64)
    worker = np.array([worker for each in drives for worker in each], np.int32)
    return Candidates(start, worker, drive_min, drive_min.copy())


def workers(*free_in_min: float, sd_min: float = 0.0) -> Workers:
    free_at = np.array([NOW_MS + round(each * MIN) for each in free_in_min], np.int64)
    return Workers(free_at, np.where(free_at > NOW_MS, sd_min, 0.0), free_at)


def seats(count: int, *, wait_min: float = 30.0, cap_min: float = 25.0, **columns: list[int] | list[float]) -> Seats:
    plain = open_seats(np.full(count, wait_min), np.full(count, cap_min))
    arrays = {name: np.array(each, getattr(plain, name).dtype) for name, each in columns.items()}
    return dataclasses.replace(plain, **arrays)


def plan(open_now: Seats, drives: list[dict[int, float]], fleet: Workers, **more: object) -> WindowPlan:
    return plan_window(open_now, candidates(drives), fleet, now_ms=NOW_MS, **more)  # type: ignore[arg-type]


def on_the_way(*, arrival_min: float, minutes_ago: float = 1.0, rematches: int = 0) -> dict[str, list[float]]:
    """Columns of seat 0 whose worker 0 is under way, and of seat 1 that nobody has."""
    return {
        "held_by": [0, -1],
        "held_arrival_min": [arrival_min, 0],
        "set_out_at_ms": [NOW_MS - round(minutes_ago * MIN), -1],
        "rematches": [rematches, 0],
    }


def test_all_open_bookings_together() -> None:
    found = plan(seats(2), [{0: 1, 1: 3}, {0: 2, 1: 20}], workers(0, 0))
    assert found.worker.tolist() == [1, 0]
    assert found.arrival_min.tolist() == [3, 2]
    assert found.outcome == (Outcome.SENT, Outcome.SENT)
    assert found.total_min == found.bound_min == 5


def test_a_worker_who_is_about_to_finish_next_door_is_better_than_a_free_one_far_away() -> None:
    found = plan(seats(1), [{0: 12, 1: 1}], workers(0, 4, sd_min=2), rules=WindowRules(finish_margin_sd=0.5))
    assert found.worker.tolist() == [1]
    assert found.outcome == (Outcome.RESERVED,)
    assert found.arrival_min.tolist() == [pytest.approx(4 + 0.5 * 2 + 1)]


def test_who_finishes_beyond_the_look_ahead_is_no_candidate() -> None:
    found = plan(seats(1), [{0: 1}], workers(10.1), rules=WindowRules(look_ahead_min=10))
    assert found.outcome == (Outcome.TOO_LATE,)


def test_an_uncertain_finish_counts_as_later() -> None:
    drives = [{0: 6, 1: 1}]
    sure = plan(
        seats(1), drives, workers(0, 4, sd_min=0), rules=WindowRules(finish_wait_weight=1, finish_margin_sd=0.25)
    )
    unsure = plan(
        seats(1), drives, workers(0, 4, sd_min=8), rules=WindowRules(finish_wait_weight=1, finish_margin_sd=0.25)
    )
    assert (sure.worker.tolist(), unsure.worker.tolist()) == ([1], [0])


def test_nobody_is_sent_beyond_the_cap_of_the_service() -> None:
    found = plan(seats(2, cap_min=8, wait_min=60), [{0: 8.0}, {1: 8.1}], workers(0, 0))
    assert found.outcome == (Outcome.SENT, Outcome.TOO_LATE)
    assert found.arrival_min.tolist() == [8, NEVER]


def test_who_would_be_late_gets_the_worker_who_comes_in_time() -> None:
    drives = [{0: 2, 1: 6}, {0: 4, 1: 7}]
    fleet = workers(0, 0)
    assert plan(seats(2), drives, fleet).worker.tolist() == [0, 1]
    assert plan(seats(2, late_after_min=[20, 5.5], late_min=[10, 10]), drives, fleet).worker.tolist() == [1, 0]
    hopeless = seats(2, late_after_min=[20, -5], late_min=[10, 10])
    assert plan(hopeless, drives, fleet).worker.tolist() == [0, 1], "nothing is gained for one who is late anyway"


def test_lateness_is_judged_by_what_is_likely_and_not_by_what_is_hoped_for() -> None:
    overdue = workers(0, 1, sd_min=8)
    late = seats(1, late_after_min=[9], late_min=[10])
    assert plan(late, [{0: 8, 1: 1}], overdue).worker.tolist() == [1]
    unlikely = dataclasses.replace(overdue, likely_at_ms=overdue.free_at_ms + np.array([0, 14 * MIN]))
    assert plan(late, [{0: 8, 1: 1}], unlikely).worker.tolist() == [0]
    assert plan(seats(1), [{0: 8, 1: 1}], unlikely).worker.tolist() == [1]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3))
def test_the_chance_to_be_late_grows_with_the_delay(over_min: float, spread_min: float) -> None:
    chance = late_chance(np.array([over_min, over_min + 1]), spread_min)
    assert 0 <= chance[0] <= chance[1] <= 1
    assert late_chance(0.0, spread_min) == 0.5


def test_a_worker_on_the_way_is_exchanged_when_all_gain() -> None:
    columns = on_the_way(arrival_min=9)
    found = plan(seats(2, **columns), [{0: 9, 1: 10}, {0: 2}], workers(0, 0))
    assert found.worker.tolist() == [1, 0]
    assert found.outcome == (Outcome.REMATCHED, Outcome.SENT)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        (on_the_way(arrival_min=9, minutes_ago=REMATCH_WITHIN_MS / MIN + 0.1), "set out too long ago"),
        (on_the_way(arrival_min=REMATCH_NEAR_MS / MIN), "is near"),
        (on_the_way(arrival_min=9, rematches=REMATCHES_MAX), "was exchanged too often"),
        (on_the_way(arrival_min=10 - REMATCH_LATER_MS / MIN - 0.1), "the other would come too late"),
    ],
)
def test_a_worker_on_the_way_stays(columns: dict[str, list[float]], why: str) -> None:
    found = plan(seats(2, **columns), [{0: columns["held_arrival_min"][0], 1: 10}, {0: 0.5}], workers(0, 0))
    assert found.worker.tolist() == [0, -1], why
    assert found.outcome == (Outcome.KEPT, Outcome.OUTBID if "too late" in why else Outcome.TOO_LATE)


def test_a_small_gain_is_no_reason_to_exchange() -> None:
    columns = on_the_way(arrival_min=9)
    drives = [{0: 9, 1: 9.1}, {0: 5, 1: 5.2}]
    assert plan(seats(2, **columns), drives, workers(0, 0)).worker.tolist() == [0, 1]
    greedy = WindowRules(rematch_gain_min=0)
    assert plan(seats(2, **columns), drives, workers(0, 0), rules=greedy).worker.tolist() == [1, 0]


def test_nobody_loses_a_promised_worker_for_a_better_booking() -> None:
    columns = on_the_way(arrival_min=20)
    found = plan(seats(2, **columns), [{0: 20}, {0: 1}], workers(0))
    assert found.outcome == (Outcome.KEPT, Outcome.OUTBID)


def test_a_held_worker_whom_the_search_did_not_find_again_is_kept() -> None:
    found = plan(seats(2, **on_the_way(arrival_min=9)), [{}, {1: 3}], workers(0, 0))
    assert found.worker.tolist() == [0, 1]
    assert found.arrival_min.tolist() == [9, 3]


def test_a_reservation_may_change_at_any_time() -> None:
    columns = {"held_by": [0], "held_arrival_min": [9.0], "set_out_at_ms": [-1], "rematches": [REMATCHES_MAX]}
    found = plan(seats(1, **columns), [{0: 1, 1: 2}], workers(8, 0))
    assert found.outcome == (Outcome.REMATCHED,)


def test_a_pin_is_obeyed_even_beyond_cap_and_cost() -> None:
    found = plan(seats(2, pinned=[1, -1]), [{0: 1, 1: 28}, {0: 2, 1: 1}], workers(0, 0))
    assert found.worker.tolist() == [1, 0]


def test_pins_that_cannot_be_obeyed_are_named() -> None:
    found = plan(seats(3, pinned=[0, 0, 2]), [{0: 1}, {0: 1, 1: 2}, {1: 1}], workers(0, 0, 0))
    assert found.outcome == (Outcome.SENT, Outcome.PIN_TAKEN, Outcome.PIN_UNREACHABLE)
    assert found.worker.tolist() == [0, -1, -1]


def test_a_pin_may_take_a_worker_on_the_way() -> None:
    columns = on_the_way(arrival_min=2) | {"pinned": [-1, 0]}
    found = plan(seats(2, **columns), [{0: 2}, {0: 5}], workers(0))
    assert found.outcome == (Outcome.PIN_TAKEN, Outcome.SENT)


def test_a_crew_comes_whole_or_not_at_all() -> None:
    two = seats(3, job=[0, 0, 1])
    assert plan(two, [{0: 1}, {1: 2}, {0: 3}], workers(0, 0)).outcome[:2] == (Outcome.SENT, Outcome.SENT)
    found = plan(two, [{0: 1}, {0: 2}, {0: 3}], workers(0))
    assert found.worker.tolist() == [-1, -1, 0]
    assert found.outcome == (Outcome.CREW_INCOMPLETE, Outcome.CREW_INCOMPLETE, Outcome.SENT)


def test_what_is_in_use_is_named() -> None:
    found = plan(seats(2), [{0: 1}, {1: 2}], workers(0, 0), resources=(Resource("bay", (0, 1), 1),))
    assert found.outcome == (Outcome.SENT, Outcome.RESOURCE_SHORT)
    assert found.short == {1: "bay"}


def test_other_reasons_to_stay_without() -> None:
    drives: list[dict[int, float]] = [{}, {0: 2}, {0: 1}, {1: 24}]
    found = plan(seats(4, wait_min=20), drives, workers(0, 0))
    assert found.outcome == (Outcome.NOBODY, Outcome.OUTBID, Outcome.SENT, Outcome.CHEAPER_TO_WAIT)


def test_nothing_open() -> None:
    assert plan(seats(0), [], workers(0)).outcome == ()


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths"):
        seats(2, pinned=[1])
