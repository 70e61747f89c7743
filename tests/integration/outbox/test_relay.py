"""The outbox reaches Redis under one order: once per event in fair weather, again under the same number in foul."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from config.limits import RELAY_BATCH_MAX
from engine.core.clock import SystemClock
from engine.core.database import POSTGRES_ERRORS
from engine.outbox.relay import RELAY_LOCK, Relay
from tests.integration.outbox.conftest import Heard, take, take_fresh, tell
from tests.integration.outbox.halting_relay import STEPS

pytestmark = pytest.mark.integration


@pytest.fixture
def relay(pool: asyncpg.Pool, redis: Redis) -> Relay:
    return Relay(pool=pool, redis=redis, clock=SystemClock())


async def relay_all(relay: Relay) -> list[int]:
    """Return the sizes of the batches until nothing is left."""
    async with relay.turn() as turn:
        assert turn is not None
        sizes = [await turn.relay_batch()]
        while sizes[-1]:
            sizes.append(await turn.relay_batch())
    return sizes


@asynccontextmanager
async def running(*relays: Relay):
    async with asyncio.TaskGroup() as tasks:
        loops = [tasks.create_task(each.run()) for each in relays]
        yield
        for each in loops:
            each.cancel()


async def test_publishes_what_was_committed_to_its_channel(pool: asyncpg.Pool, relay: Relay, heard: Heard):
    await tell(pool, first=0, count=1, topic="desk:x")
    assert await relay_all(relay) == [1, 0]
    ((channel, event),) = await take(heard, 1)
    assert channel == "fan:desk:x"
    assert (event["kind"], event["body"]) == ("test", {"n": 0})
    row = await pool.fetchrow("SELECT event_id, seq FROM outbox WHERE published_at IS NOT NULL")
    assert (event["event_id"], event["seq"]) == (row["event_id"], row["seq"])
    assert await relay_all(relay) == [0]


async def test_a_backlog_goes_out_in_order_and_in_batches(pool: asyncpg.Pool, relay: Relay, heard: Heard):
    await tell(pool, first=0, count=RELAY_BATCH_MAX + 7)
    assert await relay_all(relay) == [RELAY_BATCH_MAX, 7, 0]
    events = await take(heard, RELAY_BATCH_MAX + 7)
    assert [event["body"]["n"] for _, event in events] == list(range(RELAY_BATCH_MAX + 7))
    assert [event["seq"] for _, event in events] == list(range(1, RELAY_BATCH_MAX + 8))


async def test_a_number_is_never_given_twice_although_its_event_was_deleted(pool: asyncpg.Pool, relay: Relay):
    await tell(pool, first=0, count=3)
    await relay_all(relay)
    await pool.execute("UPDATE outbox_epoch SET floor_seq = 3")  # as the keeper does, in the statement that deletes
    await pool.execute("DELETE FROM outbox")
    await tell(pool, first=3, count=1)
    await relay_all(relay)
    assert await pool.fetchval("SELECT seq FROM outbox") == 4


async def test_who_commits_later_gets_the_higher_number(pool: asyncpg.Pool, relay: Relay):
    async with pool.acquire() as slow:
        transaction = slow.transaction()
        await transaction.start()
        insert = "INSERT INTO outbox (topic, kind, body, created_at) VALUES ('user:a', $1, '{}', '2026-01-01')"
        await slow.execute(insert, "slow")
        await pool.execute(insert, "quick")
        await relay_all(relay)
        await transaction.commit()
    await relay_all(relay)
    order = await pool.fetch("SELECT kind FROM outbox ORDER BY seq")
    assert [row["kind"] for row in order] == ["quick", "slow"]


async def test_two_relays_keep_one_order(pool: asyncpg.Pool, redis: Redis, relay: Relay, heard: Heard):
    async with running(relay, Relay(pool=pool, redis=redis, clock=SystemClock())):
        for start in range(0, 200, 5):
            await tell(pool, first=start, count=5)
        events = await take(heard, 200)
    assert [event["body"]["n"] for _, event in events] == list(range(200))
    assert heard.empty(), "published once"


async def test_a_relay_waits_for_its_turn(pool: asyncpg.Pool, relay: Relay):
    await tell(pool, first=0, count=1)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock($1)", RELAY_LOCK)  # as a relay of an earlier version holds it
        async with relay.turn() as turn:
            assert turn is None
    assert await relay_all(relay) == [1, 0]


async def test_a_relay_that_stands_still_loses_its_turn(
    pool: asyncpg.Pool, redis: Redis, relay: Relay, heard: Heard, monkeypatch: pytest.MonkeyPatch
):
    """And what it publishes when it wakes up are numbers that everybody is past."""
    await tell(pool, first=0, count=2)
    monkeypatch.setattr("engine.outbox.relay.RELAY_STALL_MS", 50)
    async with relay.turn() as still:
        assert still is not None
        rows = await still.number_batch()
        async with running(Relay(pool=pool, redis=redis, clock=SystemClock())):
            await tell(pool, first=2, count=1)
            assert await take_fresh(heard, 2) == [0, 1, 2]
        await still.publish(rows)
        assert [event["seq"] for _, event in await take(heard, 2)] == [1, 2]
        with pytest.raises(POSTGRES_ERRORS):
            await still.number_batch()


async def test_nothing_is_lost_while_redis_is_away(pool: asyncpg.Pool, relay: Relay, heard: Heard):
    await tell(pool, first=0, count=1)
    await relay_all(relay)
    await take(heard, 1)
    nowhere = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    blind = Relay(pool=pool, redis=nowhere, clock=SystemClock())
    await tell(pool, first=1, count=3)
    async with blind.turn() as turn:
        assert turn is not None
        with pytest.raises(RedisConnectionError):
            await turn.relay_batch()
    await nowhere.aclose()
    await tell(pool, first=4, count=1)
    async with running(relay):
        events = await take(heard, 4)
    assert [(event["seq"], event["body"]["n"]) for _, event in events] == [(2, 1), (3, 2), (4, 3), (5, 4)]


@pytest.mark.parametrize("last_step", STEPS)
async def test_a_relay_killed_after_any_step_costs_no_event_and_no_order(
    pool: asyncpg.Pool, relay: Relay, heard: Heard, database_url: str, redis_url: str, last_step: str
):
    await tell(pool, first=0, count=3)
    doomed = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.outbox.halting_relay",
        last_step,
        env=os.environ | {"DATABASE_URL": database_url, "REDIS_URL": redis_url},
        stdout=asyncio.subprocess.PIPE,
    )
    assert doomed.stdout is not None
    assert (await doomed.stdout.readline()).decode().strip() == last_step
    async with running(relay):
        await tell(pool, first=3, count=2)
        doomed.kill()
        await doomed.wait()
        assert await take_fresh(heard, 4) == [0, 1, 2, 3, 4]
    rows = await pool.fetch("SELECT seq, body->>'n' AS n FROM outbox ORDER BY event_id")
    assert [(row["seq"], row["n"]) for row in rows] == [(1, "0"), (2, "1"), (3, "2"), (4, "3"), (5, "4")]
