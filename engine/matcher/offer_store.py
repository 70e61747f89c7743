"""Offers in Postgres: made, expired, withdrawn. The rules are `engine.matcher.offers`'.

Everything that changes an offer locks its booking first, then the worker: one order, so no deadlock, and whoever holds
the booking's lock sees offers that nobody else can move. Several may ring for one booking; the first yes takes the
lock, and the others end in its transaction. The partial unique indexes (one accepted offer a booking, one open offer a
worker, one active job a worker) are the last guard; losing against them is a lost race, not an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from engine.booking.booking_store import transition
from engine.booking.views import active_booking_of_worker
from engine.core.crash_point import crash_point
from engine.core.database import Connection
from engine.core.errors import NotFound
from engine.core.ids import BookingId, OfferId, OrgId, PersonId
from engine.core.units import ms_from_utc, rfc3339, utc_from_ms
from engine.core.vocabulary import BookingState, OfferState, Withdrawal
from engine.matcher.held_doors import held
from engine.matcher.offers import PastOffer
from engine.matcher.rule_store import lock_pair_unless_taken
from engine.matcher.rules import broken_rules
from engine.outbox.events import Event, append_event, user_topic

JsonObject = dict[str, object]

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

LOCK_BOOKING_UNLESS_TAKEN: Final = "SELECT state FROM booking WHERE booking_id = $1 FOR UPDATE SKIP LOCKED"
# Runs under the locks of booking and worker, so what it sees of either is the last word.
INSERT_OFFER: Final = """
INSERT INTO offer (offer_id, org_id, booking_id, worker_id, state, cost_min, eta_s, sent_at, expires_at, round,
                   replaces)
SELECT $1, $2, $3, $4, 'open', $5, $6, $7, $8, $9, $10
 WHERE NOT EXISTS (SELECT FROM booking
                    WHERE worker_id = $4 AND state IN ('assigned', 'en_route', 'arrived', 'in_progress'))
   AND NOT EXISTS (SELECT FROM booking b WHERE b.booking_id = $3 AND :held)
ON CONFLICT DO NOTHING
RETURNING *
""".replace(":held", held(people="b.customer_id, $4"))
MAKE_OFFER: Final = f"WITH made AS ({INSERT_OFFER}) {OFFER_COLUMNS.replace('FROM offer o', 'FROM made o')}"

# The conditional UPDATE that everything hangs on: an open offer ends once.
END_OFFER: Final = """
UPDATE offer SET state = $2, answered_at = $3, ended_reason = $4
 WHERE offer_id = $1 AND state = 'open'
RETURNING worker_id
"""

END_OPEN_OFFERS: Final = """
UPDATE offer SET state = 'withdrawn', answered_at = $2, ended_reason = $3
 WHERE booking_id = $1 AND state = 'open' AND worker_id IS DISTINCT FROM $4
RETURNING offer_id, worker_id
"""
OPEN_ELSEWHERE: Final = """
SELECT offer_id, booking_id FROM offer WHERE worker_id = $1 AND booking_id <> $2 AND state = 'open'
"""
IS_STILL_ASKED: Final = "SELECT EXISTS (SELECT FROM offer WHERE booking_id = $1 AND state = 'open')"

EXPIRED_OFFERS: Final = """
SELECT offer_id, booking_id FROM offer
 WHERE state = 'open' AND expires_at <= $1
 ORDER BY expires_at, offer_id LIMIT $2
"""

# Open offers that must not ring on: the booking moved on, the worker left or works, or somebody put a hold on either
# side of it. A job to take over moves on when it is no longer on the way, has somebody else, or the desk's pin.
IDLE_OFFERS: Final = """
SELECT o.offer_id, o.booking_id
  FROM offer o
  JOIN booking b USING (booking_id)
  JOIN worker w ON w.worker_id = o.worker_id
  JOIN person p ON p.person_id = o.worker_id
 WHERE o.state = 'open'
   AND (CASE WHEN o.replaces IS NULL THEN b.state <> 'offered'
             ELSE b.state NOT IN ('assigned', 'en_route') OR b.worker_id <> o.replaces
                  OR b.pinned_worker_id IS NOT NULL OR :job_held END
        OR w.duty <> 'on' OR p.status <> 'active'
        OR EXISTS (SELECT FROM booking job WHERE job.worker_id = o.worker_id
                      AND job.state IN ('assigned', 'en_route', 'arrived', 'in_progress'))
        OR :held)
 ORDER BY o.offer_id LIMIT $1
""".replace(":held", held(people="o.worker_id, b.customer_id")).replace(":job_held", held(people="b.worker_id"))

WORKER_STATES: Final = """
SELECT w.worker_id, w.duty,
       EXISTS (SELECT FROM offer o WHERE o.worker_id = w.worker_id AND o.state = 'open') AS has_offer,
       EXISTS (SELECT FROM booking b WHERE b.worker_id = w.worker_id
                  AND b.state IN ('assigned', 'en_route', 'arrived', 'in_progress')) AS has_job
  FROM worker w
 WHERE w.worker_id = ANY($1::uuid[])
"""

# Who dropped out may have got the job without an offer. Who has, or had, another seat of the crew has said so already.
PAST_OFFERS: Final = """
SELECT booking_id, worker_id, state, coalesce(answered_at, expires_at) AS ended_at, round
  FROM offer
 WHERE booking_id = ANY($1::uuid[]) AND state <> 'open'
 UNION ALL
SELECT booking_id, worker_id, 'handed_back', at, NULL
  FROM hand_back
 WHERE booking_id = ANY($1::uuid[])
 UNION ALL
SELECT b.booking_id, gone.worker_id, 'handed_back', gone.at, NULL
  FROM booking b
  JOIN booking mate ON mate.crew_id = b.crew_id AND mate.booking_id <> b.booking_id AND mate.state <> 'cancelled'
  JOIN LATERAL (SELECT mate.worker_id, mate.updated_at AS at WHERE mate.worker_id IS NOT NULL
                 UNION ALL
                SELECT h.worker_id, h.at FROM hand_back h WHERE h.booking_id = mate.booking_id) AS gone ON true
 WHERE b.booking_id = ANY($1::uuid[])
"""


@dataclass(frozen=True, slots=True)
class NewOffer:
    """An offer about to be made. `cost_min` is the matcher's cost in minutes; it counts until `expires_at_ms`."""

    offer_id: OfferId
    org_id: OrgId
    booking_id: BookingId
    worker_id: PersonId
    cost_min: float
    eta_s: int
    expires_at_ms: int
    round: int = 1
    replaces: PersonId | None = None
    """Who has the job until this offer's yes; `None`: nobody."""


async def create_offer(conn: Connection, offer: NewOffer, *, now_ms: int) -> Event | None:
    """Save an open offer; the caller holds the booking's lock, and appends the event.

    Returns:
        What rings on the worker's phone, or `None` when this worker cannot be asked any more: taken by another
        booking, or a hard rule forbids it by now. The transaction stays usable, the next candidate may be tried in it.
    """
    pair = await lock_pair_unless_taken(conn, offer.booking_id, offer.worker_id, now_ms=now_ms)
    if pair is None or broken_rules(pair, now_ms=now_ms):
        return None
    made = await conn.fetchrow(
        MAKE_OFFER,
        offer.offer_id,
        offer.org_id,
        offer.booking_id,
        offer.worker_id,
        offer.cost_min,
        offer.eta_s,
        utc_from_ms(now_ms),
        utc_from_ms(offer.expires_at_ms),
        offer.round,
        offer.replaces,
    )
    return None if made is None else Event(user_topic(offer.worker_id), "offer", _view(made))


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
    return await _end_all(conn, rows, OfferState.EXPIRED, now_ms=now_ms)


async def withdraw_idle_offers(conn: Connection, *, now_ms: int, limit: int) -> int:
    """Take back offers that must not ring on: booking gone, worker gone or at work, or a hold; return how many."""
    rows = await conn.fetch(IDLE_OFFERS, limit)
    return await _end_all(conn, rows, OfferState.WITHDRAWN, now_ms=now_ms)


async def withdraw_offers(
    conn: Connection, *, booking_id: BookingId, reason: Withdrawal, now_ms: int, but_of: PersonId | None = None
) -> int:
    """Take back every open offer of a booking (but one worker's) in the caller's transaction; return how many.

    The booking itself is left as it is; the caller holds its lock.
    """
    ended = await conn.fetch(END_OPEN_OFFERS, booking_id, utc_from_ms(now_ms), reason.value, but_of)
    for row in ended:
        await _tell_gone(conn, row["offer_id"], row["worker_id"], OfferState.WITHDRAWN, reason, now_ms=now_ms)
    return len(ended)


async def withdraw_elsewhere(conn: Connection, worker_id: PersonId, booking_id: BookingId, *, now_ms: int) -> None:
    """Take back what rings on a worker's phone for other bookings: the desk has given them this one.

    A booking that somebody else holds right now is left to the matcher's sweep, which sees that its worker works.
    """
    rows = await conn.fetch(OPEN_ELSEWHERE, worker_id, booking_id)
    await _end_all(conn, rows, OfferState.WITHDRAWN, reason=Withdrawal.ASSIGNED, now_ms=now_ms)


async def end_offer(
    conn: Connection, offer_id: OfferId, to: OfferState, *, now_ms: int, reason: Withdrawal | None = None
) -> bool:
    """End an open offer and tell its worker; return whether it was open. The caller holds the booking's lock."""
    worker_id = await conn.fetchval(
        END_OFFER, offer_id, to.value, utc_from_ms(now_ms), None if reason is None else reason.value
    )
    if worker_id is None:
        return False
    await _tell_gone(conn, offer_id, worker_id, to, reason, now_ms=now_ms)
    return True


async def is_still_asked(conn: Connection, booking_id: BookingId) -> bool:
    """Return whether an offer of a booking still rings."""
    return bool(await conn.fetchval(IS_STILL_ASKED, booking_id))


async def past_offers(conn: Connection, booking_ids: Sequence[BookingId]) -> dict[BookingId, list[PastOffer]]:
    """Return the ended offers of each of these bookings."""
    past: dict[BookingId, list[PastOffer]] = {booking_id: [] for booking_id in booking_ids}
    for row in await conn.fetch(PAST_OFFERS, list(booking_ids)):
        past[row["booking_id"]].append(
            PastOffer(row["worker_id"], OfferState(row["state"]), ms_from_utc(row["ended_at"]), row["round"] or 0)
        )
    return past


async def offer_view(conn: Connection, offer_id: OfferId) -> JsonObject:
    """Return an offer as the protocol shows it."""
    row = await conn.fetchrow(OFFER_BY_ID, offer_id)
    assert row is not None
    return _view(row)


async def _end_all(
    conn: Connection,
    rows: Sequence[asyncpg.Record],
    to: OfferState,
    *,
    now_ms: int,
    reason: Withdrawal | None = None,
) -> int:
    ended = 0
    for row in rows:
        async with conn.transaction():
            state = await conn.fetchval(LOCK_BOOKING_UNLESS_TAKEN, row["booking_id"])
            why = reason or (_withdrawal(state) if to is OfferState.WITHDRAWN else None)
            if state is None or not await end_offer(conn, row["offer_id"], to, now_ms=now_ms, reason=why):
                continue
            ended += 1
            if state == BookingState.OFFERED and not await is_still_asked(conn, row["booking_id"]):
                await transition(
                    conn,
                    booking_id=row["booking_id"],
                    to=BookingState.SEARCHING,
                    actor=None,
                    reason=f"offer {to}",
                    now_ms=now_ms,
                )
            crash_point("offer_end_written")
        crash_point("offer_ended")
    return ended


def _withdrawal(booking_state: str) -> Withdrawal:
    return Withdrawal.CANCELLED if booking_state == BookingState.CANCELLED else Withdrawal.NOT_AVAILABLE


async def _tell_gone(
    conn: Connection,
    offer_id: OfferId,
    worker_id: PersonId,
    to: OfferState,
    reason: Withdrawal | None,
    *,
    now_ms: int,
) -> None:
    body = {"offer_id": str(offer_id), "state": to.value, "reason": None if reason is None else reason.value}
    await append_event(conn, topic=user_topic(worker_id), kind="offer.gone", body=body, now_ms=now_ms)


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
