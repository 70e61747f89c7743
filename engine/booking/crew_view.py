"""A crew as each of its seats' bookings shows it."""

from typing import Final

import asyncpg
import orjson

from engine.booking.crew import Seat, crew_state
from engine.core.vocabulary import BookingState

CREW_COLUMN: Final = """
CASE WHEN b.crew_id IS NOT NULL THEN (
  SELECT jsonb_build_object('version', c.version, 'seats', jsonb_agg(jsonb_build_object(
           'seat', mate.seat, 'role', mate.seat_role, 'booking_id', mate.booking_id, 'state', mate.state,
           'worker_id', mate.worker_id, 'slot', w.slot, 'name', p.full_name, 'rating', w.rating) ORDER BY mate.seat))
    FROM crew c
    JOIN booking mate ON mate.crew_id = c.crew_id
    LEFT JOIN worker w ON w.worker_id = mate.worker_id
    LEFT JOIN person p ON p.person_id = mate.worker_id
   WHERE c.crew_id = b.crew_id GROUP BY c.version)::text END AS crew
"""
"""Of booking `b`; null, and nothing read, for a booking of one worker."""


def crew_of(card: asyncpg.Record, *, is_withheld: bool) -> dict[str, object]:
    """Return the whole that the booking of `card` is a seat of; who has the others may be withheld."""
    crew = orjson.loads(card["crew"])
    rows = crew["seats"]
    seats = [Seat(row["seat"], row["role"], BookingState(row["state"])) for row in rows]
    return {
        "crew_id": str(card["crew_id"]),
        "version": crew["version"],
        "state": crew_state(seats).value,
        "seat": card["seat"],
        "role": card["seat_role"],
        "seats": [
            {
                "seat": row["seat"],
                "role": row["role"],
                "booking_id": row["booking_id"],
                "state": row["state"],
                "worker": None if is_withheld else _worker(row),
            }
            for row in rows
        ],
    }


def _worker(row: dict[str, object]) -> dict[str, object] | None:
    if row["worker_id"] is None:
        return None
    rating = row["rating"]
    assert isinstance(rating, int | float)
    return {"worker_id": row["worker_id"], "slot": row["slot"], "name": row["name"], "rating": round(rating, 2)}
