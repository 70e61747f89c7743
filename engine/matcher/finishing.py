"""Who will be free soon, and when: what is usual for a service, learned from the jobs that were done. Pure.

A new service has its planned duration; each finished job counts as much as one of `PRIOR_JOBS` that took as planned.
Uncertainty is a share of the duration, learned alike.

There are two answers. What is hoped for takes a job past its usual end to be over at any minute: to hope costs nothing,
for nobody is promised and the next window plans anew. What is likely knows that who is late already tends to stay
late: a customer's lateness is reckoned with that one.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from config.limits import LOOK_AHEAD_MS
from engine.core.units import MS_PER_MIN
from engine.matcher.frame import DoubleArray, SlotArray

PRIOR_JOBS: Final = 10.0
PRIOR_CV: Final = 0.3
"""Standard deviation over mean of how long a job takes, before any was seen."""
OVERDUE_MIN: Final = 1.0
"""What is hoped to be left of a job that takes longer than usual; the estimate is renewed with each window."""
TAIL_Z_MAX: Final = 30.0
"""Standard deviations from which on a tail of the normal distribution is near the smallest float."""


@dataclass(frozen=True, slots=True)
class Done:
    """What finished jobs of a service took, in minutes."""

    jobs: int
    mean_min: float
    sd_min: float


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A job that somebody works on; the door is WGS84 degrees."""

    slot: int
    service_id: UUID
    planned_min: int
    began_ms: int
    lat_deg: float
    lng_deg: float


@dataclass(frozen=True, slots=True, eq=False)
class Soon:
    """Workers about to finish, by ascending slot: where they are then, when, and how sure that is."""

    slots: SlotArray
    lat_deg: DoubleArray
    lng_deg: DoubleArray
    free_at_ms: NDArray[np.int64]
    """As is hoped for."""
    sd_min: DoubleArray
    likely_at_ms: NDArray[np.int64]
    """In the mean of all jobs that have gone on for as long."""

    @classmethod
    def nobody(cls) -> "Soon":
        """Return that nobody is."""
        none, whole = np.zeros(0), np.zeros(0, np.int64)
        return cls(whole, none, none, whole, none, whole)


def usual(planned_min: float, done: Done | None) -> tuple[float, float]:
    """Return mean and standard deviation of how long a job takes, in minutes."""
    if done is None or done.jobs == 0:
        return planned_min, PRIOR_CV * planned_min
    weight = done.jobs + PRIOR_JOBS
    mean_min = (done.jobs * done.mean_min + PRIOR_JOBS * planned_min) / weight
    variance = (done.jobs * done.sd_min**2 + PRIOR_JOBS * (PRIOR_CV * planned_min) ** 2) / weight
    return mean_min, float(np.sqrt(variance))


def likely_left_min(mean_min: float, sd_min: float, gone_min: float) -> float:
    """Return the mean of what is left of a job after `gone_min`; its whole length is taken to be log-normal.

    E[T - t | T > t] = mean * Q(z - s) / Q(z) - t, with the log's standard deviation s, z = (ln t - mu) / s and the
    normal tail Q; far out, where the tails are too small for floats, its limit t * s / z.
    """
    if gone_min <= 0 or sd_min <= 0:
        return max(mean_min - gone_min, 0.0)
    spread = math.sqrt(math.log1p((sd_min / mean_min) ** 2))
    z = math.log(gone_min / mean_min) / spread + spread / 2
    if z > TAIL_Z_MAX:
        return gone_min * spread / z
    tails = math.erfc((z - spread) / math.sqrt(2)) / math.erfc(z / math.sqrt(2))
    return mean_min * tails - gone_min


def soon_free(jobs: Iterable[UnderWay], done: Mapping[UUID, Done], *, now_ms: int) -> Soon:
    """Return who is expected to finish within `limits.LOOK_AHEAD_MS`."""
    found = []
    for job in sorted(jobs, key=lambda each: each.slot):
        mean_min, sd_min = usual(job.planned_min, done.get(job.service_id))
        gone_min = (now_ms - job.began_ms) / MS_PER_MIN
        left_min = max(mean_min - gone_min, OVERDUE_MIN)
        if left_min * MS_PER_MIN <= LOOK_AHEAD_MS:
            likely_min = likely_left_min(mean_min, sd_min, gone_min)
            free_at_ms, likely_at_ms = (now_ms + round(each * MS_PER_MIN) for each in (left_min, likely_min))
            found.append((job.slot, job.lat_deg, job.lng_deg, free_at_ms, sd_min, likely_at_ms))
    if not found:
        return Soon.nobody()
    slots, lats, lngs, free_at, sds, likely_at = zip(*found, strict=True)
    return Soon(
        np.array(slots, np.int64),
        np.array(lats),
        np.array(lngs),
        np.array(free_at, np.int64),
        np.array(sds),
        np.array(likely_at, np.int64),
    )
