"""How busy each organisation is: what was asked of it lately beside who is there. Pure.

Each matcher counts what it claims itself.
"""

from collections import deque
from dataclasses import dataclass, field

from config.limits import PRESSURE_BOOKINGS_MAX, PRESSURE_BOOKINGS_MIN, PRESSURE_DRIVE_MS, PRESSURE_OVER_MS
from engine.core.ids import BookingId, OrgId
from engine.core.units import MS_PER_MIN
from engine.matcher.assignment.mode import Pressure, window_ms


@dataclass(frozen=True, slots=True)
class Staff:
    """Who is there."""

    on_duty: int
    free: int


@dataclass(slots=True)
class _Demand:
    asked: deque[tuple[int, BookingId, float]] = field(default_factory=deque)
    """When each booking came, which it is, and the minutes of work that it is."""
    known: set[BookingId] = field(default_factory=set)
    window_ms: int = 0
    is_short: bool = False

    def forget_oldest(self) -> None:
        """Count one booking less."""
        _, booking_id, _ = self.asked.popleft()
        self.known.discard(booking_id)


class Demand:
    """What came in over `limits.PRESSURE_OVER_MS`, and which organisations collect bookings at the moment."""

    def __init__(self) -> None:
        self._of: dict[OrgId, _Demand] = {}

    def came(self, booking_id: BookingId, org_id: OrgId, *, at_ms: int, job_min: float, now_ms: int) -> None:
        """Take note of a booking that came at `at_ms`; of one that is known, or came long ago, nothing."""
        demand = self._of.setdefault(org_id, _Demand())
        if booking_id in demand.known or at_ms <= now_ms - PRESSURE_OVER_MS:
            return
        if len(demand.asked) == PRESSURE_BOOKINGS_MAX:
            demand.forget_oldest()
        demand.asked.append((at_ms, booking_id, job_min))
        demand.known.add(booking_id)

    @property
    def collects(self) -> bool:
        """Whether any organisation's bookings are collected."""
        return any(demand.window_ms for demand in self._of.values())

    def aligned_ms(self, org_id: OrgId, at_ms: int) -> int:
        """Return when to look again, if `at_ms` would be soon enough: at the end of a window where there are any."""
        span_ms = self._of[org_id].window_ms if org_id in self._of else 0
        return at_ms if span_ms == 0 else window_begin_ms(at_ms, span_ms) + span_ms * (at_ms % span_ms > 0)

    def window_ms(self, org_id: OrgId, staff: Staff, *, waiting: int, now_ms: int) -> int:
        """Return for how long to collect this organisation's bookings; 0: not at all.

        Nothing is collected while nobody is free: there is nothing to give out.
        """
        demand = self._of.setdefault(org_id, _Demand())
        while demand.asked and demand.asked[0][0] <= now_ms - PRESSURE_OVER_MS:
            demand.forget_oldest()
        pressure = _pressure(demand, staff, waiting)
        demand.is_short = pressure is not None and pressure.is_short
        if pressure is None or staff.free == 0:
            demand.window_ms = 0
        else:
            demand.window_ms = window_ms(pressure, now_in_window_mode=demand.window_ms > 0)
        return demand.window_ms

    def is_short(self, org_id: OrgId) -> bool:
        """Whether more was asked of this organisation than its hands can do, at the last look at its window."""
        return org_id in self._of and self._of[org_id].is_short


def window_begin_ms(now_ms: int, span_ms: int) -> int:
    """Return when the window of this moment began: all matchers cut time alike."""
    return now_ms - now_ms % span_ms


def _pressure(demand: _Demand, staff: Staff, waiting: int) -> Pressure | None:
    """Return how busy it is; `None`: too little was asked to say."""
    count = len(demand.asked)
    if count < PRESSURE_BOOKINGS_MIN:
        return None
    work_min = sum(job_min for _, _, job_min in demand.asked) / count
    return Pressure(
        bookings_per_min=count / (PRESSURE_OVER_MS / MS_PER_MIN),
        job_min=work_min + PRESSURE_DRIVE_MS / MS_PER_MIN,
        workers=staff.on_duty,
        waiting=waiting,
        free=staff.free,
    )
