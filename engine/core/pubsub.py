"""A connection to Redis that only subscribes: what comes is taken where it is read from the line, many messages a read.

redis-py opens it, since TLS, passwords and unix sockets are its business, and then hands its transport over: to wait in
a task for each reply, as its own `read_response` does, costs many times what the message itself does.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import hiredis
from redis.asyncio import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError, ResponseError

from engine.core.redis_store import RedisClient, own_connection
from engine.core.units import MS_PER_S

Heard: TypeAlias = Callable[[Any], None]
"""Takes one reply: bytes, or a list of bytes and integers. Must not block; what it raises ends the line."""

_INCOMPLETE: Final = object()


class PubSubLine(asyncio.Protocol):
    """A line that is open until `listen` raises."""

    def __init__(self, heard: Heard, *, silence_ms: int) -> None:
        self._heard = heard
        self._silence_s = silence_ms / MS_PER_S
        self._loop = asyncio.get_running_loop()
        self._replies = hiredis.Reader(
            protocolError=InvalidResponse, replyError=ResponseError, notEnoughData=_INCOMPLETE
        )
        self._transport: asyncio.WriteTransport | None = None
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._heard_at_s = self._loop.time()
        self._watch = self._loop.call_later(self._silence_s, self._look)

    def take_over(self, transport: asyncio.WriteTransport) -> None:
        """Read what comes by `transport` from now on."""
        transport.set_protocol(self)
        self._transport = transport

    def send(self, *words: str) -> None:
        """Send a command; on a line that is lost nothing happens: `listen` tells."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub takes one word

    async def listen(self, for_ms: int) -> None:
        """Return after this time; replies go to `heard` meanwhile, and beyond it.

        Raises:
            RedisError: the line is lost, or a command was refused.
            TimeoutError: nothing came for too long, not even the answer to a ping: the peer is dead.
            Exception: what `heard` raised.
        """
        await asyncio.wait({self._lost}, timeout=for_ms / MS_PER_S)
        if self._lost.done():
            self._lost.result()

    def close(self) -> None:
        """Hear nothing any more."""
        self._watch.cancel()
        if not self._lost.cancel():
            self._lost.exception()  # it was told, or nobody asks any more

    def data_received(self, data: bytes) -> None:
        """Hand over every reply that is complete."""
        self._heard_at_s = self._loop.time()
        try:
            self._replies.feed(data)
            while not self._lost.done() and (reply := self._replies.gets()) is not _INCOMPLETE:
                self._take(reply)
        except Exception as error:  # noqa: BLE001 - handed to who listens
            self._lose(error)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell who listens."""
        self._lose(RedisConnectionError(f"Redis hung up: {error or 'the connection was closed'}"))

    def _take(self, reply: Any) -> None:  # noqa: ANN401 - a RESP value
        if isinstance(reply, RedisError):
            raise reply
        self._heard(reply)

    def _look(self) -> None:
        left_s = self._heard_at_s + self._silence_s - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
        else:
            self._lose(TimeoutError("Redis has not even answered pings"))

    def _lose(self, error: Exception) -> None:
        if not self._lost.done():
            self._lost.set_exception(error)
        if self._transport is not None:
            self._transport.abort()


@asynccontextmanager
async def pubsub_line(redis: RedisClient, heard: Heard, *, silence_ms: int) -> AsyncIterator[PubSubLine]:
    """Open a line of one's own for the block, to any node of a cluster: each hears all publications.

    Replies are those of RESP2. One that says nothing for `silence_ms` is lost: who opens it sends pings.

    Raises:
        RedisError: Redis does not answer.
    """
    connection = await own_connection(redis)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        line = PubSubLine(heard, silence_ms=silence_ms)
        try:
            line.take_over(_transport(connection))
            yield line
        finally:
            line.close()
    finally:
        await connection.disconnect(nowait=True)


def _transport(connection: Connection) -> asyncio.WriteTransport:
    """Return what redis-py reads from; all that it has asked for was answered, so nothing waits in its own reader.

    Raises:
        RedisError: Redis hung up.
    """
    reader, writer = connection._reader, connection._writer  # noqa: SLF001 - redis-py offers no other way to it
    if reader is None or writer is None or reader.at_eof() or writer.transport.is_closing():
        raise RedisConnectionError("Redis hung up at once")
    return writer.transport
