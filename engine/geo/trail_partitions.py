"""The days of the trail: one partition a UTC day, made before it is needed, dropped as a whole.

Whoever finds a day missing makes it: an advisory lock lets one at a time, and a day that is there already is left
alone. A new table is attached, not created in place, because attaching does not stop those who write and read.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from config.limits import TRAIL_DAYS_AHEAD, TRAIL_DROP_LOCK_MS
from engine.core.database import Connection
from engine.core.units import utc_from_ms

LOCK_KEY: Final = 0x7261_696C
"""Advisory lock of everybody who makes or drops days."""
TAKE_LOCK: Final = "SELECT pg_advisory_xact_lock($1)"
# Not `to_regclass`: what it once did not find it may go on not finding, after somebody else has made it.
IS_THERE: Final = """
SELECT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = 'trail'::regclass AND c.relname = $1)
"""
SET_LOCK_TIMEOUT: Final = "SELECT set_config('lock_timeout', $1, true)"
ALL_PARTITIONS: Final = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'trail'::regclass ORDER BY c.relname
"""

_NAME: Final = re.compile(r"trail_(\d{4})(\d{2})(\d{2})")


@dataclass(frozen=True, slots=True)
class Kept:
    """What one round of the keeper did."""

    made: list[date]
    dropped: list[date]


def name_of(day: date) -> str:
    """Return the name of a day's partition."""
    return f"trail_{day:%Y%m%d}"


async def make_days(conn: Connection, days: Collection[date]) -> list[date]:
    """Make the partitions that are missing among `days`; return those that this call made."""
    return [day for day in sorted(days) if await _make_day(conn, day)]


async def keep_days(conn: Connection, *, now_ms: int, kept_days: int) -> Kept:
    """Make today and the days ahead, and drop every day that ended more than `kept_days` days ago.

    Each day is a transaction of its own, so that a round that is cut short is taken up by the next.

    Raises:
        asyncpg.LockNotAvailableError: somebody reads the old day for longer than `limits.TRAIL_DROP_LOCK_MS`; nothing
            waits behind a drop for longer than that.
    """
    today = utc_from_ms(now_ms).date()
    made = await make_days(conn, [today + timedelta(days=ahead) for ahead in range(TRAIL_DAYS_AHEAD + 1)])
    oldest = today - timedelta(days=kept_days)
    old = [day for day in await list_days(conn) if day < oldest]
    for day in old:
        async with conn.transaction():
            await conn.execute(TAKE_LOCK, LOCK_KEY)
            await conn.execute(SET_LOCK_TIMEOUT, f"{TRAIL_DROP_LOCK_MS}ms")
            await conn.execute(f"DROP TABLE IF EXISTS {name_of(day)}")
    return Kept(made, old)


async def list_days(conn: Connection) -> list[date]:
    """Return the days that have a partition, oldest first."""
    names = [_NAME.fullmatch(row["relname"]) for row in await conn.fetch(ALL_PARTITIONS)]
    return [date(*map(int, match.groups())) for match in names if match is not None]


async def _make_day(conn: Connection, day: date) -> bool:
    name = name_of(day)
    if await conn.fetchval(IS_THERE, name):
        return False
    begin, end = (datetime.combine(each, time(), UTC).isoformat() for each in (day, day + timedelta(days=1)))
    async with conn.transaction():
        await conn.execute(TAKE_LOCK, LOCK_KEY)
        if await conn.fetchval(IS_THERE, name):
            return False
        await conn.execute(f"CREATE TABLE {name} (LIKE trail)")
        await conn.execute(f"ALTER TABLE trail ATTACH PARTITION {name} FOR VALUES FROM ('{begin}') TO ('{end}')")
    return True
