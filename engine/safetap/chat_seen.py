"""Tells the desk that its messages were shown on the person's phone: an event for each look that showed something."""

from typing import Final

from engine.core.database import Connection
from engine.core.ids import IncidentId, PersonId
from engine.safetap.channels.desk import show_at_desk
from engine.safetap.incident_store import add_event, event_body

UNSEEN: Final = """
SELECT i.incident_id FROM incident i
 WHERE i.person_id = $1 AND i.state <> 'closed'
   AND EXISTS (SELECT FROM incident_event e
                WHERE e.incident_id = i.incident_id AND e.kind = 'chat' AND e.actor_id <> $1
                  AND e.version > coalesce((SELECT max(version) FROM incident_event
                                             WHERE incident_id = i.incident_id AND kind = 'chat_read'), 0))
   FOR UPDATE OF i
"""


async def note_chat_seen(conn: Connection, *, person_id: PersonId, now_ms: int) -> None:
    """Write down that the person's phone has fetched what the desk wrote; fetching it again changes nothing.

    The caller holds a transaction, in which the phone was given the messages.
    """
    incident_id = await conn.fetchval(UNSEEN, person_id)
    if incident_id is None:
        return
    body = event_body()
    await add_event(
        conn, incident_id=IncidentId(incident_id), kind="chat_read", actor_id=person_id, body=body, now_ms=now_ms
    )
    await show_at_desk(conn, [IncidentId(incident_id)], now_ms=now_ms)
