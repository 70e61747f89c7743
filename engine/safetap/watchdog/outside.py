"""Tells a watchdog outside, again and again, that alarms would be worked on; who hears nothing raises the alarm.

Silence is the message, so that a ping is only sent when every link is known to work: a door, an escalator and a sender
were heard of lately, and no step or first notice is overdue. Any number of processes may run this; one of them pings.
"""

from collections.abc import Awaitable, Callable
from typing import Never

import structlog

from config.limits import BEAT_MS, OUTSIDE_RETRY_MS
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.outbox.durable_loop import keep_running
from engine.safetap.channels.notifier import NotSent
from engine.safetap.escalation_loop import ReadClock
from engine.safetap.incident_store import read_clock
from engine.safetap.metrics import OUTSIDE_PINGS
from engine.safetap.watchdog.beats import claim_ping, read_health, record_ping
from engine.safetap.watchdog.health import ailments

log = structlog.get_logger(__name__)

Ping = Callable[[], Awaitable[None]]
"""Tells the watchdog outside once.

Raises:
    NotSent: it did not take it.
"""


class OutsideWatchdog:
    """Pings every `every_ms` while the ladder works."""

    def __init__(
        self, *, pool: Pool, clock: Clock, ping: Ping, every_ms: int, read_clock: ReadClock = read_clock
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._ping = ping
        self._every_ms = every_ms
        self._read_clock = read_clock

    async def run(self) -> Never:
        """Ping until cancelled. While Postgres is away no ladder is climbed, and nothing is sent."""
        await keep_running(self._round, name="outside_watchdog", clock=self._clock, errors=POSTGRES_ERRORS)

    async def look(self) -> str | None:
        """Ping if it is due and all is well; return what stood in its way, `""` for nothing, `None`: it was not due."""
        async with self._pool.acquire() as conn:
            now_ms = await self._read_clock(conn)
            if not await claim_ping(conn, now_ms=now_ms, every_ms=self._every_ms):
                return None
            ill = ailments(await read_health(conn, now_ms=now_ms))
        trouble = ", ".join(ill) or await self._try()
        outcome = "withheld" if ill else "failed" if trouble else "sent"
        OUTSIDE_PINGS.labels(outcome).inc()
        if trouble:
            log.error("watchdog.not_told", outcome=outcome, reason=trouble)
        async with self._pool.acquire() as conn:
            now_ms = await self._read_clock(conn)
            await record_ping(conn, trouble, now_ms=now_ms, retry_at_ms=now_ms + OUTSIDE_RETRY_MS)
        return trouble

    async def _try(self) -> str:
        try:
            await self._ping()
        except NotSent as error:
            return str(error)
        return ""

    async def _round(self) -> None:
        await self.look()
        await self._clock.sleep_ms(BEAT_MS)
