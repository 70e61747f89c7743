"""How urgent a booking is, with hands to spare and without."""

import numpy as np
import pytest

from config.limits import REACH_GROWTH
from engine.matcher.assignment.window_seats import Seats
from engine.matcher.cost_policy import CostWeights
from engine.matcher.urgency import UNSERVED_MIN, seats_of

WEIGHTS = CostWeights(on_time_min=15, late_min=20, short_reach_min=11, eta_cap_min=45)


def seats(*waited_min: float, extra_min: float = 0.0, is_short: bool = True, weights: CostWeights = WEIGHTS) -> Seats:
    count = len(waited_min)
    return seats_of([weights] * count, np.array(waited_min), np.full(count, extra_min), is_short=is_short)


def test_with_hands_to_spare_anybody_in_reach_is_better_than_nobody() -> None:
    found = seats(0, 12, is_short=False)
    assert found.unassigned_min.tolist() == [UNSERVED_MIN, UNSERVED_MIN + 12]
    assert found.eta_cap_min.tolist() == [45, 45]
    assert found.late_min.tolist() == [0, 0]


def test_while_hands_are_short_the_reach_is_short_and_grows_with_the_wait() -> None:
    found = seats(0, 10, 600)
    assert found.eta_cap_min.tolist() == [11, 11 + 10 * REACH_GROWTH, 11 + 600 * REACH_GROWTH]
    assert found.late_after_min.tolist() == [15, 5, -585]
    assert found.late_min.tolist() == [20, 20, 20]


def test_somebody_within_reach_is_better_than_a_later_window() -> None:
    found = seats(0, 3, 8, 20)
    assert (found.unassigned_min >= found.eta_cap_min).all()
    assert found.unassigned_min[2] > found.eta_cap_min[2] + 19, "a later window would be too late"


def test_what_all_workers_cost_says_nothing_about_whether_to_wait() -> None:
    assert seats(0, extra_min=6).unassigned_min == pytest.approx(seats(0).unassigned_min + 6)


def test_the_desks_pin_stands_however_far_its_worker_is() -> None:
    found = seats_of([WEIGHTS] * 2, np.zeros(2), np.zeros(2), is_short=np.array([True, False]))
    assert found.eta_cap_min.tolist() == [11, 45]
    assert found.unassigned_min[1] == UNSERVED_MIN
    assert found.late_min.tolist() == [20, 0]


def test_each_booking_has_its_own_weights() -> None:
    quick = CostWeights(on_time_min=5, short_reach_min=4)
    found = seats_of([WEIGHTS, quick], np.zeros(2), np.zeros(2), is_short=True)
    assert found.late_after_min.tolist() == [15, 5]
    assert found.eta_cap_min.tolist() == [11, 4]
