"""An outbox to fill, and an ear on everything that reaches Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from engine.core.clock import SystemClock
from engine.outbox.events import append_event

WAIT_S = 20

Heard = asyncio.Queue[tuple[str, dict[str, Any]]]


@asynccontextmanager
async def ear(redis: Redis) -> AsyncIterator[Heard]:
    """Everything published on any `fan:` channel, in order."""
    queue: Heard = asyncio.Queue()
    async with redis.pubsub() as pubsub:
        await pubsub.psubscribe("fan:*")
        assert (await pubsub.get_message(timeout=WAIT_S))["type"] == "psubscribe"

        async def listen() -> None:
            async for message in pubsub.listen():
                await queue.put((message["channel"].decode(), orjson.loads(message["data"])))

        listening = asyncio.create_task(listen())
        yield queue
        listening.cancel()
        await asyncio.wait([listening])


@pytest.fixture
async def heard(redis: Redis) -> AsyncIterator[Heard]:
    async with ear(redis) as queue:
        yield queue


async def tell(
    pool: asyncpg.Pool, *, first: int, count: int, topic: str = "user:a", waits_for_disk: bool = True
) -> None:
    """Commit events numbered in their bodies, in one transaction."""
    async with pool.acquire() as conn, conn.transaction():
        if not waits_for_disk:
            await conn.execute("SET LOCAL synchronous_commit = off")
        for number in range(first, first + count):
            await append_event(conn, topic=topic, kind="test", body={"n": number}, now_ms=SystemClock().now_ms())


async def take(heard: Heard, count: int) -> list[tuple[str, dict[str, Any]]]:
    async with asyncio.timeout(WAIT_S):
        return [await heard.get() for _ in range(count)]


async def take_fresh(heard: Heard, last: int) -> list[int]:
    """Hear, as a session does: drop what is not newer; return the numbers in the bodies up to `last`."""
    numbers: list[int] = []
    newest = 0
    async with asyncio.timeout(WAIT_S):
        while not numbers or numbers[-1] < last:
            _, event = await heard.get()
            if event["seq"] > newest:
                newest = event["seq"]
                numbers.append(event["body"]["n"])
    return numbers
