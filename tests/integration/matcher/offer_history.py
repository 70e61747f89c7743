"""The whole story of bookings and offers, held against the table of moves: nothing lost, nothing given twice. Pure.

`faults` reads nothing but what was committed: bookings, their events, offers, hand-backs, and what phones were told.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from uuid import UUID

import asyncpg

from engine.booking.lifecycle import ACTIVE_STATES, TRANSITIONS, WORKER_STATES
from engine.core.vocabulary import BookingState, OfferState

WON = {OfferState.ACCEPTED, OfferState.HANDED_BACK, OfferState.REPLACED}
SETTLED = WORKER_STATES | {BookingState.UNSERVED, BookingState.CANCELLED}


@dataclass(frozen=True)
class Booking:
    booking_id: UUID
    state: BookingState
    version: int
    worker_id: UUID | None = None


@dataclass(frozen=True)
class Event:
    booking_id: UUID
    version: int
    state_from: BookingState | None
    state_to: BookingState
    reason: str = ""
    at: int = 0


@dataclass(frozen=True)
class Offer:
    offer_id: UUID
    booking_id: UUID
    worker_id: UUID
    state: OfferState
    sent_at: int
    ended_at: int | None
    reason: str | None = None
    replaces: UUID | None = None
    """Who had the job meanwhile."""


@dataclass(frozen=True)
class History:
    """Times are Unix microseconds."""

    bookings: Sequence[Booking]
    events: Sequence[Event]
    offers: Sequence[Offer]
    rung: Counter[UUID] = field(default_factory=Counter)
    """How often an `offer` was told, by its id."""
    gone: Counter[UUID] = field(default_factory=Counter)
    """How often an `offer.gone` was told."""


def faults(history: History) -> list[str]:
    """Return what is wrong, in words; nothing when the story is sound and every booking has come to an end."""
    return [
        *_of_bookings(history),
        *_of_offers(history),
        *_of_workers(history),
    ]


def _of_bookings(history: History) -> Iterator[str]:
    stories: dict[UUID, list[Event]] = defaultdict(list)
    for event in sorted(history.events, key=lambda each: each.version):
        stories[event.booking_id].append(event)
    for booking in history.bookings:
        name, story = f"booking {booking.booking_id}", stories[booking.booking_id]
        if [event.version for event in story] != list(range(1, booking.version + 1)):
            yield f"{name}: versions {[event.version for event in story]}, but it is at {booking.version}"
            continue
        yield from (f"{name}: {fault}" for fault in _of_one_story(booking, story))


def _of_one_story(booking: Booking, story: Sequence[Event]) -> Iterator[str]:
    if story[0].state_from is not None or story[-1].state_to is not booking.state:
        yield f"the story does not begin at its birth and end at {booking.state}"
    for before, after in pairwise(story):
        if after.state_from is not before.state_to:
            yield f"{before.state_to} and then from {after.state_from}"
        if after.state_to not in TRANSITIONS[before.state_to]:
            yield f"illegal from {before.state_to} to {after.state_to}"
    if booking.state not in SETTLED:
        yield f"lost, it is {booking.state}"
    if booking.state is BookingState.UNSERVED and not story[-1].reason:
        yield "unserved without a reason"


def _of_offers(history: History) -> Iterator[str]:
    of_booking: dict[UUID, list[Offer]] = defaultdict(list)
    for offer in history.offers:
        of_booking[offer.booking_id].append(offer)
        name = f"offer {offer.offer_id}"
        if (offer.ended_at is None) != (offer.state is OfferState.OPEN):
            yield f"{name}: {offer.state} with an end at {offer.ended_at}"
        if (offer.reason is not None) != (offer.state is OfferState.WITHDRAWN):
            yield f"{name}: {offer.state} for the reason {offer.reason}"
        if history.rung[offer.offer_id] != 1:
            yield f"{name}: rang {history.rung[offer.offer_id]} times"
        if history.gone[offer.offer_id] != (offer.state is not OfferState.OPEN):
            yield f"{name}: {offer.state}, but its end was told {history.gone[offer.offer_id]} times"
    for booking in history.bookings:
        yield from _of_one_bookings_offers(booking, of_booking[booking.booking_id], history.events)


def _of_one_bookings_offers(booking: Booking, offers: Sequence[Offer], events: Sequence[Event]) -> Iterator[str]:
    name = f"booking {booking.booking_id}"
    accepted = [offer for offer in offers if offer.state is OfferState.ACCEPTED]
    if len(accepted) > 1:
        yield f"{name}: given to {len(accepted)}"
    if accepted and booking.state in WORKER_STATES and accepted[0].worker_id != booking.worker_id:
        yield f"{name}: accepted by {accepted[0].worker_id}, but {booking.worker_id} has it"
    if booking.state is not BookingState.OFFERED and any(offer.state is OfferState.OPEN for offer in offers):
        yield f"{name}: {booking.state}, and an offer still rings"
    rounds = {offer.sent_at for offer in offers if offer.replaces is None}
    offered = {
        event.at
        for event in events
        if event.booking_id == booking.booking_id and event.state_to is BookingState.OFFERED
    }
    if rounds != offered:
        yield f"{name}: {len(offered)} times offered, {len(rounds)} rounds of offers"
    won = {offer.ended_at for offer in offers if offer.state in WON}
    for offer in offers:
        if offer.reason == "taken" and offer.ended_at not in won:
            yield f"offer {offer.offer_id}: taken by nobody"


def _of_workers(history: History) -> Iterator[str]:
    jobs = Counter(booking.worker_id for booking in history.bookings if booking.state in ACTIVE_STATES)
    yield from (f"worker {worker}: {count} jobs at once" for worker, count in jobs.items() if count > 1)
    rings = Counter(offer.worker_id for offer in history.offers if offer.state is OfferState.OPEN)
    yield from (f"worker {worker}: {count} offers ring" for worker, count in rings.items() if count > 1)


async def read_history(pool: asyncpg.Pool) -> History:
    """Read it all in one view of the database."""
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        bookings = await conn.fetch("SELECT booking_id, state, version, worker_id FROM booking")
        events = await conn.fetch("SELECT booking_id, version, state_from, state_to, reason, at FROM booking_event")
        offers = await conn.fetch(
            "SELECT offer_id, booking_id, worker_id, state, sent_at, answered_at, ended_reason, replaces FROM offer"
        )
        told = await conn.fetch(
            "SELECT kind, (body->>'offer_id')::uuid AS offer_id FROM outbox WHERE kind IN ('offer', 'offer.gone')"
        )
    return History(
        [Booking(row[0], BookingState(row[1]), row[2], row[3]) for row in bookings],
        [
            Event(row[0], row[1], row[2] and BookingState(row[2]), BookingState(row[3]), row[4], _us(row[5]))
            for row in events
        ],
        [
            Offer(row[0], row[1], row[2], OfferState(row[3]), _us(row[4]), row[5] and _us(row[5]), row[6], row[7])
            for row in offers
        ],
        rung=Counter(row["offer_id"] for row in told if row["kind"] == "offer"),
        gone=Counter(row["offer_id"] for row in told if row["kind"] == "offer.gone"),
    )


def _us(at) -> int:
    return round(at.timestamp() * 1_000_000)
