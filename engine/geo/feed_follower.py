"""Follows the feed of the cell index: a connection of its own, and reads of pages where messages are missing.

The rules are `engine.geo.feed`'s. What arrives here on one connection is applied at once and in order; one page is read
at a time, and only messages of that page wait for it, so memory is bounded however long Redis is away.
"""

import asyncio
from typing import Any, Final, Protocol

import structlog
from prometheus_client import Counter, Gauge
from redis.exceptions import RedisError

from config.limits import FEED_HELD_RECORDS_MAX, FEED_LOOK_MS, FEED_PING_MS, FEED_RETRY_MS, FEED_SILENCE_MS
from engine.core.clock import Clock
from engine.core.errors import WireError
from engine.core.pubsub import pubsub_line
from engine.core.redis_store import RedisClient
from engine.geo.cell_index import CellIndex
from engine.geo.feed import CHANNELS, FeedOrder, Heard, decode, page_of
from engine.geo.fixes import RecordArray, SlotArray

log = structlog.get_logger(__name__)

S_PER_NS: Final = 1e-9

MISSED = Counter("clenzy_feed_missed_total", "Times that messages of the feed were missing, by how it showed.", ["how"])
PAGES_READ = Counter("clenzy_feed_pages_read_total", "Pages read, where something was missing or in turn.")
LAG = Gauge("clenzy_feed_lag_seconds", "How long a ping took through the feed, behind every message before it.")
WHOLE = Gauge("clenzy_feed_whole", "1 while every page of the cell index is followed.")


class FeedListener(Protocol):
    """Keeps a copy of the present. Called on the event loop, one call at a time; must not block."""

    def moved(self, slots: SlotArray, records: RecordArray) -> None:
        """Take over what was written; a record without a cell takes its worker off the map."""
        ...

    def replaced(self, page: int, slots: SlotArray, records: RecordArray) -> None:
        """Take over a whole page: of its slots, whoever is missing here has no place."""
        ...


class FeedFollower:
    """Keeps `listener` equal to the index. `run` it in a task."""

    def __init__(self, redis: RedisClient, index: CellIndex, *, clock: Clock, listener: FeedListener) -> None:
        self._redis = redis
        self._index = index
        self._clock = clock
        self._listener = listener
        self._order = FeedOrder(held_records_max=FEED_HELD_RECORDS_MAX)
        self._to_read = asyncio.Event()
        self._whole = asyncio.Event()

    @property
    def is_whole(self) -> bool:
        """Whether the listener has everything that was written, but for what is on its way."""
        return self._order.is_whole

    async def whole(self) -> None:
        """Wait until `is_whole`."""
        while not self._order.is_whole:
            self._whole.clear()
            await self._whole.wait()

    async def run(self) -> None:
        """Follow until cancelled, through restarts of Redis."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear())
            tasks.create_task(self._read())
            tasks.create_task(self._look())

    async def _hear(self) -> None:
        while True:
            try:
                await self._converse()
            except (RedisError, OSError, TimeoutError) as error:
                MISSED.labels("disconnected").inc()
                log.warning("feed.disconnected", error=type(error).__name__)
            await self._clock.sleep_ms(FEED_RETRY_MS)

    async def _converse(self) -> None:
        try:
            async with pubsub_line(self._redis, self._receive, silence_ms=FEED_SILENCE_MS) as line:
                line.send("PSUBSCRIBE", CHANNELS)
                while True:
                    await line.listen(FEED_PING_MS)
                    self._order.pinged()
                    line.send("PING", str(self._clock.steady_ns()))
        finally:
            self._order.lost()
            self._tell()

    def _receive(self, reply: Any) -> None:  # noqa: ANN401 - a RESP value
        match reply:
            case [b"pmessage", _, channel, payload]:
                self._message(channel, payload)
            case [b"pong", sent_ns]:
                self._order.ponged()
                LAG.set((self._clock.steady_ns() - int(sent_ns)) * S_PER_NS)
            case [b"psubscribe", _, _]:
                self._order.subscribed()
                self._to_read.set()
            case _:
                pass

    def _message(self, channel: bytes, payload: bytes) -> None:
        try:
            page, message = page_of(channel), decode(payload)
        except WireError as error:
            # Whoever wrote that: its number is missing now, so the page is read.
            MISSED.labels("garbled").inc()
            log.warning("feed.garbled", error=str(error))
            return
        heard = self._order.heard(page, message)
        if heard is Heard.NEXT:
            self._listener.moved(message.slots, message.records)
        elif heard in {Heard.GAP, Heard.NEW_EPOCH, Heard.FLOOD}:
            MISSED.labels(heard.value).inc()
            self._tell()
        elif heard is Heard.NEW_PAGE:
            self._tell()

    async def _read(self) -> None:
        """Read whatever has to be read, one page after the other."""
        while True:
            try:
                if self._order.next_list():
                    await self._list()
                while (page := self._order.next_read()) is not None:
                    await self._read_page(page)
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("feed.read_failed", error=type(error).__name__)
                await self._clock.sleep_ms(FEED_RETRY_MS)
                continue
            self._tell_whole()
            await self._to_read.wait()
            self._to_read.clear()

    async def _list(self) -> None:
        try:
            pages = await self._index.pages()
        except BaseException:
            self._order.not_listed()
            raise
        self._order.listed(pages)

    async def _read_page(self, page: int) -> None:
        try:
            found = await self._index.page(page)
        except BaseException:
            self._order.not_read(page)
            raise
        following = self._order.read(page, found)
        if following is None:
            return
        PAGES_READ.inc()
        self._listener.replaced(page, found.slots, found.records)
        for message in following:
            self._listener.moved(message.slots, message.records)

    async def _look(self) -> None:
        """Look at every page in turn: the last message before a silence can be lost without anybody noticing."""
        while True:
            pages = self._order.pages
            for page in pages:
                await self._clock.sleep_ms(FEED_LOOK_MS / len(pages))
                self._order.look(page)
                self._tell()
            if not pages:
                await self._clock.sleep_ms(FEED_LOOK_MS)
            self._order.list_again()
            self._tell()

    def _tell(self) -> None:
        self._to_read.set()
        self._tell_whole()

    def _tell_whole(self) -> None:
        WHOLE.set(self._order.is_whole)
        if self._order.is_whole:
            self._whole.set()
