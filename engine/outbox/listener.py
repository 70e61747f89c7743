"""Postgres NOTIFY as a wake-up. It never runs the work: it only says that looking now is worth it.

A notification may be lost with its connection, so whoever listens also looks without one (`Wake.wait` has a timeout),
and every new connection counts as a notification.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

import asyncpg
import structlog

from config.limits import LISTEN_PROBE_MS, RESTART_BACKOFF_MS_MIN
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Connection, Pool
from engine.outbox.durable_loop import LOOP_FAILURES, end_if_cancelled, keep_running

log = structlog.get_logger(__name__)

OnNotify = Callable[[str], None]
"""Takes the payload; empty after a new connection, when anything may have been missed."""


class Wake:
    """An event that is cleared by waiting for it, and never waited for longer than a poll."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self, _payload: str = "") -> None:
        """Wake who waits, or the next who will."""
        self._event.set()

    async def wait(self, timeout_ms: float) -> None:
        """Return when woken, or after `timeout_ms`."""
        end_if_cancelled()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_ms / 1000):
                await self._event.wait()
        self._event.clear()


class Listener:
    """Keeps one connection of `pool` listening; `handlers` are called on the event loop and must not block."""

    def __init__(self, *, pool: Pool, clock: Clock, handlers: Mapping[str, OnNotify]) -> None:
        self._pool = pool
        self._clock = clock
        self._handlers = handlers

    async def run(self) -> None:
        """Listen until cancelled, through restarts of Postgres."""
        await keep_running(self._listen, name="listener", clock=self._clock, errors=POSTGRES_ERRORS)

    async def _listen(self) -> None:
        """Listen while one connection lasts. Its end is the first failure in a row, however many ended before it."""
        has_listened = False
        try:
            async with self._pool.acquire() as conn:
                try:
                    for channel in self._handlers:
                        await conn.add_listener(channel, self._notified)
                    has_listened = True
                    for handler in self._handlers.values():
                        handler("")
                    await self._probe(conn)
                finally:
                    # Not lent again: UNLISTEN could fail half-way, and a listener must not stay on what others borrow.
                    with suppress(asyncpg.InterfaceError):  # the server has ended it already
                        conn.terminate()
        except POSTGRES_ERRORS as error:
            end_if_cancelled()
            if not has_listened:
                raise
            LOOP_FAILURES.labels("listener").inc()
            log.warning("listener.connection_lost", error=repr(error))
            await self._clock.sleep_ms(RESTART_BACKOFF_MS_MIN)

    async def _probe(self, conn: Connection) -> None:
        ended = asyncio.Event()

        def on_end(_conn: object) -> None:
            ended.set()

        conn.add_termination_listener(on_end)
        try:
            while not ended.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(LISTEN_PROBE_MS / 1000):
                        await ended.wait()
                if not ended.is_set():
                    await conn.execute("SELECT 1")
                    end_if_cancelled()
        finally:
            with suppress(asyncpg.InterfaceError):  # the pool has taken back what the server has ended
                conn.remove_termination_listener(on_end)
        raise ConnectionResetError("the listening connection ended")

    def _notified(self, _conn: object, _process_id: int, channel: str, payload: object) -> None:
        self._handlers[channel](str(payload))
