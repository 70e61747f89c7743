"""Exports an incident as CAP: what was exported before is in its history, so that the next message can name it."""

from typing import Final

from config.jurisdictions import Jurisdictions
from engine.core.database import Connection
from engine.core.ids import IncidentId
from engine.people.tokens import Principal
from engine.safetap.call_card import read_call_card
from engine.safetap.cap import Alert, Message, cap_xml, next_message
from engine.safetap.desk import record
from engine.safetap.trigger import Trust

EXPORTED: Final = "cap_exported"
BEFORE: Final = f"""
SELECT body ->> 'identifier' AS identifier, body ->> 'sent' AS sent
  FROM incident_event WHERE incident_id = $1 AND kind = '{EXPORTED}' ORDER BY version
"""  # noqa: S608 - a constant of ours
WHERE: Final = """
SELECT i.org_id, i.trust, r.country_code
  FROM incident i
  LEFT JOIN booking b ON b.booking_id = i.booking_id
  LEFT JOIN address a ON a.address_id = b.address_id
  JOIN region r ON r.region_id = coalesce(a.region_id, i.region_id)
 WHERE i.incident_id = $1
"""


async def export_cap(
    conn: Connection, incident_id: IncidentId, *, actor: Principal, jurisdictions: Jurisdictions, now_ms: int
) -> bytes:
    """Return the incident's next message and write down that it was made. The caller holds the incident's lock."""
    row = await conn.fetchrow(WHERE, incident_id)
    assert row is not None, "the caller holds the incident's lock"
    alert = Alert(
        card=await read_call_card(conn, incident_id, jurisdictions=jurisdictions, now_ms=now_ms),
        sender=f"safetap@{row['org_id']}",
        country_code=row["country_code"],
        is_verified=row["trust"] == Trust.VERIFIED,
        sent_at_ms=now_ms,
        before=[Message(one["identifier"], one["sent"]) for one in await conn.fetch(BEFORE, incident_id)],
    )
    named = next_message(alert)
    body: dict[str, object] = {"identifier": named.identifier, "sent": named.sent}
    await record(conn, incident_id, actor, EXPORTED, body, now_ms=now_ms)
    return cap_xml(alert)
