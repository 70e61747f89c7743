"""How fast an organisation answers its alarms, real ones and drills apart. No person is counted, named or compared.

Deleted incidents count on, by the day on which they were opened (`retention`).
"""

from datetime import datetime
from typing import Final

import orjson

from engine.core.database import Connection
from engine.core.ids import OrgId

# An acknowledgement that lapsed was one all the same: what counts is how long the person waited for the first human.
STATISTICS: Final = """
WITH waited AS (
  SELECT i.incident_id, i.kind, i.is_drill, i.state, i.is_false_alarm,
         extract(epoch FROM (SELECT min(at) FROM incident_event e
                              WHERE e.incident_id = i.incident_id AND e.kind = 'acknowledged') - i.opened_at) AS wait_s,
         extract(epoch FROM i.closed_at - i.opened_at) AS open_s,
         (SELECT count(*) FROM incident_event e WHERE e.incident_id = i.incident_id AND e.kind = 'lapsed') AS lapsed
    FROM incident i
   WHERE i.org_id = $1 AND i.opened_at >= $2 AND i.opened_at < $3
  UNION ALL
  SELECT NULL, kind, is_drill, 'closed', is_false_alarm, wait_s, open_s, lapsed FROM incident_past
   WHERE org_id = $1 AND opened_on >= ($2 AT TIME ZONE 'UTC')::date AND opened_on < ($3 AT TIME ZONE 'UTC')::date
), grouped AS (
  SELECT is_drill, kind, grouping(kind) AS is_total,
         jsonb_build_object(
           'incidents', count(*),
           'open', count(*) FILTER (WHERE state <> 'closed'),
           'acknowledged', count(wait_s),
           'false_alarms', count(*) FILTER (WHERE is_false_alarm),
           'lapsed', sum(lapsed),
           'acknowledge_p50_s', round(percentile_cont(0.5) WITHIN GROUP (ORDER BY wait_s)::numeric, 3),
           'acknowledge_p99_s', round(percentile_cont(0.99) WITHIN GROUP (ORDER BY wait_s)::numeric, 3),
           'close_p50_s', round(percentile_cont(0.5) WITHIN GROUP (ORDER BY open_s)::numeric, 3)) AS figures
    FROM waited
   GROUP BY GROUPING SETS ((is_drill), (is_drill, kind))
)
SELECT coalesce(jsonb_agg(jsonb_build_object('is_drill', is_drill, 'kind', kind, 'is_total', is_total = 1,
                                             'figures', figures) ORDER BY kind), '[]')::text
  FROM grouped
"""
NOTHING: Final[dict[str, object]] = {
    "incidents": 0,
    "open": 0,
    "acknowledged": 0,
    "false_alarms": 0,
    "lapsed": 0,
    "acknowledge_p50_s": None,
    "acknowledge_p99_s": None,
    "close_p50_s": None,
}


async def read_statistics(conn: Connection, *, org_id: OrgId, begin: datetime, end: datetime) -> dict[str, object]:
    """Return the figures of incidents opened from `begin` up to `end`; seconds, `None` where nothing was measured."""
    rows = orjson.loads(await conn.fetchval(STATISTICS, org_id, begin, end))
    return {
        name: {
            **next((row["figures"] for row in rows if row["is_total"] and row["is_drill"] is is_drill), NOTHING),
            "by_kind": {
                row["kind"]: row["figures"] for row in rows if not row["is_total"] and row["is_drill"] is is_drill
            },
        }
        for name, is_drill in (("real", False), ("drills", True))
    }
