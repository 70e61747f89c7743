"""Links by which somebody without an account follows one trip: who made one may end it, and it ends with the trip.

Whoever has the link sees what the customer sees, and no more: where the worker is from the moment they set off until
they are there. While either party calls for help, and until a human has looked, the place is the last one of before
the alarm, as when the phone has lost its GPS then. It is read from the trail for that: the trail knows what came when.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from config.limits import SHARED_LOOK_EVERY_MIN, TRIP_SHARES_MAX
from engine.core.database import Connection
from engine.core.errors import Conflict, NotFound
from engine.core.ids import BookingId
from engine.core.units import MS_PER_MIN, utc_from_ms
from engine.core.vocabulary import BookingState
from engine.people.audit import append_audit
from engine.people.crews import is_on_crew
from engine.people.tokens import Principal

TOKEN_BYTES: Final = 32
TRIP_STATES: Final = (
    BookingState.ASSIGNED,
    BookingState.EN_ROUTE,
    BookingState.ARRIVED,
    BookingState.IN_PROGRESS,
)
"""As long as somebody is coming or there: before and after there is no trip."""

PARTY: Final = """
SELECT state, worker_id FROM booking WHERE booking_id = $1 AND $2 IN (customer_id, worker_id) FOR SHARE
"""
LIVE_LINKS: Final = "SELECT count(*) FROM trip_share WHERE booking_id = $1 AND person_id = $2 AND expires_at > $3"
ADD: Final = "INSERT INTO trip_share VALUES ($1, $2, $3, $4, $5, $6)"
END: Final = "DELETE FROM trip_share WHERE booking_id = $1 AND person_id = $2"

# The way began with the last move to `en_route`; what came before may be a home. An alarm hides what came after it.
SHARED: Final = """
SELECT s.expires_at, b.state, b.tz, service.name AS service_name, worker.full_name AS worker_name,
       door.lat AS door_lat, door.lng AS door_lng,
       place.at, (place.lat_e7 / 1e7)::float8 AS lat, (place.lng_e7 / 1e7)::float8 AS lng
  FROM trip_share s
  JOIN booking b USING (booking_id)
  JOIN service USING (service_id)
  JOIN address door USING (address_id)
  JOIN person worker ON worker.person_id = b.worker_id
  JOIN worker w ON w.worker_id = b.worker_id
  LEFT JOIN LATERAL (
    SELECT t.at, t.lat_e7, t.lng_e7 FROM trail t
     WHERE t.slot = w.slot AND t.org_id = b.org_id AND b.state IN ('en_route', 'arrived')
       AND t.at >= (SELECT max(e.at) FROM booking_event e WHERE e.booking_id = b.booking_id AND e.state_to = 'en_route')
       AND t.at <= least($2, (
         SELECT min(i.opened_at) FROM incident i
          WHERE (i.person_id IN (b.worker_id, b.customer_id) OR :on_crew) AND NOT i.is_drill
            AND (i.state <> 'closed' OR EXISTS (SELECT FROM safety_hold h
                                                 WHERE h.incident_id = i.incident_id AND h.released_at IS NULL))))
     ORDER BY t.at DESC LIMIT 1
  ) place ON true
 WHERE s.token_hash = $1 AND s.expires_at > $2 AND b.state = ANY($3)
""".replace(":on_crew", is_on_crew("i.person_id"))

# Who opened it has no name: there is no account. Its own trip is the only one that a link shows.
NOTE_LOOK: Final = """
INSERT INTO audit_log (org_id, actor_id, action, subject, detail, at)
SELECT b.org_id, NULL, 'trip.shared_read', 'worker:' || b.worker_id::text,
       jsonb_build_object('booking_id', b.booking_id, 'share_id', s.share_id), $2
  FROM trip_share s JOIN booking b USING (booking_id)
 WHERE s.token_hash = $1
   AND NOT EXISTS (SELECT FROM audit_log a
                    WHERE a.subject = 'worker:' || b.worker_id::text AND a.at > $3
                      AND a.action = 'trip.shared_read' AND a.detail ->> 'share_id' = s.share_id::text)
"""


@dataclass(frozen=True, slots=True)
class Link:
    """A link as it is told once: only its hash is kept."""

    token: str
    expires_at: datetime


async def share_trip(
    conn: Connection, *, booking_id: BookingId, actor: Principal, share_id: UUID, minutes: int, now_ms: int
) -> Link:
    """Return a new link to a trip of the actor's own. The caller holds a transaction.

    Raises:
        NotFound: it is no booking of theirs.
        Conflict: nobody is coming (yet, or any more), or they have `limits.TRIP_SHARES_MAX` links to it.
    """
    booking = await conn.fetchrow(PARTY, booking_id, actor.person_id)
    if booking is None:
        raise NotFound
    if booking["state"] not in TRIP_STATES:
        raise Conflict("There is no trip to follow.")
    now = utc_from_ms(now_ms)
    if await conn.fetchval(LIVE_LINKS, booking_id, actor.person_id, now) >= TRIP_SHARES_MAX:
        raise Conflict(f"There are {TRIP_SHARES_MAX} links to this trip: end them first.")
    token, expires_at = secrets.token_urlsafe(TOKEN_BYTES), utc_from_ms(now_ms + minutes * MS_PER_MIN)
    await conn.execute(ADD, share_id, booking_id, actor.person_id, _hash(token), now, expires_at)
    await append_audit(
        conn,
        org_id=actor.org_id,
        actor_id=actor.person_id,
        action="trip.shared",
        subject=f"worker:{booking['worker_id']}",
        now_ms=now_ms,
        detail={"booking_id": str(booking_id), "minutes": minutes},
    )
    return Link(token, expires_at)


async def end_shares(conn: Connection, *, booking_id: BookingId, actor: Principal) -> None:
    """End every link that the actor has made to a trip of theirs. The caller holds a transaction.

    Raises:
        NotFound: it is no booking of theirs.
    """
    if await conn.fetchrow(PARTY, booking_id, actor.person_id) is None:
        raise NotFound
    await conn.execute(END, booking_id, actor.person_id)


async def read_shared(conn: Connection, token: str, *, now_ms: int) -> asyncpg.Record:
    """Return what a link shows: `SHARED`'s columns; without a place its columns are null.

    That a place was shown is on the worker's record, once in `limits.SHARED_LOOK_EVERY_MIN` a link.

    Raises:
        NotFound: there is no such link (any more).
    """
    row = await conn.fetchrow(SHARED, _hash(token), utc_from_ms(now_ms), list(TRIP_STATES))
    if row is None:
        raise NotFound
    if row["at"] is not None:
        since = utc_from_ms(now_ms - SHARED_LOOK_EVERY_MIN * MS_PER_MIN)
        await conn.execute(NOTE_LOOK, _hash(token), utc_from_ms(now_ms), since)
    return row


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
