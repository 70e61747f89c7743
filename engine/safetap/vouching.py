"""A human at the desk says that an unverified alarm is real: from then on it is one like any other.

Until then its ladder tells people of the desk alone, and nobody is held back from work on its word.
"""

from typing import Final
from uuid import UUID

from engine.core.database import Connection
from engine.core.errors import Conflict
from engine.core.ids import IncidentId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import IncidentState
from engine.people.tokens import Principal
from engine.safetap.desk import lock_incident, record
from engine.safetap.incident_views import incident_view

VOUCH: Final = "UPDATE incident SET trust = 'verified' WHERE incident_id = $1 AND trust = 'unverified' RETURNING true"

# The whole ladder from its first step: whom it has left out so far is told now. Who has acknowledged it has it.
CLIMB_ANEW: Final = """
UPDATE incident_timer
   SET due_at = $2, step = 1, loop = loop + 1, fence = fence + 1, lease_until = NULL, waits_for_desk = false
 WHERE incident_id = $1
"""

HOLD: Final = """
INSERT INTO safety_hold (hold_id, org_id, incident_id, person_id, address_id, created_at)
SELECT $2, i.org_id, i.incident_id, i.person_id, b.address_id, $3
  FROM incident i LEFT JOIN booking b USING (booking_id)
 WHERE i.incident_id = $1 AND NOT i.is_drill
"""


async def vouch(
    conn: Connection, *, incident_id: IncidentId, actor: Principal, hold_id: UUID, now_ms: int
) -> dict[str, object]:
    """Make an incident verified and return it; one that is verified already stays as it is. One transaction.

    Raises:
        NotFound: there is no such incident in the actor's organisation.
        NotAllowed: not the desk, or somebody with a stake in it.
        Conflict: it is closed.
    """
    async with conn.transaction():
        incident = await lock_incident(conn, incident_id, actor)
        if incident["state"] == IncidentState.CLOSED:
            raise Conflict("The incident is closed.")
        if await conn.fetchval(VOUCH, incident_id):
            await conn.execute(HOLD, incident_id, hold_id, utc_from_ms(now_ms))
            if incident["state"] == IncidentState.OPEN:
                await conn.execute(CLIMB_ANEW, incident_id, utc_from_ms(now_ms))
            await record(conn, incident_id, actor, "vouched", {}, now_ms=now_ms)
        return await incident_view(conn, incident_id)
