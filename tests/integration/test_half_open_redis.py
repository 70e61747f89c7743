"""A connection to Redis that went dead without anybody being told is opened anew, and nothing stays missed."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from engine.core.clock import SystemClock
from engine.geo import feed_follower, mirror
from gateway_ws.fan_out import subscriptions as fanout
from gateway_ws.fan_out.message import Message
from gateway_ws.fan_out.subscriptions import FanOut
from tests.integration.test_feed_follower import Fleet, drift, following, until_equal
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.integration

UNTIL_S = 10


@pytest.fixture
async def line(redis_url: str) -> AsyncIterator[TcpProxy]:
    there = urlsplit(redis_url)
    async with TcpProxy(there.hostname or "", there.port or 6379).running() as proxy:
        yield proxy


@pytest.fixture
async def far_redis(redis_url: str, line: TcpProxy) -> AsyncIterator[Redis]:
    """The same Redis at the other end of the line."""
    there = urlsplit(redis_url)
    client: Redis = Redis(host="127.0.0.1", port=line.port, password=there.password, protocol=2, socket_timeout=1)
    yield client
    await client.aclose()


async def test_a_dead_fan_out_is_opened_anew_and_tells_of_the_gap(
    redis: Redis, far_redis: Redis, line: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "FANOUT_PING_MS", 150)
    monkeypatch.setattr(fanout, "FANOUT_SILENCE_MS", 1_000)
    gap, broken = asyncio.Event(), asyncio.Event()
    heard: asyncio.Queue[Message] = asyncio.Queue()
    fan_out = FanOut(far_redis, clock=SystemClock(), on_break=broken.set, on_gap=gap.set)
    running = asyncio.ensure_future(fan_out.run())
    async with asyncio.timeout(UNTIL_S):
        await gap.wait()
        assert await fan_out.subscribe("user:1", heard.put_nowait, timeout_ms=5_000)
        await fan_out.publish("user:1", b"first")
        assert (await heard.get()).payload == b"first"
        gap.clear()
        broken.clear()
        line.go_dead()
        await redis.publish("fan:user:1", b"lost")
        await broken.wait()
        await gap.wait()
        await redis.publish("fan:user:1", b"second")
        assert (await heard.get()).payload == b"second", "what was lost is the gap's business"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_quiet_fan_out_is_not_taken_for_dead(
    far_redis: Redis, line: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "FANOUT_PING_MS", 150)
    monkeypatch.setattr(fanout, "FANOUT_SILENCE_MS", 1_000)
    gap = asyncio.Event()
    fan_out = FanOut(far_redis, clock=SystemClock(), on_break=lambda: None, on_gap=gap.set)
    running = asyncio.ensure_future(fan_out.run())
    async with asyncio.timeout(UNTIL_S):
        await gap.wait()
    await asyncio.sleep(3)  # three times as long as a silence may last
    assert (fan_out.is_connected, line.opened) == (True, 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_dead_feed_is_followed_anew(
    redis: Redis, far_redis: Redis, line: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_follower, "FEED_PING_MS", 150)
    monkeypatch.setattr(feed_follower, "FEED_SILENCE_MS", 1_000)
    mirror.warm_up()
    fleet = Fleet(redis)
    await fleet.move(200)
    async with following(far_redis) as (copy, follower):
        before = line.opened
        line.go_dead()
        await fleet.move(200)
        assert await drift(redis, copy) > 0
        await until_equal(redis, copy, follower)
        assert line.opened > before
