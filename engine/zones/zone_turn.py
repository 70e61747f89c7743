"""One turn of the zone watch: from waiting for the lock to whatever ends it, which is told by an exception.

Postgres may go away in between. The feed is judged on, and the events wait in order under the ids that they will have;
when Postgres is back it says up to which id it has them. Only where more wait than is allowed, or where another watch
has had its turn, this turn ends; the next one finds what is missing by comparing the presence with the newest places.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import groupby, islice
from operator import itemgetter
from typing import Final, TypeAlias

import asyncpg
import numpy as np
import structlog

from config.limits import (
    ZONE_BATCH_MAX,
    ZONE_CHECK_MS,
    ZONE_INBOX_MOVES_MAX,
    ZONE_PENDING_MAX,
    ZONE_RELOAD_MS,
    ZONE_STANDBY_MS,
    ZONE_TICK_MS,
)
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Connection, Pool
from engine.core.ids import PersonId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import ZoneReason
from engine.geo.feed_follower import FeedFollower, FeedListener
from engine.geo.fixes import RecordArray, SlotArray
from engine.geo.zone_presence import Change, Presence
from engine.geo.zone_tracker import ZoneTracker
from engine.outbox.durable_loop import end_if_cancelled, keep_running
from engine.outbox.listener import Wake
from engine.zones import presence_store
from engine.zones.metrics import ACTIVE, DROPPED, EVENTS, JUDGING, LAG, MOVES, PENDING, PRESENT, STRANGERS
from engine.zones.presence_store import PendingEvent, Standing, SupersededError
from engine.zones.zone_reading import ZoneShelf

log = structlog.get_logger(__name__)

Follow: TypeAlias = Callable[[FeedListener], FeedFollower]
"""Makes a follower of the feed that tells a listener."""
Moves: TypeAlias = tuple[SlotArray, RecordArray, ZoneReason]

_NS_PER_MS: Final = 1_000_000
_NS_PER_S: Final = 1e9


class TooMuchWaitsError(Exception):
    """More moves or events wait than is allowed."""


class ZoneTurn:
    """Waits for its turn, then watches. `run` it in a task; another one takes its place when it has ended."""

    def __init__(self, *, pool: Pool, clock: Clock, follow: Follow) -> None:
        self._pool = pool
        self._clock = clock
        self._follower = follow(self)
        self._wake = Wake()
        self._standing: Standing | None = None
        self._has_begun = asyncio.Event()
        self._tracker = ZoneTracker()
        self._tracking = asyncio.Lock()
        """Held while the tracker is used, also over a question to Postgres whose answer must not be overtaken."""
        self._shelf = ZoneShelf()
        self._worker_ids: dict[int, PersonId] = {}
        self._inbox: list[Moves] = []
        self._held: list[Moves] = []
        """Moves of workers of whom Postgres has not said yet who they are; older than everything in the inbox."""
        self._waiting_moves = 0
        self._pending: deque[PendingEvent] = deque()
        self._next_event_id = 0
        self._checked_ns = self._reloaded_ns = 0
        self._wants_zones = False

    async def run(self) -> None:
        """Wait and watch until cancelled, through restarts of both stores.

        Raises:
            ExceptionGroup: of a `SupersededError`, `MismatchError` or `TooMuchWaitsError`: this turn has ended.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch(tasks))
                tasks.create_task(keep_running(self._hold, name="zones", clock=self._clock, errors=POSTGRES_ERRORS))
        finally:
            ACTIVE.set(0)
            PENDING.set(0)

    def reload_zones(self, _payload: str = "") -> None:
        """Look for zones that have changed."""
        self._wants_zones = True
        self._wake.set()

    def moved(self, slots: SlotArray, records: RecordArray) -> None:
        """Take moves in order."""
        self._take(slots, records, ZoneReason.MOVED)

    def replaced(self, _page: int, slots: SlotArray, records: RecordArray) -> None:
        """Take the newest places of a page. Who is missing is not heard of: that is no exit."""
        self._take(slots, records, ZoneReason.RECOVERED)

    def _take(self, slots: SlotArray, records: RecordArray, reason: ZoneReason) -> None:
        self._inbox.append((slots, records, reason))
        self._waiting_moves += len(slots)

    async def _watch(self, tasks: asyncio.TaskGroup) -> None:
        await self._has_begun.wait()
        tasks.create_task(self._follower.run())
        while True:
            await self._clock.sleep_ms(ZONE_TICK_MS)
            await self._judge_inbox()

    async def _judge_inbox(self) -> None:
        if self._waiting_moves > ZONE_INBOX_MOVES_MAX:
            DROPPED.labels("moves").inc(self._waiting_moves)
            raise TooMuchWaitsError("moves")
        inbox, self._inbox = self._inbox, []
        if not inbox:
            return
        async with self._tracking:
            await self._judge(inbox)

    async def _judge(self, inbox: list[Moves]) -> None:
        """Judge what was taken, beside the event loop, and keep back what is of workers not known yet."""
        began_ns = self._clock.steady_ns()
        changes, strangers = await asyncio.to_thread(_judged, self._tracker, inbox)
        self._held += strangers
        kept = sum(len(slots) for slots, _, _ in strangers)
        judged = sum(len(slots) for slots, _, _ in inbox) - kept
        self._waiting_moves -= judged
        MOVES.inc(judged)
        JUDGING.observe((self._clock.steady_ns() - began_ns) / _NS_PER_S)
        self._enqueue(changes)
        if strangers:
            self._wake.set()

    def _enqueue(self, changes: Iterable[Change]) -> None:
        now_ms = self._clock.now_ms()
        for change in changes:
            worker_id = self._worker_ids[change.slot]
            self._pending.append(PendingEvent(self._next_event_id, worker_id, change, now_ms))
            self._next_event_id += 1
        PENDING.set(len(self._pending))
        PRESENT.set(len(self._tracker.presence))
        if len(self._pending) > ZONE_PENDING_MAX:
            DROPPED.labels("events").inc(len(self._pending))
            raise TooMuchWaitsError("events")
        if self._pending:
            self._wake.set()

    async def _hold(self) -> None:
        """Hold the lock on a connection, as long as that lives; everything that is written goes through it."""
        async with self._pool.acquire() as conn:
            if not await presence_store.take_turn(conn):
                await self._stand_by(conn)
                return
            try:
                await self._begin(conn) if self._standing is None else await self._resume(conn, self._standing)
                ACTIVE.set(1)
                while True:
                    await self._serve(conn)
            finally:
                ACTIVE.set(0)
                # Not lent again: the lock must end with the turn, however it ended.
                with suppress(asyncpg.InterfaceError):
                    conn.terminate()

    async def _stand_by(self, conn: Connection) -> None:
        if self._standing is not None:
            self._check_turn(await presence_store.standing(conn), self._standing)
        await self._clock.sleep_ms(ZONE_STANDBY_MS)

    async def _begin(self, conn: Connection) -> None:
        """Take over what is stored. The pages that the follower then reads show what happened since."""
        standing = await presence_store.begin(conn)
        await self._shelf.refresh(conn)
        stored = await presence_store.read_presence(conn)
        every = await self._shelf.zones_with(conn, set(stored.zone_ids))
        await self._learn(conn, np.unique(stored.slots).tolist())
        self._tracker.change_zones(every)
        rows = np.array([every.row(zone_id) for zone_id in stored.zone_ids], np.int64)
        self._tracker.restore(Presence.of(stored.slots, rows, stored.entered_ms, stored.dwell_told))
        self._next_event_id = standing.last_event_id + 1
        self._standing = standing
        self._enqueue(self._tracker.change_zones(self._shelf.zones()))
        self._has_begun.set()
        log.info("zones.turn_began", generation=standing.generation, zones=len(every.zones), presences=len(rows))

    async def _resume(self, conn: Connection, standing: Standing) -> None:
        """Go on after Postgres was away; it knows whether a transaction whose answer was lost has been stored."""
        found = await presence_store.standing(conn)
        self._check_turn(found, standing)
        while self._pending and self._pending[0].event_id <= found.last_event_id:
            self._pending.popleft()
        PENDING.set(len(self._pending))
        log.info("zones.turn_resumed", generation=standing.generation, pending=len(self._pending))

    def _check_turn(self, found: Standing, own: Standing) -> None:
        if found.generation != own.generation:
            DROPPED.labels("events").inc(len(self._pending))
            raise SupersededError

    async def _serve(self, conn: Connection) -> None:
        await self._wake.wait(ZONE_CHECK_MS)
        now_ns = self._clock.steady_ns()
        if self._wants_zones or now_ns - self._reloaded_ns >= ZONE_RELOAD_MS * _NS_PER_MS:
            self._wants_zones, self._reloaded_ns = False, now_ns
            await self._reload(conn)
        if self._held:
            await self._judge_held(conn)
        if now_ns - self._checked_ns >= ZONE_CHECK_MS * _NS_PER_MS:
            self._checked_ns = now_ns
            await self._check_duty(conn)
        while self._pending:
            await self._store_batch(conn)
        end_if_cancelled()

    async def _reload(self, conn: Connection) -> None:
        async with self._tracking:
            if await self._shelf.refresh(conn):
                zones = self._shelf.zones()
                self._enqueue(await asyncio.to_thread(self._tracker.change_zones, zones))
                log.info("zones.reloaded", zones=len(zones.zones))

    async def _judge_held(self, conn: Connection) -> None:
        async with self._tracking:
            held, self._held = self._held, []
            try:
                await self._learn(conn, np.unique(np.concatenate([slots for slots, _, _ in held])).tolist())
            except BaseException:
                self._held = held + self._held
                raise
            await self._judge(held)

    async def _learn(self, conn: Connection, slots: list[int]) -> None:
        workers = await presence_store.read_workers(conn, slots)
        self._worker_ids |= {slot: known.worker_id for slot, known in workers.items() if known is not None}
        self._tracker.learn({slot: None if known is None else known.org_id for slot, known in workers.items()})
        STRANGERS.inc(sum(known is None for known in workers.values()))

    async def _check_duty(self, conn: Connection) -> None:
        """Look for those who went off duty unseen. Also keeps the connection from standing still for too long."""
        async with self._tracking:
            off_duty = await presence_store.read_off_duty(conn)
            self._enqueue(self._tracker.go_off_duty(off_duty))

    async def _store_batch(self, conn: Connection) -> None:
        assert self._standing is not None
        batch = [*islice(self._pending, ZONE_BATCH_MAX)]
        now_ms = self._clock.now_ms()
        await presence_store.store(conn, batch, generation=self._standing.generation, now_ms=now_ms)
        for event in batch:
            self._pending.popleft()
            EVENTS.labels(event.change.kind.value, event.change.reason.value).inc()
            LAG.observe(max(0, now_ms - event.detected_ms) / MS_PER_S)
        PENDING.set(len(self._pending))


def _judged(tracker: ZoneTracker, inbox: list[Moves]) -> tuple[list[Change], list[Moves]]:
    """Return the changes that moves bring, and the moves of workers whom the tracker does not know."""
    changes: list[Change] = []
    strangers: list[Moves] = []
    for slots, records, reason in _merged(inbox):
        is_stranger = tracker.is_stranger(slots)
        if is_stranger.any():
            strangers.append((slots[is_stranger], records[is_stranger], reason))
        changes += tracker.take(slots[~is_stranger], records[~is_stranger], reason)
    return changes, strangers


def _merged(inbox: list[Moves]) -> Iterator[Moves]:
    """Yield neighbours of one reason as one: a call for many costs little more than a call for few."""
    for reason, group in groupby(inbox, itemgetter(2)):
        slots, records, _ = zip(*group, strict=True)
        yield np.concatenate(slots), np.concatenate(records), reason
