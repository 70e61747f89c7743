"""The matcher and the keeper as programs: ready when they can work, gone when told, working on after kill -9."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import asyncpg
import pytest
from redis.asyncio import Redis

from clenzy.ports import any_free
from config.limits import STOP_TIMEOUT_MS
from engine.core.clock import SystemClock
from engine.core.vocabulary import BookingState
from tests.integration.matcher.town import Town

pytestmark = pytest.mark.integration

START_S = 40


class Program:
    """A process of ours with its health port."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self._port = port

    async def report(self) -> dict:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self._port}/readyz") as answer:
            return await answer.json()

    async def until_checks(self, **expected: bool) -> None:
        for _ in range(START_S * 20):
            assert self.process.returncode is None, "the program ended"
            try:
                checks = (await self.report())["checks"]
            except aiohttp.ClientError:
                checks = {}
            if expected.items() <= {name: check["ok"] for name, check in checks.items()}.items():
                return
            await asyncio.sleep(0.05)
        pytest.fail(f"not within {START_S} s: {expected}, but {checks}")

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_TIMEOUT_MS / 1000):
            return await self.process.wait()


@asynccontextmanager
async def running(module: str, *, database_url: str, redis_url: str) -> AsyncIterator[Program]:
    port = any_free()
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "CLENZY_OPS_PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield Program(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_killed_matcher_is_replaced_by_the_next(pool: asyncpg.Pool, database_url: str, redis: Redis, redis_url):
    town = await Town(pool, redis, SystemClock()).found()
    worker = await town.add_worker(0.5)
    urls = {"database_url": database_url, "redis_url": redis_url}
    async with running("engine.run_matcher", **urls) as first:
        await first.until_checks(database=True, redis=True, kernels=True)
        first.process.kill()
        await first.process.wait()
    booking_id = await town.book()
    async with running("engine.run_matcher", **urls) as second:
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
