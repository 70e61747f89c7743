"""Looks at an incident's record: who looked at what and when, in the incident's history and in the audit log."""

from typing import Final

import asyncpg

from config.limits import READ_AGAIN_MS
from engine.core.database import Connection
from engine.core.errors import NotFound
from engine.core.ids import IncidentId, PersonId
from engine.core.units import utc_from_ms
from engine.people.audit import append_audit
from engine.people.tokens import Principal
from engine.safetap.desk import lock_incident
from engine.safetap.incident_store import add_event, event_body

LOCK: Final = "SELECT person_id FROM incident WHERE incident_id = $1 AND org_id = $2 FOR UPDATE"
READ_LATELY: Final = """
SELECT EXISTS (SELECT FROM incident_event
                WHERE incident_id = $1 AND kind = 'read' AND actor_id = $2 AND body ->> 'what' = $3 AND at > $4)
"""


async def note_detail_read(conn: Connection, *, incident_id: IncidentId, actor: Principal, now_ms: int) -> None:
    """Record that somebody at the desk opens an incident: their own too, since they may see that it is there.

    Raises:
        NotFound: there is no such incident in the actor's organisation.
    """
    person_id = await conn.fetchval(LOCK, incident_id, actor.org_id)
    if person_id is None:
        raise NotFound
    await _note(conn, incident_id, PersonId(person_id), actor, "detail", now_ms=now_ms)


async def note_read(
    conn: Connection, *, incident_id: IncidentId, actor: Principal, what: str, now_ms: int
) -> asyncpg.Record:
    """Record that `actor` reads `what` of an incident and return the locked incident. The caller holds a transaction.

    Every look is in the audit log, under the person whom it is about; the history keeps the first of each minute.

    Raises:
        NotFound: there is no such incident in the actor's organisation.
        NotAllowed: not the desk, or somebody with a stake in it.
    """
    incident = await lock_incident(conn, incident_id, actor)
    await _note(conn, incident_id, PersonId(incident["person_id"]), actor, what, now_ms=now_ms)
    return incident


async def _note(
    conn: Connection, incident_id: IncidentId, person_id: PersonId, actor: Principal, what: str, *, now_ms: int
) -> None:
    since = utc_from_ms(now_ms - READ_AGAIN_MS)
    if not await conn.fetchval(READ_LATELY, incident_id, actor.person_id, what, since):
        body = event_body(what=what)
        await add_event(conn, incident_id=incident_id, kind="read", actor_id=actor.person_id, body=body, now_ms=now_ms)
    await append_audit(
        conn,
        org_id=actor.org_id,
        actor_id=actor.person_id,
        action=f"incident.{what}_read",
        subject=f"person:{person_id}",
        now_ms=now_ms,
        detail={"incident_id": str(incident_id)},
    )
