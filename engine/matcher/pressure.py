"""How busy each organisation is: what was asked of it lately beside who is there. Pure.

Each matcher counts what it claims itself.
"""

from collections import deque
from dataclasses import dataclass, field

from config.limits import PRESSURE_BOOKINGS_MAX, PRESSURE_BOOKINGS_MIN, PRESSURE_OVER_MS
from engine.core.ids import OrgId
from engine.core.units import MS_PER_MIN
from engine.matcher.assignment.mode import Pressure, window_ms


@dataclass(frozen=True, slots=True)
class Staff:
    """Who is there."""

    on_duty: int
    free: int


@dataclass(slots=True)
class _Demand:
    asked: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=PRESSURE_BOOKINGS_MAX))
    """When each booking came, and the minutes of a worker's time that it takes."""
    is_collecting: bool = False


class Demand:
    """What came in over `limits.PRESSURE_OVER_MS`, and which organisations collect bookings at the moment."""

    def __init__(self) -> None:
        self._of: dict[OrgId, _Demand] = {}

    def came(self, org_id: OrgId, *, at_ms: int, job_min: float) -> None:
        """Take note of a new booking."""
        self._of.setdefault(org_id, _Demand()).asked.append((at_ms, job_min))

    def window_ms(self, org_id: OrgId, staff: Staff, *, waiting: int, now_ms: int) -> int:
        """Return for how long to collect this organisation's bookings; 0: not at all.

        Nothing is collected while nobody is free: there is nothing to give out.
        """
        demand = self._of.setdefault(org_id, _Demand())
        while demand.asked and demand.asked[0][0] <= now_ms - PRESSURE_OVER_MS:
            demand.asked.popleft()
        if staff.free == 0:
            return 0
        span_ms = window_ms(_pressure(demand, staff, waiting), now_in_window_mode=demand.is_collecting)
        demand.is_collecting = span_ms > 0
        return span_ms


def window_begin_ms(now_ms: int, span_ms: int) -> int:
    """Return when the window of this moment began: all matchers cut time alike."""
    return now_ms - now_ms % span_ms


def _pressure(demand: _Demand, staff: Staff, waiting: int) -> Pressure:
    count = len(demand.asked)
    is_known = count >= PRESSURE_BOOKINGS_MIN
    return Pressure(
        bookings_per_min=count / (PRESSURE_OVER_MS / MS_PER_MIN) if is_known else 0.0,
        job_min=sum(job_min for _, job_min in demand.asked) / count if count else 0.0,
        workers=staff.on_duty,
        waiting=waiting,
        free=staff.free,
    )
