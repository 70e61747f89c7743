"""The matcher's statements on bookings: claim what is due, save what was decided.

A claim is a lease with a fence: whoever dies holding it loses it by time, and whoever comes back late finds that the
fence has moved on and saves nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import asyncpg
import orjson

from config.limits import BOOKING_SEARCH_MS_MAX, CLAIM_LEASE_MS, CREW_WORKERS_MAX
from engine.booking.booking_store import STANDING_COLUMNS, transition
from engine.core.crash_point import crash_point
from engine.core.database import Connection
from engine.core.ids import BookingId, OfferId, OrgId, PersonId
from engine.core.units import ms_from_utc, utc_from_ms
from engine.core.vocabulary import BookingState
from engine.matcher.ask import NOTHING, Wants
from engine.matcher.held_doors import held
from engine.matcher.offer_store import NewOffer, create_offer
from engine.matcher.offers import OfferRound
from engine.matcher.record_store import KeptRecord, with_record
from engine.matcher.region_store import RegionStore
from engine.matcher.wants_store import WANTS_COLUMNS, wants_of
from engine.outbox.events import Event

# The lease keeps others off; SKIP LOCKED keeps them from waiting for it. A claim need not outlive Postgres, so it waits
# for no disk: lost with it, the booking is due and free again.
CLAIM: Final = """
WITH eased AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)), due AS (
  SELECT b.booking_id, :region_fence AS region_fence FROM booking b:regions
   WHERE b.state = 'searching' AND b.next_attempt_at <= $1 AND (b.lease_until IS NULL OR b.lease_until <= $1)
   ORDER BY b.next_attempt_at, b.booking_id
   LIMIT $3
     FOR UPDATE OF b SKIP LOCKED
)
UPDATE booking b
   SET lease_until = $2, fence = b.fence + 1
  FROM eased, due, service s, address a
 WHERE b.booking_id = due.booking_id AND s.service_id = b.service_id AND a.address_id = b.address_id
RETURNING b.booking_id, b.org_id, b.version, b.fence, b.created_at, b.search_until, b.tz, s.skill_bit, a.lat, a.lng,
          b.pinned_worker_id, b.crew_id, due.region_fence, :held AS is_held, :wants
""".replace(":held", held(people="b.customer_id")).replace(":wants", WANTS_COLUMNS.strip())
CLAIM_ANYWHERE: Final = CLAIM.replace(":regions", "").replace(":region_fence", "NULL::bigint")
# Seats of one crew are planned together, however far apart they became due.
CLAIM_MATES: Final = CLAIM_ANYWHERE.replace("b.next_attempt_at <= $1", "b.crew_id = ANY($4::uuid[])")

# A region that has changed hands since has another fence. A fence that Postgres forgot is given again: its booking's
# version tells the two apart. What is saved waits for no disk either, for the relay does: its numbers do, and with them
# whatever was committed before. Until then nobody is told of it, and lost with Postgres the booking would be searching.
LOCK_CLAIMED: Final = """
SELECT :standing, set_config('synchronous_commit', 'off', true) FROM booking b
 WHERE booking_id = $1 AND fence = $2 AND state = 'searching' AND version = $4
   AND ($3::bigint IS NULL OR EXISTS (SELECT FROM match_region r WHERE r.fence = $3))
   FOR UPDATE OF b
""".replace(":standing", STANDING_COLUMNS)

POSTPONE: Final = """
UPDATE booking SET next_attempt_at = $3, lease_until = NULL
 WHERE booking_id = $1 AND fence = $2 AND state = 'searching'
"""

ADD_LOG: Final = """
INSERT INTO dispatch_log (org_id, booking_id, worker_id, outcome, detail, took_us, at)
VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, $7)
"""

# A search that finds the same nothing every two seconds is told once.
ADD_LOG_UNLESS_SAME: Final = """
INSERT INTO dispatch_log (org_id, booking_id, worker_id, outcome, detail, took_us, at)
SELECT $1, $2, $3, $4, $5::text::jsonb, $6, $7
 WHERE NOT EXISTS (
         SELECT FROM (SELECT outcome, detail FROM dispatch_log
                       WHERE booking_id = $2 ORDER BY at DESC, dispatch_id DESC LIMIT 1) AS last
          WHERE last.outcome = $4 AND last.detail = $5::text::jsonb)
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A booking that this matcher works on until its lease ends. The pin is WGS84 degrees."""

    booking_id: BookingId
    org_id: OrgId
    version: int
    fence: int
    created_at_ms: int
    search_until_ms: int
    tz: str
    skill_bit: int
    lat_deg: float
    lng_deg: float
    is_held: bool
    """A safety hold lies on its customer or its address."""
    wants: Wants = NOTHING
    pinned_worker_id: PersonId | None = None
    """The desk wants this worker and nobody else."""
    crew_id: UUID | None = None
    """It is a seat of this crew; `None`: one worker is the whole job."""
    region_fence: int | None = None
    """Of the region that it was claimed in; `None`: by a matcher that shares with nobody."""

    @property
    def search_began_ms(self) -> int:
        """When it was made, its last worker was gone, or the desk had it searched for again."""
        return self.search_until_ms - BOOKING_SEARCH_MS_MAX

    def searched_ms(self, now_ms: int) -> int:
        """Return for how long it has been searching."""
        return now_ms - self.search_began_ms


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A row of the dispatch log. `took_us` counts from the claim."""

    outcome: str
    detail: Mapping[str, object]
    took_us: int
    kept: KeptRecord | None = None
    """What it takes to make the decision again; `None`: nothing was weighed."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A worker who could be asked, best first among their kind."""

    worker_id: PersonId
    cost_min: float
    eta_s: int


async def claim_due(conn: Connection, *, now_ms: int, limit: int, regions: RegionStore | None = None) -> list[Claim]:
    """Lease the bookings that are due in this matcher's `regions` (`None`: everywhere), the longest due first.

    Beyond `limit` only the open seats of crews of which one is among them.
    """
    statement, holder = (CLAIM_ANYWHERE, []) if regions is None else (regions.within(CLAIM), [regions.matcher_id])
    until = utc_from_ms(now_ms), utc_from_ms(now_ms + CLAIM_LEASE_MS)
    claims = [_claim(row) for row in await conn.fetch(statement, *until, limit, *holder)]
    # They have one door, and so one region.
    fences: dict[UUID | None, int | None] = {claim.crew_id: claim.region_fence for claim in claims if claim.crew_id}
    if fences:
        rows = await conn.fetch(CLAIM_MATES, *until, CREW_WORKERS_MAX * len(fences), list(fences))
        claims += [replace(mate, region_fence=fences[mate.crew_id]) for mate in map(_claim, rows)]
    if claims:
        crash_point("booking_claimed")
    return sorted(claims, key=lambda claim: (claim.created_at_ms, claim.booking_id))


async def save_offers(
    conn: Connection,
    claim: Claim,
    proposals: Sequence[Proposal],
    *,
    asking: OfferRound,
    new_id: Callable[[], UUID],
    entry: LogEntry,
    now_ms: int,
) -> list[PersonId]:
    """Offer the booking to the first of `proposals` who can still be asked, as many as the round asks at once.

    Offers, log, move and events in one transaction.

    Returns:
        Who was asked. Nobody: the claim was lost, or nobody of them can be asked any more. Then nothing is saved.

    Raises:
        Conflict: the booking moved on in the meantime.
    """
    crash_point("offer_chosen")
    async with conn.transaction():
        standing = await _lock_claimed(conn, claim)
        if standing is None:
            return []
        ringing = await _ask(conn, claim, proposals, asking=asking, new_id=new_id, now_ms=now_ms)
        if not ringing:
            return []
        asked = list(ringing)
        await transition(
            conn,
            booking_id=claim.booking_id,
            to=BookingState.OFFERED,
            actor=None,
            reason="offered to a worker" if len(asked) == 1 else f"offered to {len(asked)} workers",
            now_ms=now_ms,
            standing=standing,
            first=list(ringing.values()),
        )
        await add_log(conn, claim, entry, worker_id=asked[0], now_ms=now_ms)
        crash_point("offer_written")
    crash_point("offer_saved")
    return asked


async def save_unserved(conn: Connection, claim: Claim, *, reason: str, entry: LogEntry, now_ms: int) -> bool:
    """Give a booking up; return whether the claim still held."""
    async with conn.transaction():
        standing = await _lock_claimed(conn, claim)
        if standing is None:
            return False
        await transition(
            conn,
            booking_id=claim.booking_id,
            to=BookingState.UNSERVED,
            actor=None,
            reason=reason,
            now_ms=now_ms,
            standing=standing,
        )
        await add_log(conn, claim, entry, worker_id=None, now_ms=now_ms)
        crash_point("unserved_written")
    crash_point("unserved_saved")
    return True


async def postpone(
    conn: Connection, claim: Claim, *, until_ms: int, entry: LogEntry | None = None, now_ms: int
) -> None:
    """Give the claim back to be tried again at `until_ms`, and log why unless the last entry says the same."""
    async with conn.transaction():
        await conn.execute(POSTPONE, claim.booking_id, claim.fence, utc_from_ms(until_ms))
        if entry is not None:
            await add_log(conn, claim, entry, worker_id=None, now_ms=now_ms, is_told_once=True)
        crash_point("postponement_written")


async def add_log(
    conn: Connection,
    claim: Claim,
    entry: LogEntry,
    *,
    worker_id: PersonId | None,
    now_ms: int,
    is_told_once: bool = False,
) -> None:
    """Add a row to the dispatch log; `is_told_once`: unless the booking's last one says the same."""
    statement = ADD_LOG_UNLESS_SAME if is_told_once else ADD_LOG
    parameters = (
        claim.org_id,
        claim.booking_id,
        worker_id,
        entry.outcome,
        orjson.dumps(entry.detail).decode(),
        entry.took_us,
        utc_from_ms(now_ms),
    )
    if entry.kept is None:
        await conn.execute(statement, *parameters)
    else:
        await conn.execute(with_record(statement), *parameters, *entry.kept.parameters(now_ms))


async def _lock_claimed(conn: Connection, claim: Claim) -> asyncpg.Record | None:
    """Lock a booking that is still claimed, and return its `STANDING_COLUMNS`."""
    return await conn.fetchrow(LOCK_CLAIMED, claim.booking_id, claim.fence, claim.region_fence, claim.version)


async def _ask(
    conn: Connection,
    claim: Claim,
    proposals: Sequence[Proposal],
    *,
    asking: OfferRound,
    new_id: Callable[[], UUID],
    now_ms: int,
) -> dict[PersonId, Event]:
    """Make the offers; return who is asked, and what rings on their phones once it is appended."""
    ringing: dict[PersonId, Event] = {}
    for proposal in proposals:
        if len(ringing) == asking.at_once:
            break
        offer = offer_to(claim, proposal, asking, offer_id=OfferId(new_id()), now_ms=now_ms)
        rings = await create_offer(conn, offer, now_ms=now_ms)
        if rings is not None:
            ringing[proposal.worker_id] = rings
    return ringing


def offer_to(
    claim: Claim,
    proposal: Proposal,
    asking: OfferRound,
    *,
    offer_id: OfferId,
    now_ms: int,
    replaces: PersonId | None = None,
) -> NewOffer:
    """Return the offer that a proposal becomes; `replaces` names who has the job until the yes."""
    return NewOffer(
        offer_id=offer_id,
        org_id=claim.org_id,
        booking_id=claim.booking_id,
        worker_id=proposal.worker_id,
        cost_min=proposal.cost_min,
        eta_s=proposal.eta_s,
        expires_at_ms=now_ms + asking.answer_ms,
        round=asking.number,
        replaces=replaces,
    )


def _claim(row: asyncpg.Record) -> Claim:
    return Claim(
        booking_id=BookingId(row["booking_id"]),
        org_id=OrgId(row["org_id"]),
        version=row["version"],
        fence=row["fence"],
        created_at_ms=ms_from_utc(row["created_at"]),
        search_until_ms=ms_from_utc(row["search_until"]),
        tz=row["tz"],
        skill_bit=row["skill_bit"],
        lat_deg=row["lat"],
        lng_deg=row["lng"],
        is_held=row["is_held"],
        wants=wants_of(row),
        pinned_worker_id=row["pinned_worker_id"],
        crew_id=row["crew_id"],
        region_fence=row["region_fence"],
    )
