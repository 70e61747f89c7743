"""The writer on a real Postgres: days, races, outages, the limit, what is sent twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from uuid import UUID, uuid4

import asyncpg
import numpy as np
import pytest

from config.limits import (
    TRAIL_BATCH_FIXES_MAX,
    TRAIL_CHUNK_PAUSE_MS,
    TRAIL_FLUSH_MS,
    TRAIL_RETRY_MS,
    TRAIL_TICK_MS,
)
from engine.core.database import Connection
from engine.core.errors import Unavailable
from engine.core.ids import OrgId
from engine.core.units import MS_PER_DAY, utc_from_ms
from engine.geo.fixes import FIX, UNKNOWN_U16, FixArray
from engine.geo.trail_partitions import list_days, make_days
from engine.geo.trail_store import FIXES, TrailWriter
from tests.fakes import ManualClock

pytestmark = pytest.mark.integration

ORG = OrgId(UUID(int=77))
SLOT = 5


class Line:
    """A line to Postgres that the test can cut before the work, or after it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.is_cut = False
        self.loses_the_answer = False
        self.lent = 0

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        self.lent += 1
        if self.is_cut:
            raise Unavailable
        async with self._pool.acquire() as conn:
            yield conn
        if self.loses_the_answer:
            raise Unavailable


class CountingClock(ManualClock):
    """Time that passes at once; `pauses` are the milliseconds that somebody asked for."""

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self.pauses: list[float] = []

    async def sleep_ms(self, ms: float) -> None:
        self.pauses.append(ms)
        await asyncio.sleep(0)


@pytest.fixture
async def line(pool: asyncpg.Pool, clock: ManualClock) -> Line:
    await employ(pool, SLOT, clock)
    return Line(pool)


async def employ(pool: asyncpg.Pool, slot: int, clock: ManualClock) -> None:
    at, region_id, worker_id = utc_from_ms(clock.now_ms()), uuid4(), uuid4()
    await pool.execute("INSERT INTO org VALUES ($1, 'Test', $2) ON CONFLICT DO NOTHING", ORG, at)
    await pool.execute("INSERT INTO region VALUES ($1, $2, 'City', 'PT', 'UTC', 0, 0)", region_id, ORG)
    await pool.execute(
        """INSERT INTO person (person_id, org_id, region_id, role, full_name, tokens_valid_after, tz, created_at)
           VALUES ($1, $2, $3, 'worker', 'Somebody', $4, 'UTC', $4)""",
        worker_id,
        ORG,
        region_id,
        at,
    )
    await pool.execute("INSERT INTO worker (worker_id, slot, updated_at) VALUES ($1, $2, $3)", worker_id, slot, at)


@pytest.fixture
def writer(line: Line, clock: ManualClock) -> TrailWriter:
    return a_writer(line, clock)


def a_writer(line: Line, clock: ManualClock, **options: int) -> TrailWriter:
    return TrailWriter(line.lend, clock=clock, **options)


def fixes_at(*times_ms: int) -> tuple[FixArray, np.ndarray]:
    fixes = np.zeros(len(times_ms), FIX)
    fixes["ts_ms"] = times_ms
    fixes["lat_e7"], fixes["lng_e7"] = 411_500_000, -86_100_000
    fixes["accuracy_dm"], fixes["speed_cm_s"], fixes["heading_cdeg"] = 50, UNKNOWN_U16, 9_000
    return fixes, np.full(len(times_ms), SLOT)


async def stored_ms(pool: asyncpg.Pool) -> list[int]:
    rows = await pool.fetch("SELECT (extract(epoch FROM at) * 1000)::bigint AS at_ms FROM trail ORDER BY at")
    return [row["at_ms"] for row in rows]


def outcome(name: str) -> float:
    return FIXES.labels(name)._value.get()


async def test_a_row_is_the_fix(pool: asyncpg.Pool, writer: TrailWriter, clock: ManualClock) -> None:
    writer.keep(*fixes_at(clock.now_ms() + 7))
    assert await writer.flush()
    row = await pool.fetchrow("SELECT * FROM trail")
    assert dict(row) == {
        "at": datetime.fromtimestamp(clock.now_ms() / 1000, UTC).replace(microsecond=7_000),
        "org_id": ORG,
        "slot": SLOT,
        "lat_e7": 411_500_000,
        "lng_e7": -86_100_000,
        "accuracy_dm": 50,
        "speed_cm_s": -1,
        "heading_ddeg": 900,
    }


async def test_a_batch_across_midnight_makes_both_days(
    pool: asyncpg.Pool, writer: TrailWriter, clock: ManualClock
) -> None:
    midnight_ms = clock.now_ms() // MS_PER_DAY * MS_PER_DAY
    writer.keep(*fixes_at(midnight_ms - 1, midnight_ms))
    assert await writer.flush()
    assert await list_days(pool) == [date(2023, 11, 13), date(2023, 11, 14)]
    counts = [await pool.fetchval(f"SELECT count(*) FROM trail_{name}") for name in ("20231113", "20231114")]
    assert counts == [1, 1]


async def test_writers_that_miss_the_same_day_make_it_once(pool: asyncpg.Pool, line: Line, clock: ManualClock) -> None:
    writers = [a_writer(line, clock) for _ in range(8)]
    for number, writer in enumerate(writers):
        writer.keep(*fixes_at(clock.now_ms() + number))
    assert await asyncio.gather(*(writer.flush() for writer in writers)) == [True] * 8
    assert len(await stored_ms(pool)) == 8


async def test_only_one_of_those_who_make_a_day_has_made_it(pool: asyncpg.Pool) -> None:
    async def make() -> int:
        async with pool.acquire() as conn:
            return len(await make_days(conn, {date(2026, 1, 31)}))

    assert sum(await asyncio.gather(*(make() for _ in range(8)))) == 1


async def test_a_day_dropped_behind_the_writers_back_is_made_again(
    pool: asyncpg.Pool, writer: TrailWriter, clock: ManualClock
) -> None:
    writer.keep(*fixes_at(clock.now_ms()))
    assert await writer.flush()
    await pool.execute("DROP TABLE trail_20231114")
    writer.keep(*fixes_at(clock.now_ms() + 1))
    assert await writer.flush()
    assert await stored_ms(pool) == [clock.now_ms() + 1]


async def test_fixes_of_nobodys_slot_are_not_kept(pool: asyncpg.Pool, writer: TrailWriter, clock: ManualClock) -> None:
    fixes, slots = fixes_at(clock.now_ms(), clock.now_ms() + 1)
    slots[0], before = 4_000, outcome("nobodys")
    writer.keep(fixes, slots)
    assert await writer.flush()
    assert outcome("nobodys") - before == 1
    assert await stored_ms(pool) == [clock.now_ms() + 1]
    await employ(pool, 4_000, clock)
    writer.keep(fixes, slots)
    assert await writer.flush()
    assert await stored_ms(pool) == [clock.now_ms(), clock.now_ms() + 1]


async def test_what_waits_through_an_outage_is_stored_afterwards(
    pool: asyncpg.Pool, line: Line, writer: TrailWriter, clock: ManualClock
) -> None:
    line.is_cut = True
    writer.keep(*fixes_at(clock.now_ms()))
    assert not await writer.flush()
    writer.keep(*fixes_at(clock.now_ms() + 1))
    assert not await writer.flush()
    assert len(writer) == 2
    line.is_cut = False
    assert await writer.flush()
    assert (len(writer), await stored_ms(pool)) == (0, [clock.now_ms(), clock.now_ms() + 1])


async def test_a_commit_whose_answer_was_lost_is_not_stored_twice(
    pool: asyncpg.Pool, line: Line, writer: TrailWriter, clock: ManualClock
) -> None:
    line.loses_the_answer = True
    writer.keep(*fixes_at(clock.now_ms(), clock.now_ms() + 1))
    assert not await writer.flush()
    assert len(await stored_ms(pool)) == 2
    line.loses_the_answer = False
    writer.keep(*fixes_at(clock.now_ms() + 1, clock.now_ms() + 2))
    assert await writer.flush()
    assert await stored_ms(pool) == [clock.now_ms() + number for number in range(3)]


async def test_beyond_the_limit_the_oldest_are_dropped_and_counted(
    pool: asyncpg.Pool, line: Line, clock: ManualClock
) -> None:
    before = outcome("dropped")
    writer, line.is_cut = a_writer(line, clock, fixes_max=10), True
    for number in range(15):
        writer.keep(*fixes_at(clock.now_ms() + number))
    assert (len(writer), outcome("dropped") - before) == (10, 5)
    line.is_cut = False
    assert await writer.flush()
    assert await stored_ms(pool) == [clock.now_ms() + number for number in range(5, 15)]


async def test_more_than_a_batch_goes_in_several(pool: asyncpg.Pool, line: Line, clock: ManualClock) -> None:
    writer = a_writer(line, CountingClock(clock.now_ms()))
    count, before = TRAIL_BATCH_FIXES_MAX + 3, outcome("stored")
    writer.keep(*fixes_at(*range(clock.now_ms(), clock.now_ms() + count)))
    assert await writer.flush()
    assert await pool.fetchval("SELECT count(*) FROM trail") == count
    assert outcome("stored") - before == count


async def test_the_loop_writes_by_time_or_by_size_and_tries_again(line: Line, clock: ManualClock) -> None:
    writer, line.is_cut = a_writer(line, clock), True
    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(writer.run())
        writer.keep(*fixes_at(clock.now_ms()))
        await clock.advance_ms(TRAIL_FLUSH_MS - 1)
        assert line.lent == 0
        await clock.advance_ms(1)
        assert line.lent == 1
        await clock.advance_ms(TRAIL_RETRY_MS)
        assert line.lent == 2
        loop.cancel()
    async with asyncio.TaskGroup() as tasks:
        full = a_writer(line, clock)
        loop = tasks.create_task(full.run())
        full.keep(*fixes_at(*range(1, TRAIL_BATCH_FIXES_MAX + 1)))
        await clock.advance_ms(TRAIL_TICK_MS)
        assert line.lent == 3
        loop.cancel()


async def test_the_end_of_the_process_stores_what_waits(
    pool: asyncpg.Pool, writer: TrailWriter, clock: ManualClock
) -> None:
    writer.keep(*fixes_at(clock.now_ms()))
    await writer.drain()
    assert len(await stored_ms(pool)) == 1


async def test_a_stop_in_the_middle_of_a_copy_neither_loses_nor_doubles(
    pool: asyncpg.Pool, line: Line, clock: ManualClock
) -> None:
    """Cancelled at whichever point the race comes to: the batch is still there, and what was stored stays once."""
    for number in range(20):
        writer = a_writer(line, CountingClock(clock.now_ms()))
        first_ms = clock.now_ms() + 1_000 * number
        writer.keep(*fixes_at(*range(first_ms, first_ms + 500)))
        async with asyncio.TaskGroup() as tasks:
            flush = tasks.create_task(writer.flush())
            await asyncio.sleep(number * 0.0005)
            flush.cancel()
        await writer.drain()
        assert len(writer) == 0
    assert await pool.fetchval("SELECT count(*) FROM trail") == 20 * 500


async def test_a_stopping_process_does_not_wait_for_a_postgres_that_hangs(
    pool: asyncpg.Pool, writer: TrailWriter, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.geo.trail_store.TRAIL_DRAIN_MS", 50)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("LOCK TABLE trail IN ACCESS EXCLUSIVE MODE")
        writer.keep(*fixes_at(clock.now_ms()))
        await writer.drain()
        assert len(writer) == 1


async def test_a_batch_leaves_pauses_to_others_unless_the_next_one_waits_already(
    pool: asyncpg.Pool, line: Line, clock: ManualClock
) -> None:
    counting = CountingClock(clock.now_ms())
    writer = a_writer(line, counting)
    writer.keep(*fixes_at(*range(clock.now_ms() - 2 * TRAIL_BATCH_FIXES_MAX, clock.now_ms())))
    assert await writer.flush()
    assert await pool.fetchval("SELECT count(*) FROM trail") == 2 * TRAIL_BATCH_FIXES_MAX
    assert set(counting.pauses) == {TRAIL_CHUNK_PAUSE_MS}
    alone = len(counting.pauses)
    counting.pauses.clear()
    writer.keep(
        *fixes_at(*range(clock.now_ms() - 3 * TRAIL_BATCH_FIXES_MAX, clock.now_ms() - 2 * TRAIL_BATCH_FIXES_MAX))
    )
    assert await writer.flush()
    assert len(counting.pauses) == alone, "of the two batches only the last one paused"
