"""Jobs on the way in Postgres: looked at when due, and offered to somebody who is there sooner.

Their worker keeps them; what becomes of a yes is `engine.matcher.take_over`'s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from config.limits import REMATCH_LOOK_MS
from engine.core.crash_point import crash_point
from engine.core.database import Connection
from engine.core.ids import BookingId, OfferId, PersonId, WorkerSlot
from engine.core.units import MS_PER_S, ms_from_utc, utc_from_ms
from engine.core.vocabulary import Withdrawal
from engine.matcher.dispatch_store import Claim, LogEntry, Proposal, add_log, offer_to
from engine.matcher.held_doors import held
from engine.matcher.offer_store import create_offer, withdraw_offers
from engine.matcher.offers import OfferRound
from engine.matcher.region_store import RegionStore
from engine.matcher.rematch import Nearness
from engine.matcher.take_over import ON_THE_WAY
from engine.matcher.wants_store import WANTS_COLUMNS, wants_of
from engine.outbox.events import append_events

# The row of `under_way` is the claim: who moves `due_at` looks. Nothing of the booking is locked, a phone may move it.
LOOK: Final = (
    """
WITH way AS (
  SELECT b.booking_id, b.worker_id, :region_fence AS region_fence
    FROM booking b:regions
    LEFT JOIN under_way u ON u.booking_id = b.booking_id
   WHERE b.state IN (:states) AND (u.booking_id IS NULL OR u.due_at <= $1 OR u.worker_id <> b.worker_id)
   ORDER BY u.due_at NULLS FIRST, b.booking_id LIMIT $3
), claimed AS (
  INSERT INTO under_way AS had (booking_id, worker_id, due_at)
  SELECT booking_id, worker_id, $2 FROM way ORDER BY booking_id
      ON CONFLICT (booking_id) DO UPDATE
     SET due_at = excluded.due_at, worker_id = excluded.worker_id,
         least_eta_s = CASE WHEN had.worker_id = excluded.worker_id THEN had.least_eta_s END,
         nearer_at = CASE WHEN had.worker_id = excluded.worker_id THEN had.nearer_at END
   WHERE had.due_at <= $1 OR had.worker_id <> excluded.worker_id
  RETURNING booking_id, worker_id, least_eta_s, nearer_at
)
SELECT b.booking_id, b.org_id, b.version, b.fence, b.created_at, b.search_until, b.tz, s.skill_bit, a.lat, a.lng,
       b.pinned_worker_id, way.region_fence, b.worker_id, w.slot, b.eta_promised_s, given.at AS given_at,
       claimed.least_eta_s, claimed.nearer_at, b.pinned_worker_id IS NOT NULL OR :held AS is_left_alone,
       (SELECT count(*) FROM offer o WHERE o.booking_id = b.booking_id AND o.replaces IS NOT NULL
           AND o.state IN ('accepted', 'handed_back', 'replaced')) AS rematches,
       EXISTS (SELECT FROM offer o WHERE o.booking_id = b.booking_id AND o.state = 'open') AS is_asked, :wants
  FROM claimed
  JOIN way USING (booking_id)
  JOIN booking b ON b.booking_id = claimed.booking_id AND b.worker_id = claimed.worker_id
  JOIN worker w ON w.worker_id = b.worker_id
  JOIN service s ON s.service_id = b.service_id
  JOIN address a ON a.address_id = b.address_id
  JOIN LATERAL (SELECT e.at FROM booking_event e WHERE e.booking_id = b.booking_id AND e.state_to = 'assigned'
                 ORDER BY e.version DESC LIMIT 1) given ON true
""".replace(":states", ON_THE_WAY)
    .replace(":held", held(people="b.customer_id, b.worker_id"))
    .replace(":wants", WANTS_COLUMNS.strip())
)  # fmt: skip
LOOK_ANYWHERE: Final = LOOK.replace(":regions", "").replace(":region_fence", "NULL::bigint")
NOTE_NEARNESS: Final = """
UPDATE under_way SET least_eta_s = $3, nearer_at = $4 WHERE booking_id = $1 AND worker_id = $2
"""
FORGET: Final = """
DELETE FROM under_way u USING booking b WHERE b.booking_id = u.booking_id AND b.state NOT IN (:states)
""".replace(":states", ON_THE_WAY)

# All that a look has seen, once more and under the lock: the same worker at the same step of the way, and nobody asked.
LOCK_WAY: Final = """
SELECT FROM booking b
 WHERE b.booking_id = $1 AND b.worker_id = $2 AND b.version = $3 AND b.state IN (:states)
   AND b.pinned_worker_id IS NULL AND NOT :held
   AND NOT EXISTS (SELECT FROM offer o WHERE o.booking_id = b.booking_id AND o.state = 'open')
   AND ($4::bigint IS NULL OR EXISTS (SELECT FROM match_region r WHERE r.fence = $4))
   FOR UPDATE
""".replace(":states", ON_THE_WAY).replace(":held", held(people="b.customer_id, b.worker_id"))
LOCK_BOOKING: Final = "SELECT FROM booking WHERE booking_id = $1 FOR UPDATE"
MAY_STOP: Final = """
SELECT EXISTS (SELECT FROM booking WHERE booking_id = $1 AND worker_id = $2 AND state IN (:states))
""".replace(":states", ON_THE_WAY)


@dataclass(frozen=True, slots=True)
class Looked:
    """A job on the way as Postgres knows it."""

    claim: Claim
    worker_id: PersonId
    slot: WorkerSlot
    promised_at_ms: int | None
    nearness: Nearness | None
    rematches: int
    is_left_alone: bool
    is_asked: bool


async def due_ways(conn: Connection, *, now_ms: int, limit: int, regions: RegionStore | None) -> list[Looked]:
    """Return the jobs on the way that are to be looked at now, the longest due first; for others they are not due."""
    statement, holder = (LOOK_ANYWHERE, []) if regions is None else (regions.within(LOOK), [regions.matcher_id])
    rows = await conn.fetch(statement, utc_from_ms(now_ms), utc_from_ms(now_ms + REMATCH_LOOK_MS), limit, *holder)
    return [_looked(row) for row in rows]


async def note_nearness(conn: Connection, seen: Sequence[tuple[Looked, Nearness]]) -> None:
    """Keep how near each has come."""
    rows = [
        (look.claim.booking_id, look.worker_id, near.least_eta_s, utc_from_ms(near.since_ms)) for look, near in seen
    ]
    await conn.executemany(NOTE_NEARNESS, rows)


async def forget_ended(conn: Connection) -> None:
    """Forget the ways that have ended."""
    await conn.execute(FORGET)


async def save_rematch(
    conn: Connection,
    look: Looked,
    proposals: Sequence[Proposal],
    *,
    asking: OfferRound,
    new_id: Callable[[], UUID],
    entry: LogEntry,
    now_ms: int,
) -> PersonId | None:
    """Offer the job to the first of `proposals` who can be asked; its worker keeps it, and is told nothing.

    Offer, log and event in one transaction. Returns who was asked; nobody: the way is no longer as it was seen.
    """
    claim = look.claim
    async with conn.transaction():
        locked = (claim.booking_id, look.worker_id, claim.version, claim.region_fence)
        if await conn.fetchrow(LOCK_WAY, *locked) is None:
            return None
        for proposal in proposals:
            offer = offer_to(
                claim, proposal, asking, offer_id=OfferId(new_id()), now_ms=now_ms, replaces=look.worker_id
            )
            rings = await create_offer(conn, offer, now_ms=now_ms)
            if rings is not None:
                await append_events(conn, [rings], now_ms=now_ms)
                await add_log(conn, claim, entry, worker_id=proposal.worker_id, now_ms=now_ms)
                crash_point("rematch_written")
                return proposal.worker_id
    return None


async def save_no_rematch(conn: Connection, look: Looked, entry: LogEntry, *, now_ms: int) -> None:
    """Log why nobody else is asked, unless the last entry says the same."""
    await add_log(conn, look.claim, entry, worker_id=None, now_ms=now_ms, is_told_once=True)


async def stop_asking(conn: Connection, look: Looked, *, now_ms: int) -> int:
    """Take back who was asked to take a job over; return how many were."""
    async with conn.transaction():
        await conn.execute(LOCK_BOOKING, look.claim.booking_id)
        if not await conn.fetchval(MAY_STOP, look.claim.booking_id, look.worker_id):
            return 0
        return await withdraw_offers(
            conn, booking_id=look.claim.booking_id, reason=Withdrawal.NOT_AVAILABLE, now_ms=now_ms
        )


def _looked(row: asyncpg.Record) -> Looked:
    promised_s: int | None = row["eta_promised_s"]
    claim = Claim(
        booking_id=BookingId(row["booking_id"]),
        org_id=row["org_id"],
        version=row["version"],
        fence=row["fence"],
        created_at_ms=ms_from_utc(row["created_at"]),
        search_until_ms=ms_from_utc(row["search_until"]),
        tz=row["tz"],
        skill_bit=row["skill_bit"],
        lat_deg=row["lat"],
        lng_deg=row["lng"],
        is_held=False,
        wants=wants_of(row),
        region_fence=row["region_fence"],
    )
    return Looked(
        claim=claim,
        worker_id=PersonId(row["worker_id"]),
        slot=WorkerSlot(row["slot"]),
        promised_at_ms=None if promised_s is None else ms_from_utc(row["given_at"]) + promised_s * MS_PER_S,
        nearness=None if row["least_eta_s"] is None else Nearness(row["least_eta_s"], ms_from_utc(row["nearer_at"])),
        rematches=row["rematches"],
        is_left_alone=row["is_left_alone"],
        is_asked=row["is_asked"],
    )
