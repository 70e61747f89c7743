"""A worker's yes or no, in one transaction: the first yes wins the job and ends every other offer of it."""

from typing import Final
from uuid import UUID

import asyncpg

from engine.booking.booking_store import transition
from engine.booking.views import booking_view
from engine.core.crash_point import crash_point
from engine.core.database import Connection
from engine.core.errors import Conflict, NotFound
from engine.core.ids import BookingId, OfferId, PersonId
from engine.core.units import ms_from_utc
from engine.core.vocabulary import BookingState, OfferState, Role, Withdrawal
from engine.matcher.offer_store import JsonObject, end_offer, is_still_asked, offer_view, withdraw_offers
from engine.matcher.offers import AnswerRefusal, answer
from engine.matcher.rule_store import lock_pair
from engine.matcher.rules import broken_rules
from engine.matcher.take_over import take_from
from engine.people.tokens import Principal

REFUSALS: Final = {
    AnswerRefusal.EXPIRED: "This offer has expired.",
    AnswerRefusal.WITHDRAWN: "This offer was withdrawn.",
    AnswerRefusal.ANSWERED_OTHERWISE: "This offer was answered otherwise.",
}

OFFER_OF_WORKER: Final = "SELECT booking_id FROM offer WHERE offer_id = $1 AND worker_id = $2"
LOCK_BOOKING: Final = "SELECT state FROM booking WHERE booking_id = $1 FOR UPDATE"
OFFER: Final = "SELECT state, expires_at, eta_s, replaces FROM offer WHERE offer_id = $1"


async def answer_offer(
    conn: Connection, *, offer_id: OfferId | UUID, worker: Principal, accept: bool, reason: str, now_ms: int
) -> tuple[JsonObject, JsonObject | None]:
    """Take a worker's yes or no, in one transaction.

    Yes: the offer is accepted, the booking assigned to this worker, and what rings elsewhere for it is withdrawn; who
    had it until now has it no more. No: once nobody else is asked a booking without a worker searches on at once. The
    same answer given twice is answered alike twice.

    Returns:
        The offer, and the booking after a yes.

    Raises:
        NotFound: no such offer to this worker.
        Conflict: it expired, was withdrawn or answered otherwise, a hard rule forbids it by now, or the booking or the
            worker moved on.
    """
    try:
        async with conn.transaction():
            answered = await _answer(
                conn, OfferId(offer_id), worker=worker, accept=accept, reason=reason, now_ms=now_ms
            )
            crash_point("answer_written")
    except asyncpg.UniqueViolationError as error:
        raise Conflict("You have another job by now.") from error
    crash_point("answer_taken")
    return answered


async def _answer(
    conn: Connection, offer_id: OfferId, *, worker: Principal, accept: bool, reason: str, now_ms: int
) -> tuple[JsonObject, JsonObject | None]:
    booking_id = await conn.fetchval(OFFER_OF_WORKER, offer_id, worker.person_id)
    if booking_id is None:
        raise NotFound
    booking_state = await conn.fetchval(LOCK_BOOKING, booking_id)
    crash_point("answer_locked")
    row = await conn.fetchrow(OFFER, offer_id)
    assert row is not None
    state = OfferState(row["state"])
    decision = answer(state, ms_from_utc(row["expires_at"]), accept=accept, now_ms=now_ms)
    if isinstance(decision, AnswerRefusal):
        raise Conflict(REFUSALS[decision])
    if decision is not state and accept:
        await _accept(conn, offer_id, booking_id, worker=worker, asked=row, reason=reason, now_ms=now_ms)
    elif decision is not state:
        if not await end_offer(conn, offer_id, OfferState.DECLINED, now_ms=now_ms):
            raise Conflict
        if booking_state == BookingState.OFFERED and not await is_still_asked(conn, booking_id):
            await _search_on(conn, booking_id, worker=worker, reason=reason, now_ms=now_ms)
    booking = await booking_view(conn, booking_id, viewer=Role.WORKER) if accept else None
    return await offer_view(conn, offer_id), booking


async def _accept(
    conn: Connection,
    offer_id: OfferId,
    booking_id: BookingId,
    *,
    worker: Principal,
    asked: asyncpg.Record,
    reason: str,
    now_ms: int,
) -> None:
    # The worker's row before any offer's: who makes an offer takes them in this order, too.
    pair = await lock_pair(conn, booking_id, worker.person_id, now_ms=now_ms)
    # Whatever rule it is looks like any withdrawal to the phone: of a hold it may not tell, it may be in wrong hands.
    if pair is None or broken_rules(pair, now_ms=now_ms):
        raise Conflict(REFUSALS[AnswerRefusal.WITHDRAWN])
    had: PersonId | None = asked["replaces"]
    if had is not None and not await take_from(conn, had, booking_id, to=worker.person_id, now_ms=now_ms):
        raise Conflict(REFUSALS[AnswerRefusal.WITHDRAWN])
    if not await end_offer(conn, offer_id, OfferState.ACCEPTED, now_ms=now_ms):
        raise Conflict
    await withdraw_offers(conn, booking_id=booking_id, reason=Withdrawal.TAKEN, now_ms=now_ms)
    await transition(
        conn,
        booking_id=booking_id,
        to=BookingState.ASSIGNED,
        actor=worker,
        reason=reason or "offer accepted",
        now_ms=now_ms,
        worker_id=worker.person_id,
        eta_s=asked["eta_s"],
    )


async def _search_on(conn: Connection, booking_id: BookingId, *, worker: Principal, reason: str, now_ms: int) -> None:
    await transition(
        conn,
        booking_id=booking_id,
        to=BookingState.SEARCHING,
        actor=worker,
        reason=reason or "offer declined",
        now_ms=now_ms,
        worker_id=worker.person_id,
    )
