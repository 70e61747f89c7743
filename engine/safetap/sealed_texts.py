"""What people wrote about an incident, in envelopes of its person: notes, messages, the words of a hand-over.

An event's body holds `{"sealed": BASE64}` in the place of the text, so that its chain is one over the envelope: it
holds when the key is destroyed, and nobody can slip in another text.
"""

from base64 import b64encode
from typing import Final

from engine.core.database import Connection
from engine.core.ids import IncidentId, PersonId
from engine.people.sealing import Sealed, person_key
from engine.safetap.incident_store import event_body

PERSON_OF: Final = "SELECT person_id FROM incident WHERE incident_id = $1"
SEAL: Final = "SELECT ($1::sealed_text).sealed"

# `text` stands in the events of before there were envelopes.
OPENED: Final = """
SELECT e.version,
       ROW(k.wrapped, decode(e.body ->> 'sealed', 'base64'), e.body ->> 'text')::sealed_text AS text
  FROM incident_event e
  JOIN incident i USING (incident_id)
  LEFT JOIN person_key k USING (person_id)
 WHERE e.incident_id = $1 AND e.body ? 'sealed'
"""


async def sealed_text(conn: Connection, incident_id: IncidentId, text: str, *, now_ms: int) -> str:
    """Return `text` in an envelope of the incident's person, as base64.

    Raises:
        ErasedError: this person was erased.
    """
    person_id = PersonId(await conn.fetchval(PERSON_OF, incident_id))
    key = await person_key(conn, person_id, now_ms=now_ms)
    return b64encode(await conn.fetchval(SEAL, Sealed(key, text))).decode()


async def sealed_body(conn: Connection, incident_id: IncidentId, text: str, *, now_ms: int) -> str:
    """Return the JSON text of an event's body that holds `text` in its envelope."""
    return event_body(sealed=await sealed_text(conn, incident_id, text, now_ms=now_ms))


async def with_opened_texts(
    conn: Connection, incident_id: IncidentId, events: list[dict[str, object]]
) -> list[dict[str, object]]:
    """Return an incident's events with what their envelopes hold as `text`; `erased` where the person was."""
    texts = {row["version"]: row["text"] for row in await conn.fetch(OPENED, incident_id)}
    return [_opened(event, texts) for event in events]


def _opened(event: dict[str, object], texts: dict[int, str]) -> dict[str, object]:
    version, body = event["version"], event["body"]
    if not isinstance(version, int) or version not in texts:
        return event
    assert isinstance(body, dict)
    rest = {name: value for name, value in body.items() if name != "sealed"}
    return event | {"body": rest | {"note" if event["kind"] == "handed_over" else "text": texts[version]}}
