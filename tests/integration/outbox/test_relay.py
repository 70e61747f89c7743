"""The outbox reaches Redis: in order, once per event in fair weather, at least once in foul."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from config.limits import RELAY_BATCH_MAX
from engine.core.clock import SystemClock
from engine.outbox.events import append_event
from engine.outbox.relay import RELAY_LOCK, Relay

pytestmark = pytest.mark.integration

WAIT_S = 15


@pytest.fixture
def relay(pool: asyncpg.Pool, redis: Redis) -> Relay:
    return Relay(pool=pool, redis=redis, clock=SystemClock())


@pytest.fixture
async def heard(redis: Redis) -> AsyncIterator["asyncio.Queue[tuple[str, dict]]"]:
    """Everything published on any `fan:` channel, in order."""
    queue: asyncio.Queue[tuple[str, dict]] = asyncio.Queue()
    subscribed = asyncio.Event()

    async def listen() -> None:
        async with redis.pubsub() as pubsub:
            await pubsub.psubscribe("fan:*")
            async for message in pubsub.listen():
                if message["type"] == "psubscribe":
                    subscribed.set()
                else:
                    await queue.put((message["channel"].decode(), orjson.loads(message["data"])))

    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listen())
        await subscribed.wait()
        yield queue
        listening.cancel()


async def tell(pool: asyncpg.Pool, *, first: int, count: int, topic: str = "user:a") -> None:
    async with pool.acquire() as conn, conn.transaction():
        for number in range(first, first + count):
            await append_event(conn, topic=topic, kind="test", body={"n": number}, now_ms=SystemClock().now_ms())


async def take(heard: "asyncio.Queue[tuple[str, dict]]", count: int) -> list[tuple[str, dict]]:
    async with asyncio.timeout(WAIT_S):
        return [await heard.get() for _ in range(count)]


async def test_publishes_what_was_committed_to_its_channel(pool: asyncpg.Pool, relay: Relay, heard):
    await tell(pool, first=0, count=1, topic="desk:x")
    assert await relay.relay_batch() == 1
    ((channel, event),) = await take(heard, 1)
    assert channel == "fan:desk:x"
    assert (event["kind"], event["body"]) == ("test", {"n": 0})
    assert event["event_id"] == await pool.fetchval("SELECT event_id FROM outbox WHERE published_at IS NOT NULL")
    assert await relay.relay_batch() == 0


async def test_a_backlog_goes_out_in_order_and_in_batches(pool: asyncpg.Pool, relay: Relay, heard):
    await tell(pool, first=0, count=RELAY_BATCH_MAX + 7)
    assert [await relay.relay_batch() for _ in range(3)] == [RELAY_BATCH_MAX, 7, 0]
    events = await take(heard, RELAY_BATCH_MAX + 7)
    assert [event["body"]["n"] for _, event in events] == list(range(RELAY_BATCH_MAX + 7))


async def test_two_relays_keep_one_order(pool: asyncpg.Pool, redis: Redis, relay: Relay, heard):
    other = Relay(pool=pool, redis=redis, clock=SystemClock())
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each.run()) for each in (relay, other)]
        for start in range(0, 200, 5):
            await tell(pool, first=start, count=5)
        events = await take(heard, 200)
        for each in running:
            each.cancel()
    assert [event["body"]["n"] for _, event in events] == list(range(200))
    assert heard.empty(), "published once"


async def test_a_relay_waits_for_its_turn(pool: asyncpg.Pool, relay: Relay):
    await tell(pool, first=0, count=1)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock($1)", RELAY_LOCK)
        assert await relay.relay_batch() == 0
    assert await relay.relay_batch() == 1


async def test_nothing_is_lost_while_redis_is_away(pool: asyncpg.Pool, redis: Redis, relay: Relay, heard):
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(relay.run())
        await tell(pool, first=0, count=1)
        await take(heard, 1)
        nowhere = Redis(host="127.0.0.1", port=1)
        relay._redis = nowhere
        with pytest.raises(RedisConnectionError):
            await nowhere.ping()
        await tell(pool, first=1, count=3)
        relay._redis = redis
        events = await take(heard, 3)
        running.cancel()
    await nowhere.aclose()
    assert [event["body"]["n"] for _, event in events] == [1, 2, 3]


async def test_an_event_not_marked_is_published_again(pool: asyncpg.Pool, relay: Relay, heard):
    """As after a kill between publishing and committing."""
    await tell(pool, first=0, count=1)
    await relay.relay_batch()
    await pool.execute("UPDATE outbox SET published_at = NULL")
    await relay.relay_batch()
    (_, first), (_, second) = await take(heard, 2)
    assert first == second
