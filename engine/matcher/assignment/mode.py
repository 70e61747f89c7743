"""Give a booking out at once, or together with others of the next seconds? Pure.

With hands to spare the nearest free worker is the right one and a window only adds its own length to the wait. The
busier it is, the more often two bookings want the same worker, and the more of the next free workers are still at
work: then it pays to decide together. The figures behind the limits: `python -m bench.matcher --quality`.
"""

from dataclasses import dataclass

from config.limits import (
    SHORT_LOAD,
    WINDOW_BUSY_LOAD,
    WINDOW_BUSY_MS,
    WINDOW_MS,
    WINDOW_OFF_LOAD,
    WINDOW_ON_LOAD,
)


@dataclass(frozen=True, slots=True)
class Pressure:
    """What is asked of a region and who is there."""

    bookings_per_min: float
    """Arrivals, averaged over some minutes."""
    job_min: float
    """Mean minutes of a worker's time that a booking takes: drive and work."""
    workers: int
    """On duty, free or not."""
    waiting: int
    """Bookings without a worker now."""
    free: int
    """Workers who could go now."""

    @property
    def load(self) -> float:
        """Offered load: 1 when all hands can just do all the work; what already waits counts when nobody is free."""
        if self.workers == 0:
            return float("inf") if self.waiting else 0.0
        return max(self.offered, float(self.waiting > self.free))

    @property
    def offered(self) -> float:
        """Work asked for over the work that all on duty can do."""
        return self.bookings_per_min * self.job_min / self.workers if self.workers else 0.0

    @property
    def is_short(self) -> bool:
        """Whether not all can be served, whatever is decided: then it matters most who is reached in time."""
        return self.offered >= SHORT_LOAD


def window_ms(pressure: Pressure, *, now_in_window_mode: bool) -> int:
    """Return how long to collect bookings before they are given out together; 0: at once, one by one.

    Between the two loads of `WINDOW_OFF_LOAD` and `WINDOW_ON_LOAD` everything stays as it is.
    """
    load = pressure.load
    if load < (WINDOW_OFF_LOAD if now_in_window_mode else WINDOW_ON_LOAD):
        return 0
    return WINDOW_BUSY_MS if load >= WINDOW_BUSY_LOAD else WINDOW_MS
