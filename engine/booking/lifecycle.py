"""Which moves a booking may make, and who may make them. Pure: one table, one question.

`docs/protocol.md` section 1 is the public form of this table.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from engine.core.vocabulary import BookingState, Role

_S = BookingState

# `None` stands for the engine itself: searches, offers and their end.
_ENGINE: Final = frozenset[Role | None]({None})
_ASKED_WORKER: Final = frozenset[Role | None]({None, Role.WORKER})
_WORKER: Final = frozenset[Role | None]({Role.WORKER})
_DESK: Final = frozenset[Role | None]({Role.DISPATCHER, Role.ADMIN})
_CUSTOMER_OR_DESK: Final = _DESK | {Role.CUSTOMER}

MOVERS: Final[dict[tuple[BookingState, BookingState], frozenset[Role | None]]] = {
    (_S.SEARCHING, _S.OFFERED): _ENGINE,
    (_S.SEARCHING, _S.UNSERVED): _ENGINE,
    (_S.SEARCHING, _S.CANCELLED): _CUSTOMER_OR_DESK,
    (_S.OFFERED, _S.SEARCHING): _ASKED_WORKER,
    (_S.OFFERED, _S.ASSIGNED): _ASKED_WORKER,
    (_S.OFFERED, _S.CANCELLED): _CUSTOMER_OR_DESK,
    (_S.ASSIGNED, _S.EN_ROUTE): _WORKER,
    (_S.ASSIGNED, _S.CANCELLED): _CUSTOMER_OR_DESK,
    (_S.EN_ROUTE, _S.ARRIVED): _WORKER,
    (_S.EN_ROUTE, _S.CANCELLED): _CUSTOMER_OR_DESK,
    (_S.ARRIVED, _S.IN_PROGRESS): _WORKER,
    (_S.ARRIVED, _S.CANCELLED): _CUSTOMER_OR_DESK,
    (_S.IN_PROGRESS, _S.COMPLETED): _WORKER,
    (_S.IN_PROGRESS, _S.CANCELLED): _DESK,
    (_S.COMPLETED, _S.CONFIRMED): _CUSTOMER_OR_DESK,
}
"""Every legal move with the roles that may make it; `None` is the engine."""

TRANSITIONS: Final[dict[BookingState, frozenset[BookingState]]] = {
    state: frozenset(to for start, to in MOVERS if start is state) for state in BookingState
}
"""Where a booking may go from each state."""

FINAL_STATES: Final = frozenset(state for state, following in TRANSITIONS.items() if not following)

WORKER_STATES: Final = frozenset({_S.ASSIGNED, _S.EN_ROUTE, _S.ARRIVED, _S.IN_PROGRESS, _S.COMPLETED, _S.CONFIRMED})
"""A booking in these states has a worker."""

ACTIVE_STATES: Final = frozenset({_S.ASSIGNED, _S.EN_ROUTE, _S.ARRIVED, _S.IN_PROGRESS})
"""A worker has at most one booking in these states, and may not go off duty meanwhile."""


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


assert frozenset({_S.CONFIRMED, _S.CANCELLED, _S.UNSERVED}) == FINAL_STATES
assert ACTIVE_STATES < WORKER_STATES
