"""Reads what Postgres holds after the storm into the checker's terms."""

from collections import defaultdict
from uuid import UUID

import asyncpg
import orjson

from tests.acceptance.safetap_chaos.history import Event, Incident, Notice, Rows
from tests.acceptance.safetap_chaos.lateness import TimerChange

TIMER_CHANGES = """
SELECT incident_id, step, loop, (extract(epoch FROM at) * 1000)::bigint AS at_ms,
       (extract(epoch FROM due_at) * 1000)::bigint AS due_ms
  FROM chaos_timer_change ORDER BY incident_id, number
"""
SILENT = """
SELECT incident_id FROM incident i
 WHERE state <> 'closed' AND NOT EXISTS (SELECT FROM incident_timer t WHERE t.incident_id = i.incident_id)
"""
PENDING = "SELECT count(*) FROM notice WHERE state = 'pending'"
UNBEGUN = "SELECT count(*) FROM incident WHERE state <> 'closed' AND step = 0"
JOB_WATCH_DUE = "UPDATE silence_watch SET due_at = clock_timestamp() WHERE due_at > clock_timestamp()"


async def read_rows(conn: asyncpg.Connection, *, steps: int) -> Rows:
    """Return all that was promised to somebody. Alarms that our own watch over jobs raised are nobody's press."""
    triggers = await conn.fetch("SELECT trigger_id, person_id, incident_id FROM safetap_trigger WHERE door <> 'watch'")
    incidents = await conn.fetch("SELECT incident_id, person_id, state, version FROM incident")
    timers = await conn.fetch("SELECT incident_id FROM incident_timer")
    notices = await conn.fetch(
        "SELECT notice_id, idempotency_key AS key, incident_id, step, loop, target, channel, state FROM notice"
    )
    return Rows(
        steps=steps,
        triggers=[(_uuid(one), _uuid(two), _uuid(three)) for one, two, three in triggers],
        incidents=[
            Incident(_uuid(row["incident_id"]), _uuid(row["person_id"]), row["state"], row["version"])
            for row in incidents
        ],
        timers=frozenset(_uuid(row["incident_id"]) for row in timers),
        events=await _events(conn),
        notices=[
            Notice(**{**row, "notice_id": _uuid(row["notice_id"]), "incident_id": _uuid(row["incident_id"])})
            for row in notices
        ],
    )


async def read_timer_changes(conn: asyncpg.Connection) -> list[TimerChange]:
    """Return what became of each timer, by incident and in order."""
    return [
        TimerChange(_uuid(row["incident_id"]), row["at_ms"], row["due_ms"], row["step"], row["loop"])
        for row in await conn.fetch(TIMER_CHANGES)
    ]


async def _events(conn: asyncpg.Connection) -> dict[UUID, list[Event]]:
    found: defaultdict[UUID, list[Event]] = defaultdict(list)
    for row in await conn.fetch(
        "SELECT incident_id, version, kind, body::text AS body FROM incident_event ORDER BY incident_id, version"
    ):
        body = orjson.loads(row["body"])
        trigger = body.get("trigger_id")
        found[_uuid(row["incident_id"])].append(
            Event(
                version=row["version"],
                kind=row["kind"],
                trigger_id=None if trigger is None else UUID(trigger),
                step=body.get("step", 0),
                loop=body.get("loop", 0),
                told=tuple(body.get("told", ())),
            )
        )
    return found


def _uuid(value: UUID) -> UUID:
    """Return a plain UUID: the driver's own kind compares as one, and takes longer."""
    return UUID(int=value.int)
