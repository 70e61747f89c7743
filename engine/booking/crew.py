"""What the seats of one job ask of each other. Pure.

A crew is a booking for each seat, and each is searched, offered, won, handed back and done by itself. Three things are
said of the whole: how far it is, that nobody sets off before every seat is filled or begins before everybody is at the
door, and that it is its first seat by which it is cancelled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.booking.lifecycle import WORKER_STATES, Refusal, RefusalKind
from engine.core.vocabulary import BookingState, Role

_S = BookingState

LEAD_ROLE: Final = "lead"
"""The role of the first seat; the others are named by the service."""
LEAD_SEAT: Final = 1

PROGRESS: Final = (
    _S.UNSERVED,
    _S.SEARCHING,
    _S.OFFERED,
    _S.ASSIGNED,
    _S.EN_ROUTE,
    _S.ARRIVED,
    _S.IN_PROGRESS,
    _S.COMPLETED,
    _S.CONFIRMED,
)
"""A crew is as far as the first of these that one of its seats is in; a cancelled seat is one no more."""
AT_THE_DOOR: Final = frozenset({_S.ARRIVED, _S.IN_PROGRESS, _S.COMPLETED, _S.CONFIRMED})
CREW_MOVES: Final = frozenset({_S.EN_ROUTE, _S.IN_PROGRESS, _S.CANCELLED})
"""Where to a seat moves that the other seats have a say in."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A place in a crew and how far it is."""

    number: int
    role: str
    state: BookingState


def crew_state(seats: Sequence[Seat]) -> BookingState:
    """Return how far the whole is: `assigned` once every seat is filled, `cancelled` with its first seat."""
    left = [PROGRESS.index(seat.state) for seat in seats if seat.state is not _S.CANCELLED]
    return _S.CANCELLED if _is_cancelled(seats) else PROGRESS[min(left)]


def crew_refusal(seats: Sequence[Seat], number: int, to: BookingState, actor_role: Role | None) -> Refusal | None:
    """Return why the seat `number` may not move to `to` because of the others, or `None`."""
    others = [seat for seat in seats if seat.number != number and seat.state is not _S.CANCELLED]
    if to is _S.EN_ROUTE:
        return _wanting(others, WORKER_STATES, "Nobody sets off before the crew is complete: still open is")
    if to is _S.IN_PROGRESS:
        return _wanting(others, AT_THE_DOOR, "Nobody begins before the whole crew is at the door: still to come is")
    is_part = number != LEAD_SEAT and not _is_cancelled(seats)
    if to is _S.CANCELLED and is_part and actor_role is Role.CUSTOMER:
        return Refusal(RefusalKind.NOT_YOUR_MOVE, "A crew is cancelled as a whole, by the booking of its first seat.")
    if to is _S.SEARCHING and _is_cancelled(seats):
        return Refusal(RefusalKind.NO_SUCH_MOVE, "The crew was cancelled.")
    return None


def _is_cancelled(seats: Sequence[Seat]) -> bool:
    return any(seat.number == LEAD_SEAT and seat.state is _S.CANCELLED for seat in seats)


def _wanting(others: Sequence[Seat], enough: frozenset[BookingState], why: str) -> Refusal | None:
    late = [f"seat {seat.number} ({seat.role})" for seat in others if seat.state not in enough]
    return Refusal(RefusalKind.NO_SUCH_MOVE, f"{why} {', '.join(late)}.") if late else None


assert set(PROGRESS) | {_S.CANCELLED} == set(BookingState)
