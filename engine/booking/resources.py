"""What a job takes that is no worker: a bay, a tool, a vehicle. Reserved with the search, given back at its end.

A resource's row is locked while somebody looks for room in it, in the order of their ids: two jobs never share the last
unit, and never wait for each other in a circle. A crew's are its first seat's, until its last seat has ended.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from engine.booking.lifecycle import RELEASING_STATES
from engine.core.database import Connection
from engine.core.errors import Conflict
from engine.core.ids import BookingId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import BookingState

NEEDED: Final = """
SELECT r.resource_id, r.name, r.capacity, needed.units
  FROM booking b
  JOIN service_resource needed USING (service_id)
  JOIN resource r USING (resource_id)
 WHERE b.booking_id = $1
 ORDER BY r.resource_id
   FOR NO KEY UPDATE OF r
"""
# After the lock, so that whoever had it before us counts.
IN_USE: Final = """
SELECT resource_id, sum(units)::integer AS units FROM resource_use
 WHERE resource_id = ANY($1::uuid[]) AND ended_at IS NULL GROUP BY resource_id
"""
HAS: Final = "SELECT EXISTS (SELECT FROM resource_use WHERE booking_id = $1 AND ended_at IS NULL)"
# In the instant in which it was given back it is the same use that goes on.
RESERVE: Final = """
INSERT INTO resource_use (booking_id, resource_id, units, began_at)
SELECT $1, resource_id, units, $4 FROM unnest($2::uuid[], $3::integer[]) AS needed (resource_id, units)
ON CONFLICT (booking_id, resource_id, began_at) DO UPDATE SET units = excluded.units, ended_at = NULL
"""
# Read once the crew is locked: of two seats that end together the second sees the first.
RELEASE: Final = """
UPDATE resource_use SET ended_at = $2
 WHERE booking_id = $1 AND ended_at IS NULL
   AND NOT EXISTS (SELECT FROM booking seat WHERE seat.crew_id = $1 AND seat.state <> ALL($3::text[]))
"""
OVER: Final = [state.value for state in (*RELEASING_STATES, BookingState.CONFIRMED)]


@dataclass(frozen=True, slots=True)
class Need:
    """What is asked of a resource. `capacity` and `units` are counts of its units."""

    resource_id: UUID
    name: str
    capacity: int
    units: int


def lacking(needs: Iterable[Need], in_use: Mapping[UUID, int]) -> str | None:
    """Return the sentence that names every resource with too few free units; `None`: there is room for all."""
    short = [
        f"{need.name} (needs {need.units}, {max(0, need.capacity - in_use.get(need.resource_id, 0))}"
        f" of {need.capacity} free)"
        for need in needs
        if in_use.get(need.resource_id, 0) + need.units > need.capacity
    ]
    return f"Not free now: {', '.join(short)}." if short else None


async def reserve(conn: Connection, job_id: BookingId, *, now_ms: int) -> None:
    """Reserve all that a job needs, in the caller's transaction; one that has it already keeps it.

    `job_id` is the booking, of a crew the first seat's.

    Raises:
        Conflict: too little is free; the text names what. Nothing is reserved.
    """
    needs = [Need(*row) for row in await conn.fetch(NEEDED, job_id)]
    if await conn.fetchval(HAS, job_id):
        return
    ids, units = [need.resource_id for need in needs], [need.units for need in needs]
    in_use = {row["resource_id"]: row["units"] for row in await conn.fetch(IN_USE, ids)}
    refusal = lacking(needs, in_use)
    if refusal is not None:
        raise Conflict(refusal, field="service_code")
    await conn.execute(RESERVE, job_id, ids, units, utc_from_ms(now_ms))


async def release(conn: Connection, job_id: BookingId, *, now_ms: int) -> None:
    """Give back what a job had reserved, unless another seat of its crew is still searched for or at work."""
    await conn.execute(RELEASE, job_id, utc_from_ms(now_ms), OVER)
