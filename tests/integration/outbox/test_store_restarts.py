"""Both stores go and come back under a running relay: every event, in order, under the number that it was given."""

import asyncio
import secrets
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from clenzy.child import store_account
from clenzy.migrations import migrate
from clenzy.ports import any_free
from clenzy.stores.home import store_home
from clenzy.stores.postgres import Postgres
from clenzy.stores.redis import Redis as RedisServer
from engine.core.clock import SystemClock
from engine.outbox.relay import Relay
from tests.integration.gateway.harness import eventually
from tests.integration.outbox.conftest import ear, take_fresh, tell
from tests.servers import running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

EVENTS = 5


@pytest.fixture
def home_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


async def test_postgres_is_killed_and_comes_back(home_folder: Path, redis: Redis):
    """A number that was published is never given to another event, whatever a crash of Postgres takes with it.

    Nor is what was published forgotten, although its own commit waited for no disk.
    """
    home = store_home(home_folder, store_account())
    server = Postgres(home, password=secrets.token_urlsafe(16), port=any_free(), durable=True)
    server.prepare()
    log = home.folder / "postgres.log"
    async with ear(redis) as heard, asyncio.TaskGroup() as tasks:
        with running(server.command(), server.answers, log) as postgres:
            await asyncio.to_thread(migrate, server.url)
            pool = await asyncpg.create_pool(server.url, min_size=0, max_size=4, command_timeout=5)
            relaying = tasks.create_task(Relay(pool=pool, redis=redis, clock=SystemClock()).run())
            await tell(pool, first=0, count=EVENTS, waits_for_disk=False)
            assert await take_fresh(heard, EVENTS - 1) == list(range(EVENTS))
            postgres.kill()
        server.prepare()
        with running(server.command(), server.answers, log):
            conn = await asyncpg.connect(server.url)
            published = await conn.fetch("SELECT seq FROM outbox ORDER BY event_id")
            assert [row["seq"] for row in published] == list(range(1, EVENTS + 1))
            await conn.close()
            await _tell_again(pool)
            assert (await take_fresh(heard, 2 * EVENTS - 1))[-EVENTS:] == list(range(EVENTS, 2 * EVENTS))
            relaying.cancel()
            await asyncio.wait([relaying])
            pool.terminate()


async def test_redis_is_killed_and_comes_back_empty(home_folder: Path, pool: asyncpg.Pool):
    home = store_home(home_folder, store_account())
    server = RedisServer(home, password=secrets.token_urlsafe(16), port=any_free())
    server.prepare()
    log = home.folder / "redis.log"
    client = Redis.from_url(server.url, protocol=2, socket_timeout=2)
    async with asyncio.TaskGroup() as tasks:
        with running(server.command(), server.answers, log) as redis:
            relaying = tasks.create_task(Relay(pool=pool, redis=client, clock=SystemClock()).run())
            async with ear(client) as heard:
                await tell(pool, first=0, count=EVENTS)
                assert await take_fresh(heard, EVENTS - 1) == list(range(EVENTS))
            redis.kill()
        await tell(pool, first=EVENTS, count=EVENTS)
        with running(server.command(), server.answers, log):
            all_told = "SELECT NOT EXISTS (SELECT FROM outbox WHERE published_at IS NULL)"
            await eventually(lambda: pool.fetchval(all_told), timeout_s=20)
            async with ear(client) as heard:
                await tell(pool, first=2 * EVENTS, count=1)
                assert await take_fresh(heard, 2 * EVENTS) == [2 * EVENTS]
            relaying.cancel()
            await asyncio.wait([relaying])
    await client.aclose()
    rows = await pool.fetch("SELECT seq, (body->>'n')::int AS n FROM outbox ORDER BY event_id")
    assert [(row["seq"], row["n"]) for row in rows] == [(n + 1, n) for n in range(2 * EVENTS + 1)]


async def _tell_again(pool: asyncpg.Pool) -> None:
    """Commit the second half; the pool's old connections end with an error first."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await tell(pool, first=EVENTS, count=EVENTS)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await asyncio.sleep(0.05)
