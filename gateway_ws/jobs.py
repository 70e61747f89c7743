"""Who is on the way to whom: the active bookings of the workers connected here, by slot. Pure.

A customer hears of a worker only from `en_route` to `arrived`: who has a job and has not set off may be at home. And
not while either of them calls for help: then nothing more comes, as when the phone has lost its GPS. This table is the
one place that says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.core.vocabulary import BookingState

WATCHED_STATES: Final = frozenset({BookingState.EN_ROUTE, BookingState.ARRIVED})
"""States in which the customer sees where the worker is."""
FOLLOWED_STATES: Final = WATCHED_STATES | {BookingState.ASSIGNED}
"""States in which worker and customer belong together: an alarm of either concerns both, and the phone is on a job."""


@dataclass(frozen=True, slots=True)
class Job:
    """Where a worker is going, and to whom."""

    booking_id: str
    version: int
    lat_deg: float
    lng_deg: float
    customer_id: str
    is_watched: bool
    """The worker is on the way, or there."""
    mates: frozenset[str] = frozenset()
    """Who else has a seat of this job's crew, as they were told last."""


class Jobs:
    """Slot -> job, from its assignment to its beginning."""

    def __init__(self) -> None:
        self._by_slot: dict[int, Job] = {}
        self._out_of_sight: set[int] = set()

    def __contains__(self, slot: int) -> bool:
        """Return whether this worker has a job that has not begun, in sight or not."""
        return slot in self._by_slot

    def __len__(self) -> int:
        """Return how many such jobs there are."""
        return len(self._by_slot)

    def watched(self, slot: int) -> Job | None:
        """Return the job whose customer is to hear where this worker is."""
        job = None if slot in self._out_of_sight else self._by_slot.get(slot)
        return job if job is not None and job.is_watched else None

    def slots_of_customer(self, customer_id: str) -> Iterator[int]:
        """Return the workers on their way to somebody. Looks at every job: incidents are rare."""
        return (slot for slot, job in self._by_slot.items() if job.customer_id == customer_id)

    def slots_of_mate(self, person_id: str) -> Iterator[int]:
        """Return the workers on a crew with somebody. Looks at every job, too."""
        return (slot for slot, job in self._by_slot.items() if person_id in job.mates)

    def set_in_sight(self, slot: int, *, is_in_sight: bool) -> None:
        """Let the customer of whatever job this worker has hear where they are, or nothing more."""
        if is_in_sight:
            self._out_of_sight.discard(slot)
        else:
            self._out_of_sight.add(slot)

    def replace(self, slot: int, booking: Mapping[str, Any] | None) -> None:
        """Take over a worker's state as loaded: the active booking, or none."""
        self._by_slot.pop(slot, None)
        if booking is not None:
            self.update(slot, booking)

    def update(self, slot: int, booking: Mapping[str, Any]) -> bool:
        """Follow one event of a booking that concerns this worker; an older version changes nothing.

        Return whether the worker has a job that was not known before.
        """
        job = self._by_slot.get(slot)
        booking_id, version = str(booking["booking_id"]), int(booking["version"])
        is_same = job is not None and job.booking_id == booking_id
        if job is not None and is_same and version < job.version:
            return False
        if (state := booking["state"]) in FOLLOWED_STATES:
            pin, customer_id = booking["pin"], str(booking["customer"]["person_id"])
            is_watched = state in WATCHED_STATES
            self._by_slot[slot] = Job(
                booking_id, version, pin["lat"], pin["lng"], customer_id, is_watched, _mates(booking)
            )
            return not is_same
        if is_same:
            del self._by_slot[slot]
        return False

    def remove(self, slot: int) -> None:
        """The worker is not connected here any more."""
        self._by_slot.pop(slot, None)
        self._out_of_sight.discard(slot)


def _mates(booking: Mapping[str, Any]) -> frozenset[str]:
    if "crew" not in booking:
        return frozenset()
    others = [seat for seat in booking["crew"]["seats"] if seat["booking_id"] != booking["booking_id"]]
    return frozenset(str(seat["worker"]["worker_id"]) for seat in others if seat["worker"] is not None)
