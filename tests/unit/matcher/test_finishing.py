"""Who is free soon, by what such jobs have taken."""

from uuid import uuid4

import numpy as np
import pytest
from scipy.stats import lognorm

from config.limits import LOOK_AHEAD_MS
from engine.matcher.finishing import (
    OVERDUE_MIN,
    PRIOR_CV,
    Done,
    UnderWay,
    likely_left_min,
    soon_free,
    usual,
)

NOW_MS = 1_700_000_000_000
SERVICE = uuid4()


def job(slot: int, *, for_min: float, planned_min: int = 60) -> UnderWay:
    return UnderWay(slot, SERVICE, planned_min, NOW_MS - round(for_min * 60_000), 41.0 + slot, -8.0)


def test_a_new_service_takes_as_planned_and_learns_with_every_job():
    assert usual(60, None) == (60, PRIOR_CV * 60)
    assert usual(60, Done(0, 0, 0)) == (60, PRIOR_CV * 60)
    mean_min, sd_min = usual(60, Done(10, 40, 5))
    assert mean_min == pytest.approx(50)
    assert 5 < sd_min < PRIOR_CV * 60
    mean_min, sd_min = usual(60, Done(100_000, 40, 5))
    assert (mean_min, sd_min) == pytest.approx((40, 5), rel=1e-3)


def test_only_who_finishes_within_the_look_ahead_by_slot():
    ahead_min = LOOK_AHEAD_MS / 60_000
    soon = soon_free(
        [job(7, for_min=59), job(3, for_min=60 - ahead_min), job(5, for_min=60 - ahead_min - 0.1)], {}, now_ms=NOW_MS
    )
    assert soon.slots.tolist() == [3, 7]
    assert soon.free_at_ms.tolist() == [NOW_MS + LOOK_AHEAD_MS, NOW_MS + 60_000]
    assert soon.lat_deg.tolist() == [44.0, 48.0]


def test_what_jobs_have_taken_moves_the_finish():
    slow = {SERVICE: Done(100_000, 90, 1)}
    assert len(soon_free([job(1, for_min=55)], slow, now_ms=NOW_MS).slots) == 0
    assert len(soon_free([job(1, for_min=85)], slow, now_ms=NOW_MS).slots) == 1


def test_an_overdue_job_may_end_any_minute_and_is_not_likely_to():
    soon = soon_free([job(1, for_min=90)], {}, now_ms=NOW_MS)
    assert soon.free_at_ms.tolist() == [NOW_MS + OVERDUE_MIN * 60_000]
    assert 10 * 60_000 < soon.likely_at_ms[0] - NOW_MS < 20 * 60_000
    assert len(soon_free([], {}, now_ms=NOW_MS).slots) == 0


@pytest.mark.parametrize("gone_min", [1, 30, 55, 60, 90, 150, 400])
def test_what_is_likely_to_be_left_is_the_mean_of_the_jobs_that_are_not_over(gone_min: float):
    spread = np.sqrt(np.log1p(0.3**2))
    whole = lognorm(s=spread, scale=60 * np.exp(-(spread**2) / 2))
    beyond = np.linspace(gone_min, gone_min + 800, 400_001)
    left_min = np.trapezoid(whole.sf(beyond), beyond) / whole.sf(gone_min)
    assert likely_left_min(60, 18, gone_min) == pytest.approx(left_min, rel=1e-4)


def test_what_is_likely_has_an_answer_everywhere():
    assert likely_left_min(60, 18, 0) == likely_left_min(60, 18, -1) - 1 == 60
    assert likely_left_min(60, 0, 45) == 15
    assert likely_left_min(60, 0, 75) == 0
    far = [likely_left_min(60, 18, 60.0 * 10**power) for power in range(1, 9)]
    assert far == sorted(far), "who forgot to say that the job is over is not about to finish"
    assert likely_left_min(60, 1, 70) > 0
