"""The desk's channel: an event on the organisation's `desk` topic, and the live sockets of SafeTap's own door.

Both are fed by the commit itself: the outbox row wakes the relay, the changed incident wakes the door. A notice to
the desk therefore counts as sent when the transaction that shows the incident commits, and needs no sender.
"""

from collections.abc import Sequence
from typing import Final

from engine.core.database import Connection
from engine.core.ids import IncidentId
from engine.core.units import utc_from_ms
from engine.safetap.incident_views import INCIDENT_TABLES, SHOWN_INCIDENT_JSON

SHOW_AT_DESK: Final = """
INSERT INTO outbox (topic, kind, body, created_at)
SELECT 'desk:' || i.org_id, 'incident', :incident_json, $2
  FROM :incident_tables
 WHERE i.incident_id = ANY($1::uuid[])
""".replace(":incident_json", SHOWN_INCIDENT_JSON).replace(":incident_tables", INCIDENT_TABLES)


async def show_at_desk(conn: Connection, incident_ids: Sequence[IncidentId], *, now_ms: int) -> None:
    """Tell the desks how these incidents now stand, in the caller's transaction."""
    await conn.execute(SHOW_AT_DESK, list(incident_ids), utc_from_ms(now_ms))
