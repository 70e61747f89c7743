"""Lines of pub/sub to a real Redis: however it is reached and whoever hangs up."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from clenzy.tls import ensure_tls
from engine.core.pubsub import PubSubLine, pubsub_line
from engine.core.redis_store import RedisClient

pytestmark = pytest.mark.integration

SILENCE_MS = 5_000
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def subscribed(redis: RedisClient, channel: str) -> AsyncIterator[tuple[PubSubLine, "asyncio.Queue[Any]"]]:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    async with asyncio.timeout(10), pubsub_line(redis, heard.put_nowait, silence_ms=SILENCE_MS) as line:
        line.send("SUBSCRIBE", channel)
        assert await heard.get() == [b"subscribe", channel.encode(), 1]
        yield line, heard


def byte_by_byte(redis_url: str) -> Serve:
    """Return a way to Redis on which every answer arrives in pieces of one byte."""
    there = urlsplit(redis_url)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, back = await asyncio.open_connection(there.hostname, there.port)

        async def ask() -> None:
            while data := await reader.read(65_536):
                back.write(data)
            back.close()

        async def answer() -> None:
            while byte := await answers.read(1):
                writer.write(byte)
                await asyncio.sleep(0)
            writer.close()

        try:
            with suppress(asyncio.CancelledError):  # the test is over
                await asyncio.gather(ask(), answer(), return_exceptions=True)
        finally:
            back.transport.abort()
            writer.transport.abort()

    return serve


@pytest.fixture(params=["unix", "tls"])
async def far_redis(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> AsyncIterator[Redis]:
    """The same Redis behind a unix socket or TLS."""
    serve = byte_by_byte(redis_url)
    password = urlsplit(redis_url).password
    if request.param == "unix":
        server = await asyncio.start_unix_server(serve, tmp_path / "redis.sock")
        client = Redis(unix_socket_path=f"{tmp_path}/redis.sock", password=password, protocol=2)
    else:
        files = ensure_tls(tmp_path, ["127.0.0.1"])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(files.certificate, files.key)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        client = Redis(
            host="127.0.0.1", port=port, password=password, ssl=True, ssl_ca_certs=str(files.authority), protocol=2
        )
    yield client
    await client.aclose()
    server.close()


async def test_messages_arrive_in_order_through_tls_and_unix_sockets_in_any_pieces(
    redis: Redis, far_redis: Redis
) -> None:
    async with subscribed(far_redis, "news") as (line, heard):
        for number in range(50):
            await redis.publish("news", b"%d" % number)
        assert [(await heard.get())[2] for _ in range(50)] == [b"%d" % number for number in range(50)]
        line.send("PING", "are you there?")
        assert await heard.get() == [b"pong", b"are you there?"]


async def test_a_burst_is_heard_whole_and_in_order(redis: Redis) -> None:
    told = [b"%d" % number + bytes(number % 7_000) for number in range(2_000)]
    pipeline: Any = redis.pipeline(transaction=False)
    async with subscribed(redis, "news") as (_, heard):
        for payload in told:
            pipeline.publish("news", payload)
        await pipeline.execute()
        assert [(await heard.get())[2] for _ in told] == told


async def test_names_and_passwords_are_those_of_the_client(redis: Redis, redis_url: str) -> None:
    port = urlsplit(redis_url).port or 6379
    await redis.acl_setuser(
        "listener", enabled=True, passwords=["+secret"], channels=["news"], reset_channels=True, commands=["+@all"]
    )
    try:
        listener = Redis(port=port, username="listener", password="secret", protocol=2)
        async with subscribed(listener, "news") as (line, _):
            line.send("SUBSCRIBE", "other")
            with pytest.raises(ResponseError):
                await line.listen(SILENCE_MS)
        wrong = Redis(port=port, username="listener", password="wrong", protocol=2, retry=Retry(NoBackoff(), 0))
        with pytest.raises(RedisError):
            async with pubsub_line(wrong, print, silence_ms=SILENCE_MS):
                pass
        await listener.aclose()
        await wrong.aclose()
    finally:
        await redis.acl_deluser("listener")


async def test_who_is_hung_up_on_is_told_at_once(redis: Redis) -> None:
    async with subscribed(redis, "news") as (line, _):
        assert await redis.client_kill_filter(_type="pubsub")
        with pytest.raises(RedisConnectionError):
            await line.listen(SILENCE_MS)
        line.send("PING")
        with pytest.raises(RedisConnectionError):
            await line.listen(SILENCE_MS)


async def test_after_the_block_redis_has_one_client_less(redis: Redis) -> None:
    async with subscribed(redis, "news"):
        assert await redis.pubsub_numsub("news") == [(b"news", 1)]
    async with asyncio.timeout(5):
        while await redis.pubsub_numsub("news") != [(b"news", 0)]:
            pass
