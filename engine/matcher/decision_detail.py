"""A decision as the dispatch log keeps it and `GET /v1/bookings/{booking_id}/dispatch` shows it. Costs are minutes."""

from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from engine.core.ids import PersonId
from engine.matcher.chooser import outcomes_of
from engine.matcher.decision import Decision
from engine.matcher.plan import Mode, Share

DECIMALS: Final = 4


def detail_of(
    decision: Decision, *, worker_id: Callable[[int], PersonId], bookings: Sequence[UUID] = ()
) -> dict[str, object]:
    """Return what is kept; `bookings` are those that were decided together, by seat.

    Of a booking that nobody is found for only what does not change with each window: the log tells it once.
    """
    ranking, said = decision.ranking, decision.circumstances
    risk = said.risk
    return {
        "candidates": [
            {
                "worker_id": str(worker_id(each.slot)),
                "slot": each.slot,
                "cost": round(each.cost_min, DECIMALS),
                "eta_s": each.eta_s,
                "eta_by": each.eta_by.name.lower(),
                "terms": {name: round(minutes, DECIMALS) for name, minutes in each.terms.items()},
            }
            for each in ranking.ranked
        ],
        "looked_at": ranking.looked_at,
        "ruled_out": ranking.ruled_out,
        "searched_m": said.searched_m,
        "policy": said.policy,
        "risk": {"score": round(risk.score, DECIMALS), "terms": {k: round(v, DECIMALS) for k, v in risk.terms.items()}},
        "asks_again": said.asks_again,
        "eta": {} if decision.arrivals is None else dict(outcomes_of(decision.arrivals)),
        "plan": _plan(decision.share, worker_id, bookings) if decision.to_ask else _waiting(decision.share, worker_id),
    }


def waiting_detail_of(decision: Decision, *, worker_id: Callable[[int], PersonId]) -> dict[str, object]:
    """Return what is kept of a booking that waits although somebody could go: the same as long as the reason is.

    A window is planned every second or two; what changes with each is left out, so that the log tells once.
    """
    return {"policy": decision.circumstances.policy, "plan": _waiting(decision.share, worker_id)}


def _waiting(share: Share, worker_id: Callable[[int], PersonId]) -> dict[str, object]:
    if share.mode is Mode.IMMEDIATE:
        return {"mode": share.mode.value}
    waits_for = None if share.reserved_slot is None else str(worker_id(share.reserved_slot))
    return {"mode": share.mode.value, "outcome": str(share.outcome), "waits_for": waits_for}


def _plan(share: Share, worker_id: Callable[[int], PersonId], bookings: Sequence[UUID]) -> dict[str, object]:
    if share.mode is Mode.IMMEDIATE:
        return {"mode": share.mode.value}
    found: dict[str, object] = {
        "mode": share.mode.value,
        "window_ms": share.window_ms,
        "bookings": share.bookings,
        "outcome": str(share.outcome),
        "solver_us": share.solver_us,
    }
    away = share.gave_way
    if away is not None:
        found["gave_way"] = {
            "worker_id": str(worker_id(away.slot)),
            "cost": round(away.cost_min, DECIMALS),
            "more": None if away.more_min is None else round(away.more_min, DECIMALS),
            "to_booking_id": None if away.to_seat is None else str(bookings[away.to_seat]),
        }
    return found
