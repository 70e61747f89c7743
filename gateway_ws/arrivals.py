"""How many sessions open at once: where thousands come in one second, most of them wait or are told when to come.

Opening a session takes Postgres, Redis and a core a while. Begun for everybody at once, it ends for nobody before they
lose patience and come again, which costs as much once more. So a few open at a time, some wait behind them, and the
others are sent away for as long as it takes to let in all who were sent away before them.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from config.limits import (
    OPENING_RETRY_MS_MAX,
    OPENING_RETRY_MS_MIN,
    OPENING_SESSIONS_MAX,
    OPENING_WAIT_MS,
    OPENING_WAITING_MAX,
)
from engine.core.clock import Clock
from engine.core.errors import Unavailable
from engine.core.units import MS_PER_S, NS_PER_MS
from gateway_ws.metrics import ARRIVALS_SENT_AWAY, SESSIONS_OPENING


class Appointments:
    """When whoever is sent away may come again. Pure: times are given, in ms of a clock that never goes back.

    One after the other, at the pace at which sessions have been opening.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._mean_ms = 5.0
        """From one session that has opened to the next, while others wait."""
        self._opened_at_ms = 0.0
        self._next_at_ms = 0.0

    def opened(self, now_ms: float, *, is_busy: bool) -> None:
        """Take note that a session has opened; `is_busy`: others wait for its place."""
        if is_busy and self._opened_at_ms:
            self._mean_ms += (min(now_ms - self._opened_at_ms, MS_PER_S) - self._mean_ms) / 64
        self._opened_at_ms = now_ms if is_busy else 0.0

    def delay_ms(self, now_ms: float) -> int:
        """Return for how long the next one is to stay away, give or take a quarter."""
        first_ms = now_ms + OPENING_RETRY_MS_MIN
        last_ms = now_ms + OPENING_RETRY_MS_MAX
        self._next_at_ms = min(max(self._next_at_ms, first_ms) + self._mean_ms, last_ms)
        return round((self._next_at_ms - now_ms) * self._rng.uniform(0.75, 1.25))


class Arrivals:
    """The places of those whose sessions open right now."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._appointments = Appointments(rng)
        self._places = asyncio.Semaphore(OPENING_SESSIONS_MAX)
        self._waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether so many wait that further ones had better not even be greeted."""
        return self._waiting >= OPENING_WAITING_MAX

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place while the block runs; who comes first gets the next one.

        Raises:
            Unavailable: none became free in time.
        """
        self._waiting += 1
        try:
            async with asyncio.timeout(OPENING_WAIT_MS / MS_PER_S):
                await self._places.acquire()
        except TimeoutError:
            raise Unavailable("too many connect at this moment") from None
        finally:
            self._waiting -= 1
        SESSIONS_OPENING.inc()
        try:
            yield
        finally:
            SESSIONS_OPENING.dec()
            self._places.release()
            self._appointments.opened(self._now_ms(), is_busy=self._waiting > 0)

    def sent_away(self) -> int:
        """Count somebody who is sent away; return when they are to come again, in ms."""
        ARRIVALS_SENT_AWAY.inc()
        return self._appointments.delay_ms(self._now_ms())

    def _now_ms(self) -> float:
        return self._clock.steady_ns() / NS_PER_MS
