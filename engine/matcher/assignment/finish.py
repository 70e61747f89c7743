"""When will a job that is still going on be over? Pure.

Durations scatter around their estimate by a log-normal law. A job that has gone on for longer than its estimate is not
about to end: the estimate that counts is the one of the jobs that went on for at least as long.
"""

from functools import lru_cache
from math import exp, log, log1p, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np

from engine.matcher.assignment.kernels import DoubleArray

_RATIO_MAX: Final = 4.0
"""Elapsed over estimated time up to which the law is followed; beyond it the last value stays."""
_STEPS: Final = 401
_ONE_SD: Final = 0.8413


def remaining(expected_min: DoubleArray, elapsed_min: DoubleArray, *, cv: float) -> tuple[DoubleArray, DoubleArray]:
    """Return the median of the minutes left, and the standard deviation of that estimate.

    `cv` is the scatter of durations: standard deviation over mean, above 0.
    """
    ratio, median, spread = _law(cv)
    gone = elapsed_min / np.maximum(expected_min, 1e-9)
    return (
        expected_min * np.interp(gone, ratio, median),
        expected_min * np.interp(gone, ratio, spread),
    )


@lru_cache(maxsize=16)
def _law(cv: float) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return elapsed ratios, and for each the median and spread of what is left, in units of the estimate."""
    assert cv > 0
    sigma = sqrt(log1p(cv * cv))
    law = NormalDist(-sigma * sigma / 2, sigma)
    ratio = np.linspace(0, _RATIO_MAX, _STEPS)
    past = [law.cdf(log(each)) if each > 0 else 0.0 for each in ratio]

    def left(share: float) -> DoubleArray:
        """What is left at this quantile of the jobs that went on for so long."""
        inner = (min(gone + (1 - gone) * share, 1 - 1e-12) for gone in past)
        return np.maximum(np.array([exp(law.inv_cdf(each)) for each in inner]) - ratio, 0.0)

    return ratio, left(0.5), left(_ONE_SD) - left(0.5)
