"""How long a worker needs, from the two ends alone. Pure.

Seconds grow with the square root of the straight line: short trips crawl through side streets, long ones use fast
roads. Fitted on the trips of 309 Porto taxis on 1 July 2013 (ECML/PKDD 2015): whole trips of 2-60 minutes and at
least 300 m without a jump over 45 m/s; the constants come from the 415 trips of taxis with an even id. On the 435
trips of the odd ones: mean error 198 s, median error 23 %, and 78 % of the trips inside the interval that is to hold
80 %. The driven path there is 1.45 times the straight line, but knowing it does not improve the estimate.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.core.units import METRES_PER_DEG

S_PER_ROOT_M: Final = 10.66
"""Median of seconds / sqrt(straight metres)."""
LOW_RATIO: Final = 0.65
HIGH_RATIO: Final = 1.66
"""10 % and 90 % quantiles of real / estimated seconds."""
FITTED_M_MAX: Final = 16_000.0
"""The longest fitted trip. Beyond it the line goes on at the speed it has there (86 km/h)."""


@dataclass(frozen=True, slots=True)
class Eta:
    """Whole seconds until arrival; 8 of 10 trips end between `low_s` and `high_s`."""

    eta_s: int
    low_s: int
    high_s: int


def estimate(from_lat_deg: float, from_lng_deg: float, to_lat_deg: float, to_lng_deg: float) -> Eta:
    """Return the time a car needs between two places."""
    seconds = _seconds(straight_m(from_lat_deg, from_lng_deg, to_lat_deg, to_lng_deg))
    return Eta(round(seconds), round(seconds * LOW_RATIO), round(seconds * HIGH_RATIO))


def straight_m(from_lat_deg: float, from_lng_deg: float, to_lat_deg: float, to_lng_deg: float) -> float:
    """Return the straight line in metres: flat earth at the mean latitude, 0.1 % off at 50 km.

    The shorter way round the 180th meridian counts.
    """
    north_deg = to_lat_deg - from_lat_deg
    east_deg = (to_lng_deg - from_lng_deg + 180) % 360 - 180
    east_deg *= math.cos(math.radians((from_lat_deg + to_lat_deg) / 2))
    return METRES_PER_DEG * math.hypot(north_deg, east_deg)


def straight_metres(
    from_lat_deg: NDArray[np.float64], from_lng_deg: NDArray[np.float64], to_lat_deg: float, to_lng_deg: float
) -> NDArray[np.float64]:
    """Return `straight_m` of many places to one."""
    north_deg = to_lat_deg - from_lat_deg
    east_deg = (to_lng_deg - from_lng_deg + 180) % 360 - 180
    east_deg *= np.cos(np.radians((from_lat_deg + to_lat_deg) / 2))
    return METRES_PER_DEG * np.hypot(north_deg, east_deg)


def seconds_of(distance_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median seconds of straight lines."""
    near_s = S_PER_ROOT_M * np.sqrt(np.minimum(distance_m, FITTED_M_MAX))
    s_per_m = S_PER_ROOT_M / (2 * math.sqrt(FITTED_M_MAX))
    return near_s + np.maximum(distance_m - FITTED_M_MAX, 0) * s_per_m


def _seconds(distance_m: float) -> float:
    if distance_m <= FITTED_M_MAX:
        return S_PER_ROOT_M * math.sqrt(distance_m)
    at_end_s = S_PER_ROOT_M * math.sqrt(FITTED_M_MAX)
    s_per_m = at_end_s / (2 * FITTED_M_MAX)
    return at_end_s + (distance_m - FITTED_M_MAX) * s_per_m
