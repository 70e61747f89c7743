"""Reads from Postgres what the watch decides by: the newest fixes, what they show, and what is usual.

Places come from the trail and from the zones' events, never from the cell index: the watch needs no other store. What
two thousand fixes show is worked out where they are; `tests/integration/safetap/test_silence_facts.py` holds a plain
reference beside it.
"""

from typing import Final

from config.limits import (
    FIX_FUTURE_MS_MAX,
    OUTAGE_LOOK_BACK_MS,
    SILENCE_HEARD_MS,
    SILENCE_STOP_M,
    SILENCE_STRAY_M,
    SILENCE_TRAIL_FIXES_MAX,
    SILENCE_TRAIL_MS,
)
from engine.core.units import METRES_PER_DEG

METRES: Final = f"""
{METRES_PER_DEG} * sqrt(power({{0}}.lat - {{1}}.lat, 2)
  + power(({{0}}.lng - {{1}}.lng) * cos(radians(({{0}}.lat + {{1}}.lat) / 2)), 2))
"""
"""Distance of two points in SQL: a plane is right to a thousandth over the few kilometres that matter here."""

# Of one watch `w` with worker `k`, door `a` and policy's `off_site_m`, as of $1. A run of fixes counts from its own
# first one, not from the last before it: what lies in a gap is not known.
WAYS: Final = (
    """
WITH fix AS (
  SELECT at, lat_e7 / 1e7 AS lat, lng_e7 / 1e7 AS lng, greatest(accuracy_dm, 0) / 10.0 AS accuracy_m
    FROM trail
   WHERE slot = k.slot AND org_id = w.org_id
     AND at > $1::timestamptz - :look_back AND at <= $1::timestamptz + :ahead
   ORDER BY at DESC LIMIT :fixes
), newest AS (
  SELECT * FROM fix ORDER BY at DESC LIMIT 1
), measured AS (
  SELECT fix.at, fix.accuracy_m, :from_newest AS from_newest_m, :from_door AS from_door_m,
         extract(epoch FROM fix.at - lag(fix.at) OVER (ORDER BY fix.at))::float8 AS gap_s
    FROM fix CROSS JOIN newest
), bounds AS (
  SELECT max(at) FILTER (WHERE from_newest_m > :stop_m) AS moved_at,
         CASE w.phase WHEN 'en_route' THEN min(from_door_m) FILTER (WHERE at >= w.phase_since) + :stray_m
                      ELSE coalesce((policy.body ->> 'off_site_m')::integer, $2) END AS limit_m
    FROM measured
), left_limit AS (
  SELECT max(at) AS at FROM measured CROSS JOIN bounds WHERE from_door_m - accuracy_m <= limit_m
)
SELECT max(m.at) AS heard_at,
       min(m.at) FILTER (WHERE m.at > coalesce(bounds.moved_at, '-infinity')) AS stopped_since,
       min(m.at) FILTER (WHERE m.at > coalesce(left_limit.at, '-infinity') AND limit_m IS NOT NULL) AS away_since,
       count(gap_s) FILTER (WHERE gap_s <= :gap_max_s) AS gaps,
       coalesce(avg(ln(greatest(gap_s, 1))) FILTER (WHERE gap_s <= :gap_max_s), 0) AS gap_mean,
       coalesce(var_pop(ln(greatest(gap_s, 1))) FILTER (WHERE gap_s <= :gap_max_s), 0) AS gap_variance
  FROM measured m CROSS JOIN bounds CROSS JOIN left_limit
""".replace(":from_newest", METRES.format("fix", "newest"))
    .replace(":from_door", METRES.format("fix", "a"))
    .replace(":look_back", f"interval '{SILENCE_TRAIL_MS} milliseconds'")
    .replace(":ahead", f"interval '{FIX_FUTURE_MS_MAX} milliseconds'")
    .replace(":fixes", str(SILENCE_TRAIL_FIXES_MAX))
    .replace(":stop_m", str(SILENCE_STOP_M))
    .replace(":stray_m", str(SILENCE_STRAY_M))
    .replace(":gap_max_s", str(OUTAGE_LOOK_BACK_MS // 1000))
)

# A drawn site says better than a circle around the door where the job is: who was in it when the phase began is on
# site for as long as they stay in it, and away from the moment they left it.
SITE: Final = """
SELECT EXISTS (SELECT FROM zone_presence here JOIN zone z USING (zone_id)
                WHERE here.worker_id = w.person_id AND z.kind = 'site' AND z.active
                  AND here.entered_at <= w.phase_since) AS is_on_site,
       (SELECT max(gone.at) FROM zone_event gone JOIN zone z USING (zone_id)
         WHERE gone.worker_id = w.person_id AND z.kind = 'site' AND z.active AND gone.kind = 'exit'
           AND gone.reason IN ('moved', 'recovered') AND gone.at > w.phase_since
           AND (SELECT max(came.at) FROM zone_event came
                 WHERE came.worker_id = gone.worker_id AND came.zone_id = gone.zone_id AND came.kind = 'enter'
                   AND came.at < gone.at) <= w.phase_since
           AND NOT EXISTS (SELECT FROM zone_presence here
                            WHERE here.worker_id = gone.worker_id AND here.zone_id = gone.zone_id)) AS left_site_at
"""

LAST_HEARD: Final = f"""
SELECT max(at) AS at FROM trail
 WHERE slot = k.slot AND at > $1::timestamptz - interval '{SILENCE_HEARD_MS} milliseconds'
   AND at <= $1::timestamptz + interval '{FIX_FUTURE_MS_MAX} milliseconds'
"""  # noqa: S608 - numbers of our own
"""The newest fix of worker `k` as of $1."""

POLICY: Final = """
SELECT body FROM silence_policy
 WHERE org_id = w.org_id AND (service_id = b.service_id OR service_id IS NULL)
 ORDER BY service_id NULLS LAST LIMIT 1
"""
"""The rules of watch `w` over booking `b`: its service's own before the organisation's."""

# The claimed watches, locked in one order, with everything that is known of each.
CLAIMED: Final = (
    """
SELECT w.booking_id, w.person_id, w.org_id, w.role, w.phase, w.phase_since, w.calm_at, w.stage, w.round, w.signal,
       w.asked_at, p.region_id, b.service_id, b.eta_promised_s, s.duration_min, policy.body::text AS policy,
       coalesce(setup.contact_mode, 'none') AS contact_mode,
       coalesce(way.heard_at, long_ago.at) AS heard_at, way.stopped_since, way.gaps, way.gap_mean, way.gap_variance,
       CASE WHEN w.phase = 'en_route' THEN way.away_since
            WHEN NOT site.is_on_site THEN least(way.away_since, site.left_site_at) END AS away_since,
       EXISTS (SELECT FROM incident i
                WHERE i.person_id = w.person_id AND i.state <> 'closed' AND NOT i.is_drill AND i.trust = 'verified')
         AS is_cared_for,
       lost.began_at, lost.ended_at
  FROM unnest($3::uuid[], $4::uuid[], $5::bigint[]) AS claim (booking_id, person_id, fence)
  JOIN silence_watch w USING (booking_id, person_id, fence)
  JOIN booking b USING (booking_id)
  JOIN service s USING (service_id)
  JOIN address a ON a.address_id = b.address_id
  JOIN person p ON p.person_id = w.person_id
  LEFT JOIN safety_setup setup ON setup.person_id = w.person_id
  LEFT JOIN worker k ON k.worker_id = w.person_id AND w.role = 'worker'
  LEFT JOIN LATERAL (:policy) policy ON true
  LEFT JOIN LATERAL (:ways) way ON k.slot IS NOT NULL
  LEFT JOIN LATERAL (:last_heard) long_ago ON way.heard_at IS NULL
  CROSS JOIN LATERAL (:site) site
  LEFT JOIN LATERAL (
    SELECT began_at, ended_at FROM silence_outage
     WHERE (region_id IS NULL OR region_id = p.region_id) AND coalesce(ended_at, $1) >= $1 - interval '1 day'
     ORDER BY ended_at DESC NULLS FIRST LIMIT 1
  ) lost ON true
 ORDER BY w.booking_id, w.person_id
   FOR UPDATE OF w
""".replace(":ways", WAYS)
    .replace(":last_heard", LAST_HEARD)
    .replace(":policy", POLICY)
    .replace(":site", SITE)
)
