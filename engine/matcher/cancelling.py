"""Cancels a job: the booking, what still rings for it, and with the first seat of a crew all the others."""

from engine.booking.booking_store import transition
from engine.booking.crew import LEAD_SEAT
from engine.booking.crew_store import lock_seats
from engine.booking.lifecycle import TRANSITIONS
from engine.booking.views import booking_view
from engine.core.database import Connection
from engine.core.ids import BookingId
from engine.core.vocabulary import BookingState, Withdrawal
from engine.matcher.offer_store import withdraw_offers
from engine.people.tokens import Principal


async def cancel(
    conn: Connection,
    *,
    booking_id: BookingId,
    actor: Principal,
    reason: str,
    expected_version: int | None,
    now_ms: int,
) -> dict[str, object]:
    """Cancel a booking, and return it as the actor sees it. The caller holds a transaction.

    Of a crew: the first seat ends every seat that has not ended, all or none; another seat is the desk's to cancel, and
    the crew goes on without it.

    Raises:
        NotFound: there is no such booking, or it is not the actor's.
        NotAllowed: one of the moves is not for this actor.
        Conflict: it cannot be cancelled any more, or somebody else moved first.
    """
    view = await transition(
        conn,
        booking_id=booking_id,
        to=BookingState.CANCELLED,
        actor=actor,
        reason=reason,
        now_ms=now_ms,
        expected_version=expected_version,
    )
    await withdraw_offers(conn, booking_id=booking_id, reason=Withdrawal.CANCELLED, now_ms=now_ms)
    crew = view.get("crew")
    if not isinstance(crew, dict) or crew["seat"] != LEAD_SEAT:
        return view
    # The move has locked them already; the first one is the crew.
    for row in await lock_seats(conn, booking_id):
        if BookingState.CANCELLED in TRANSITIONS[BookingState(row["state"])]:
            await cancel(
                conn, booking_id=row["booking_id"], actor=actor, reason=reason, expected_version=None, now_ms=now_ms
            )
    return await booking_view(conn, booking_id, viewer=actor.role)
