"""Which desks are armed: somebody sits there who will hear an alarm.

A desk is armed while its live socket is open, its sound was unlocked by a human's touch, and that human did something
lately. It says so again and again; what it said last holds for a lease, so that a desk, a door or a network that dies
arms nobody for longer.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from config.limits import ARMED_ACTIVE_MS, ARMED_LEASE_MS
from engine.core.database import Connection
from engine.core.ids import OrgId, PersonId
from engine.core.units import utc_from_ms

# Somebody who no longer works at the desk arms none. The wake-up lets escalators see at once who has left.
REPORT: Final = """
WITH gone AS (
  DELETE FROM armed_desk WHERE org_id = $2 AND lease_until <= $4 AND desk_id <> $1
)
INSERT INTO armed_desk AS desk (desk_id, org_id, person_id, armed_at, lease_until)
SELECT $1, org_id, person_id, $4, $5 FROM person
 WHERE person_id = $3 AND org_id = $2 AND role IN ('dispatcher', 'admin') AND status = 'active'
ON CONFLICT (desk_id) DO UPDATE
   SET lease_until = excluded.lease_until,
       armed_at = CASE WHEN desk.lease_until > excluded.armed_at THEN desk.armed_at ELSE excluded.armed_at END
 WHERE desk.person_id = excluded.person_id
RETURNING desk_id
"""

LEAVE: Final = """
WITH gone AS (
  DELETE FROM armed_desk WHERE desk_id = $1 RETURNING desk_id
)
SELECT pg_notify('clenzy_safetap', '') FROM gone
"""

ARMED: Final = """
SELECT desk.desk_id, desk.person_id, p.full_name, desk.armed_at, desk.lease_until
  FROM armed_desk desk JOIN person p USING (person_id)
 WHERE desk.org_id = $1 AND desk.lease_until > $2 AND p.status = 'active'
 ORDER BY desk.armed_at, desk.desk_id
"""


@dataclass(frozen=True, slots=True)
class ArmedDesk:
    """One desk that somebody watches."""

    desk_id: UUID
    person_id: PersonId
    name: str
    armed_at: datetime
    lease_until: datetime


def lease_ms(*, is_sound_unlocked: bool, active_ms_ago: int) -> int:
    """Return for how long what a desk says arms it; 0: it does not."""
    if not is_sound_unlocked or active_ms_ago < 0:
        return 0
    return max(0, min(ARMED_LEASE_MS, ARMED_ACTIVE_MS - active_ms_ago))


async def arm(conn: Connection, *, desk_id: UUID, org_id: OrgId, person_id: PersonId, now_ms: int, for_ms: int) -> bool:
    """Arm a desk for so long from now; return whether its human still works there."""
    until = utc_from_ms(now_ms + for_ms)
    return await conn.fetchval(REPORT, desk_id, org_id, person_id, utc_from_ms(now_ms), until) is not None


async def disarm(conn: Connection, *, desk_id: UUID) -> None:
    """Take a desk for unwatched from now on; ladders that waited for it go on at once if it was the last."""
    await conn.execute(LEAVE, desk_id)


async def armed_desks(conn: Connection, *, org_id: OrgId, now_ms: int) -> list[ArmedDesk]:
    """Return an organisation's armed desks, the one armed for longest first."""
    rows = await conn.fetch(ARMED, org_id, utc_from_ms(now_ms))
    return [
        ArmedDesk(row["desk_id"], PersonId(row["person_id"]), row["full_name"], row["armed_at"], row["lease_until"])
        for row in rows
    ]
