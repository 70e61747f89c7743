"""Says of this process's parts that they work, and notices peers that say so no more.

A part says so by its `Pulse`, which it moves at the end of each whole round of its own: a loop that hangs while its
process lives on falls silent like one that was killed.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Never

import structlog

from config.limits import BEAT_FRESH_MS, BEAT_MISSED_MS, BEAT_MS
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Connection, Pool
from engine.core.units import MS_PER_S
from engine.outbox.durable_loop import keep_running
from engine.safetap.escalation_loop import ReadClock
from engine.safetap.incident_store import read_clock
from engine.safetap.metrics import OVERDUE, PEERS_MISSED, PEERS_MISSING
from engine.safetap.watchdog.beats import beat, find_missing, leave, read_health
from engine.safetap.watchdog.health import Health, Part

log = structlog.get_logger(__name__)

NS_PER_MS: Final = 1_000_000
LEAVE_MS_MAX: Final = 1_000
"""A process that stops does not wait longer to say so: its peers will miss it."""


class Pulse:
    """When a part last got through its work."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at_ns: int | None = None

    def beat(self) -> None:
        """Take note that the work was done once more."""
        self._at_ns = self._clock.steady_ns()

    def is_fresh(self) -> bool:
        """Return whether that was lately."""
        return self._at_ns is not None and self._clock.steady_ns() - self._at_ns <= BEAT_FRESH_MS * NS_PER_MS


class PeerWatch:
    """Beats for the parts of one process. `seat` names it: the same after a restart, another one's nowhere."""

    def __init__(
        self,
        *,
        pool: Pool,
        clock: Clock,
        seat: str,
        pulses: Mapping[Part, Pulse],
        read_clock: ReadClock = read_clock,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._seat = seat
        self._pulses = pulses
        self._read_clock = read_clock
        self._watching_since_ns: int | None = None

    async def run(self) -> Never:
        """Beat and watch until cancelled, through restarts of Postgres; leave in good order."""
        try:
            await keep_running(self._round, name="peer_watch", clock=self._clock, errors=POSTGRES_ERRORS)
        finally:
            await self._leave()

    async def look(self, conn: Connection) -> Health:
        """Beat once, look at the others once, and return how things stand."""
        now_ms = await self._read_clock(conn)
        await beat(conn, self._seat, [part for part, pulse in self._pulses.items() if pulse.is_fresh()], now_ms=now_ms)
        if self._has_watched_long_enough():
            for seat, part in await find_missing(conn, now_ms=now_ms):
                PEERS_MISSED.labels(part.value).inc()
                log.error("peer.missed", seat=seat, part=part.value)
        health = await read_health(conn, now_ms=now_ms)
        _observe(health)
        return health

    async def _round(self) -> None:
        try:
            async with self._pool.acquire() as conn:
                await self.look(conn)
        except POSTGRES_ERRORS:
            self._watching_since_ns = None
            raise
        await self._clock.sleep_ms(BEAT_MS)

    def _has_watched_long_enough(self) -> bool:
        """Return whether the others had the time to be heard: after a start, and after Postgres was away for all."""
        now_ns = self._clock.steady_ns()
        if self._watching_since_ns is None:
            self._watching_since_ns = now_ns
        return now_ns - self._watching_since_ns >= BEAT_MISSED_MS * NS_PER_MS

    async def _leave(self) -> None:
        with suppress(*POSTGRES_ERRORS, TimeoutError):
            async with asyncio.timeout(LEAVE_MS_MAX / MS_PER_S), self._pool.acquire() as conn:
                await leave(conn, self._seat)


def _observe(health: Health) -> None:
    for part in Part:
        PEERS_MISSING.labels(part.value).set(sum(one.part is part for one in health.missing))
    OVERDUE.labels("step").set(health.step_late_ms / MS_PER_S)
    OVERDUE.labels("notice").set(health.notice_late_ms / MS_PER_S)
