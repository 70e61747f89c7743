"""The matcher and the keeper as programs: ready when they can work, gone when told, working on after kill -9."""

import asyncio

import asyncpg
import pytest
from redis.asyncio import Redis

from clenzy.ports import any_free
from engine.core.clock import SystemClock
from engine.core.vocabulary import BookingState
from tests.integration.matcher.processes import START_S, running
from tests.integration.matcher.town import Town

pytestmark = pytest.mark.integration


async def test_a_killed_matcher_is_replaced_by_the_next(pool: asyncpg.Pool, database_url: str, redis: Redis, redis_url):
    town = await Town(pool, redis, SystemClock()).found()
    worker = await town.add_worker(0.5)
    urls = {"database_url": database_url, "redis_url": redis_url}
    async with running("engine.run_matcher", **urls) as first:
        await first.until_checks(database=True, redis=True, kernels=True)
        first.process.kill()
        await first.process.wait()
    booking_id = await town.book()
    # In the same place, as the supervisor starts it: it does not wait for the lease of the one before.
    async with running("engine.run_matcher", port=first.port, **urls) as second:
        for _ in range(START_S * 20):
            await town.place(worker, 0.5)
            if await town.state(booking_id) is BookingState.OFFERED:
                break
            await asyncio.sleep(0.05)
        assert (await town.asked(booking_id)).person_id == worker.person_id
        assert await second.stop() == 0


async def test_a_matcher_without_stores_waits_for_them(database_url: str):
    nowhere = f"redis://127.0.0.1:{any_free()}/0"
    async with running("engine.run_matcher", database_url=database_url, redis_url=nowhere) as program:
        await program.until_checks(database=True, redis=False, kernels=True)
        assert not (await program.report())["ready"]
        assert await program.stop() == 0


async def test_the_keeper_starts_and_stops(database_url: str, redis_url: str):
    async with running("engine.run_keeper", database_url=database_url, redis_url=redis_url) as program:
        await program.until_checks(database=True)
        assert await program.stop() == 0
