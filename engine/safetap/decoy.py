"""The decoy: a text message in the person's own words to their own phone, where they chose that, and nobody else.

Nothing else in the installation ever sends to whoever called for help. A human at the desk decides when; it goes out
once each time, through the same sender as every notice, and asks for no answer.
"""

from typing import Final
from uuid import UUID

from engine.core.database import Connection
from engine.core.errors import Conflict, NotAllowed
from engine.core.ids import IncidentId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import IncidentState
from engine.people.tokens import Principal
from engine.safetap.channels.notifier import NotSent
from engine.safetap.desk import lock_incident, record
from engine.safetap.incident_views import incident_view

TARGET: Final = "self"
"""The notice's target; no ladder has one of this name."""

# Read when it is sent: who has changed their mind meanwhile gets nothing.
TEXT: Final = """
SELECT s.decoy_text FROM incident i JOIN safety_setup s USING (person_id)
 WHERE i.incident_id = $1 AND s.contact_mode = 'decoy'
"""
HAS_PHONE: Final = "SELECT phone IS NOT NULL OR phone_sealed IS NOT NULL FROM person WHERE person_id = $1"
# The number stays in its envelope, which is the person's as the incident is.
ADD: Final = """
INSERT INTO notice (notice_id, incident_id, org_id, idempotency_key, step, loop, target, channel, address,
                    address_sealed, state, due_at, created_at)
SELECT $2, i.incident_id, i.org_id, $3, i.step, 0, $4, 'sms',
       CASE WHEN p.phone_sealed IS NULL THEN p.phone ELSE 'self' END, p.phone_sealed, 'pending', $5, $5
  FROM incident i JOIN person p USING (person_id) WHERE i.incident_id = $1
"""


async def decoy_for(conn: Connection, incident_id: IncidentId, target: str) -> str | None:
    """Return what the person wants to read; `None`: the notice is no decoy.

    Raises:
        NotSent: it is one, and they want none any more: then nothing goes out, and least of all an alarm's text.
    """
    if target != TARGET:
        return None
    text: str | None = await conn.fetchval(TEXT, incident_id)
    if text is None:
        raise NotSent("no decoy is wanted any more", is_final=True)
    return text


async def send_decoy(
    conn: Connection, *, incident_id: IncidentId, actor: Principal, notice_id: UUID, now_ms: int
) -> dict[str, object]:
    """Let the person's own words go to their own phone, and return the incident. The caller holds a transaction.

    Raises:
        NotFound: there is no such incident in the actor's organisation.
        NotAllowed: the person did not choose this, or the actor has a stake in it.
        Conflict: it is closed, or they have no number.
    """
    incident = await lock_incident(conn, incident_id, actor)
    if await conn.fetchval(TEXT, incident_id) is None:
        raise NotAllowed("This person chose no decoy message.")
    if incident["state"] == IncidentState.CLOSED:
        raise Conflict("The incident is closed.")
    if not await conn.fetchval(HAS_PHONE, incident["person_id"]):
        raise Conflict("This person has no number.")
    key = f"{incident_id}/decoy/{notice_id}"
    await conn.execute(ADD, incident_id, notice_id, key, TARGET, utc_from_ms(now_ms))
    await record(conn, incident_id, actor, "decoy", {}, now_ms=now_ms)
    return await incident_view(conn, incident_id)
