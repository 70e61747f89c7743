"""What a desk sees of an incident: the protocol's JSON, written by one SQL expression for every statement.

The expression lives in SQL because the trigger's single statement shows the incident that it has just made, before
anybody else can read it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson

from config.limits import SNAPSHOT_INCIDENTS_MAX
from engine.core.database import Connection
from engine.core.errors import NotFound
from engine.core.ids import IncidentId, OrgId
from engine.core.vocabulary import IncidentState
from engine.safetap.sealed_texts import with_opened_texts

UTC_TEXT: Final = '\'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"\''

INCIDENT_JSON: Final = """
jsonb_build_object(
  'incident_id', i.incident_id,
  'person', jsonb_build_object('person_id', i.person_id, 'name', p.full_name, 'role', i.person_role),
  'booking_id', i.booking_id,
  'kind', i.kind,
  'is_drill', i.is_drill,
  'trust', i.trust,
  'state', i.state,
  'version', i.version,
  'severity', i.severity,
  'step', i.step,
  'next_step_at', to_char(t.due_at AT TIME ZONE 'UTC', :utc),
  'fix', CASE WHEN i.lat IS NOT NULL THEN jsonb_build_object(
    'lat', i.lat, 'lng', i.lng, 'accuracy_m', i.accuracy_m,
    'ts_ms', (extract(epoch FROM i.fix_at) * 1000)::bigint) END,
  'address', CASE WHEN a.address_id IS NOT NULL THEN jsonb_build_object(
    'line', a.line, 'floor', a.floor,
    'entry_notes', CASE WHEN a.entry_notes_sealed IS NULL THEN a.entry_notes END) END,
  'opened_at', to_char(i.opened_at AT TIME ZONE 'UTC', :utc),
  'acknowledged_at', to_char(i.acknowledged_at AT TIME ZONE 'UTC', :utc),
  'acknowledged_by', (SELECT full_name FROM person WHERE person_id = i.acknowledged_by),
  'closed_at', to_char(i.closed_at AT TIME ZONE 'UTC', :utc),
  'close_reason', i.close_reason,
  'says_safe_at', to_char(i.says_safe_at AT TIME ZONE 'UTC', :utc),
  'police_reference', i.police_reference,
  'is_false_alarm', i.is_false_alarm,
  'close_asked', NULL)
""".replace(":utc", UTC_TEXT)
"""An incident `i` of person `p` with its timer `t` and address `a` (both may be absent), as a trigger has left it.

A trigger makes void that somebody asked for its close. Sealed entry notes stay in their envelope here: what goes to
every desk and through the outbox holds no key to a door.
"""

VOIDS_CLOSE_ASKED: Final = "('retriggered', 'vouched', 'duress')"
"""What happens to an incident makes void that somebody asked for its close: SQL's list of kinds of events."""

# Who asked stands as long as nothing has happened since that a second person would have to know of.
SHOWN_INCIDENT_JSON: Final = (
    """
(:incident_json || jsonb_build_object('close_asked',
  CASE WHEN i.close_asked_by IS NOT NULL AND i.state <> 'closed'
        AND NOT EXISTS (SELECT FROM incident_event e
                         WHERE e.incident_id = i.incident_id AND e.version > i.close_asked_version
                           AND e.kind IN :voids) THEN (
    SELECT jsonb_build_object('person_id', asker.person_id, 'name', asker.full_name,
                              'at', to_char(e.at AT TIME ZONE 'UTC', :utc), 'reason', e.body ->> 'reason')
      FROM incident_event e JOIN person asker ON asker.person_id = i.close_asked_by
     WHERE e.incident_id = i.incident_id AND e.version = i.close_asked_version) END))
""".replace(":incident_json", INCIDENT_JSON)
    .replace(":voids", VOIDS_CLOSE_ASKED)
    .replace(":utc", UTC_TEXT)
)
"""The same as it stands: with `close_asked`, where a policy wants two people and one has asked for its close."""

INCIDENT_TABLES: Final = """
incident i
JOIN person p USING (person_id)
LEFT JOIN incident_timer t USING (incident_id)
LEFT JOIN booking b ON b.booking_id = i.booking_id
LEFT JOIN address a ON a.address_id = b.address_id
"""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page of incidents ended."""

    opened_at: datetime
    incident_id: UUID


def _shown(statement: str) -> str:
    return statement.replace(":incident_json", SHOWN_INCIDENT_JSON).replace(":incident_tables", INCIDENT_TABLES)


ONE_INCIDENT: Final = _shown("""
SELECT (:incident_json)::text FROM :incident_tables
 WHERE i.incident_id = $1 AND i.org_id = coalesce($2, i.org_id)
""")

SOME_INCIDENTS: Final = _shown("""
SELECT i.org_id, (:incident_json)::text AS body FROM :incident_tables WHERE i.incident_id = ANY($1::uuid[])
""")

ENTRY_NOTES: Final = """
SELECT ROW(k.wrapped, a.entry_notes_sealed, a.entry_notes)::sealed_text
  FROM incident i
  JOIN booking b USING (booking_id)
  JOIN address a USING (address_id)
  LEFT JOIN person_key k ON k.person_id = a.customer_id
 WHERE i.incident_id = $1
"""

# Everything that still needs a human, oldest first: what a desk must see on connecting.
LIVE_INCIDENTS: Final = _shown("""
SELECT (:incident_json)::text FROM :incident_tables
 WHERE i.org_id = $1 AND i.state <> 'closed'
 ORDER BY i.opened_at, i.incident_id
 LIMIT $2
""")

INCIDENT_PAGE: Final = _shown("""
SELECT i.opened_at, i.incident_id, (:incident_json)::text AS body FROM :incident_tables
 WHERE i.org_id = $1 AND i.state = coalesce($2, i.state)
   AND ($3::timestamptz IS NULL OR (i.opened_at, i.incident_id) < ($3, $4::uuid))
 ORDER BY i.opened_at DESC, i.incident_id DESC
 LIMIT $5
""")

INCIDENT_EVENTS: Final = """
SELECT coalesce(jsonb_agg(jsonb_build_object(
         'version', e.version, 'kind', e.kind, 'actor', p.full_name, 'actor_id', e.actor_id, 'body', e.body,
         'at', to_char(e.at AT TIME ZONE 'UTC', :utc)) ORDER BY e.version), '[]')::text
  FROM incident_event e LEFT JOIN person p ON p.person_id = e.actor_id
 WHERE e.incident_id = $1
""".replace(":utc", UTC_TEXT)

INCIDENT_NOTICES: Final = """
SELECT coalesce(jsonb_agg(jsonb_build_object(
         'notice_id', notice_id, 'step', step, 'loop', loop, 'target', target, 'channel', channel, 'state', state,
         'attempts', attempts, 'last_error', last_error, 'reference', reference, 'delivery', delivery,
         'created_at', to_char(created_at AT TIME ZONE 'UTC', :utc),
         'sent_at', to_char(sent_at AT TIME ZONE 'UTC', :utc),
         'delivery_at', to_char(delivery_at AT TIME ZONE 'UTC', :utc))
       ORDER BY created_at, loop, step, target, channel), '[]')::text
  FROM notice
 WHERE incident_id = $1
""".replace(":utc", UTC_TEXT)


async def incident_view(conn: Connection, incident_id: IncidentId, *, org_id: OrgId | None = None) -> dict[str, object]:
    """Return the protocol's incident with the door's entry notes; with an `org_id`, another's does not exist.

    Raises:
        NotFound: there is no such incident (of that organisation).
    """
    body = await conn.fetchval(ONE_INCIDENT, incident_id, org_id)
    if body is None:
        raise NotFound
    view = _object(body)
    address = view["address"]
    if isinstance(address, dict) and address["entry_notes"] is None:
        address["entry_notes"] = await conn.fetchval(ENTRY_NOTES, incident_id)
    return view


async def incident_detail(
    conn: Connection, incident_id: IncidentId, *, org_id: OrgId | None = None
) -> dict[str, object]:
    """Return the incident with its `events` and `notices`, oldest first.

    Raises:
        NotFound: there is no such incident (of that organisation).
    """
    view = await incident_view(conn, incident_id, org_id=org_id)
    view["events"] = await with_opened_texts(
        conn, incident_id, orjson.loads(await conn.fetchval(INCIDENT_EVENTS, incident_id))
    )
    view["notices"] = orjson.loads(await conn.fetchval(INCIDENT_NOTICES, incident_id))
    return view


async def list_incidents(
    conn: Connection, *, org_id: OrgId, state: IncidentState | None = None, after: Position | None = None, limit: int
) -> tuple[list[dict[str, object]], Position | None]:
    """Return a page of an organisation's incidents, newest first, and where the next page starts."""
    rows = await conn.fetch(
        INCIDENT_PAGE,
        org_id,
        None if state is None else state.value,
        None if after is None else after.opened_at,
        None if after is None else after.incident_id,
        limit + 1,
    )
    shown = rows[:limit]
    following = Position(shown[-1]["opened_at"], shown[-1]["incident_id"]) if len(rows) > limit else None
    return [_object(row["body"]) for row in shown], following


async def live_incidents(conn: Connection, *, org_id: OrgId) -> list[dict[str, object]]:
    """Return an organisation's incidents that are not closed, oldest first, up to `limits.SNAPSHOT_INCIDENTS_MAX`."""
    return [_object(row[0]) for row in await conn.fetch(LIVE_INCIDENTS, org_id, SNAPSHOT_INCIDENTS_MAX)]


async def incidents_by_org(
    conn: Connection, incident_ids: Sequence[IncidentId]
) -> list[tuple[OrgId, dict[str, object]]]:
    """Return the named incidents, each with the organisation that may see it."""
    return [(row["org_id"], _object(row["body"])) for row in await conn.fetch(SOME_INCIDENTS, list(incident_ids))]


def _object(text: str) -> dict[str, object]:
    value = orjson.loads(text)
    assert isinstance(value, dict)
    return value
