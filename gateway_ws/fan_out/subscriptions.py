"""What other processes tell: one Redis connection a process, subscribed to just the topics that somebody here watches.

Pub/sub forgets: what is published while this connection is down is lost. So each time the subscriptions are in place
after a break `on_gap` is called, and whoever needs to miss nothing reads the durable state again. `on_break` comes
before it: what is heard from then on may have a hole before it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, TypeAlias

import structlog
from redis.exceptions import RedisError

from config.limits import ARRIVALS_MAX, FANOUT_CHANNELS_PER_COMMAND, FANOUT_PING_MS, FANOUT_SILENCE_MS, INGEST_RETRY_MS
from engine.core.clock import Clock
from engine.core.pubsub import PubSubLine, pubsub_line
from engine.core.redis_store import RedisClient, publish_together
from gateway_ws.batched import Batched
from gateway_ws.fan_out.message import Message
from gateway_ws.metrics import FANOUT_CONNECTS

log = structlog.get_logger(__name__)

PREFIX = "fan:"
_KEEP_OPEN = "gateway"
"""A topic that is always subscribed: a RESP2 connection without any would answer pings in another form."""

Listener: TypeAlias = Callable[[Message], None]
"""Must not block."""


class FanOut:
    """Topics and who listens to them. A topic that ends in `*` is a pattern."""

    def __init__(
        self, redis: RedisClient, *, clock: Clock, on_break: Callable[[], None], on_gap: Callable[[], None]
    ) -> None:
        self._redis = redis
        self._publish = Batched(self._publish_together, keys_max=ARRIVALS_MAX)
        self._clock = clock
        self._on_break = on_break
        self._on_gap = on_gap
        self._listeners: dict[str, set[Listener]] = {}
        self._line: PubSubLine | None = None
        self._unconfirmed: Counter[str] = Counter()
        """SUBSCRIBEs under way. A topic may have several: who leaves and comes back at once leaves one behind."""
        self._awaited: dict[str, set[asyncio.Future[None]]] = {}
        """Who waits for the confirmation of a topic: thousands may subscribe in one second, each to its own."""
        self._has_gap = True

    @property
    def is_connected(self) -> bool:
        """Whether every wanted topic is subscribed right now."""
        return self._line is not None and not self._unconfirmed

    def is_heard(self, topic: str) -> bool:
        """Return whether `topic` is subscribed right now."""
        return self._line is not None and topic in self._listeners and topic not in self._unconfirmed

    async def subscribe(self, topic: str, listener: Listener, *, timeout_ms: int) -> bool:
        """Hear `topic` from now on; return whether Redis confirmed it in time.

        Without a confirmation the subscription stands and a gap is told when it holds.
        """
        listeners = self._listeners.setdefault(topic, set())
        listeners.add(listener)
        if len(listeners) == 1:
            self._send("SUBSCRIBE", [topic])
        if not self.is_heard(topic):
            await self._confirmation(topic, timeout_ms)
        is_heard = self.is_heard(topic)
        self._has_gap |= not is_heard
        return is_heard

    async def unsubscribe(self, topic: str, listener: Listener) -> None:
        """Hear `topic` no longer."""
        listeners = self._listeners.get(topic)
        if listeners is None:
            return
        listeners.discard(listener)
        if not listeners:
            del self._listeners[topic]
            self._send("UNSUBSCRIBE", [topic])

    async def publish(self, topic: str, payload: bytes) -> None:
        """Tell every process that listens to `topic`.

        Raises:
            RedisError: Redis did not answer.
        """
        await self._publish((PREFIX + topic, payload))

    async def _publish_together(self, messages: Sequence[tuple[str, bytes]]) -> list[None]:
        await publish_together(self._redis, messages)
        return [None] * len(messages)

    async def run(self) -> None:
        """Keep the connection open, for ever."""
        while True:
            try:
                await self._converse()
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("fanout.disconnected", error=type(error).__name__)
            await self._clock.sleep_ms(INGEST_RETRY_MS)

    async def _converse(self) -> None:
        try:
            async with pubsub_line(self._redis, self._receive, silence_ms=FANOUT_SILENCE_MS) as line:
                FANOUT_CONNECTS.inc()
                self._line = line
                self._has_gap = True
                self._unconfirmed.clear()
                self._on_break()
                self._send("SUBSCRIBE", [_KEEP_OPEN, *self._listeners])
                while True:
                    await line.listen(FANOUT_PING_MS)
                    line.send("PING")
        finally:
            self._line = None

    def _send(self, command: str, topics: Sequence[str]) -> None:
        """Send (P)SUBSCRIBE or (P)UNSUBSCRIBE; a failure shows in `_converse`, which opens a new line."""
        if self._line is None:
            return
        if command == "SUBSCRIBE":
            self._unconfirmed.update(topics)
        plain = iter([topic for topic in topics if not topic.endswith("*")])
        patterns = iter([topic for topic in topics if topic.endswith("*")])
        for prefix, some in (("", plain), ("P", patterns)):
            while batch := list(islice(some, FANOUT_CHANNELS_PER_COMMAND)):
                self._line.send(prefix + command, *(PREFIX + topic for topic in batch))

    def _receive(self, reply: Any) -> None:  # noqa: ANN401 - a RESP value
        match reply:
            case [b"message", channel, payload]:
                topic = _topic(channel)
                self._tell(topic, Message(topic, payload))
            case [b"pmessage", pattern, channel, payload]:
                self._tell(_topic(pattern), Message(_topic(channel), payload))
            case [b"subscribe" | b"psubscribe", channel, _]:
                self._confirm(_topic(channel))
            case _:
                pass  # pongs and confirmed unsubscriptions

    def _tell(self, key: str, message: Message) -> None:
        for listener in tuple(self._listeners.get(key, ())):
            listener(message)

    async def _confirmation(self, topic: str, timeout_ms: int) -> None:
        """Return when Redis has confirmed `topic`, or did not in time."""
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(topic, set()).add(confirmed)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await confirmed
        except TimeoutError:
            log.debug("fanout.unconfirmed")
        finally:
            self._awaited[topic].discard(confirmed)
            if not self._awaited[topic]:
                del self._awaited[topic]

    def _confirm(self, topic: str) -> None:
        self._unconfirmed[topic] -= 1
        self._unconfirmed = +self._unconfirmed
        if self.is_heard(topic):
            for confirmed in self._awaited.get(topic, ()):
                if not confirmed.done():
                    confirmed.set_result(None)
        if self._has_gap and not self._unconfirmed:
            self._has_gap = False
            self._on_gap()


def _topic(channel: bytes) -> str:
    return channel.decode().removeprefix(PREFIX)
