"""The call card: everything that whoever rings the police must be able to say, on one page.

A drill's card has no numbers: nobody may ring the police for practice.
"""

from typing import Final

import asyncpg

from config.jurisdictions import ELSEWHERE, Jurisdictions
from engine.core.database import Connection
from engine.core.ids import IncidentId
from engine.core.units import rfc3339
from engine.people.crews import workers_of
from engine.safetap.incident_trail import read_last_fix

DRILL: Final = "DRILL: nobody is in danger. Do not ring anybody outside."

# The place is the booking's door where there is one; its region says which country's numbers count.
CARD: Final = """
SELECT i.incident_id, i.kind, i.severity, i.is_drill, i.state, i.opened_at, i.police_reference, i.person_id,
       i.person_role, a.line, a.floor,
       ROW(k.wrapped, a.entry_notes_sealed, a.entry_notes)::sealed_text AS entry_notes, a.lat, a.lng,
       r.name AS region, r.country_code,
       b.customer_id, :workers AS worker_ids, b.state AS booking_state, s.name AS service, o.name AS org
  FROM incident i
  JOIN org o ON o.org_id = i.org_id
  LEFT JOIN booking b ON b.booking_id = i.booking_id
  LEFT JOIN service s ON s.service_id = b.service_id
  LEFT JOIN address a ON a.address_id = b.address_id
  LEFT JOIN person_key k ON k.person_id = a.customer_id
  JOIN region r ON r.region_id = coalesce(a.region_id, i.region_id)
 WHERE i.incident_id = $1
""".replace(":workers", workers_of())
PEOPLE: Final = """
SELECT person_id, full_name, role, ROW(k.wrapped, p.phone_sealed, p.phone)::sealed_text AS phone
  FROM person p LEFT JOIN person_key k USING (person_id)
 WHERE person_id = ANY($1::uuid[])
 ORDER BY person_id <> $2, role
"""


async def read_call_card(
    conn: Connection, incident_id: IncidentId, *, jurisdictions: Jurisdictions, now_ms: int
) -> dict[str, object]:
    """Return the card as it stands now. The caller has made sure that the reader may see it."""
    row = await conn.fetchrow(CARD, incident_id)
    assert row is not None, "the caller holds the incident's lock"
    return {
        "incident_id": str(incident_id),
        "is_drill": row["is_drill"],
        "warning": DRILL if row["is_drill"] else None,
        "organisation": row["org"],
        "kind": row["kind"],
        "severity": row["severity"],
        "state": row["state"],
        "opened_at": rfc3339(row["opened_at"]),
        "place": _place(row),
        "region": row["region"],
        "last_fix": await read_last_fix(conn, incident_id, now_ms=now_ms),
        "people": await _people(conn, row),
        "job": None if row["service"] is None else {"service": row["service"], "state": row["booking_state"]},
        "numbers": None if row["is_drill"] else _numbers(jurisdictions, row["country_code"]),
        "police_reference": row["police_reference"],
    }


def _place(row: asyncpg.Record) -> dict[str, object] | None:
    if row["line"] is None:
        return None
    return {name: row[name] for name in ("line", "floor", "entry_notes", "lat", "lng")}


def _numbers(jurisdictions: Jurisdictions, country_code: str) -> dict[str, object]:
    rules = jurisdictions.of(country_code)
    emergency = rules.emergency
    return {
        "country_code": country_code,
        "emergency": emergency.number,
        "police": emergency.police or emergency.number,
        "others": dict(emergency.others),
        "is_known": rules.country != ELSEWHERE,
    }


async def _people(conn: Connection, row: asyncpg.Record) -> list[dict[str, object]]:
    ids = [one for one in {row["person_id"], row["customer_id"], *row["worker_ids"]} if one is not None]
    return [
        {
            "name": person["full_name"],
            "role": person["role"],
            "phone": person["phone"],
            "called_for_help": person["person_id"] == row["person_id"],
        }
        for person in await conn.fetch(PEOPLE, ids, row["person_id"])
    ]
