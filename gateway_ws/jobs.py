"""Who is on the way to whom: the active bookings of the workers connected here, by slot. Pure.

A customer hears of a worker only between `assigned` and `arrived`; this table is the one place that says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.core.vocabulary import BookingState

WATCHED_STATES: Final = frozenset({BookingState.ASSIGNED, BookingState.EN_ROUTE, BookingState.ARRIVED})
"""States in which the customer sees where the worker is."""


@dataclass(frozen=True, slots=True)
class Job:
    """Where a worker is going."""

    booking_id: str
    version: int
    lat_deg: float
    lng_deg: float


class Jobs:
    """Slot -> job, only while the customer may watch."""

    def __init__(self) -> None:
        self._by_slot: dict[int, Job] = {}

    def __contains__(self, slot: int) -> bool:
        """Return whether this worker has a job that is watched."""
        return slot in self._by_slot

    def __getitem__(self, slot: int) -> Job:
        """Return the job of a slot that has one."""
        return self._by_slot[slot]

    def __len__(self) -> int:
        """Return how many jobs are watched."""
        return len(self._by_slot)

    def replace(self, slot: int, booking: Mapping[str, Any] | None) -> None:
        """Take over a worker's state as loaded: the active booking, or none."""
        self._by_slot.pop(slot, None)
        if booking is not None:
            self.update(slot, booking)

    def update(self, slot: int, booking: Mapping[str, Any]) -> None:
        """Follow one event of a booking that concerns this worker; an older version changes nothing."""
        job = self._by_slot.get(slot)
        booking_id, version = str(booking["booking_id"]), int(booking["version"])
        is_same = job is not None and job.booking_id == booking_id
        if job is not None and is_same and version < job.version:
            return
        if booking["state"] in WATCHED_STATES:
            pin = booking["pin"]
            self._by_slot[slot] = Job(booking_id, version, pin["lat"], pin["lng"])
        elif is_same:
            del self._by_slot[slot]

    def remove(self, slot: int) -> None:
        """The worker is not connected here any more."""
        self._by_slot.pop(slot, None)
