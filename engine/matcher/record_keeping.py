"""Keeps the records of decisions to their days and bytes."""

from dataclasses import dataclass
from typing import Final

from config.limits import COST_POLICY_KEPT_MS, DECISION_RECORD_SLOTS, DECISION_RECORDS_BYTES_MAX, TRAIL_DROP_LOCK_MS
from engine.core.database import Connection
from engine.core.units import ms_from_utc, utc_from_ms
from engine.matcher.record_days import Clearing, DayTable, what_to_clear

TABLES: Final = ("decision_record", "window_record")
SET_LOCK_TIMEOUT: Final = "SELECT set_config('lock_timeout', $1, true)"
FORGET_POLICIES: Final = "DELETE FROM cost_policy WHERE last_used_at < $1"
ORDERS: Final = {"decision_record": "dispatch_id", "window_record": "at"}


@dataclass(frozen=True, slots=True)
class Cleared:
    """What one round did: tables emptied, and rows deleted one by one."""

    tables: int
    rows: int


async def keep_records(conn: Connection, *, now_ms: int, kept_days: int) -> Cleared:
    """Delete what is too old or too much of both kinds of records, and the policies that none of them names any more.

    Each table is a transaction of its own, so that a round that is cut short is taken up by the next.

    Raises:
        asyncpg.LockNotAvailableError: somebody reads an old day for longer than `limits.TRAIL_DROP_LOCK_MS`; nothing
            waits behind it for longer than that.
    """
    tables = rows = 0
    for name in TABLES:
        found = [table for slot in range(DECISION_RECORD_SLOTS) if (table := await _table(conn, name, slot))]
        bytes_max = DECISION_RECORDS_BYTES_MAX // len(TABLES)
        clearing = what_to_clear(found, now_ms=now_ms, kept_days=kept_days, bytes_max=bytes_max)
        rows += await _clear(conn, name, clearing)
        tables += len(clearing.emptied)
    await conn.execute(FORGET_POLICIES, utc_from_ms(now_ms - COST_POLICY_KEPT_MS))
    return Cleared(tables, rows)


async def _table(conn: Connection, name: str, slot: int) -> DayTable | None:
    part = f"{name}_{slot:02}"
    ends = [
        await conn.fetchval(
            f"SELECT at FROM {part} WHERE day_slot = $1 ORDER BY {ORDERS[name]} {way} LIMIT 1",  # noqa: S608 - ours
            slot,
        )
        for way in ("ASC", "DESC")
    ]
    if None in ends:
        return None
    size = await conn.fetchval("SELECT pg_total_relation_size($1::text::regclass)", part)
    return DayTable(slot, ms_from_utc(ends[0]), ms_from_utc(ends[1]), size)


async def _clear(conn: Connection, name: str, clearing: Clearing) -> int:
    for slot in clearing.emptied:
        async with conn.transaction():
            await conn.execute(SET_LOCK_TIMEOUT, f"{TRAIL_DROP_LOCK_MS}ms")
            await conn.execute(f"TRUNCATE {name}_{slot:02}")
    rows = 0
    for slot in clearing.thinned:
        part = f"{name}_{slot:02}"
        said = await conn.execute(
            f"DELETE FROM {part} WHERE at < $1",  # noqa: S608 - our names
            utc_from_ms(clearing.before_ms),
        )
        rows += int(said.split()[1])
    return rows
