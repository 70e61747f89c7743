"""The keeper makes the days of the trail ahead and drops those that are too old, however it was stopped before."""

from datetime import date, timedelta

import asyncpg
import pytest

from config.limits import TRAIL_DAYS_AHEAD
from engine.core.units import MS_PER_DAY
from engine.geo.trail_partitions import list_days, make_days, name_of
from engine.run_keeper import TrailKeeper
from tests.fakes import ManualClock

pytestmark = pytest.mark.integration

TODAY = date(2023, 11, 14)
KEPT_DAYS = 30
AHEAD = [TODAY + timedelta(days=ahead) for ahead in range(TRAIL_DAYS_AHEAD + 1)]


@pytest.fixture
def keeper(pool: asyncpg.Pool, clock: ManualClock) -> TrailKeeper:
    return TrailKeeper(pool=pool, clock=clock, fix_clock=clock, kept_days=KEPT_DAYS)


async def days_exist(pool: asyncpg.Pool, *days: date) -> None:
    async with pool.acquire() as conn:
        await make_days(conn, days)


async def test_today_and_the_days_ahead_are_made(pool: asyncpg.Pool, keeper: TrailKeeper, clock: ManualClock) -> None:
    assert (await keeper.run_once()).made == AHEAD
    assert (await keeper.run_once()).made == []
    clock.step_ms(MS_PER_DAY)
    assert (await keeper.run_once()).made == [AHEAD[-1] + timedelta(days=1)]
    assert await list_days(pool) == [*AHEAD, AHEAD[-1] + timedelta(days=1)]


async def test_days_beyond_the_setting_go_and_the_others_stay(pool: asyncpg.Pool, keeper: TrailKeeper) -> None:
    kept, old = TODAY - timedelta(days=KEPT_DAYS), TODAY - timedelta(days=KEPT_DAYS + 1)
    very_old = TODAY - timedelta(days=400)
    await days_exist(pool, kept, old, very_old)
    await pool.execute(
        "INSERT INTO trail SELECT at, gen_random_uuid(), 1, 0, 0, 0, 0, 0 FROM unnest($1::date[]) AS at",
        [kept, old, very_old],
    )
    assert (await keeper.run_once()).dropped == [very_old, old]
    assert await list_days(pool) == [kept, *AHEAD]
    assert await pool.fetchval("SELECT count(*) FROM trail") == 1


async def test_a_day_that_is_being_read_is_dropped_in_a_later_round(
    pool: asyncpg.Pool, keeper: TrailKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.geo.trail_partitions.TRAIL_DROP_LOCK_MS", 20)
    old = [TODAY - timedelta(days=KEPT_DAYS + days) for days in (2, 1)]
    await days_exist(pool, *old)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(f"SELECT FROM {name_of(old[1])}")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await keeper.run_once()
    assert await list_days(pool) == [old[1], *AHEAD]
    assert (await keeper.run_once()).dropped == [old[1]]


async def test_a_table_of_somebody_elses_is_left_alone(pool: asyncpg.Pool, keeper: TrailKeeper) -> None:
    await pool.execute("CREATE TABLE trail_20010101 (note text)")
    await keeper.run_once()
    assert await pool.fetchval("SELECT to_regclass('trail_20010101') IS NOT NULL")
