"""Why a worker was asked, or somebody else was: the decisions in which they were weighed, without anybody else.

Counts of who was ruled out and outcomes that a safety hold brought about are not shown: whoever holds the phone would
read an alarm from them. A worker who is held back was not weighed, as one whose phone was silent.
"""

from typing import Final

import orjson

from engine.core.database import Connection
from engine.core.ids import PersonId
from engine.core.units import rfc3339

# Of a booking that an incident hangs on which is live or held nothing is told either.
WEIGHED: Final = """
d.detail -> 'candidates' @> jsonb_build_array(jsonb_build_object('worker_id', $1::uuid::text))
   AND NOT EXISTS (SELECT FROM incident i
                    WHERE (i.booking_id = d.booking_id
                           OR i.booking_id IN (SELECT mate.booking_id FROM booking b JOIN booking mate USING (crew_id)
                                                WHERE b.booking_id = d.booking_id))
                      AND (i.state <> 'closed'
                           OR EXISTS (SELECT FROM safety_hold h
                                       WHERE h.incident_id = i.incident_id AND h.released_at IS NULL)))
"""
REASONS: Final = """
SELECT d.dispatch_id, d.at, d.outcome, d.worker_id = $1 AS was_asked, (d.detail -> 'candidates')::text AS candidates
  FROM dispatch_log d
 WHERE d.org_id = (SELECT org_id FROM person WHERE person_id = $1) AND :weighed
 ORDER BY d.dispatch_id DESC LIMIT $2
""".replace(":weighed", WEIGHED)


async def reasons_about(conn: Connection, person_id: PersonId, *, limit: int) -> list[dict[str, object]]:
    """Return the newest decisions in which a worker was weighed; costs are minutes."""
    found = []
    for row in await conn.fetch(REASONS, person_id, limit):
        candidates = orjson.loads(row["candidates"])
        place = next(n for n, one in enumerate(candidates, 1) if one["worker_id"] == str(person_id))
        own = candidates[place - 1]
        found.append(
            {
                "dispatch_id": row["dispatch_id"],
                "at": rfc3339(row["at"]),
                "outcome": row["outcome"],
                "was_asked": bool(row["was_asked"]),
                "place": place,
                "of": len(candidates),
                "cost_min": own["cost"],
                "eta_s": own["eta_s"],
                "terms": own["terms"],
            }
        )
    return found
