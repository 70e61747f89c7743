"""Who looked at my places: the audit log, as its subject may see it.

Whoever holds somebody's phone must not learn of an alarm. So everything about an incident that is live or whose hold
nobody has released is withheld, and so is every ordinary look at a trail since such an incident began.

The live map shows everybody on duty at once: who looked at it counts once a day and person, without a part of the map.
"""

from typing import Final

import orjson

from config.limits import WATCHED_ROWS_MAX
from engine.core.database import Connection
from engine.core.ids import PersonId
from engine.safetap.incident_views import UTC_TEXT

WATCHED: Final = r"""
WITH secret AS (
  SELECT i.incident_id, i.opened_at FROM incident i
   WHERE i.person_id = $1
     AND (i.state <> 'closed'
          OR EXISTS (SELECT FROM safety_hold h WHERE h.incident_id = i.incident_id AND h.released_at IS NULL))
), looks AS (
  SELECT a.at, p.full_name, p.role, a.action, a.detail
    FROM audit_log a LEFT JOIN person p ON p.person_id = a.actor_id
   WHERE a.subject IN ('worker:' || $1::text, 'person:' || $1::text)
     AND (a.action IN ('trail.read', 'worker.nearby_read', 'person.exported', 'trip.shared', 'trip.shared_read')
          OR a.action LIKE 'incident.%' AND a.action LIKE '%\_read')
     AND a.actor_id IS DISTINCT FROM $1
     AND NOT EXISTS (SELECT FROM secret s WHERE s.incident_id::text = a.detail ->> 'incident_id')
     AND NOT EXISTS (SELECT FROM secret s WHERE a.at >= s.opened_at)
  UNION ALL
  SELECT max(a.at), p.full_name, p.role, a.action, '{}'
    FROM worker w
    JOIN person me ON me.person_id = w.worker_id
    JOIN audit_log a ON a.subject = 'org:' || me.org_id::text AND a.action = 'map.read'
    LEFT JOIN person p ON p.person_id = a.actor_id
   WHERE w.worker_id = $1 AND NOT EXISTS (SELECT FROM secret s WHERE a.at >= s.opened_at)
   GROUP BY (a.at AT TIME ZONE 'UTC')::date, a.actor_id, p.full_name, p.role, a.action
), newest AS (
  SELECT * FROM looks ORDER BY at DESC LIMIT $2
)
SELECT coalesce(jsonb_agg(jsonb_build_object(
         'at', to_char(at AT TIME ZONE 'UTC', :utc), 'who', full_name, 'role', role, 'what', action,
         'from', detail ->> 'from', 'to', detail ->> 'to', 'reason', detail ->> 'reason') ORDER BY at DESC), '[]')::text
  FROM newest
""".replace(":utc", UTC_TEXT)


async def who_watched(conn: Connection, person_id: PersonId) -> list[dict[str, object]]:
    """Return the newest `limits.WATCHED_ROWS_MAX` looks at a person's places that they may know of."""
    looks = orjson.loads(await conn.fetchval(WATCHED, person_id, WATCHED_ROWS_MAX))
    assert isinstance(looks, list)
    return looks
