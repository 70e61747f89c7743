"""What a window decides about: open seats, who could take them, when these are free. Pure."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from engine.matcher.assignment.kernels import DoubleArray, IntArray
from engine.matcher.assignment.sparse import UNASSIGNED


@dataclass(frozen=True, slots=True)
class Seats:
    """Places to fill; every column has one element a seat. A crew's seats share one `job`; jobs count from 0."""

    job: IntArray
    unassigned_min: DoubleArray
    """Cost of leaving the seat for a later window: more than a drive within the cap, or nobody is ever sent there."""
    eta_cap_min: DoubleArray
    """Longest time to arrival; nobody is sent, or waited for, who takes longer."""
    late_after_min: DoubleArray
    """Minutes from now after which the customer is reached late; negative: it is late already."""
    late_min: DoubleArray
    """What coming late costs; 0: nothing beyond the wait itself."""
    pinned: IntArray
    """The worker whom a dispatcher chose, or `UNASSIGNED`."""
    held_by: IntArray
    """The worker who is on the way or reserved, or `UNASSIGNED`."""
    held_arrival_min: DoubleArray
    """When that worker was expected, in minutes from now; anything where there is none."""
    set_out_at_ms: NDArray[np.int64]
    """When that worker set out; negative: is still at another job, so that nobody has driven for nothing."""
    rematches: IntArray
    """How often the seat's worker was exchanged."""

    def __post_init__(self) -> None:
        """Refuse columns of different lengths with ValueError."""
        if len({len(getattr(self, each.name)) for each in fields(self)}) != 1:
            raise ValueError("columns of different lengths")


@dataclass(frozen=True, slots=True)
class Candidates:
    """Who could take a seat: entries `start[i]:start[i + 1]` are seat i's, worker numbers are columns of `Workers`."""

    start: IntArray
    worker: IntArray
    cost_min: DoubleArray
    """Cost of the pair for a worker who is free, the drive included; the window adds the wait for a finish."""
    drive_min: DoubleArray
    """Drive from where the worker is, or will be at the end of the present job."""


@dataclass(frozen=True, slots=True)
class Workers:
    """When everybody is free; one element a worker."""

    free_at_ms: NDArray[np.int64]
    """Estimated end of the present job; now or earlier: is free, or on the way to a held seat."""
    free_sd_min: DoubleArray
    """Standard deviation of that estimate."""
    likely_at_ms: NDArray[np.int64]
    """When the present job ends in the mean of all that have gone on for as long: whether a seat is late is judged by
    it. `free_at_ms` may hope for more, for what is only reserved is planned anew with each window."""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.free_at_ms)


def open_seats(unassigned_min: DoubleArray, eta_cap_min: DoubleArray) -> Seats:
    """Return seats of single jobs that nobody has, nobody is pinned to, and that nothing is lost by being late for."""
    count = len(unassigned_min)
    nobody = np.full(count, UNASSIGNED, np.int32)
    return Seats(
        job=np.arange(count, dtype=np.int32),
        unassigned_min=unassigned_min,
        eta_cap_min=eta_cap_min,
        late_after_min=np.zeros(count),
        late_min=np.zeros(count),
        pinned=nobody,
        held_by=nobody,
        held_arrival_min=np.zeros(count),
        set_out_at_ms=np.full(count, -1, np.int64),
        rematches=np.zeros(count, np.int32),
    )
