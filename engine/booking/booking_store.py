"""Creates and moves bookings in Postgres: the change, its history and the events that tell of it commit together."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final, assert_never
from uuid import UUID

import asyncpg

from config.limits import BOOKING_SEARCH_MS_MAX, REGION_RESOLUTION_MAX
from engine.booking.crew import CREW_MOVES, Seat, crew_refusal
from engine.booking.crew_store import add_seats, lock_seats, note_change, read_seats, seats_of
from engine.booking.lifecycle import (
    ACTIVE_STATES,
    RELEASING_STATES,
    WORKER_STATES,
    Refusal,
    RefusalKind,
    check_transition,
)
from engine.booking.resources import release, reserve
from engine.booking.views import cards_of, is_party, load_card, load_mates, render
from engine.core.database import Connection
from engine.core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from engine.core.ids import BookingId, OrgId, PersonId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import BookingState, Role
from engine.geo.cells import cell_of, parent_of
from engine.outbox.events import Event, append_events, desk_topic, user_topic
from engine.people.sealing import Sealed, person_key
from engine.people.tokens import Principal

ENGINE_ACTOR: Final = "engine"

# One statement: all rows exist or none does. The address keeps the region's zone, the booking the address's.
CREATE_BOOKING: Final = """
WITH place AS (
  SELECT r.org_id, r.region_id, r.tz, s.service_id,
         EXISTS (SELECT FROM service_resource needed WHERE needed.service_id = s.service_id) AS needs_resources,
         EXISTS (SELECT FROM service_seat seat WHERE seat.service_id = s.service_id) AS is_crew
    FROM region r JOIN service s ON s.org_id = r.org_id AND s.code = $6
   WHERE r.region_id = $4 AND r.org_id = $5
), door AS (
  INSERT INTO address (address_id, org_id, region_id, customer_id, line, floor, entry_notes_sealed, lat, lng, tz)
  SELECT $2, org_id, region_id, $3, $7, $8, ($9::sealed_text).sealed, $10, $11, tz FROM place
  RETURNING *
), made AS (
  INSERT INTO booking (booking_id, org_id, region_id, customer_id, service_id, address_id, notes, state, version, tz,
                       created_at, updated_at, search_until, next_attempt_at, cell, needs_resources)
  SELECT $1, place.org_id, place.region_id, $3, service_id, door.address_id, $12, 'searching', 1, place.tz, $13, $13,
         $14, $13, $15, needs_resources
    FROM place, door
  RETURNING *
), told AS (
  INSERT INTO booking_event (booking_id, version, state_to, actor_role, actor_id, at)
  SELECT booking_id, version, state, $16, $3, created_at FROM made
)
SELECT card.*, place.is_crew FROM (:card) AS card, place
""".replace(":card", cards_of("made", addresses="door"))

# What a move is judged by.
STANDING_COLUMNS: Final = """
b.booking_id, b.org_id, b.state, b.version, b.customer_id, b.worker_id, b.crew_id, b.seat, b.needs_resources
"""
STANDING: Final = "SELECT :columns FROM booking b WHERE b.booking_id = $1".replace(":columns", STANDING_COLUMNS)

# `worker_id` is set by the move to `assigned` and kept until its worker drops out; a booking that searches is due at
# once. One whose worker is gone may search as long as a new one, and so may one that was given up.
MOVE_BOOKING: Final = """
WITH moved AS (
  UPDATE booking
     SET state = $4::text,
         version = version + 1,
         updated_at = $5::timestamptz,
         worker_id = CASE WHEN $4::text <> 'searching' THEN coalesce($6, worker_id) END,
         eta_promised_s = CASE WHEN $4::text <> 'searching' THEN coalesce($7, eta_promised_s) END,
         search_until = CASE WHEN $4::text = 'searching' AND (worker_id IS NOT NULL OR state = 'unserved')
                             THEN $8 ELSE search_until END,
         pinned_worker_id = CASE WHEN $4::text <> 'searching' OR pinned_worker_id IS DISTINCT FROM worker_id
                                 THEN pinned_worker_id END,
         next_attempt_at = CASE WHEN $4::text = 'searching' THEN $5::timestamptz END,
         lease_until = NULL,
         actual_start = CASE WHEN $4::text = 'in_progress' THEN $5::timestamptz ELSE actual_start END,
         actual_end = CASE WHEN $4::text = 'completed' THEN $5::timestamptz ELSE actual_end END
   WHERE booking_id = $1 AND state = $2 AND version = $3
  RETURNING *
), told AS (
  INSERT INTO booking_event (booking_id, version, state_from, state_to, actor_role, actor_id, reason, at)
  SELECT booking_id, version, $2, state, $9, $10, $11, updated_at FROM moved
)
:card
""".replace(":card", cards_of("moved"))

ADD_SEAT_EVENTS: Final = """
INSERT INTO booking_event (booking_id, version, state_to, actor_role, actor_id, at)
SELECT booking_id, version, state, $2, $3, created_at FROM booking WHERE booking_id = ANY($1::uuid[])
"""

# Takes the worker's row: going off duty waits for it and then sees the job. A worker off duty wins no job.
OCCUPY_WORKER: Final = """
UPDATE worker SET idle_since = NULL, updated_at = $2 WHERE worker_id = $1 AND duty = 'on' RETURNING worker_id
"""

FREE_WORKER: Final = """
UPDATE worker SET idle_since = $2, jobs_done = jobs_done + $3, updated_at = $2 WHERE worker_id = $1
"""


@dataclass(frozen=True, slots=True)
class NewBooking:
    """What a customer asks for. The ids are chosen by the caller; the pin is WGS84 degrees."""

    booking_id: BookingId
    address_id: UUID
    service_code: str
    lat_deg: float
    lng_deg: float
    line: str
    floor: str = ""
    entry_notes: str = ""
    notes: str = ""


async def create_booking(
    conn: Connection, *, customer: Principal, booking: NewBooking, now_ms: int
) -> dict[str, object]:
    """Store a booking that searches from now on, and return it as its customer sees it. One transaction.

    Where the service wants a crew, every other seat becomes a booking of its own.

    Raises:
        InvalidInput: the customer's organisation has no such service.
        Conflict: a resource that it needs is not free; the text names it.
    """
    async with conn.transaction():
        key = await person_key(conn, customer.person_id, now_ms=now_ms)
        created = await conn.fetchrow(
            CREATE_BOOKING,
            booking.booking_id,
            booking.address_id,
            customer.person_id,
            customer.region_id,
            customer.org_id,
            booking.service_code,
            booking.line,
            booking.floor,
            Sealed(key, booking.entry_notes),
            booking.lat_deg,
            booking.lng_deg,
            booking.notes,
            utc_from_ms(now_ms),
            utc_from_ms(now_ms + BOOKING_SEARCH_MS_MAX),
            parent_of(cell_of(booking.lat_deg, booking.lng_deg), REGION_RESOLUTION_MAX),
            customer.role.value,
        )
        if created is None:
            raise InvalidInput("There is no such service here.", field="service_code")
        if created["needs_resources"]:
            await reserve(conn, booking.booking_id, now_ms=now_ms)
        cards = await _seats(conn, booking.booking_id, customer) if created["is_crew"] else [created]
        events = [event for card in cards for event in await _events_of(conn, card)]
        await append_events(conn, events, now_ms=now_ms)
    return render(cards[0], customer.role)


async def transition(  # noqa: PLR0913 - a move is all of this, and every caller names each part
    conn: Connection,
    *,
    booking_id: BookingId,
    to: BookingState,
    actor: Principal | None,
    reason: str,
    now_ms: int,
    expected_version: int | None = None,
    worker_id: PersonId | None = None,
    eta_s: int | None = None,
    is_passing: bool = False,
    standing: asyncpg.Record | None = None,
    first: Sequence[Event] = (),
) -> dict[str, object]:
    """Move a booking and return it as the actor sees it. The caller holds a transaction.

    `actor` is `None` for the engine. `worker_id` names the worker whom the move is about: the one who gets the job
    (`to` is `assigned`, required), or the one who was asked. `eta_s` is promised with the assignment. A job that
    searches again has no worker any more; who had it is told, and free. `is_passing`: it moves on in the same
    transaction, so nobody else is told of this step. `standing` are the `STANDING_COLUMNS` of a booking that the
    caller has locked; `first` is told before the move.

    Raises:
        NotFound: there is no such booking, or it is not the actor's.
        NotAllowed: the move is legal, but not for this actor.
        Conflict: the move is not legal from here, somebody else moved first, the worker is busy or off duty, or the
            rest of the crew is not that far.
    """
    standing, seats = await _standing_and_seats(conn, booking_id, to, standing)
    state = BookingState(standing["state"])
    _check(standing, to, actor=actor, asked_worker_id=worker_id)
    if seats:
        _refuse(crew_refusal(seats, standing["seat"], to, None if actor is None else actor.role))
    if expected_version is not None and expected_version != standing["version"]:
        raise Conflict(f"The booking is at version {standing['version']}, not {expected_version}.", field="version")
    assert (worker_id is not None) or to is not BookingState.ASSIGNED, "an assignment names its worker"
    assigned_id = worker_id if to is BookingState.ASSIGNED else None
    move = _Move(booking_id, standing["version"] + 1, state, to, reason)
    moved = await _moved(conn, move, actor=actor, worker_id=assigned_id, eta_s=eta_s, now_ms=now_ms)
    await _occupy_or_free(conn, move, worker_id=assigned_id or standing["worker_id"], now_ms=now_ms)
    if standing["crew_id"] is not None:
        await note_change(conn, standing["crew_id"])
        moved = await load_card(conn, booking_id)
    if standing["needs_resources"]:
        await _reserve_or_release(conn, move, standing["crew_id"] or booking_id, now_ms=now_ms)
    assert (moved["worker_id"] is not None) == (to in WORKER_STATES) or to is BookingState.CANCELLED
    dropped_out = standing["worker_id"] if moved["worker_id"] is None else None
    events = await _events_of(conn, moved, dropped_out=dropped_out, only_worker=is_passing)
    await append_events(conn, [*first, *events], now_ms=now_ms)
    return render(moved, Role.ADMIN if actor is None else actor.role)


@dataclass(frozen=True, slots=True)
class _Move:
    booking_id: BookingId
    version: int
    state_from: BookingState
    state_to: BookingState
    reason: str


async def _seats(conn: Connection, lead: BookingId, customer: Principal) -> list[asyncpg.Record]:
    """Make the other seats of a new booking's crew; return the cards of all, the new booking first."""
    others = await add_seats(conn, lead)
    await conn.execute(ADD_SEAT_EVENTS, others, customer.role.value, customer.person_id)
    return [await load_card(conn, booking_id) for booking_id in (lead, *others)]


async def _standing_and_seats(
    conn: Connection, booking_id: BookingId, to: BookingState, standing: asyncpg.Record | None
) -> tuple[asyncpg.Record, list[Seat]]:
    """Return how the booking stands, and where the rest of its crew has a say in the move, all its seats, locked.

    Who has one searched for again holds its lock: a crew that is cancelled meanwhile takes it along.
    """
    standing = standing or await _standing(conn, booking_id)
    if standing["crew_id"] is not None and standing["state"] == BookingState.UNSERVED:
        return standing, seats_of(await read_seats(conn, standing["crew_id"]))
    if standing["crew_id"] is None or to not in CREW_MOVES:
        return standing, []
    seats = seats_of(await lock_seats(conn, standing["crew_id"]))
    return await _standing(conn, booking_id), seats


async def _standing(conn: Connection, booking_id: BookingId) -> asyncpg.Record:
    standing = await conn.fetchrow(STANDING, booking_id)
    if standing is None:
        raise NotFound
    return standing


def _check(
    standing: asyncpg.Record, to: BookingState, *, actor: Principal | None, asked_worker_id: PersonId | None
) -> None:
    is_theirs = actor is not None and (is_party(actor, standing) or actor.person_id == asked_worker_id)
    actor_role = None if actor is None else actor.role
    _refuse(check_transition(BookingState(standing["state"]), to, actor_role, is_party=is_theirs))


def _refuse(refusal: Refusal | None) -> None:
    if refusal is None:
        return
    match refusal.kind:
        case RefusalKind.NOT_A_PARTY:
            raise NotFound
        case RefusalKind.NOT_YOUR_MOVE:
            raise NotAllowed(refusal.detail, field="to")
        case RefusalKind.NO_SUCH_MOVE:
            raise Conflict(refusal.detail, field="to")
        case _:
            assert_never(refusal.kind)


async def _moved(
    conn: Connection,
    move: _Move,
    *,
    actor: Principal | None,
    worker_id: PersonId | None,
    eta_s: int | None,
    now_ms: int,
) -> asyncpg.Record:
    """Move the booking, add that to its history, and return its card."""
    try:
        # A savepoint: after a broken uniqueness the caller's transaction can still be read and rolled forward. Only who
        # gets a worker can break one.
        async with nullcontext() if worker_id is None else conn.transaction():
            card = await conn.fetchrow(
                MOVE_BOOKING,
                move.booking_id,
                move.state_from.value,
                move.version - 1,
                move.state_to.value,
                utc_from_ms(now_ms),
                worker_id,
                eta_s,
                utc_from_ms(now_ms + BOOKING_SEARCH_MS_MAX),
                ENGINE_ACTOR if actor is None else actor.role.value,
                None if actor is None else actor.person_id,
                move.reason,
            )
    except asyncpg.UniqueViolationError as error:
        is_mate = error.constraint_name == "booking_one_seat_per_worker"
        raise Conflict(f"This worker has another {'seat of this crew' if is_mate else 'active job'}.") from error
    if card is None:
        raise Conflict
    return card


async def _occupy_or_free(conn: Connection, move: _Move, *, worker_id: PersonId | None, now_ms: int) -> None:
    if move.state_to is BookingState.ASSIGNED:
        if await conn.fetchval(OCCUPY_WORKER, worker_id, utc_from_ms(now_ms)) is None:
            raise Conflict("This worker is off duty.")
    elif move.state_from in ACTIVE_STATES and move.state_to not in ACTIVE_STATES:
        done = 1 if move.state_to is BookingState.COMPLETED else 0
        await conn.execute(FREE_WORKER, worker_id, utc_from_ms(now_ms), done)


async def _reserve_or_release(conn: Connection, move: _Move, job_id: BookingId, *, now_ms: int) -> None:
    if move.state_to in RELEASING_STATES:
        await release(conn, job_id, now_ms=now_ms)
    elif move.state_from is BookingState.UNSERVED:
        await reserve(conn, job_id, now_ms=now_ms)


async def _events_of(
    conn: Connection, card: asyncpg.Record, *, dropped_out: PersonId | None = None, only_worker: bool = False
) -> list[Event]:
    """Return what tells of a booking as its card has it, and of its crew's."""
    events = []
    if not only_worker:
        events = [
            Event(user_topic(PersonId(card["customer_id"])), "booking", render(card, Role.CUSTOMER)),
            Event(desk_topic(OrgId(card["org_id"])), "booking", render(card, Role.DISPATCHER)),
        ]
    concerned = card["worker_id"] or dropped_out
    if concerned is not None:
        events.append(Event(user_topic(PersonId(concerned)), "booking", render(card, Role.WORKER)))
    if card["crew_id"] is not None and not only_worker:
        events += [
            Event(user_topic(PersonId(mate["worker_id"])), "booking", render(mate, Role.WORKER))
            for mate in await load_mates(conn, card)
        ]
    return events
