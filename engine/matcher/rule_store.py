"""Reads a worker and a booking as the rules see them, by the transaction that is about to bring the two together."""

from dataclasses import dataclass
from typing import Final

import asyncpg

from engine.core.database import Connection
from engine.core.ids import BookingId, PersonId
from engine.core.units import utc_from_ms
from engine.eta.straight_line import straight_m
from engine.matcher.duty_facts import COLUMNS, JOINS, duty_of, next_shift_ms, rule_of, times
from engine.matcher.held_doors import held
from engine.matcher.rules import Drawbacks, Pair

# $1 and $2 the times of `duty_facts`, $3 the booking, $4 the worker.
PAIR: Final = (
    """
SELECT w.duty = 'on' AND p.status = 'active' AS takes_part,
       (w.skills >> s.skill_bit) & 1 = 1 AS is_skilled,
       s.duration_min,
       EXISTS (SELECT FROM booking mine
                WHERE mine.worker_id = w.worker_id AND mine.state IN ('assigned', 'en_route', 'arrived', 'in_progress')
       ) AS is_busy,
       :held AS is_held,
       EXISTS (SELECT FROM customer_worker c
                WHERE c.customer_id = b.customer_id AND c.worker_id = w.worker_id AND c.wish = 'blocked') AS is_blocked,
       b.crew_id IS NOT NULL AND EXISTS (
         SELECT FROM booking mate WHERE mate.crew_id = b.crew_id AND mate.worker_id = w.worker_id
            AND mate.booking_id <> b.booking_id AND mate.state <> 'cancelled') AS is_on_crew,
       ARRAY(SELECT DISTINCT k.kind
               FROM service_kit c JOIN kit_item k ON k.org_id = c.org_id AND k.code = c.code
              WHERE c.service_id = s.service_id AND k.kind <> 'language'
                AND NOT EXISTS (SELECT FROM worker_kit mine
                                 WHERE mine.worker_id = w.worker_id AND mine.org_id = c.org_id AND mine.code = c.code
                                   AND (mine.expires_at IS NULL OR mine.expires_at > $1))) AS missing_kinds,
       :duty
  FROM booking b
  JOIN service s USING (service_id)
  JOIN worker w ON w.worker_id = $4
  JOIN person p ON p.person_id = w.worker_id AND p.org_id = b.org_id
  :joins
 WHERE b.booking_id = $3
""".replace(":held", held(people="b.customer_id, w.worker_id"))
    .replace(":duty", COLUMNS)
    .replace(":joins", JOINS)
)

LOCK_WORKER: Final = "SELECT FROM worker WHERE worker_id = $1 FOR NO KEY UPDATE"
# Several workers may be tried in one transaction: waiting for one while holding another could be a deadlock, and
# whoever is locked is being asked or changed this very moment.
PAIR_UNLESS_TAKEN: Final = f"{PAIR} FOR NO KEY UPDATE OF w SKIP LOCKED"

# A customer's languages go before their service's.
DRAWBACKS: Final = """
WITH own AS (
  SELECT l.code FROM customer_language l JOIN booking b USING (customer_id) WHERE b.booking_id = $1
), wished AS (
  SELECT code FROM own
   UNION ALL
  SELECT c.code FROM service_kit c JOIN booking b USING (service_id)
    JOIN kit_item k ON k.org_id = c.org_id AND k.code = c.code
   WHERE b.booking_id = $1 AND k.kind = 'language' AND NOT EXISTS (SELECT FROM own)
)
SELECT a.lat, a.lng, s.level_wanted,
       coalesce((SELECT l.level FROM worker_level l
                  WHERE l.worker_id = w.worker_id AND l.skill_bit = s.skill_bit), 0) AS level,
       EXISTS (SELECT FROM offer o WHERE o.booking_id = b.booking_id AND o.worker_id = w.worker_id
                  AND o.state IN ('declined', 'expired'))
         OR EXISTS (SELECT FROM hand_back h WHERE h.booking_id = b.booking_id AND h.worker_id = w.worker_id) AS said_no,
       EXISTS (SELECT FROM offer o WHERE o.worker_id = w.worker_id AND o.booking_id <> b.booking_id
                  AND o.state = 'open') AS is_asked_elsewhere,
       NOT EXISTS (SELECT FROM wished)
         OR EXISTS (SELECT FROM wished JOIN worker_kit k ON k.org_id = b.org_id AND k.code = wished.code
                     WHERE k.worker_id = w.worker_id AND (k.expires_at IS NULL OR k.expires_at > $3)) AS speaks
  FROM booking b
  JOIN service s USING (service_id)
  JOIN address a USING (address_id)
  JOIN worker w ON w.worker_id = $2
 WHERE b.booking_id = $1
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker was last heard of: WGS84 degrees, and how long ago."""

    lat_deg: float
    lng_deg: float
    age_ms: int


async def lock_pair_unless_taken(
    conn: Connection, booking_id: BookingId, worker_id: PersonId, *, now_ms: int
) -> Pair | None:
    """Lock the worker's row and return the pair; `None` when somebody else has it, or they are of two organisations."""
    row = await conn.fetchrow(PAIR_UNLESS_TAKEN, *times(now_ms), booking_id, worker_id)
    return None if row is None else _pair(row)


async def lock_pair(conn: Connection, booking_id: BookingId, worker_id: PersonId, *, now_ms: int) -> Pair | None:
    """Wait for the worker's row, lock it and return the pair as it is then; `None` when they are of two organisations.

    The caller holds the booking's lock.
    """
    await conn.execute(LOCK_WORKER, worker_id)
    row = await conn.fetchrow(PAIR, *times(now_ms), booking_id, worker_id)
    return None if row is None else _pair(row)


async def read_drawbacks(
    conn: Connection, booking_id: BookingId, worker_id: PersonId, *, place: Place | None, now_ms: int
) -> Drawbacks:
    """Return what only the desk is told of a pair; `place` is where the worker is, `None` where nobody knows."""
    row = await conn.fetchrow(DRAWBACKS, booking_id, worker_id, utc_from_ms(now_ms))
    assert row is not None, "the pair was locked"
    return Drawbacks(
        silent_ms=None if place is None else place.age_ms,
        distance_m=None if place is None else straight_m(place.lat_deg, place.lng_deg, row["lat"], row["lng"]),
        said_no=row["said_no"],
        level=row["level"],
        level_wanted=row["level_wanted"],
        speaks=row["speaks"],
        is_asked_elsewhere=row["is_asked_elsewhere"],
    )


def _pair(row: asyncpg.Record) -> Pair:
    shift = next_shift_ms(row)
    return Pair(
        is_skilled=row["is_skilled"],
        takes_part=row["takes_part"],
        is_busy=row["is_busy"],
        is_held=row["is_held"],
        is_blocked=row["is_blocked"],
        is_on_crew=row["is_on_crew"],
        missing_kinds=frozenset(row["missing_kinds"]),
        duration_min=row["duration_min"],
        shift_from_ms=None if shift is None else shift[0],
        shift_until_ms=None if shift is None else shift[1],
        has_shifts=row["has_shifts"],
        working_time=rule_of(row),
        duty=duty_of(row),
    )
