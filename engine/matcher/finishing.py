"""Who will be free soon, and when: what is usual for a service, learned from the jobs that were done. Pure.

A new service has its planned duration; each finished job counts as much as one of `PRIOR_JOBS` that took as planned.
Uncertainty is a share of the duration, learned alike.
"""

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
"""What is left of a job that takes longer than usual: most end soon, and the estimate is renewed with each window."""


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
    sd_min: DoubleArray

    @classmethod
    def nobody(cls) -> "Soon":
        """Return that nobody is."""
        none, whole = np.zeros(0), np.zeros(0, np.int64)
        return cls(whole, none, none, whole, none)


def usual(planned_min: float, done: Done | None) -> tuple[float, float]:
    """Return mean and standard deviation of how long a job takes, in minutes."""
    if done is None or done.jobs == 0:
        return planned_min, PRIOR_CV * planned_min
    weight = done.jobs + PRIOR_JOBS
    mean_min = (done.jobs * done.mean_min + PRIOR_JOBS * planned_min) / weight
    variance = (done.jobs * done.sd_min**2 + PRIOR_JOBS * (PRIOR_CV * planned_min) ** 2) / weight
    return mean_min, float(np.sqrt(variance))


def soon_free(jobs: Iterable[UnderWay], done: Mapping[UUID, Done], *, now_ms: int) -> Soon:
    """Return who is expected to finish within `limits.LOOK_AHEAD_MS`."""
    found = []
    for job in sorted(jobs, key=lambda each: each.slot):
        mean_min, sd_min = usual(job.planned_min, done.get(job.service_id))
        left_min = max(mean_min - (now_ms - job.began_ms) / MS_PER_MIN, OVERDUE_MIN)
        if left_min * MS_PER_MIN <= LOOK_AHEAD_MS:
            found.append((job.slot, job.lat_deg, job.lng_deg, now_ms + round(left_min * MS_PER_MIN), sd_min))
    if not found:
        return Soon.nobody()
    slots, lats, lngs, free_at, sds = zip(*found, strict=True)
    return Soon(np.array(slots, np.int64), np.array(lats), np.array(lngs), np.array(free_at, np.int64), np.array(sds))
