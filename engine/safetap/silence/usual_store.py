"""Learns from the organisations' own history how long each phase of their jobs takes."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import reduce
from typing import Final
from uuid import UUID

from config.limits import USUAL_EVERY_MS, USUAL_RATIO_MAX, USUAL_SPAN_MS
from engine.core.database import Connection
from engine.core.ids import OrgId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import WatchPhase
from engine.safetap.silence.usual import JOB_DEVIATIONS, NOTHING, Belief, Seen, job_ratio

EN_ROUTE_S: Final = 1_800
"""A way whose assignment promised no time."""
AT_THE_DOOR_S: Final = 600
"""From arriving to beginning."""

# A job that was given up says nothing of how long it takes. Ratios are held as `usual.log_ratio` holds them.
HISTORY: Final = f"""
SELECT b.org_id, b.service_id, began.state_to AS phase,
       count(*) AS count, avg(log_ratio) AS mean, var_pop(log_ratio) * count(*) AS squares
  FROM booking b
  JOIN service s USING (service_id)
  JOIN booking_event began ON began.booking_id = b.booking_id
                          AND began.state_to IN ('en_route', 'arrived', 'in_progress')
  JOIN booking_event ended ON ended.booking_id = b.booking_id AND ended.version = began.version + 1
                          AND ended.state_to NOT IN ('cancelled', 'searching')
 CROSS JOIN LATERAL (
   SELECT ln(least($3::float8, greatest(1 / $3::float8,
             greatest(1, extract(epoch FROM ended.at - began.at)::float8)
             / CASE began.state_to WHEN 'in_progress' THEN 60 * s.duration_min
                                   WHEN 'arrived' THEN {AT_THE_DOOR_S}
                                   ELSE greatest(60, coalesce(b.eta_promised_s, {EN_ROUTE_S})) END))) AS log_ratio
 ) ratio
 WHERE b.org_id = ANY($1::uuid[]) AND b.created_at > $2 AND b.state IN ('completed', 'confirmed')
 GROUP BY b.org_id, b.service_id, began.state_to
"""  # noqa: S608 - numbers of our own


@dataclass(frozen=True, slots=True)
class Usual:
    """How long a phase usually takes, and beyond what it takes too long. Seconds."""

    median_s: int
    too_long_s: int


class History:
    """What the organisations' jobs have taught; `learn` now and then."""

    def __init__(self) -> None:
        self._seen: dict[tuple[OrgId, WatchPhase], dict[UUID, Seen]] = {}
        self._learned_ms: dict[OrgId, int] = {}

    async def learn(self, conn: Connection, org_ids: Collection[OrgId], *, now_ms: int) -> None:
        """Read anew what is older than `limits.USUAL_EVERY_MS`."""
        stale = [one for one in org_ids if now_ms - self._learned_ms.get(one, -USUAL_EVERY_MS) >= USUAL_EVERY_MS]
        if not stale:
            return
        rows = await conn.fetch(HISTORY, stale, utc_from_ms(now_ms - USUAL_SPAN_MS), USUAL_RATIO_MAX)
        for org_id in stale:
            self._learned_ms[org_id] = now_ms
            self._seen |= {(org_id, phase): {} for phase in WatchPhase}
        for row in rows:
            seen = Seen(row["count"], row["mean"], row["squares"])
            self._seen[OrgId(row["org_id"]), WatchPhase(row["phase"])][row["service_id"]] = seen

    def usual(
        self, org_id: OrgId, service_id: UUID, phase: WatchPhase, *, duration_min: int, eta_promised_s: int | None
    ) -> Usual | None:
        """Return what such a phase takes; nothing is usual of somebody who leaves."""
        planned_s = {
            WatchPhase.EN_ROUTE: max(60, EN_ROUTE_S if eta_promised_s is None else eta_promised_s),
            WatchPhase.ARRIVED: AT_THE_DOOR_S,
            WatchPhase.IN_PROGRESS: 60 * duration_min,
        }.get(phase)
        if planned_s is None:
            return None
        belief = self._belief(org_id, service_id, phase)
        too_long_s = planned_s * belief.rarely_exceeded(JOB_DEVIATIONS)
        return Usual(round(planned_s * belief.median), round(too_long_s))

    def _belief(self, org_id: OrgId, service_id: UUID, phase: WatchPhase) -> Belief:
        services = self._seen.get((org_id, phase), {})
        return job_ratio(services.get(service_id, NOTHING), reduce(Seen.and_also, services.values(), NOTHING))
