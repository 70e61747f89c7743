"""What a desk sees of the watch: who has not been heard of for how long, against what is usual. Times, never places."""

from typing import Final

import asyncpg

from config.limits import WATCHES_SHOWN_MAX
from engine.core.database import Connection
from engine.core.ids import OrgId
from engine.core.units import MS_PER_S, ms_from_utc, rfc3339, utc_from_ms
from engine.core.vocabulary import WatchStage
from engine.safetap.silence.facts_store import LAST_HEARD, POLICY
from engine.safetap.silence.watch_store import read_policy, read_watch

# Asked and climbed first, then the longest silent against their own usual.
ROWS: Final = """
SELECT w.booking_id, w.person_id, w.org_id, w.role, w.phase, w.phase_since, w.calm_at, w.stage, w.round, w.signal,
       w.asked_at, w.silent_after_s, w.report_s, w.usual_s, w.overrun_after_s, w.check_in_at, p.full_name,
       b.service_id, s.name AS service_name, policy.body::text AS policy,
       coalesce(setup.contact_mode, 'none') AS contact_mode, greatest(heard.at, w.calm_at) AS heard_at
  FROM silence_watch w
  JOIN person p USING (person_id)
  JOIN booking b ON b.booking_id = w.booking_id
  JOIN service s USING (service_id)
  LEFT JOIN safety_setup setup ON setup.person_id = w.person_id
  LEFT JOIN worker k ON k.worker_id = w.person_id AND w.role = 'worker'
  LEFT JOIN LATERAL (:policy) policy ON true
  LEFT JOIN LATERAL (:last_heard) heard ON k.slot IS NOT NULL
 WHERE w.org_id = $2 AND (w.due_at IS NOT NULL OR w.stage <> 'calm')
 ORDER BY w.stage = 'calm',
          extract(epoch FROM $1 - greatest(heard.at, w.calm_at)) / coalesce(w.silent_after_s, 600) DESC,
          w.booking_id, w.person_id
 LIMIT $3
""".replace(":last_heard", LAST_HEARD).replace(":policy", POLICY)
OUTAGE: Final = """
SELECT min(began_at) AS began_at, sum(phones)::integer AS phones, sum(silent)::integer AS silent
  FROM silence_outage o
 WHERE ended_at IS NULL
   AND (region_id IS NULL OR region_id IN (SELECT r.region_id FROM region r WHERE r.org_id = $1))
HAVING count(*) > 0
"""


async def read_silence(conn: Connection, org_id: OrgId, *, now_ms: int) -> dict[str, object]:
    """Return the outage that is going on, if any, and the organisation's watches."""
    outage = await conn.fetchrow(OUTAGE, org_id)
    rows = await conn.fetch(ROWS, utc_from_ms(now_ms), org_id, WATCHES_SHOWN_MAX)
    return {
        "outage": None
        if outage is None
        else {"since": rfc3339(outage["began_at"]), "sampled": outage["phones"], "silent": outage["silent"]},
        "items": [_item(row, now_ms) for row in rows],
    }


def _item(row: asyncpg.Record, now_ms: int) -> dict[str, object]:
    watch = read_watch(row)
    policy = read_policy(row["policy"], watch.org_id)
    climbs_at = None
    if watch.stage is WatchStage.ASKED and watch.asked_at_ms is not None:
        climbs_at = rfc3339(utc_from_ms(watch.asked_at_ms + policy.grace_s * MS_PER_S))
    return {
        "booking_id": watch.booking_id,
        "service_id": row["service_id"],
        "service_name": row["service_name"],
        "person": {"person_id": watch.person_id, "name": row["full_name"], "role": watch.role.value},
        "phase": watch.phase.value,
        "phase_since": rfc3339(row["phase_since"]),
        "phase_s": max(0, now_ms - watch.phase_since_ms) // MS_PER_S,
        "stage": watch.stage.value,
        "signal": row["signal"],
        "asked_at": rfc3339(row["asked_at"]),
        "climbs_at": climbs_at,
        "contact_mode": row["contact_mode"],
        "heard_at": rfc3339(row["heard_at"]),
        "silent_s": max(0, now_ms - ms_from_utc(row["heard_at"])) // MS_PER_S,
        "report_s": row["report_s"],
        "silent_after_s": row["silent_after_s"],
        "usual_s": row["usual_s"],
        "overrun_after_s": row["overrun_after_s"],
        "next_check_in_at": rfc3339(row["check_in_at"]),
    }
