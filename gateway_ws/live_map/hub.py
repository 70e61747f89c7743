"""Keeps this gateway's live map fed with what its consoles look at, and sends them their frames."""

import asyncio

import msgpack
import numpy as np
import structlog
from redis.exceptions import RedisError

from config.limits import CONSOLE_FANOUT_CELLS_MAX, CONSOLE_FRAME_MS, FANOUT_RESOLUTION, REDIS_TIMEOUT_MS
from engine.core.clock import Clock
from engine.core.errors import Unavailable
from engine.core.ids import OrgId
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cover, parents_of
from gateway_ws.console_session import ConsoleSession, MadeFrames
from gateway_ws.engine_calls import EngineCalls
from gateway_ws.fan_out.message import Message
from gateway_ws.fan_out.subscriptions import FanOut
from gateway_ws.live_map.columns import LiveMap
from gateway_ws.live_map.view import Box, MapView
from gateway_ws.positions import MAP_ROW, map_topic

log = structlog.get_logger(__name__)

_EVERYWHERE = "map:*"
_WIDE_DEG = 20.0
"""A box wider or higher than this follows all channels without asking H3 for its cells."""


class MapHub:
    """All consoles of one process share one map and one set of map channels."""

    def __init__(
        self, index: CellIndex, fan_out: FanOut, calls: EngineCalls, *, clock: Clock, fix_clock: Clock
    ) -> None:
        self._index = index
        self._fan_out = fan_out
        self._calls = calls
        self._clock = clock
        self._fix_clock = fix_clock
        self._live = LiveMap()
        self._consoles: set[ConsoleSession] = set()
        self._topics: set[str] = set()
        self._orgs: dict[OrgId, int] = {}
        self._must_load = True
        self._turn = asyncio.Lock()

    @property
    def consoles(self) -> tuple[ConsoleSession, ...]:
        """The consoles with or without a view."""
        return tuple(self._consoles)

    def add(self, console: ConsoleSession) -> None:
        """Take in a console; it sees nothing before it chose a view."""
        self._consoles.add(console)

    async def remove(self, console: ConsoleSession) -> None:
        """Let go of a console and of the channels that nobody else looks at."""
        self._consoles.discard(console)
        async with self._turn:
            await self._follow_views()

    async def look(self, console: ConsoleSession, box: Box) -> None:
        """Let `console` see `box` from now on, starting with a whole frame at once."""
        async with self._turn:
            console.view = MapView(box, self._number(console.principal.org_id))
            await self._follow_views()
            await self._refresh()
            console.show(self._live, self._clock.now_ms(), {})

    def reload(self) -> None:
        """After a gap in the fan-out: load the map again before the next frame."""
        self._must_load = True

    async def run(self) -> None:
        """Send frames, for ever."""
        while True:
            await self._clock.sleep_ms(CONSOLE_FRAME_MS)
            if not any(console.view for console in self._consoles):
                continue
            async with self._turn:
                await self._refresh()
                now_ms, made = self._clock.now_ms(), MadeFrames()
                for console in self.consoles:
                    console.show(self._live, now_ms, made)

    async def _refresh(self) -> None:
        """Bring in what does not come by the fan-out: lost rows, statuses, whose worker a slot is."""
        try:
            if self._must_load:
                await self._load()
            self._live.set_statuses(await self._index.statuses(), self._fix_clock.now_ms())
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("map.redis_away", error=type(error).__name__)
        unknown = self._live.slots_without_org()
        if unknown:
            try:
                for slot, org_id in (await self._calls.worker_orgs(unknown)).items():
                    self._live.set_org(slot, self._number(org_id))
            except Unavailable:
                log.warning("map.postgres_away")

    async def _load(self) -> None:
        self._must_load = False
        try:
            slots, records = await self._index.all_records()
        except BaseException:
            self._must_load = True
            raise
        if _EVERYWHERE not in self._topics:
            coarse = parents_of(records["cell"], FANOUT_RESOLUTION)
            wanted = {int(topic.removeprefix("map:"), 16) for topic in self._topics}
            followed = np.isin(coarse, np.fromiter(wanted, np.uint64, len(wanted)))
            slots, records = slots[followed], records[followed]
        self._live.load(slots, records)
        for console in self._consoles:
            if console.view is not None:
                console.view.start_over()

    async def _follow_views(self) -> None:
        wanted = self._wanted_topics()
        for topic in wanted - self._topics:
            await self._fan_out.subscribe(topic, self._hear, timeout_ms=REDIS_TIMEOUT_MS)
        for topic in self._topics - wanted:
            await self._fan_out.unsubscribe(topic, self._hear)
        if wanted != self._topics:
            self._topics = wanted
            self._must_load = True

    def _wanted_topics(self) -> set[str]:
        cells: set[int] = set()
        for box in (console.view.box for console in self._consoles if console.view is not None):
            if not _is_narrow(box):
                return {_EVERYWHERE}
            cells |= cover(box.west, box.south, box.east, box.north, FANOUT_RESOLUTION)
            if len(cells) > CONSOLE_FANOUT_CELLS_MAX:
                return {_EVERYWHERE}
        return {map_topic(cell) for cell in cells}

    def _hear(self, message: Message) -> None:
        body = msgpack.unpackb(message.payload)
        self._live.apply(
            int(message.topic.removeprefix("map:"), 16),
            np.frombuffer(body["rows"], MAP_ROW),
            np.frombuffer(body["cells"], np.uint64),
            np.frombuffer(body["gone"], np.uint32),
        )

    def _number(self, org_id: OrgId) -> int:
        return self._orgs.setdefault(org_id, len(self._orgs))


def _is_narrow(box: Box) -> bool:
    return 0 < box.east - box.west < _WIDE_DEG and 0 < box.north - box.south < _WIDE_DEG
