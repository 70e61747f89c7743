"""Which moves a booking and an offer may make, and who may make them. Pure: one table, one question.

The table of docs/protocol.md section 1 and `x-moves` of the OpenAPI document are its public forms; tests hold the three
together.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from engine.core.vocabulary import BookingState, OfferState, Role

_S = BookingState
_O = OfferState

# `None` stands for the engine itself: searches, offers and their end.
_ENGINE: Final = frozenset[Role | None]({None})
_WORKER: Final = frozenset[Role | None]({Role.WORKER})
_DESK: Final = frozenset[Role | None]({Role.DISPATCHER, Role.ADMIN})
_CUSTOMER_OR_DESK: Final = _DESK | {Role.CUSTOMER}
_WORKER_OR_DESK: Final = _DESK | _WORKER
_ALL_BUT_CUSTOMER: Final = _WORKER_OR_DESK | _ENGINE

MOVERS: Final[dict[tuple[BookingState, BookingState], frozenset[Role | None]]] = {
    (_S.SEARCHING, _S.OFFERED): _ENGINE,
    (_S.SEARCHING, _S.ASSIGNED): _WORKER_OR_DESK,
    (_S.SEARCHING, _S.UNSERVED): _ENGINE,
    (_S.SEARCHING, _S.CANCELLED): _CUSTOMER_OR_DESK,
    (_S.OFFERED, _S.SEARCHING): _ALL_BUT_CUSTOMER,
    (_S.OFFERED, _S.ASSIGNED): _ALL_BUT_CUSTOMER,
    (_S.OFFERED, _S.CANCELLED): _CUSTOMER_OR_DESK,
    (_S.ASSIGNED, _S.EN_ROUTE): _WORKER,
    (_S.ASSIGNED, _S.SEARCHING): _ALL_BUT_CUSTOMER,
    (_S.ASSIGNED, _S.CANCELLED): _CUSTOMER_OR_DESK,
    (_S.EN_ROUTE, _S.ARRIVED): _WORKER,
    (_S.EN_ROUTE, _S.SEARCHING): _ALL_BUT_CUSTOMER,
    (_S.EN_ROUTE, _S.CANCELLED): _CUSTOMER_OR_DESK,
    (_S.ARRIVED, _S.IN_PROGRESS): _WORKER,
    (_S.ARRIVED, _S.SEARCHING): _WORKER_OR_DESK,
    (_S.ARRIVED, _S.CANCELLED): _CUSTOMER_OR_DESK,
    (_S.IN_PROGRESS, _S.COMPLETED): _WORKER,
    (_S.IN_PROGRESS, _S.CANCELLED): _DESK,
    (_S.COMPLETED, _S.CONFIRMED): _CUSTOMER_OR_DESK,
    (_S.UNSERVED, _S.SEARCHING): _DESK,
}
"""Every legal move of a booking with the roles that may make it; `None` is the engine."""

OFFER_MOVERS: Final[dict[tuple[OfferState, OfferState], frozenset[Role | None]]] = {
    (_O.OPEN, _O.ACCEPTED): _WORKER,
    (_O.OPEN, _O.DECLINED): _WORKER,
    (_O.OPEN, _O.EXPIRED): _ENGINE,
    (_O.OPEN, _O.WITHDRAWN): _ENGINE,
    (_O.ACCEPTED, _O.HANDED_BACK): _WORKER_OR_DESK,
    (_O.ACCEPTED, _O.REPLACED): _ENGINE,
}
"""The same of an offer. What an offer is withdrawn for is somebody's act; the withdrawing is the engine's."""

TRANSITIONS: Final[dict[BookingState, frozenset[BookingState]]] = {
    state: frozenset(to for start, to in MOVERS if start is state) for state in BookingState
}
"""Where a booking may go from each state."""

OFFER_TRANSITIONS: Final[dict[OfferState, frozenset[OfferState]]] = {
    state: frozenset(to for start, to in OFFER_MOVERS if start is state) for state in OfferState
}
"""Where an offer may go from each state."""

FINAL_STATES: Final = frozenset(state for state, following in TRANSITIONS.items() if not following)

ENDED_STATES: Final = FINAL_STATES | {_S.UNSERVED}
"""To its customer a booking in these is over. The desk can have an unserved one searched for again."""

WORKER_STATES: Final = frozenset({_S.ASSIGNED, _S.EN_ROUTE, _S.ARRIVED, _S.IN_PROGRESS, _S.COMPLETED, _S.CONFIRMED})
"""A booking in these states has a worker."""

ACTIVE_STATES: Final = frozenset({_S.ASSIGNED, _S.EN_ROUTE, _S.ARRIVED, _S.IN_PROGRESS})
"""A worker has at most one booking in these states, and may not go off duty meanwhile."""

HAND_BACK_STATES: Final = frozenset(state for state in ACTIVE_STATES if _S.SEARCHING in TRANSITIONS[state])
"""A job in these states can be handed back; once the work has begun, only the desk can end it, by cancelling."""

REMATCH_STATES: Final = frozenset(state for state in ACTIVE_STATES if None in MOVERS.get((state, _S.SEARCHING), ()))
"""A job in these states can go over to another worker who says yes to it; at the door it is its worker's."""

RELEASING_STATES: Final = frozenset({_S.COMPLETED, _S.CANCELLED, _S.UNSERVED})
"""Reaching one of these, a booking gives back the resources that it had reserved."""

ASKED_FOR_STATES: Final = frozenset({_S.EN_ROUTE, _S.ARRIVED, _S.IN_PROGRESS, _S.COMPLETED, _S.CONFIRMED, _S.CANCELLED})
"""Where somebody may ask a booking to go by name. The rest happens by offers, assignments and hand-backs."""


@dataclass(frozen=True, slots=True)
class Move:
    """A row of the public table: `thing` is "booking" or "offer", `who` sorted roles with "engine"."""

    thing: str
    state: str
    to: str
    who: tuple[str, ...]


def public_moves() -> tuple[Move, ...]:
    """Return the table as the protocol and OpenAPI show it."""
    return tuple(
        Move(thing, state.value, to.value, tuple(sorted("engine" if role is None else role.value for role in movers)))
        for thing, table in (("booking", MOVERS), ("offer", OFFER_MOVERS))
        for (state, to), movers in table.items()
    )


class RefusalKind(Enum):
    """Why a move is refused; the shell turns each into its error."""

    NOT_A_PARTY = auto()
    NOT_YOUR_MOVE = auto()
    NO_SUCH_MOVE = auto()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused move, with a sentence for the person who asked."""

    kind: RefusalKind
    detail: str


def check_transition(
    state: BookingState, to: BookingState, actor_role: Role | None, *, is_party: bool
) -> Refusal | None:
    """Return why this actor may not move a booking from `state` to `to`, or `None` when they may.

    `actor_role` is `None` for the engine. `is_party` says whether the booking is theirs: its customer, its worker (or
    the worker who was asked), the desk of its organisation. Who is no party learns nothing else about the booking.
    """
    if actor_role is not None and not is_party:
        return Refusal(RefusalKind.NOT_A_PARTY, "There is no such booking, or it is not yours to see.")
    movers = MOVERS.get((state, to))
    if movers is None:
        return Refusal(RefusalKind.NO_SUCH_MOVE, f"A booking that is {state} cannot become {to}.")
    if actor_role not in movers:
        who = "the engine" if actor_role is None else f"a {actor_role}"
        return Refusal(RefusalKind.NOT_YOUR_MOVE, f"It is not for {who} to move a booking from {state} to {to}.")
    return None


assert frozenset({_S.CONFIRMED, _S.CANCELLED}) == FINAL_STATES
assert frozenset({_S.ASSIGNED, _S.EN_ROUTE}) == REMATCH_STATES
assert ACTIVE_STATES < WORKER_STATES
