"""Holds this matcher's lease, and the regions that are its as long as it lasts.

Nothing here keeps two matchers apart: claims and saved offers are held against Postgres' own word. What is remembered
here says which workers to keep in frames, and what to tell of.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog
from prometheus_client import Counter, Gauge

from config.limits import MATCHER_BEAT_MS, MATCHER_LEASE_MS, MATCHER_LEAVE_MS
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Connection, Pool
from engine.core.units import MS_PER_S
from engine.matcher.region_cover import RegionCover, covering
from engine.matcher.region_plan import ELSEWHERE, Lands, RegionPlan, RegionRow, farewell, plan_regions
from engine.matcher.region_store import RegionStore
from engine.outbox.durable_loop import keep_running
from engine.outbox.listener import Wake

log = structlog.get_logger(__name__)

NEVER: Final = -1
NS_PER_S: Final = 1e9
STEPS_MAX: Final = 8
"""Steps of one round; when others move regions all the time, the next round goes on."""

REGIONS = Gauge("clenzy_matcher_regions", "Regions that this matcher holds.")
PEERS = Gauge("clenzy_matcher_peers", "Matchers that take part, with this one.")
MOVED = Counter("clenzy_matcher_regions_moved_total", "Regions that changed hands by this matcher's doing.", ["how"])
LEASE_AGE = Gauge("clenzy_matcher_lease_age_seconds", "Since this matcher last renewed its lease.")


@dataclass(frozen=True, slots=True)
class Share:
    """What a matcher holds, as last read."""

    regions: int = 0
    of: int = 0
    matchers: int = 0

    def __str__(self) -> str:
        """Say it as `/readyz` does."""
        return f"{self.regions} of {self.of} regions, {self.matchers} matchers"


class RegionLeases:
    """Takes part in sharing the regions: `run` it in a task, `leave` once it has ended."""

    def __init__(self, *, pool: Pool, clock: Clock, store: RegionStore) -> None:
        self._pool = pool
        self._clock = clock
        self.store = store
        self._renewed_ns = NEVER
        self._told = Wake()
        self.cover = RegionCover(resolution=store.resolution)
        self.moved: Callable[[], None] = _nobody_listens
        """Called when this matcher may have gained regions: something may be due there."""
        self.share = Share()

    def notified(self, _payload: str) -> None:
        """Take that somebody joined, left, or handed something over."""
        self._told.set()

    async def run(self) -> None:
        """Renew and share until cancelled, through restarts of Postgres."""
        LEASE_AGE.set_function(self.lease_age_s)
        await keep_running(self._round, name="regions", clock=self._clock, errors=POSTGRES_ERRORS)

    def lease_age_s(self) -> float:
        """Return how long ago the lease was renewed, in seconds; infinity where it never was."""
        if self._renewed_ns == NEVER:
            return float("inf")
        return (self._clock.steady_ns() - self._renewed_ns) / NS_PER_S

    @property
    def is_held(self) -> bool:
        """Whether this matcher takes part as far as it knows."""
        return self.lease_age_s() * MS_PER_S < MATCHER_LEASE_MS

    async def settle(self) -> None:
        """Renew the lease, then take, found, hand over and close until there is nothing more to do."""
        async with self._pool.acquire() as conn:
            if self._renewed_ns == NEVER:
                await self.store.join(conn)
            asked_ns = self._clock.steady_ns()
            await self.store.beat(conn, now_ms=self._clock.now_ms())
            self._renewed_ns = asked_ns
            lands = await self.store.read(conn, now_ms=self._clock.now_ms())
            for _ in range(STEPS_MAX):
                if self.store.matcher_id not in lands.alive:
                    return  # it has lapsed since the beat: the next round joins anew
                now_ms = self._clock.now_ms()
                plan = plan_regions(self.store.matcher_id, lands, now_ms=now_ms)
                await self._carry_out(conn, plan, now_ms=now_ms)
                if not plan.changes_hands:
                    break
                lands = await self.store.read(conn, now_ms=now_ms)
        await self._remember(lands)

    async def leave(self) -> None:
        """Hand everything over and take part no more; what cannot be told in time runs out with the lease."""
        try:
            async with asyncio.timeout(MATCHER_LEAVE_MS / MS_PER_S), self._pool.acquire() as conn:
                now_ms = self._clock.now_ms()
                lands = await self.store.read(conn, now_ms=now_ms)
                moves = farewell(self.store.matcher_id, lands.awake, lands.rows)
                given = await self.store.give(conn, moves, now_ms=now_ms) if moves else 0
                await self.store.leave(conn)
                log.info("regions.left", given=given)
        except POSTGRES_ERRORS as error:
            log.warning("regions.not_left", error=repr(error))

    async def _round(self) -> None:
        await self.settle()
        await self._told.wait(MATCHER_BEAT_MS)

    async def _carry_out(self, conn: Connection, plan: RegionPlan, *, now_ms: int) -> None:
        if plan.note_busy:
            await self.store.note_busy(conn, plan.note_busy, now_ms=now_ms)
        if plan.take:
            taken = await self.store.take(conn, plan.take, now_ms=now_ms)
            MOVED.labels("taken").inc(taken)
            log.info("regions.taken", regions=taken)
            self.moved()
        if plan.found:
            await self.store.found(conn, plan.found, now_ms=now_ms)
        if plan.close:
            await self.store.close(conn, plan.close)
        if plan.give:
            given = await self.store.give(conn, plan.give, now_ms=now_ms)
            MOVED.labels("given").inc(given)
            log.info("regions.given", regions=given)

    async def _remember(self, lands: Lands) -> None:
        mine = frozenset(row.cell for row in lands.rows if row.holder == self.store.matcher_id)
        self.share = Share(len(mine), len(lands.rows), len(lands.alive))
        REGIONS.set(len(mine))
        PEERS.set(len(lands.alive))
        await self._see(lands.rows, mine)

    async def _see(self, rows: Sequence[RegionRow], mine: frozenset[int]) -> None:
        """Keep everybody in the frames while all is ours, else those whom our regions can need."""
        regions = None if len(mine) == len(rows) else mine - {ELSEWHERE}
        if regions == self.cover.regions:
            return
        cells = np.zeros(0, np.uint64)
        if regions is not None:
            cells = await asyncio.to_thread(covering, regions, resolution=self.cover.resolution)
        self.cover.change(regions, cells)
        self.moved()


def _nobody_listens() -> None:
    pass
