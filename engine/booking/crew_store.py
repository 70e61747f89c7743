"""Crews in Postgres: their seats made with the first booking, locked in one order, counted by one version.

Locks: who moves one seat holds its booking, its worker, and last the crew. Who moves several locks their bookings in
the order of the seats before anything else, so nobody who holds one of them can be waiting for the crew.
"""

from collections.abc import Sequence
from typing import Final
from uuid import uuid5

import asyncpg

from engine.booking.crew import LEAD_ROLE, Seat
from engine.core.database import Connection
from engine.core.ids import BookingId
from engine.core.vocabulary import BookingState

ADD_CREW: Final = """
WITH whole AS (
  INSERT INTO crew (crew_id, org_id, version) SELECT booking_id, org_id, 1 FROM booking WHERE booking_id = $1
)
UPDATE booking SET crew_id = $1, seat_role = $2 WHERE booking_id = $1 RETURNING service_id
"""
SEATS_OF_SERVICE: Final = "SELECT seat FROM service_seat WHERE service_id = $1 ORDER BY seat"
# Everything is the first seat's but what the seat asks of its worker.
ADD_SEATS: Final = """
WITH added AS (
  INSERT INTO booking (booking_id, org_id, region_id, customer_id, service_id, address_id, notes, state, version, tz,
                       created_at, updated_at, search_until, next_attempt_at, cell, crew_id, seat, seat_role,
                       needs_resources)
  SELECT new.booking_id, lead.org_id, lead.region_id, lead.customer_id, s.seat_service_id, lead.address_id, lead.notes,
         'searching', 1, lead.tz, lead.created_at, lead.updated_at, lead.search_until, lead.next_attempt_at, lead.cell,
         lead.booking_id, s.seat, s.role, lead.needs_resources
    FROM booking lead
    JOIN service_seat s USING (service_id)
    JOIN unnest($2::uuid[], $3::smallint[]) AS new (booking_id, seat) ON new.seat = s.seat
   WHERE lead.booking_id = $1
  RETURNING booking_id, seat
)
SELECT booking_id FROM added ORDER BY seat
"""

READ_SEATS: Final = "SELECT booking_id, seat, seat_role, state FROM booking WHERE crew_id = $1 ORDER BY seat"
LOCK_SEATS: Final = f"{READ_SEATS} FOR UPDATE"
CHANGED: Final = "UPDATE crew SET version = version + 1 WHERE crew_id = $1"


async def add_seats(conn: Connection, lead: BookingId) -> list[BookingId]:
    """Make a booking the first seat of a crew, and the other seats that its service names; return these.

    Their ids follow from the first one's and the number of the seat.
    """
    service_id = await conn.fetchval(ADD_CREW, lead, LEAD_ROLE)
    numbers = [row["seat"] for row in await conn.fetch(SEATS_OF_SERVICE, service_id)]
    rows = await conn.fetch(ADD_SEATS, lead, [uuid5(lead, f"seat {number}") for number in numbers], numbers)
    return [BookingId(row["booking_id"]) for row in rows]


async def lock_seats(conn: Connection, crew_id: BookingId) -> list[asyncpg.Record]:
    """Lock every seat of a crew, first to last, and return them. The caller holds none of them yet, or all."""
    return await conn.fetch(LOCK_SEATS, crew_id)


async def read_seats(conn: Connection, crew_id: BookingId) -> list[asyncpg.Record]:
    """Return every seat of a crew, first to last, to a caller who holds one of them and may wait for no other."""
    return await conn.fetch(READ_SEATS, crew_id)


async def note_change(conn: Connection, crew_id: BookingId) -> None:
    """Count a change of one seat. Until the caller commits nobody else tells of this crew: what they tell is newer."""
    await conn.execute(CHANGED, crew_id)


def seats_of(rows: Sequence[asyncpg.Record]) -> list[Seat]:
    """Return locked rows as the rules see them."""
    return [Seat(row["seat"], row["seat_role"], BookingState(row["state"])) for row in rows]
