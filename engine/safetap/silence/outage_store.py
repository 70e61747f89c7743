"""Measures whether many phones are silent at once, and keeps the answer where every watcher reads it."""

from collections.abc import Callable, Collection
from typing import Final
from uuid import UUID

import structlog

from config.limits import FIX_FUTURE_MS_MAX, OUTAGE_LOOK_BACK_MS, OUTAGE_SAMPLE_MAX
from engine.core.database import Connection
from engine.core.ids import RegionId
from engine.core.units import ms_from_utc, utc_from_ms
from engine.safetap.silence.metrics import OUTAGES
from engine.safetap.silence.outage import Phone, judge

log = structlog.get_logger(__name__)

# Another watcher may measure at the same moment; one of them is enough.
TAKE_TURN: Final = "SELECT pg_try_advisory_xact_lock(7143417260232)"
OPEN: Final = "SELECT region_id, began_at FROM silence_outage WHERE ended_at IS NULL"

# Phones on duty that were heard shortly before: before now, or before the outage that is going on.
SAMPLE: Final = f"""
SELECT phone.region_id, heard.at AS heard_at, heard.gap_ms
  FROM (SELECT p.region_id, p.org_id, w.slot, row_number() OVER (PARTITION BY p.region_id ORDER BY w.slot) AS n
          FROM worker w JOIN person p ON p.person_id = w.worker_id
         WHERE w.duty = 'on' AND p.status = 'active' AND p.region_id = ANY($1::uuid[])) phone
 CROSS JOIN LATERAL (
   SELECT max(at) AS at,
          (extract(epoch FROM max(at) - min(at)) * 1000 / greatest(1, count(*) - 1))::float8 AS gap_ms
     FROM trail
    WHERE slot = phone.slot AND org_id = phone.org_id AND at > $2
      AND at <= $3::timestamptz + interval '{FIX_FUTURE_MS_MAX} milliseconds'
 ) heard
 WHERE phone.n <= $4 AND heard.at IS NOT NULL
"""  # noqa: S608 - a number of our own

BEGIN: Final = """
INSERT INTO silence_outage (outage_id, region_id, began_at, phones, silent, seen_at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::integer[], $5::integer[], $6::timestamptz[])
ON CONFLICT (coalesce(region_id, '00000000-0000-0000-0000-000000000000')) WHERE ended_at IS NULL
DO UPDATE SET phones = excluded.phones, silent = excluded.silent, seen_at = excluded.seen_at
"""
END: Final = """
UPDATE silence_outage SET ended_at = $2
 WHERE ended_at IS NULL AND NOT coalesce(region_id, '00000000-0000-0000-0000-000000000000') = ANY($1::uuid[])
"""
EVERYWHERE: Final = UUID(int=0)


async def measure(
    conn: Connection, region_ids: Collection[RegionId], *, new_id: Callable[[], UUID], now_ms: int
) -> None:
    """Begin, renew and end outages of these regions and of those that have one. The caller holds a transaction."""
    if not await conn.fetchval(TAKE_TURN):
        return
    going_on = {row["region_id"]: ms_from_utc(row["began_at"]) for row in await conn.fetch(OPEN)}
    regions = {*region_ids} | {region_id for region_id in going_on if region_id is not None}
    since_ms = min([now_ms, *going_on.values()]) - OUTAGE_LOOK_BACK_MS
    rows = await conn.fetch(SAMPLE, [*regions], utc_from_ms(since_ms), utc_from_ms(now_ms), OUTAGE_SAMPLE_MAX)
    phones = [Phone(RegionId(row["region_id"]), ms_from_utc(row["heard_at"]), row["gap_ms"]) for row in rows]
    found = judge(phones, now_ms, already=frozenset(going_on))
    now = utc_from_ms(now_ms)
    ended = await conn.execute(END, [place or EVERYWHERE for place in found], now)
    if found:
        rows_in = [
            (new_id(), place, utc_from_ms(one.began_ms), one.phones, one.silent, now) for place, one in found.items()
        ]
        await conn.execute(BEGIN, *map(list, zip(*rows_in, strict=True)))
    OUTAGES.set(len(found))
    for place in found.keys() - going_on.keys():
        log.warning("silence.outage", region_id=str(place or "all"), phones=found[place].phones)
    if ended != "UPDATE 0":
        log.info("silence.outage_ended", places=ended.removeprefix("UPDATE "))
