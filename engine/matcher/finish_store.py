"""Reads who is at work, since when, and what such jobs have taken."""

from typing import Final
from uuid import UUID

from config.limits import ACCEPTANCE_DAYS, ACCEPTANCE_REFRESH_MS
from engine.core.database import Connection
from engine.core.ids import OrgId
from engine.core.units import ms_from_utc, utc_from_ms
from engine.matcher.finishing import Done, Soon, UnderWay, soon_free
from engine.matcher.working_time import DAY_MS

UNDER_WAY: Final = """
SELECT w.slot, b.service_id, s.duration_min, b.actual_start, a.lat, a.lng
  FROM booking b
  JOIN worker w USING (worker_id)
  JOIN service s USING (service_id)
  JOIN address a USING (address_id)
 WHERE b.org_id = $1 AND b.state = 'in_progress'
"""

DONE: Final = """
SELECT b.service_id, count(*) AS jobs,
       avg(extract(epoch FROM b.actual_end - b.actual_start) / 60)::float8 AS mean_min,
       coalesce(stddev_samp(extract(epoch FROM b.actual_end - b.actual_start) / 60), 0)::float8 AS sd_min
  FROM booking b
 WHERE b.org_id = $1 AND b.actual_end > $2 AND b.actual_start IS NOT NULL AND b.state IN ('completed', 'confirmed')
 GROUP BY b.service_id
"""


class Finishes:
    """Who will be free soon; what jobs have taken is counted anew every `limits.ACCEPTANCE_REFRESH_MS`."""

    def __init__(self) -> None:
        self._done: dict[OrgId, tuple[int, dict[UUID, Done]]] = {}

    async def read(self, conn: Connection, org_id: OrgId, *, now_ms: int) -> Soon:
        """Return who of an organisation is about to finish."""
        counted_ms, done = self._done.get(org_id, (0, {}))
        if now_ms - counted_ms >= ACCEPTANCE_REFRESH_MS:
            rows = await conn.fetch(DONE, org_id, utc_from_ms(now_ms - ACCEPTANCE_DAYS * DAY_MS))
            done = {row["service_id"]: Done(row["jobs"], row["mean_min"], row["sd_min"]) for row in rows}
            self._done[org_id] = now_ms, done
        jobs = [
            UnderWay(
                slot=row["slot"],
                service_id=row["service_id"],
                planned_min=row["duration_min"],
                began_ms=ms_from_utc(row["actual_start"]),
                lat_deg=row["lat"],
                lng_deg=row["lng"],
            )
            for row in await conn.fetch(UNDER_WAY, org_id)
            if row["actual_start"] is not None
        ]
        return soon_free(jobs, done, now_ms=now_ms)
