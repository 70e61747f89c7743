import numpy as np
import pytest

from engine.matcher.assignment.finish import remaining


def left(expected_min: float, elapsed_min: float, cv: float = 0.3) -> tuple[float, float]:
    median, spread = remaining(np.array([expected_min]), np.array([elapsed_min]), cv=cv)
    return float(median[0]), float(spread[0])


def test_what_is_left_equals_the_jobs_that_went_on_for_so_long() -> None:
    random = np.random.default_rng(1)
    sigma = np.sqrt(np.log1p(0.3**2))
    taken_min = 40 * random.lognormal(-(sigma**2) / 2, sigma, 400_000)
    for elapsed_min in (0, 20, 40, 60):
        rest = taken_min[taken_min > elapsed_min] - elapsed_min
        median, spread = left(40, elapsed_min)
        assert median == pytest.approx(np.median(rest), rel=0.03)
        assert spread == pytest.approx(np.quantile(rest, 0.8413) - np.median(rest), rel=0.05)


def test_a_job_past_its_estimate_is_not_about_to_end() -> None:
    assert left(40, 60)[0] > 3
    assert left(40, 1_000)[0] >= 0
