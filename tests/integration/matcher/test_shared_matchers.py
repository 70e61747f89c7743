"""Three matchers as programs, of which one is killed, one is stopped midway and one is told to stop."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from redis.asyncio import Redis

from config.limits import REGION_TAKEOVER_MS_MAX
from engine.core.clock import SystemClock
from engine.core.errors import Conflict
from engine.core.ids import BookingId
from engine.matcher.offer_answers import answer_offer
from engine.people.sealing import Sealing
from tests.integration.matcher.processes import Program, running
from tests.integration.matcher.town import Town

pytestmark = pytest.mark.integration

TOWNS_KM = (0, 40, 80, 120, 160)
WORKERS_A_TOWN = 10
BOOK_S = 0.6
BUSY = 3
"""The machine may be this much slower than one that has nothing else to do."""
PATIENCE_S = 60


class Country:
    """Towns out of each other's reach, where people book all the time and workers say yes."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self.bookings: list[BookingId] = []

    async def settle(self) -> None:
        for north_km in TOWNS_KM:
            for _ in range(WORKERS_A_TOWN):
                await self._town.add_worker(north_km)

    @asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            work = [tasks.create_task(self._book()), tasks.create_task(self._answer())]
            yield
            work[0].cancel()
            await self.until(self._are_all_assigned, "every booking has its worker")
            work[1].cancel()

    async def holder(self, program: Program) -> UUID:
        """Who this program is among the holders."""
        found: UUID = await self._town.pool.fetchval(
            "SELECT matcher_id FROM matcher WHERE seat LIKE $1", f"%:{program.port}"
        )
        return found

    async def regions_of(self, holder: UUID) -> int:
        return int(await self._town.pool.fetchval("SELECT count(*) FROM match_region WHERE holder = $1", holder))

    async def until_holds(self, holder: UUID, is_right: Callable[[int], bool]) -> float:
        """Wait until the number of its regions is right; return the seconds that took."""
        since_s = time.monotonic()

        async def is_so() -> bool:
            return is_right(await self.regions_of(holder))

        await self.until(is_so, "regions changed hands")
        return time.monotonic() - since_s

    async def until(self, is_so, what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not await is_so():  # noqa: ASYNC110 - another program's state sends no event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"not in time: {what}")

    async def _are_all_assigned(self) -> bool:
        query = "SELECT count(*) FROM booking WHERE booking_id = ANY($1) AND state = 'assigned'"
        return bool(await self._town.pool.fetchval(query, self.bookings) == len(self.bookings))

    async def _book(self) -> None:
        while len(self.bookings) < WORKERS_A_TOWN * len(TOWNS_KM):
            north_km = TOWNS_KM[len(self.bookings) % len(TOWNS_KM)]
            self.bookings.append(await self._town.book(north_km=north_km))
            await asyncio.sleep(BOOK_S)

    async def _answer(self) -> None:
        while True:
            for row in await self._town.pool.fetch("SELECT offer_id, worker_id FROM offer WHERE state = 'open'"):
                async with self._town.pool.acquire() as conn:
                    worker, now_ms = self._town.workers[row["worker_id"]], self._town.clock.now_ms()
                    try:
                        await answer_offer(
                            conn, offer_id=row["offer_id"], worker=worker, accept=True, reason="", now_ms=now_ms
                        )
                    except Conflict:
                        continue  # withdrawn or expired in the meantime
            await asyncio.sleep(0.05)


@pytest.fixture
async def pool(database_url: str, sealing: Sealing) -> AsyncIterator[asyncpg.Pool]:
    """As everybody's, but patient: three matchers and a busy machine share its Postgres."""
    async with asyncpg.create_pool(
        database_url, min_size=1, max_size=8, command_timeout=PATIENCE_S, init=sealing.prepare
    ) as pool:
        yield pool


@pytest.mark.timeout(300)
async def test_matchers_that_are_killed_paused_or_stopped_lose_no_booking_and_give_none_to_two(
    pool: asyncpg.Pool, database_url: str, redis: Redis, redis_url: str, person_keys: Path
):
    country = Country(await Town(pool, redis, SystemClock()).found())
    settings = {
        "database_url": database_url,
        "redis_url": redis_url,
        "CLENZY_MATCHER_REGION_RESOLUTION": "6",
        "CLENZY_PERSON_KEYS_FILE": str(person_keys),
    }
    async with AsyncExitStack() as stack:
        programs = [await stack.enter_async_context(running("engine.run_matcher", **settings)) for _ in range(3)]
        await asyncio.gather(*(program.until_checks(kernels=True, regions=True) for program in programs))
        await country.settle()
        killed, paused, stopped = programs
        ids = [await country.holder(program) for program in programs]
        async with country.life():
            for holder in ids:
                await country.until_holds(holder, lambda regions: regions == (len(TOWNS_KM) + 1) // 3)
            killed.process.kill()
            paused.process.send_signal(signal.SIGSTOP)
            took_s = [await country.until_holds(holder, lambda regions: regions == 0) for holder in ids[:2]]
            assert await country.regions_of(ids[2]) == len(TOWNS_KM) + 1
            assert sum(took_s) * 1_000 <= BUSY * REGION_TAKEOVER_MS_MAX

            paused.process.send_signal(signal.SIGCONT)
            await country.until_holds(ids[1], lambda regions: regions == (len(TOWNS_KM) + 1) // 2)
            assert await stopped.stop(within_s=PATIENCE_S) == 0
            assert await country.regions_of(ids[2]) == 0
            assert await country.regions_of(ids[1]) == len(TOWNS_KM) + 1, "handed over, not waited for"
        assert await paused.stop(within_s=PATIENCE_S) == 0

    assert len(country.bookings) > len(TOWNS_KM)
    twice = await pool.fetch(
        """SELECT a.booking_id FROM offer a JOIN offer b ON b.booking_id = a.booking_id AND b.sent_at > a.sent_at
            WHERE a.state = 'accepted' OR b.sent_at < coalesce(a.answered_at, a.expires_at)"""
    )
    assert twice == [], "while one was asked, nobody else was"
    assert await pool.fetchval("SELECT count(*) - count(DISTINCT worker_id) FROM offer WHERE state = 'accepted'") == 0
