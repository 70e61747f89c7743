"""Watches zones for as long as the process lives, one turn after the other."""

import asyncio
from typing import Never

import structlog

from config.limits import ZONE_STANDBY_MS
from engine.core.clock import Clock
from engine.core.database import Pool
from engine.outbox.listener import Listener
from engine.zones.metrics import TURNS_ENDED
from engine.zones.presence_store import MismatchError, SupersededError
from engine.zones.zone_turn import Follow, TooMuchWaitsError, ZoneTurn

log = structlog.get_logger(__name__)


class ZoneWatch:
    """The watch of one process. Several may run: one is active, the others stand by."""

    def __init__(self, *, pool: Pool, clock: Clock, follow: Follow) -> None:
        self._pool = pool
        self._clock = clock
        self._follow = follow
        self._turn = self._new_turn()
        self._listener = Listener(pool=pool, clock=clock, handlers={"clenzy_zone": self._hear})

    async def run(self) -> None:
        """Watch until cancelled, through restarts of both stores."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listener.run())
            tasks.create_task(self._take_turns())

    async def _take_turns(self) -> Never:
        while True:
            try:
                await self._turn.run()
            except* (SupersededError, MismatchError, TooMuchWaitsError) as group:
                why = type(_first(group)).__name__
                TURNS_ENDED.labels(why).inc()
                log.warning("zones.turn_ended", why=why, error=repr(_first(group)))
            await self._clock.sleep_ms(ZONE_STANDBY_MS)
            self._turn = self._new_turn()

    def _new_turn(self) -> ZoneTurn:
        return ZoneTurn(pool=self._pool, clock=self._clock, follow=self._follow)

    def _hear(self, payload: str) -> None:
        self._turn.reload_zones(payload)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
