"""How good the promised ETA is against recorded trips. Pure.

The product promises an ETA from where a worker is to the pin. A recorded taxi does not drive to a pin; but while its
booking's pin is where its trip began, every `position` event promises how long the way back to that pin takes, and
the recording tells how long the taxi really took from that pin to here. So at the end of a trip the promise is
compared with the duration of the trip itself, driven in the other direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

TRIP_S_MIN: Final = 120.0
TRIP_S_MAX: Final = 3_600.0
STRAIGHT_M_MIN: Final = 300.0
"""Shorter, longer and nearly closed trips say nothing of an ETA: waiting and round trips."""


@dataclass(frozen=True, slots=True)
class EtaSample:
    """One promise and what really was."""

    promised_s: float
    low_s: float
    high_s: float
    real_s: float
    straight_m: float

    @property
    def is_comparable(self) -> bool:
        """Whether this is a drive from one place to another."""
        return TRIP_S_MIN <= self.real_s <= TRIP_S_MAX and self.straight_m >= STRAIGHT_M_MIN


def eta_error(samples: Sequence[EtaSample]) -> dict[str, Any]:
    """Return errors of the promise and, beside them, of a line fitted on half of the same trips (the anchor).

    Of the comparable samples the 1st, 3rd, ... fit `seconds = a + b * straight metres` by least squares, and the 2nd,
    4th, ... judge both: the anchor has seen none of the trips that it is judged by.
    """
    comparable = [sample for sample in samples if sample.is_comparable]
    result: dict[str, Any] = {"samples": len(samples), "comparable": len(comparable)}
    if not comparable:
        return result
    result["promise"] = _errors([s.promised_s for s in comparable], [s.real_s for s in comparable])
    inside = [s.low_s <= s.real_s <= s.high_s for s in comparable]
    result["inside_interval_share"] = round(float(np.mean(inside)), 3)
    if len(comparable) >= 20:  # noqa: PLR2004 - fewer trips fit no line
        fitted, judged = comparable[::2], comparable[1::2]
        slope, offset = np.polyfit([s.straight_m for s in fitted], [s.real_s for s in fitted], 1)
        real = [s.real_s for s in judged]
        result["judged_half"] = {
            "promise": _errors([s.promised_s for s in judged], real),
            "fitted_line": _errors([offset + slope * s.straight_m for s in judged], real),
        }
    return result


def _errors(promised_s: Sequence[float], real_s: Sequence[float]) -> dict[str, float | int]:
    promised, real = np.asarray(promised_s), np.asarray(real_s)
    return {
        "trips": len(real),
        "mean_abs_s": round(float(np.abs(promised - real).mean()), 1),
        "median_share": round(float(np.median(np.abs(promised - real) / real)), 3),
        "mean_signed_s": round(float((promised - real).mean()), 1),
    }
