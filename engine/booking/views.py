"""The booking as the protocol shows it, built here and nowhere else, with what its reader may not see withheld."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from config.limits import OPEN_BOOKINGS_TOLD_MAX
from engine.booking.crew_view import CREW_COLUMN, crew_of
from engine.booking.lifecycle import ACTIVE_STATES, ENDED_STATES
from engine.core.database import Connection
from engine.core.errors import NotFound
from engine.core.ids import BookingId, PersonId
from engine.core.units import rfc3339
from engine.core.vocabulary import BookingState, Role
from engine.people.tokens import Principal

_CARD_OF: Final = """
SELECT b.booking_id, b.org_id, b.state, b.version, b.notes, b.customer_id, b.worker_id, b.eta_promised_s, b.tz,
       b.created_at, b.updated_at, b.actual_start, b.actual_end,
       s.code AS service_code, s.name AS service_name,
       a.lat, a.lng, a.line, a.floor,
       ROW(k.wrapped, a.entry_notes_sealed, a.entry_notes)::sealed_text AS entry_notes,
       customer.full_name AS customer_name,
       w.slot, w.rating, worker_person.full_name AS worker_name,
       b.crew_id, b.seat, b.seat_role, b.needs_resources, :crew
  FROM :bookings b
  JOIN service s ON s.service_id = b.service_id
  JOIN :addresses a ON a.address_id = b.address_id
  LEFT JOIN person_key k ON k.person_id = a.customer_id
  JOIN person customer ON customer.person_id = b.customer_id
  LEFT JOIN worker w ON w.worker_id = b.worker_id
  LEFT JOIN person worker_person ON worker_person.person_id = b.worker_id
""".replace(":crew", CREW_COLUMN)
_CARD: Final = _CARD_OF.replace(":bookings", "booking").replace(":addresses", "address")

# Newest first; `$3`, `$4` are the last row of the page before, or NULL for the first page.
_PAGE: Final = """
   AND ($2::text IS NULL OR b.state = $2)
   AND (b.created_at, b.booking_id)
       < (coalesce($3, 'infinity'::timestamptz), coalesce($4, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
 ORDER BY b.created_at DESC, b.booking_id DESC
 LIMIT $5
"""

ONE_BOOKING: Final = _CARD + "WHERE b.booking_id = $1"
ACTIVE_OF_WORKER: Final = _CARD + "WHERE b.worker_id = $1 AND b.state = ANY($2)"
OPEN_OF_CUSTOMER: Final = (
    _CARD + "WHERE b.customer_id = $1 AND b.state <> ALL($2) ORDER BY b.created_at DESC, b.booking_id DESC LIMIT $3"
)
CREW_AT_WORK: Final = _CARD + "WHERE b.crew_id = $1 AND b.booking_id <> $2 AND b.state = ANY($3)"
PAGE_OF_CUSTOMER: Final = _CARD + "WHERE b.customer_id = $1" + _PAGE
PAGE_OF_WORKER: Final = _CARD + "WHERE b.worker_id = $1" + _PAGE
PAGE_OF_ORG: Final = _CARD + "WHERE b.org_id = $1" + _PAGE

EVENTS_OF_BOOKING: Final = """
SELECT version, state_from, state_to, actor_role, reason, at
  FROM booking_event
 WHERE booking_id = $1
 ORDER BY version
"""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page of bookings ended."""

    created_at: datetime
    booking_id: UUID


def cards_of(bookings: str, *, addresses: str = "address") -> str:
    """Return the statement that reads the cards of rows that it also writes: their tables do not show them yet.

    The names are of CTEs that return these rows whole. What a card says of the rest of a crew is from before.
    """
    return _CARD_OF.replace(":bookings", bookings).replace(":addresses", addresses)


async def booking_view(
    conn: Connection, booking_id: BookingId, *, viewer: Role, with_events: bool = False
) -> dict[str, object]:
    """Return one booking as `viewer` may see it; that it is theirs to see is the caller's business.

    Raises:
        NotFound: there is no such booking.
    """
    view = render(await load_card(conn, booking_id), viewer)
    if with_events:
        view["events"] = await _events(conn, booking_id)
    return view


async def booking_of(conn: Connection, *, booking_id: BookingId, principal: Principal) -> dict[str, object]:
    """Return one booking with its events for its customer, its worker or its organisation's desk.

    Raises:
        NotFound: there is no such booking, or it is not theirs.
    """
    card = await load_card(conn, booking_id)
    if not is_party(principal, card):
        raise NotFound
    view = render(card, principal.role)
    view["events"] = await _events(conn, booking_id)
    return view


async def list_bookings(
    conn: Connection, *, principal: Principal, state: BookingState | None, after: Position | None, limit: int
) -> tuple[list[dict[str, object]], Position | None]:
    """Return a page of the bookings that `principal` may see, newest first, and where the next page starts."""
    statement, owner = _page_of(principal)
    rows = await conn.fetch(
        statement,
        owner,
        None if state is None else state.value,
        None if after is None else after.created_at,
        None if after is None else after.booking_id,
        limit + 1,
    )
    shown = rows[:limit]
    following = Position(shown[-1]["created_at"], shown[-1]["booking_id"]) if len(rows) > limit else None
    return [render(row, principal.role) for row in shown], following


async def active_booking_of_worker(conn: Connection, worker_id: PersonId) -> dict[str, object] | None:
    """Return the job that this worker has accepted and not yet completed."""
    row = await conn.fetchrow(ACTIVE_OF_WORKER, worker_id, [state.value for state in ACTIVE_STATES])
    return None if row is None else render(row, Role.WORKER)


async def open_bookings_of_customer(conn: Connection, customer_id: PersonId) -> list[dict[str, object]]:
    """Return this customer's bookings that can still change, newest first."""
    rows = await conn.fetch(
        OPEN_OF_CUSTOMER, customer_id, [state.value for state in ENDED_STATES], OPEN_BOOKINGS_TOLD_MAX
    )
    return [render(row, Role.CUSTOMER) for row in rows]


async def load_card(conn: Connection, booking_id: BookingId) -> asyncpg.Record:
    """Return everything that a view of this booking may show.

    Raises:
        NotFound: there is no such booking.
    """
    card = await conn.fetchrow(ONE_BOOKING, booking_id)
    if card is None:
        raise NotFound
    return card


async def load_mates(conn: Connection, card: asyncpg.Record) -> list[asyncpg.Record]:
    """Return the cards of the other seats of this crew whose workers have it now."""
    at_work = [state.value for state in ACTIVE_STATES]
    return await conn.fetch(CREW_AT_WORK, card["crew_id"], card["booking_id"], at_work)


def is_party(principal: Principal, card: asyncpg.Record) -> bool:
    """Return whether this booking is theirs: its customer, its worker, or the desk of its organisation."""
    if principal.is_desk:
        return bool(card["org_id"] == principal.org_id)
    return principal.person_id in (card["customer_id"], card["worker_id"])


def render(card: asyncpg.Record, viewer: Role) -> dict[str, object]:
    """Return the protocol's booking; a worker sees neither name nor entry notes before the booking is theirs.

    One of a crew has `crew`, too.
    """
    is_withheld = viewer is Role.WORKER and card["worker_id"] is None
    view: dict[str, object] = {
        "booking_id": str(card["booking_id"]),
        "state": card["state"],
        "version": card["version"],
        "service_code": card["service_code"],
        "service_name": card["service_name"],
        "pin": {"lat": card["lat"], "lng": card["lng"]},
        "address": {
            "line": card["line"],
            "floor": card["floor"],
            "entry_notes": None if is_withheld else card["entry_notes"],
        },
        "notes": card["notes"],
        "customer": {
            "person_id": str(card["customer_id"]),
            "name": None if is_withheld else card["customer_name"],
        },
        "worker": _worker(card),
        "eta_s": card["eta_promised_s"],
        "tz": card["tz"],
        "created_at": rfc3339(card["created_at"]),
        "updated_at": rfc3339(card["updated_at"]),
        "actual_start": rfc3339(card["actual_start"]),
        "actual_end": rfc3339(card["actual_end"]),
    }
    if card["crew_id"] is not None:
        view["crew"] = crew_of(card, is_withheld=is_withheld)
    return view


def _worker(card: asyncpg.Record) -> dict[str, object] | None:
    if card["worker_id"] is None:
        return None
    return {
        "worker_id": str(card["worker_id"]),
        "slot": card["slot"],
        "name": card["worker_name"],
        "rating": round(card["rating"], 2),
    }


def _page_of(principal: Principal) -> tuple[str, UUID]:
    if principal.is_desk:
        return PAGE_OF_ORG, principal.org_id
    if principal.role is Role.WORKER:
        return PAGE_OF_WORKER, principal.person_id
    return PAGE_OF_CUSTOMER, principal.person_id


async def _events(conn: Connection, booking_id: BookingId) -> list[dict[str, object]]:
    rows = await conn.fetch(EVENTS_OF_BOOKING, booking_id)
    return [
        {
            "version": row["version"],
            "from": row["state_from"],
            "to": row["state_to"],
            "actor_role": row["actor_role"],
            "reason": row["reason"],
            "at": rfc3339(row["at"]),
        }
        for row in rows
    ]
