"""Where the person of an incident has been since shortly before it, out of the trail that the gateway writes.

A worker has a trail also off duty while an alarm of theirs is open (`engine.people.tracking`); a customer has none, and
what is known of them are the fixes of their triggers.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from config.limits import INCIDENT_TRAIL_FIXES_MAX, INCIDENT_TRAIL_LEAD_MS
from engine.core.database import Connection
from engine.core.ids import IncidentId
from engine.core.units import e7_to_deg, ms_from_utc, rfc3339, utc_from_ms

SPAN: Final = """
SELECT i.org_id, i.opened_at, i.closed_at, w.slot FROM incident i LEFT JOIN worker w ON w.worker_id = i.person_id
 WHERE i.incident_id = $1
"""
# The newest, in the order of time; of a closed incident from what was kept of it, when its days have been dropped.
FIXES: Final = """
SELECT * FROM (
  SELECT at, lat_e7, lng_e7, accuracy_dm, speed_cm_s, heading_ddeg FROM trail
   WHERE slot = $1 AND org_id = $2 AND at >= $3 AND at < $4 AND at > $5
  UNION
  SELECT at, lat_e7, lng_e7, accuracy_dm, speed_cm_s, heading_ddeg FROM incident_trail
   WHERE incident_id = $7 AND at > $5
   ORDER BY at DESC LIMIT $6) AS newest
 ORDER BY at
"""
LAST_FIX: Final = """
SELECT at, lat_e7, lng_e7, accuracy_dm FROM trail
 WHERE slot = $1 AND org_id = $2 AND at >= $3 AND at < $4 ORDER BY at DESC LIMIT 1
"""
INCIDENT_FIX: Final = "SELECT lat, lng, accuracy_m, fix_at FROM incident WHERE incident_id = $1 AND lat IS NOT NULL"


@dataclass(frozen=True, slots=True)
class _Span:
    slot: int | None
    org_id: object
    begin: datetime
    end: datetime


async def read_incident_trail(
    conn: Connection, incident_id: IncidentId, *, after_ms: int | None = None, now_ms: int
) -> list[dict[str, object]]:
    """Return the newest `limits.INCIDENT_TRAIL_FIXES_MAX` fixes after `after_ms` (Unix ms), in the order of time.

    The trail begins `limits.INCIDENT_TRAIL_LEAD_MS` before the alarm and ends when it is closed.
    """
    span = await _span(conn, incident_id, now_ms)
    if span.slot is None:
        return []
    after = utc_from_ms(0 if after_ms is None else after_ms)
    rows = await conn.fetch(
        FIXES, span.slot, span.org_id, span.begin, span.end, after, INCIDENT_TRAIL_FIXES_MAX, incident_id
    )
    return [
        {
            "at": rfc3339(row["at"]),
            "ts_ms": ms_from_utc(row["at"]),
            "lat": e7_to_deg(row["lat_e7"]),
            "lng": e7_to_deg(row["lng_e7"]),
            "accuracy_m": _known(row["accuracy_dm"], 10),
            "speed_mps": _known(row["speed_cm_s"], 100),
            "heading_deg": _known(row["heading_ddeg"], 10),
        }
        for row in rows
    ]


async def read_last_fix(conn: Connection, incident_id: IncidentId, *, now_ms: int) -> dict[str, object] | None:
    """Return the newest place that is known, of the trigger or the trail, with its age; `None`: there is none."""
    found: list[tuple[datetime, dict[str, object]]] = []
    told = await conn.fetchrow(INCIDENT_FIX, incident_id)
    if told is not None:
        place = {"lat": told["lat"], "lng": told["lng"], "accuracy_m": told["accuracy_m"], "source": "trigger"}
        found.append((told["fix_at"], place))
    span = await _span(conn, incident_id, now_ms)
    row = None
    if span.slot is not None:
        row = await conn.fetchrow(LAST_FIX, span.slot, span.org_id, span.begin, span.end)
    if row is not None:
        place = {
            "lat": e7_to_deg(row["lat_e7"]),
            "lng": e7_to_deg(row["lng_e7"]),
            "accuracy_m": _known(row["accuracy_dm"], 10),
            "source": "trail",
        }
        found.append((row["at"], place))
    if not found:
        return None
    at, newest = max(found, key=lambda one: one[0])
    return newest | {"at": rfc3339(at), "age_s": max(0, now_ms - ms_from_utc(at)) // 1000}


async def _span(conn: Connection, incident_id: IncidentId, now_ms: int) -> _Span:
    row = await conn.fetchrow(SPAN, incident_id)
    assert row is not None, "the caller holds the incident's lock"
    begin = utc_from_ms(ms_from_utc(row["opened_at"]) - INCIDENT_TRAIL_LEAD_MS)
    # A phone's clock may be ahead of ours: what it has told is not withheld for that.
    end = row["closed_at"] or utc_from_ms(now_ms + INCIDENT_TRAIL_LEAD_MS)
    return _Span(row["slot"], row["org_id"], begin, end)


def _known(value: int, per_unit: int) -> float | None:
    return None if value < 0 else value / per_unit
