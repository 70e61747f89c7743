"""Deletes what is kept of incidents when their country's time is up, unless somebody holds it; and keeps their trails.

The days are in `config/jurisdictions/`, by the region of the incident, counted from its close. An incident goes as a
whole, in one transaction that leaves a row without a person in `incident_past`, so that an organisation's statistics
stay true. Killed anywhere, the next round finds what is left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from config.jurisdictions import Jurisdictions
from config.limits import EXPIRY_BATCH_MAX, INCIDENT_TRAIL_LEAD_MS
from engine.core.database import Connection
from engine.core.ids import OrgId
from engine.core.units import MS_PER_DAY, utc_from_ms
from engine.people.audit import append_audit
from engine.people.crews import is_on_crew

COUNTRIES: Final = "SELECT DISTINCT country_code FROM region"

# What nobody may delete: it is held, or one of its people is, or its safety hold was never released.
HELD: Final = """
EXISTS (SELECT FROM safety_hold s WHERE s.incident_id = i.incident_id AND s.released_at IS NULL)
OR EXISTS (SELECT FROM legal_hold h LEFT JOIN booking b ON b.booking_id = i.booking_id
            WHERE h.lifted_at IS NULL
              AND (h.incident_id = i.incident_id OR h.person_id IN (i.person_id, b.customer_id, b.worker_id)
                   OR :on_crew))
""".replace(":on_crew", is_on_crew("h.person_id"))
DUE: Final = """
SELECT i.incident_id, i.org_id
  FROM incident i
  JOIN region r USING (region_id)
  JOIN unnest($1::text[], $2::timestamptz[]) AS rule (country_code, closed_before) USING (country_code)
 WHERE i.state = 'closed' AND i.closed_at < rule.closed_before AND NOT (:held) AND :has_part
 ORDER BY i.closed_at
 LIMIT $3
   FOR UPDATE OF i SKIP LOCKED
""".replace(":held", HELD)

# By part: which incidents have it, and what deletes it. The order is that of what refers to what.
HAS_PART: Final[Mapping[str, str]] = {
    "evidence": "EXISTS (SELECT FROM evidence e WHERE e.incident_id = i.incident_id)",
    "trail": "EXISTS (SELECT FROM incident_trail t WHERE t.incident_id = i.incident_id)",
    "all": "true",
}
DELETE_EVIDENCE: Final = (
    "DELETE FROM evidence_chunk WHERE evidence_id IN (SELECT evidence_id FROM evidence WHERE incident_id = $1)",
    "DELETE FROM evidence WHERE incident_id = $1",
)
DELETE_TRAIL: Final = ("DELETE FROM incident_trail WHERE incident_id = $1",)
DELETIONS: Final[Mapping[str, Sequence[str]]] = {
    "evidence": DELETE_EVIDENCE,
    "trail": DELETE_TRAIL,
    "all": (
        *DELETE_EVIDENCE,
        *DELETE_TRAIL,
        "DELETE FROM incident_event WHERE incident_id = $1",
        "DELETE FROM safetap_trigger WHERE incident_id = $1",
        "DELETE FROM incident_timer WHERE incident_id = $1",
        "DELETE FROM notice WHERE incident_id = $1",
        "DELETE FROM reply_code WHERE incident_id = $1",
        "DELETE FROM safety_hold WHERE incident_id = $1",
        "DELETE FROM legal_hold WHERE incident_id = $1",
        "DELETE FROM incident WHERE incident_id = $1",
    ),
}
ALLOW: Final = "INSERT INTO incident_expiry (incident_id, part, at) VALUES ($1, $2, $3)"
FORBID: Final = "DELETE FROM incident_expiry WHERE incident_id = $1"
REMEMBER: Final = """
INSERT INTO incident_past (org_id, opened_on, kind, is_drill, is_false_alarm, wait_s, open_s, lapsed)
SELECT i.org_id, (i.opened_at AT TIME ZONE 'UTC')::date, i.kind, i.is_drill, i.is_false_alarm,
       extract(epoch FROM (SELECT min(at) FROM incident_event e
                            WHERE e.incident_id = i.incident_id AND e.kind = 'acknowledged') - i.opened_at),
       extract(epoch FROM i.closed_at - i.opened_at),
       (SELECT count(*) FROM incident_event e WHERE e.incident_id = i.incident_id AND e.kind = 'lapsed')
  FROM incident i WHERE i.incident_id = $1
"""
# The worker's places from shortly before the alarm to its close.
KEEP_TRAILS: Final = """
WITH ended AS (
  SELECT i.incident_id, i.org_id, i.opened_at, i.closed_at, w.slot
    FROM incident i LEFT JOIN worker w ON w.worker_id = i.person_id
   WHERE i.state = 'closed' AND i.trail_kept_at IS NULL
   ORDER BY i.closed_at LIMIT $2 FOR UPDATE OF i SKIP LOCKED
), kept AS (
  INSERT INTO incident_trail (incident_id, at, lat_e7, lng_e7, accuracy_dm, speed_cm_s, heading_ddeg)
  SELECT e.incident_id, t.at, t.lat_e7, t.lng_e7, t.accuracy_dm, t.speed_cm_s, t.heading_ddeg
    FROM ended e JOIN trail t ON t.slot = e.slot AND t.org_id = e.org_id
     AND t.at >= e.opened_at - $3::interval AND t.at < e.closed_at
  ON CONFLICT DO NOTHING
)
UPDATE incident SET trail_kept_at = $1 WHERE incident_id IN (SELECT incident_id FROM ended)
"""


# What has come so far of an incident that is not closed soon: its first days would be dropped before its close. What
# comes late of a day that was copied is copied at the close.
KEEP_LIVE_TRAILS: Final = """
INSERT INTO incident_trail (incident_id, at, lat_e7, lng_e7, accuracy_dm, speed_cm_s, heading_ddeg)
SELECT i.incident_id, t.at, t.lat_e7, t.lng_e7, t.accuracy_dm, t.speed_cm_s, t.heading_ddeg
  FROM incident i
  JOIN worker w ON w.worker_id = i.person_id
  LEFT JOIN LATERAL (SELECT max(at) AS at FROM incident_trail k WHERE k.incident_id = i.incident_id) kept ON true
  JOIN trail t ON t.slot = w.slot AND t.org_id = i.org_id
   AND t.at >= greatest(i.opened_at - $2::interval, kept.at - $2::interval)
 WHERE i.state <> 'closed' AND i.opened_at <= $1
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """Before when something must have been closed to be deleted, by country."""

    countries: Sequence[str]
    closed_before: Sequence[datetime]


async def cutoffs(conn: Connection, jurisdictions: Jurisdictions, part: str, *, now_ms: int) -> Cutoffs:
    """Return from which close on each country that has a region lets a part be kept."""
    countries = [row["country_code"] for row in await conn.fetch(COUNTRIES)]
    now = utc_from_ms(now_ms)
    return Cutoffs(
        countries, [now - timedelta(days=jurisdictions.of(country).retention.days_of(part)) for country in countries]
    )


async def expire(conn: Connection, jurisdictions: Jurisdictions, *, now_ms: int) -> dict[str, int]:
    """Delete one batch of each part; return how many incidents lost it."""
    return {part: await _expire_part(conn, jurisdictions, part, now_ms=now_ms) for part in DELETIONS}


async def keep_trails(conn: Connection, *, now_ms: int) -> int:
    """Copy the places of closed incidents out of the days that are dropped; return of how many."""
    lead = timedelta(milliseconds=INCIDENT_TRAIL_LEAD_MS)
    return int((await conn.execute(KEEP_TRAILS, utc_from_ms(now_ms), EXPIRY_BATCH_MAX, lead)).split()[1])


async def keep_live_trails(conn: Connection, *, now_ms: int) -> None:
    """Copy the places of incidents that have been open for a day, as far as they are there."""
    lead = timedelta(milliseconds=INCIDENT_TRAIL_LEAD_MS)
    await conn.execute(KEEP_LIVE_TRAILS, utc_from_ms(now_ms - MS_PER_DAY), lead)


async def _expire_part(conn: Connection, jurisdictions: Jurisdictions, part: str, *, now_ms: int) -> int:
    rule = await cutoffs(conn, jurisdictions, part, now_ms=now_ms)
    statement = DUE.replace(":has_part", HAS_PART[part])
    expired = 0
    while expired < EXPIRY_BATCH_MAX:
        async with conn.transaction():
            row = await conn.fetchrow(statement, rule.countries, rule.closed_before, 1)
            if row is None:
                break
            await _delete(conn, row["incident_id"], OrgId(row["org_id"]), part, now_ms=now_ms)
        expired += 1
    return expired


async def _delete(conn: Connection, incident_id: UUID, org_id: OrgId, part: str, *, now_ms: int) -> None:
    if part == "all":
        await conn.execute(REMEMBER, incident_id)
    if part != "trail":
        await conn.execute(ALLOW, incident_id, part, utc_from_ms(now_ms))
    for statement in DELETIONS[part]:
        await conn.execute(statement, incident_id)
    await conn.execute(FORBID, incident_id)
    await append_audit(
        conn,
        org_id=org_id,
        actor_id=None,  # the keeper
        action=f"incident.{part}_expired",
        subject=f"incident:{incident_id}",
        now_ms=now_ms,
    )
