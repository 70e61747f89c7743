"""The contextual risk of a booking in [0, 1]: where and when. Pure.

Log-additive: each factor's share of the score is a term, so the explanation is the model. The score may do one thing:
raise the weight of a worker's experience with such jobs. It never refuses a booking and never makes a price.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from engine.core.units import DEG_E7, utc_from_ms
from engine.geo.cells import cells_of
from engine.risk.surface import RiskSurface

RATIO_OF_ONE: Final = 8.0
"""The incident rate, as a multiple of the mean, at which the score reaches one."""
LOG_RATIO_OF_ONE: Final = math.log(RATIO_OF_ONE)

HOURS_PER_DAY: Final = 24
HOUR_MEAN: Final = -0.103
HOUR_HARMONICS: Final = ((0.420, -0.464), (0.233, 0.052))
"""Log of an hour's rate as a multiple of the day's mean: two harmonics (cosine, sine) of the local time of day.

Fitted to 10,344 assaults, robberies, rapes and murders of January-June 2010 in Houston (police records by the hour),
without the hour after midnight, where unknown times are filed. Most at 22:00, least at 07:00.
"""


@dataclass(frozen=True, slots=True)
class Risk:
    """A score in [0, 1] and the terms that it is cut from: `score = clip(sum(terms), 0, 1)`."""

    score: float
    terms: dict[str, float]


def booking_risks(surface: RiskSurface, places: Sequence[tuple[float, float, str]], *, at_ms: int) -> list[Risk]:
    """Return the risk of a visit at this instant to each place: latitude, longitude, IANA zone.

    What is alike is one and the same.
    """
    if not places:
        return []
    degrees_e7 = np.round(np.array([place[:2] for place in places]) * DEG_E7).astype(np.int32)
    cells = cells_of(degrees_e7[:, 0], degrees_e7[:, 1]).tolist()
    at = utc_from_ms(at_ms)
    log_hour = {tz: log_hour_factor(at.astimezone(ZoneInfo(tz))) for tz in {tz for _, _, tz in places}}
    alike = [(surface.ratio(cell), tz) for cell, (_, _, tz) in zip(cells, places, strict=True)]
    risk = {(ratio, tz): contextual_risk(area_ratio=ratio, log_hour=log_hour[tz]) for ratio, tz in set(alike)}
    return [risk[each] for each in alike]


def contextual_risk(*, area_ratio: float, log_hour: float) -> Risk:
    """Return the risk for an area's rate, as a multiple of the mean, and the `log_hour_factor` of a time of day."""
    assert area_ratio > 0
    area, time = math.log(area_ratio) / LOG_RATIO_OF_ONE, log_hour / LOG_RATIO_OF_ONE
    return Risk(score=min(max(area + time, 0.0), 1.0), terms={"area": area, "time": time})


def log_hour_factor(local: datetime) -> float:
    """Return the log of how much more than on the day's mean happens at this time of day."""
    turn = 2 * math.pi * (local.hour + local.minute / 60) / HOURS_PER_DAY
    return HOUR_MEAN + sum(
        cosine * math.cos(n * turn) + sine * math.sin(n * turn)
        for n, (cosine, sine) in enumerate(HOUR_HARMONICS, start=1)
    )
