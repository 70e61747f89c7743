"""Drills: practice over the whole real path, from SafeTap's door to whoever acknowledges, marked at every step.

A drill is a trigger of the kind `drill`, sent for somebody of the organisation through the door as their phone would
send it. It holds nobody back from work, tracks nobody, tells nobody outside and has a call card without numbers. A real
alarm that joins it makes it real.
"""

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final

import asyncpg
import orjson
import structlog

from config.limits import DRILL_LATE_MS
from engine.core.database import Connection
from engine.core.errors import Conflict, NotFound, Unavailable
from engine.core.ids import OrgId, PersonId, TriggerId
from engine.core.units import ms_from_utc, rfc3339, utc_from_ms
from engine.core.vocabulary import IncidentKind, Role
from engine.people.tokens import AccessTokens
from engine.safetap.drill_week import DrillWeek, next_drill_ms, parse_week, week_fields
from engine.safetap.forwarding import Forwarder

# Whoever is in trouble now is left alone. The trigger's id is the randomness: it decides who plays the part.
PLAYER: Final = """
SELECT p.person_id, p.role, p.org_id, p.region_id, w.slot
  FROM person p LEFT JOIN worker w ON w.worker_id = p.person_id
 WHERE p.org_id = $1 AND p.status = 'active' AND p.role IN ('worker', 'customer')
   AND ($2::uuid IS NULL AND p.role = 'worker' OR p.person_id = $2)
   AND NOT EXISTS (SELECT FROM incident i WHERE i.person_id = p.person_id AND i.state <> 'closed')
 ORDER BY md5(p.person_id::text || $3::text)
 LIMIT 1
"""
CLAIM_DUE: Final = """
UPDATE drill_plan SET next_at = $1::timestamptz + make_interval(hours => every_h)
 WHERE org_id IN (SELECT org_id FROM drill_plan WHERE next_at <= $1 ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING org_id
"""
READ_PLAN: Final = "SELECT every_h, next_at FROM drill_plan WHERE org_id = $1"
SET_PLAN: Final = """
INSERT INTO drill_plan VALUES ($1, $2, $3::timestamptz + make_interval(hours => $2))
ON CONFLICT (org_id) DO UPDATE SET every_h = excluded.every_h, next_at = excluded.next_at
"""
END_PLAN: Final = "DELETE FROM drill_plan WHERE org_id = $1"
LOCK_DUE_WEEK: Final = """
SELECT org_id, tz, days, times, next_at FROM drill_week WHERE next_at <= $1 ORDER BY next_at LIMIT 1
   FOR UPDATE SKIP LOCKED
"""
MOVE_WEEK: Final = "UPDATE drill_week SET next_at = $2 WHERE org_id = $1"
READ_WEEK: Final = "SELECT tz, days, times, next_at FROM drill_week WHERE org_id = $1"
SET_WEEK: Final = """
INSERT INTO drill_week VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (org_id) DO UPDATE
   SET tz = excluded.tz, days = excluded.days, times = excluded.times, next_at = excluded.next_at
"""
END_WEEK: Final = "DELETE FROM drill_week WHERE org_id = $1"


log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """When an organisation practises by itself: every so many hours, at set times of the week, or never."""

    every_h: int | None
    weekly: DrillWeek | None
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Drill:
    """A drill under way: who plays the part, and where its trigger is durable."""

    trigger_id: TriggerId
    person_id: PersonId
    state: str


async def start_drill(
    conn: Connection,
    tokens: AccessTokens,
    forwarder: Forwarder,
    *,
    org_id: OrgId,
    person_id: PersonId | None,
    trigger_id: TriggerId,
    now_ms: int,
) -> Drill:
    """Send a drill's trigger; without a `person_id` some worker plays the part, and notices nothing.

    Raises:
        NotFound: there is nobody to play it: no active worker without a live incident, or not this person.
        Conflict: the door refuses the trigger.
        Unavailable: no door answers.
    """
    player = await conn.fetchrow(PLAYER, org_id, person_id, str(trigger_id))
    if player is None:
        raise NotFound("There is nobody without a live incident to play the part.")
    token = tokens.issue(
        person_id=PersonId(player["person_id"]),
        role=Role(player["role"]),
        org_id=player["org_id"],
        region_id=player["region_id"],
        slot=player["slot"],
        session_id=trigger_id,
        now_ms=now_ms,
    )
    body = orjson.dumps({"trigger_id": str(trigger_id), "kind": IncidentKind.DRILL.value})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer = await forwarder.forward(body, headers=headers)
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise Unavailable
    if answer.status not in {HTTPStatus.OK, HTTPStatus.ACCEPTED}:
        raise Conflict(f"SafeTap's door answered {answer.status}.")
    return Drill(trigger_id, PersonId(player["person_id"]), str(orjson.loads(answer.body)["state"]))


async def claim_due_drill(conn: Connection, *, now_ms: int) -> OrgId | None:
    """Return an organisation whose planned drill is due, having planned its next; `None`: nobody's is.

    Whoever claims and dies before the trigger is sent has skipped one drill; the next comes as planned. The caller
    holds a transaction.
    """
    org_id = await conn.fetchval(CLAIM_DUE, utc_from_ms(now_ms))
    return await _claim_due_week(conn, now_ms=now_ms) if org_id is None else OrgId(org_id)


async def read_plan(conn: Connection, org_id: OrgId) -> DrillPlan:
    """Return when an organisation practises by itself."""
    row = await conn.fetchrow(READ_PLAN, org_id)
    week = await conn.fetchrow(READ_WEEK, org_id)
    moments = [one["next_at"] for one in (row, week) if one is not None]
    return DrillPlan(
        every_h=None if row is None else row["every_h"],
        weekly=None if week is None else _week(week),
        next_at=min(moments, default=None),
    )


async def set_plan(
    conn: Connection, org_id: OrgId, *, every_h: int | None, weekly: DrillWeek | None, now_ms: int
) -> None:
    """Practise every so many hours from now on, at set times of the week, by both, or only when somebody asks for it.

    The caller holds a transaction.
    """
    if every_h is None:
        await conn.execute(END_PLAN, org_id)
    else:
        await conn.execute(SET_PLAN, org_id, every_h, utc_from_ms(now_ms))
    if weekly is None:
        await conn.execute(END_WEEK, org_id)
    else:
        shown, next_at = week_fields(weekly), utc_from_ms(next_drill_ms(weekly, now_ms))
        await conn.execute(SET_WEEK, org_id, shown["tz"], shown["days"], shown["at"], next_at)


async def _claim_due_week(conn: Connection, *, now_ms: int) -> OrgId | None:
    """Return whose drill is due by the clock on the wall; what is too late is left out."""
    while (row := await conn.fetchrow(LOCK_DUE_WEEK, utc_from_ms(now_ms))) is not None:
        org_id = OrgId(row["org_id"])
        await conn.execute(MOVE_WEEK, org_id, utc_from_ms(next_drill_ms(_week(row), now_ms)))
        if now_ms - ms_from_utc(row["next_at"]) <= DRILL_LATE_MS:
            return org_id
        log.warning("drill.left_out", org_id=str(org_id), planned_at=rfc3339(row["next_at"]))
    return None


def _week(row: asyncpg.Record) -> DrillWeek:
    return parse_week(row["tz"], row["days"], row["times"])
