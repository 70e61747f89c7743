"""Offers in Postgres: made, answered, expired, withdrawn. The rules are `engine.matcher.offers`'.

Everything that changes an offer locks its booking first, then the worker: one order, so no deadlock, and whoever holds
the booking's lock sees an offer that nobody else can move. The partial unique indexes (one open offer a booking, one
open offer a worker, one active job a worker) are the last guard; losing against them is a lost race, not an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from engine.booking.booking_store import transition
from engine.booking.views import active_booking_of_worker, booking_view
from engine.core.database import Connection
from engine.core.errors import Conflict, NotFound
from engine.core.ids import BookingId, OfferId, OrgId, PersonId
from engine.core.units import ms_from_utc, rfc3339, utc_from_ms
from engine.core.vocabulary import BookingState, OfferState, Role
from engine.matcher.held_doors import held
from engine.matcher.offers import AnswerRefusal, PastOffer, answer, expiry_ms
from engine.outbox.events import append_event, user_topic
from engine.people.tokens import Principal

JsonObject = dict[str, object]

REFUSALS: Final = {
    AnswerRefusal.EXPIRED: "This offer has expired.",
    AnswerRefusal.WITHDRAWN: "This offer was withdrawn.",
    AnswerRefusal.ANSWERED_OTHERWISE: "This offer was answered otherwise.",
}

OFFER_COLUMNS: Final = """
SELECT o.offer_id, o.booking_id, o.state, o.eta_s, o.sent_at, o.expires_at,
       s.code, s.name, s.price_minor, s.currency, s.duration_min, a.line, a.lat, a.lng
  FROM offer o
  JOIN booking b USING (booking_id)
  JOIN service s USING (service_id)
  JOIN address a USING (address_id)
"""
OFFER_BY_ID: Final = f"{OFFER_COLUMNS} WHERE o.offer_id = $1"
OPEN_OFFER_OF_WORKER: Final = f"{OFFER_COLUMNS} WHERE o.worker_id = $1 AND o.state = 'open'"

# A hold closes a worker, and a booking through its customer or its address.
IS_HELD: Final = """
SELECT :held FROM booking b WHERE b.booking_id = $1
""".replace(":held", held(people="b.customer_id, $2"))

LOCK_BOOKING: Final = "SELECT state, fence FROM booking WHERE booking_id = $1 FOR UPDATE"
LOCK_BOOKING_UNLESS_TAKEN: Final = "SELECT state FROM booking WHERE booking_id = $1 FOR UPDATE SKIP LOCKED"
LOCK_WORKER: Final = """
SELECT w.duty = 'on' AND p.status = 'active' AS takes_part
  FROM worker w JOIN person p ON p.person_id = w.worker_id
 WHERE w.worker_id = $1 FOR NO KEY UPDATE OF w
"""
# Several workers may be tried in one transaction: waiting for one while holding another could be a deadlock, and
# whoever is locked is being asked or changed this very moment.
LOCK_WORKER_UNLESS_TAKEN: Final = f"{LOCK_WORKER} SKIP LOCKED"

# Runs under the locks of booking and worker, so what it sees of either is the last word.
INSERT_OFFER: Final = """
INSERT INTO offer (offer_id, org_id, booking_id, worker_id, state, cost_min, eta_s, sent_at, expires_at)
SELECT $1, $2, $3, $4, 'open', $5, $6, $7, $8
 WHERE NOT EXISTS (SELECT FROM booking
                    WHERE worker_id = $4 AND state IN ('assigned', 'en_route', 'arrived', 'in_progress'))
   AND NOT EXISTS (SELECT FROM booking b WHERE b.booking_id = $3 AND :held)
ON CONFLICT DO NOTHING
RETURNING offer_id
""".replace(":held", held(people="b.customer_id, $4"))

# The conditional UPDATE that everything hangs on: an open offer ends once.
END_OFFER: Final = """
UPDATE offer SET state = $2, answered_at = $3
 WHERE offer_id = $1 AND state = 'open'
RETURNING booking_id, worker_id
"""

EXPIRED_OFFERS: Final = """
SELECT offer_id, booking_id FROM offer
 WHERE state = 'open' AND expires_at <= $1
 ORDER BY expires_at, offer_id LIMIT $2
"""

# Open offers that must not ring on: the booking moved on (cancelled), the worker left, or somebody put a hold on
# either side of it.
IDLE_OFFERS: Final = """
SELECT o.offer_id, o.booking_id
  FROM offer o
  JOIN booking b USING (booking_id)
  JOIN worker w ON w.worker_id = o.worker_id
  JOIN person p ON p.person_id = o.worker_id
 WHERE o.state = 'open'
   AND (b.state <> 'offered' OR w.duty <> 'on' OR p.status <> 'active'
        OR :held)
 ORDER BY o.offer_id LIMIT $1
""".replace(":held", held(people="o.worker_id, b.customer_id"))

WORKER_STATES: Final = """
SELECT w.worker_id, w.duty,
       EXISTS (SELECT FROM offer o WHERE o.worker_id = w.worker_id AND o.state = 'open') AS has_offer,
       EXISTS (SELECT FROM booking b WHERE b.worker_id = w.worker_id
                  AND b.state IN ('assigned', 'en_route', 'arrived', 'in_progress')) AS has_job
  FROM worker w
 WHERE w.worker_id = ANY($1::uuid[])
"""

OPEN_OFFER_OF_BOOKING: Final = "SELECT offer_id FROM offer WHERE booking_id = $1 AND state = 'open'"

PAST_OFFERS: Final = """
SELECT booking_id, worker_id, state, coalesce(answered_at, expires_at) AS ended_at
  FROM offer
 WHERE booking_id = ANY($1::uuid[]) AND state <> 'open'
"""


@dataclass(frozen=True, slots=True)
class NewOffer:
    """An offer about to be made. `cost_min` is the matcher's cost in minutes."""

    offer_id: OfferId
    org_id: OrgId
    booking_id: BookingId
    worker_id: PersonId
    cost_min: float
    eta_s: int


async def create_offer(conn: Connection, offer: NewOffer, *, now_ms: int) -> JsonObject | None:
    """Save an open offer and the event that rings on the worker's phone; the caller holds the booking's lock.

    Returns:
        The offer as the protocol shows it, or `None` when this worker cannot be asked any more: off duty, taken by
        another booking, or held. The transaction stays usable, the next candidate may be tried in it.
    """
    if not await conn.fetchval(LOCK_WORKER_UNLESS_TAKEN, offer.worker_id):
        return None
    saved = await conn.fetchval(
        INSERT_OFFER,
        offer.offer_id,
        offer.org_id,
        offer.booking_id,
        offer.worker_id,
        offer.cost_min,
        offer.eta_s,
        utc_from_ms(now_ms),
        utc_from_ms(expiry_ms(now_ms)),
    )
    if saved is None:
        return None
    view = await _offer_view(conn, offer.offer_id)
    await append_event(conn, topic=user_topic(offer.worker_id), kind="offer", body=view, now_ms=now_ms)
    return view


async def answer_offer(
    conn: Connection, *, offer_id: OfferId | UUID, worker: Principal, accept: bool, reason: str, now_ms: int
) -> tuple[JsonObject, JsonObject | None]:
    """Take a worker's yes or no, in one transaction.

    Yes: the offer is accepted and the booking assigned to this worker. No: the booking searches on at once.
    The same answer given twice is answered alike twice.

    Returns:
        The offer, and the booking after a yes.

    Raises:
        NotFound: no such offer to this worker.
        Conflict: it expired, was withdrawn or answered otherwise, or the booking or the worker moved on.
    """
    try:
        async with conn.transaction():
            return await _answer(conn, OfferId(offer_id), worker=worker, accept=accept, reason=reason, now_ms=now_ms)
    except asyncpg.UniqueViolationError as error:
        raise Conflict("You have another job by now.") from error


async def current_offer(conn: Connection, worker_id: PersonId) -> JsonObject | None:
    """Return the open offer of a worker as the protocol shows it."""
    row = await conn.fetchrow(OPEN_OFFER_OF_WORKER, worker_id)
    return None if row is None else _view(row)


async def worker_state(conn: Connection, worker_id: PersonId) -> JsonObject:
    """Return what a worker's phone shows first: `{"duty", "offer", "booking"}`.

    Raises:
        NotFound: this person is no worker.
    """
    states = await worker_states(conn, [worker_id])
    if worker_id not in states:
        raise NotFound
    return states[worker_id]


async def worker_states(conn: Connection, worker_ids: Sequence[PersonId]) -> dict[PersonId, JsonObject]:
    """Return the same of each who is a worker. Most have neither an offer nor a job: one statement tells who has."""
    states: dict[PersonId, JsonObject] = {}
    for row in await conn.fetch(WORKER_STATES, worker_ids):
        worker_id = PersonId(row["worker_id"])
        states[worker_id] = {
            "duty": row["duty"],
            "offer": await current_offer(conn, worker_id) if row["has_offer"] else None,
            "booking": await active_booking_of_worker(conn, worker_id) if row["has_job"] else None,
        }
    return states


async def expire_offers(conn: Connection, *, now_ms: int, limit: int) -> int:
    """End offers whose time is up and send their bookings searching again; return how many.

    Each in a transaction of its own. Offers whose booking somebody else is working on are left to them.
    """
    rows = await conn.fetch(EXPIRED_OFFERS, utc_from_ms(now_ms), limit)
    return await _end_all(conn, rows, OfferState.EXPIRED, reason="offer expired", now_ms=now_ms)


async def withdraw_idle_offers(conn: Connection, *, now_ms: int, limit: int) -> int:
    """Take back offers that must not ring on: booking gone, worker gone, or a safety hold; return how many."""
    rows = await conn.fetch(IDLE_OFFERS, limit)
    return await _end_all(conn, rows, OfferState.WITHDRAWN, reason="offer withdrawn", now_ms=now_ms)


async def withdraw_offer(conn: Connection, *, booking_id: BookingId, now_ms: int) -> bool:
    """Take back the open offer of a booking in the caller's transaction (say, of its cancellation).

    Returns:
        Whether there was one. The booking itself is left as it is.
    """
    offer_id = await conn.fetchval(OPEN_OFFER_OF_BOOKING, booking_id)
    if offer_id is None:
        return False
    return await _end(conn, offer_id, OfferState.WITHDRAWN, now_ms=now_ms)


async def past_offers(conn: Connection, booking_ids: Sequence[BookingId]) -> dict[BookingId, list[PastOffer]]:
    """Return the ended offers of each of these bookings."""
    past: dict[BookingId, list[PastOffer]] = {booking_id: [] for booking_id in booking_ids}
    for row in await conn.fetch(PAST_OFFERS, list(booking_ids)):
        past[row["booking_id"]].append(
            PastOffer(row["worker_id"], OfferState(row["state"]), ms_from_utc(row["ended_at"]))
        )
    return past


async def _answer(
    conn: Connection, offer_id: OfferId, *, worker: Principal, accept: bool, reason: str, now_ms: int
) -> tuple[JsonObject, JsonObject | None]:
    booking_id = await conn.fetchval(
        "SELECT booking_id FROM offer WHERE offer_id = $1 AND worker_id = $2", offer_id, worker.person_id
    )
    if booking_id is None:
        raise NotFound
    await conn.fetchrow(LOCK_BOOKING, booking_id)
    row = await conn.fetchrow("SELECT state, expires_at FROM offer WHERE offer_id = $1", offer_id)
    assert row is not None
    state = OfferState(row["state"])
    decision = answer(state, ms_from_utc(row["expires_at"]), accept=accept, now_ms=now_ms)
    if isinstance(decision, AnswerRefusal):
        raise Conflict(REFUSALS[decision])
    if decision is not state:
        await _apply_answer(conn, offer_id, booking_id, worker=worker, accept=accept, reason=reason, now_ms=now_ms)
    booking = await booking_view(conn, booking_id, viewer=Role.WORKER) if accept else None
    return await _offer_view(conn, offer_id), booking


async def _apply_answer(
    conn: Connection,
    offer_id: OfferId,
    booking_id: BookingId,
    *,
    worker: Principal,
    accept: bool,
    reason: str,
    now_ms: int,
) -> None:
    if accept:
        takes_part = await conn.fetchval(LOCK_WORKER, worker.person_id)
        # A hold looks like any withdrawal to the phone: it may be in the wrong hands.
        if not takes_part or await conn.fetchval(IS_HELD, booking_id, worker.person_id):
            raise Conflict(REFUSALS[AnswerRefusal.WITHDRAWN])
    if not await _end(conn, offer_id, OfferState.ACCEPTED if accept else OfferState.DECLINED, now_ms=now_ms):
        raise Conflict
    eta_s = await conn.fetchval("SELECT eta_s FROM offer WHERE offer_id = $1", offer_id) if accept else None
    await transition(
        conn,
        booking_id=booking_id,
        to=BookingState.ASSIGNED if accept else BookingState.SEARCHING,
        actor=worker,
        reason=reason or ("offer accepted" if accept else "offer declined"),
        now_ms=now_ms,
        worker_id=worker.person_id,
        eta_s=eta_s,
    )


async def _end_all(
    conn: Connection, rows: Sequence[asyncpg.Record], to: OfferState, *, reason: str, now_ms: int
) -> int:
    ended = 0
    for row in rows:
        async with conn.transaction():
            state = await conn.fetchval(LOCK_BOOKING_UNLESS_TAKEN, row["booking_id"])
            if state is None or not await _end(conn, row["offer_id"], to, now_ms=now_ms):
                continue
            ended += 1
            if state == BookingState.OFFERED:
                await transition(
                    conn,
                    booking_id=row["booking_id"],
                    to=BookingState.SEARCHING,
                    actor=None,
                    reason=reason,
                    now_ms=now_ms,
                )
    return ended


async def _end(conn: Connection, offer_id: OfferId, to: OfferState, *, now_ms: int) -> bool:
    row = await conn.fetchrow(END_OFFER, offer_id, to.value, utc_from_ms(now_ms))
    if row is None:
        return False
    body = {"offer_id": str(offer_id), "state": to.value}
    await append_event(conn, topic=user_topic(row["worker_id"]), kind="offer.gone", body=body, now_ms=now_ms)
    return True


async def _offer_view(conn: Connection, offer_id: OfferId) -> JsonObject:
    row = await conn.fetchrow(OFFER_BY_ID, offer_id)
    assert row is not None
    return _view(row)


def _view(row: asyncpg.Record) -> JsonObject:
    return {
        "offer_id": str(row["offer_id"]),
        "booking_id": str(row["booking_id"]),
        "state": row["state"],
        "service_code": row["code"],
        "service_name": row["name"],
        "pin": {"lat": row["lat"], "lng": row["lng"]},
        "address_line": row["line"],
        "eta_s": row["eta_s"],
        "price_minor": row["price_minor"],
        "currency": row["currency"],
        "duration_min": row["duration_min"],
        "sent_at": rfc3339(row["sent_at"]),
        "expires_at": rfc3339(row["expires_at"]),
    }
