"""The report on an incident: all that the record holds, and the hash that its history ends in."""

import orjson

from config.jurisdictions import Jurisdictions
from config.limits import REPORT_TRAIL_FIXES_MAX
from engine.core.database import Connection
from engine.core.ids import IncidentId
from engine.core.units import rfc3339, utc_from_ms
from engine.safetap.call_card import read_call_card
from engine.safetap.chain_reading import verify_incident
from engine.safetap.evidence import list_evidence
from engine.safetap.incident_trail import read_incident_trail
from engine.safetap.incident_views import incident_detail

STEPS = "SELECT policy::text FROM incident WHERE incident_id = $1"
HEAD = """
SELECT version, encode(hash, 'hex') AS hash FROM incident_event
 WHERE incident_id = $1 ORDER BY version DESC LIMIT 1
"""


async def read_report(
    conn: Connection, incident_id: IncidentId, *, jurisdictions: Jurisdictions, now_ms: int
) -> dict[str, object]:
    """Return the report as it stands now. The caller has made sure that the reader may see it."""
    detail = await incident_detail(conn, incident_id)
    events, notices = detail.pop("events"), detail.pop("notices")
    trail = await read_incident_trail(conn, incident_id, now_ms=now_ms)
    head = await conn.fetchrow(HEAD, incident_id)
    assert head is not None, "an incident begins with an event"
    verified = await verify_incident(conn, incident_id, with_evidence=False)
    return {
        "made_at": rfc3339(utc_from_ms(now_ms)),
        "incident": detail,
        "call_card": await read_call_card(conn, incident_id, jurisdictions=jurisdictions, now_ms=now_ms),
        "timeline": events,
        "ladder": orjson.loads(await conn.fetchval(STEPS, incident_id)),
        "deliveries": notices,
        "trail": {"fixes": len(trail), "excerpt": thinned(trail, REPORT_TRAIL_FIXES_MAX)},
        "evidence": await list_evidence(conn, incident_id),
        "chain": {
            "entries": head["version"],
            "head": head["hash"],
            "broken": [f"{one.chain}, entry {one.place} {one.problem}" for one in verified.broken],
        },
    }


def thinned(fixes: list[dict[str, object]], at_most: int) -> list[dict[str, object]]:
    """Return at most so many fixes, spread evenly; the first and the last are always among them."""
    if len(fixes) <= at_most:
        return fixes
    return [fixes[round(n * (len(fixes) - 1) / (at_most - 1))] for n in range(at_most)]
