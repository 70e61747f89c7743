"""A worker drops out of a job: it searches again in the same transaction, and never asks them again."""

from typing import Final

from prometheus_client import Counter

from engine.booking.booking_store import transition
from engine.booking.lifecycle import HAND_BACK_STATES
from engine.booking.views import is_party, load_card
from engine.core.crash_point import crash_point
from engine.core.database import Connection
from engine.core.errors import Conflict, NotFound
from engine.core.ids import BookingId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import BookingState, Withdrawal
from engine.matcher.offer_answers import LOCK_BOOKING
from engine.matcher.offer_store import withdraw_offers
from engine.people.audit import append_audit
from engine.people.tokens import Principal

HAND_BACKS = Counter("clenzy_hand_backs_total", "Jobs whose worker dropped out.", ["by", "state"])

END_ACCEPTED: Final = """
UPDATE offer SET state = 'handed_back' WHERE booking_id = $1 AND worker_id = $2 AND state = 'accepted'
"""
COUNT_HAND_BACK: Final = "UPDATE booking SET hand_backs = hand_backs + 1 WHERE booking_id = $1"
ADD_HAND_BACK: Final = """
INSERT INTO hand_back (booking_id, version, worker_id, org_id, state_from, actor_role, actor_id, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""


async def hand_back(
    conn: Connection,
    *,
    booking_id: BookingId,
    actor: Principal,
    reason: str,
    expected_version: int | None,
    now_ms: int,
) -> dict[str, object]:
    """Take a job from its worker, by their own word or the desk's, and return the booking as the actor sees it.

    Raises:
        NotFound: there is no such booking, or it is not the actor's.
        NotAllowed: a customer asks.
        Conflict: nobody has the job, its work has begun, or somebody else moved first.
    """
    async with conn.transaction():
        await conn.execute(LOCK_BOOKING, booking_id)
        card = await load_card(conn, booking_id)
        if not is_party(actor, card):
            raise NotFound
        state = BookingState(card["state"])
        if state not in HAND_BACK_STATES:
            raise Conflict(f"A booking that is {state} is nobody's to hand back.")
        view = await transition(
            conn,
            booking_id=booking_id,
            to=BookingState.SEARCHING,
            actor=actor,
            reason=reason or "handed back",
            now_ms=now_ms,
            expected_version=expected_version,
        )
        await conn.execute(COUNT_HAND_BACK, booking_id)
        await conn.execute(END_ACCEPTED, booking_id, card["worker_id"])
        # Who was asked to take it over is asked anew if the search finds them.
        await withdraw_offers(conn, booking_id=booking_id, reason=Withdrawal.NOT_AVAILABLE, now_ms=now_ms)
        await conn.execute(
            ADD_HAND_BACK,
            booking_id,
            view["version"],
            card["worker_id"],
            card["org_id"],
            state.value,
            actor.role.value,
            actor.person_id,
            utc_from_ms(now_ms),
        )
        await append_audit(
            conn,
            org_id=card["org_id"],
            actor_id=actor.person_id,
            action="booking.handed_back",
            subject=f"booking:{booking_id}",
            now_ms=now_ms,
            detail={"worker_id": str(card["worker_id"]), "from": state.value, "by": actor.role.value},
        )
        crash_point("hand_back_written")
    HAND_BACKS.labels(actor.role.value, state.value).inc()
    return view
