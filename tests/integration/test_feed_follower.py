"""A mirror that follows a real Redis holds what the index holds, whatever becomes of the messages."""

import asyncio
import secrets
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from redis.asyncio import Redis

from clenzy.child import store_account
from clenzy.ports import any_free
from clenzy.stores.home import store_home
from clenzy.stores.redis import Redis as RedisServer
from config.limits import SLAB_PAGE_SLOTS
from engine.core.clock import SystemClock
from engine.core.redis_store import RedisClient
from engine.geo import mirror as mirror_module
from engine.geo import mirror_kernels as kernels
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cells_of
from engine.geo.feed_follower import FeedFollower
from engine.geo.fixes import RECORD
from engine.geo.mirror import Mirror
from tests.servers import running

pytestmark = pytest.mark.integration

SLOTS = 3 * SLAB_PAGE_SLOTS
UNTIL_S = 20


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    mirror_module.warm_up()


class Fleet:
    """Workers who move, and go off duty."""

    def __init__(self, redis: RedisClient, seed: int = 1) -> None:
        self.index = CellIndex(redis)
        self.random = np.random.default_rng(seed)
        self.ts_ms = 1_000

    async def move(self, n: int = 50) -> None:
        self.ts_ms += 1
        records = np.zeros(n, RECORD)
        records["ts_ms"] = self.ts_ms
        records["lat_e7"] = 411_500_000 + self.random.integers(-400_000, 400_000, n)
        records["lng_e7"] = -86_100_000 + self.random.integers(-400_000, 400_000, n)
        records["cell"] = cells_of(records["lat_e7"], records["lng_e7"])
        slots = np.sort(self.random.choice(SLOTS, n, replace=False))
        await self.index.move(slots, records)
        await self.index.remove(slots[:3].tolist())


async def drift(redis: RedisClient, mirror: Mirror) -> int:
    """Count the slots about which the mirror is wrong."""
    slots, records = await CellIndex(redis).all_records()
    expected = np.zeros(SLOTS, RECORD)
    for name in ("ts_ms", "lat_e7", "lng_e7"):
        expected[name][slots] = records[name]
    expected["cell"][slots] = 1
    return int(np.count_nonzero(mirror.places(np.arange(SLOTS)) != expected))


async def until_equal(redis: RedisClient, mirror: Mirror, follower: FeedFollower) -> None:
    async with asyncio.timeout(UNTIL_S):
        while not follower.is_whole or await drift(redis, mirror):  # noqa: ASYNC110 - Redis tells nobody of it
            await asyncio.sleep(0.02)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(UNTIL_S):
        while not is_so():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


@asynccontextmanager
async def following(redis: RedisClient) -> AsyncIterator[tuple[Mirror, FeedFollower]]:
    mirror = Mirror()
    follower = FeedFollower(redis, CellIndex(redis), clock=SystemClock(), listener=mirror)
    task = asyncio.ensure_future(follower.run())
    try:
        async with asyncio.timeout(UNTIL_S):
            await follower.whole()
        yield mirror, follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_it_starts_with_what_is_there_and_follows_every_move(redis: Redis) -> None:
    fleet = Fleet(redis)
    await fleet.move(500)
    async with following(redis) as (mirror, follower):
        assert len(mirror) == 497
        assert await drift(redis, mirror) == 0
        for _ in range(20):
            await fleet.move()
        await until_equal(redis, mirror, follower)


async def test_nothing_is_compiled_while_messages_come(redis: Redis) -> None:
    """An array of another kind, read-only for one, would compile a kernel anew and stop the loop for a second."""
    compiled = [each.signatures for each in (kernels.place, kernels.remove)]
    fleet = Fleet(redis)
    async with following(redis) as (mirror, follower):
        for n in (500, 3, 4, 3, 4):
            await fleet.move(n)
            await until_equal(redis, mirror, follower)
    assert [each.signatures for each in (kernels.place, kernels.remove)] == compiled


async def test_it_follows_a_cluster_as_it_does_one_redis(either_redis: RedisClient) -> None:
    fleet = Fleet(either_redis)
    await fleet.move(500)
    async with following(either_redis) as (mirror, follower):
        assert await drift(either_redis, mirror) == 0
        for _ in range(20):
            await fleet.move()
        await until_equal(either_redis, mirror, follower)
        assert len(mirror) > 497


async def test_it_starts_while_others_write(redis: Redis) -> None:
    fleet = Fleet(redis)
    is_done = asyncio.Event()

    async def write() -> None:
        while not is_done.is_set():
            await fleet.move()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        async with following(redis) as (mirror, follower):
            for _ in range(5):
                await redis.client_kill_filter(_type="pubsub")
                await until(lambda: not follower.is_whole)
                await follower.whole()
            is_done.set()
            await until_equal(redis, mirror, follower)


async def test_a_killed_subscription_costs_a_read_of_every_page(redis: Redis) -> None:
    fleet = Fleet(redis)
    await fleet.move(500)
    async with following(redis) as (mirror, follower):
        await redis.client_kill_filter(_type="pubsub")
        await until(lambda: not follower.is_whole)
        await fleet.move(500)
        await until_equal(redis, mirror, follower)


async def test_a_lost_message_shows_at_the_next_one(redis: Redis) -> None:
    """Lost: the page's counter is moved on, as a message that reached nobody would leave it."""
    fleet = Fleet(redis)
    await fleet.move(500)
    async with following(redis) as (mirror, follower):
        for page in await fleet.index.pages():
            found = await fleet.index.page(page)
            silent = Redis.from_url(url_of(redis), protocol=2)
            key = f"geo:{{slab:{page}}}"
            # What a writer does, but for the message: a worker is taken out of the page and the counter goes on.
            row = 16 + int(found.slots[0] % SLAB_PAGE_SLOTS) * 32
            await silent.setrange(key, row + 8, bytes(24))
            await silent.setrange(key, 8, struct.pack("<Q", found.seq + 1))
            await silent.aclose()
        assert await drift(redis, mirror) > 0
        for _ in range(5):
            await fleet.move(100)
        await until_equal(redis, mirror, follower)


async def test_a_forged_or_garbled_message_changes_nothing_for_long(redis: Redis) -> None:
    fleet = Fleet(redis)
    await fleet.move(500)
    async with following(redis) as (mirror, follower):
        found = await fleet.index.page(0)
        move = struct.pack("<I", int(found.slots[0])) + bytes(32)
        await redis.publish("geo:feed:0", struct.pack("<QQ", found.epoch, found.seq + 7) + move)
        await redis.publish("geo:feed:0", b"nonsense")
        await redis.publish("geo:feed:0", struct.pack("<QQ", found.epoch ^ 1, 1) + move)
        await fleet.move()
        await until_equal(redis, mirror, follower)


async def test_a_flushed_redis_leaves_nobody_on_the_map(redis: Redis) -> None:
    fleet = Fleet(redis)
    await fleet.move(500)
    async with following(redis) as (mirror, follower):
        await redis.flushall()
        await fleet.move(100)
        await until_equal(redis, mirror, follower)
        assert len(mirror) == 97


@pytest.mark.parametrize("is_empty", [True, False])
async def test_a_redis_that_comes_back_is_followed_again(tmp_path: Path, is_empty: bool) -> None:
    server = RedisServer(store_home(tmp_path, store_account()), password=secrets.token_urlsafe(16), port=any_free())
    server.prepare()
    redis: Redis = Redis.from_url(server.url, protocol=2, socket_timeout=2)
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(running(server.command(), server.answers, tmp_path / "log"))
        fleet = Fleet(redis)
        await fleet.move(500)
        async with following(redis) as (mirror, follower):
            if is_empty:
                await redis.flushall()
            else:
                await redis.save()
                await fleet.move(100)
            await asyncio.to_thread(first.close)
            await until(lambda: not follower.is_whole)
            assert len(mirror) > 400, "where somebody was last is all that is known while Redis is away"
            await asyncio.to_thread(second.enter_context, running(server.command(), server.answers, tmp_path / "log"))
            await fleet.move(10)
            await until_equal(redis, mirror, follower)
            assert (len(mirror) < 20) is is_empty
        await redis.aclose()


def url_of(redis: Redis) -> str:
    kwargs = redis.connection_pool.connection_kwargs
    return f"redis://:{kwargs['password']}@{kwargs['host']}:{kwargs['port']}/0"
