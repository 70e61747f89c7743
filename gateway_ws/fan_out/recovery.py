"""Closes the gaps of open sessions: with the events that they missed, read from the outbox for many at a time.

Who has had no snapshot yet, or whose missed events are not all there any more, reads their state anew. While Postgres
is away everybody waits, and their events with them.
"""

import asyncio
from collections.abc import Sequence

import structlog

from config.limits import HOUSEKEEPING_MS, OUTBOX_RETRY_MS, STATE_RELOADS_MAX
from engine.core.clock import Clock
from engine.core.errors import Unavailable
from engine.outbox.listener import Wake
from gateway_ws.closing import Close
from gateway_ws.engine_calls import EngineCalls
from gateway_ws.fan_out.subscriptions import FanOut
from gateway_ws.metrics import FAULTS
from gateway_ws.registry import Registry, Session

log = structlog.get_logger(__name__)


class Recovery:
    """One loop a gateway, over the sessions that the registry knows to be incomplete."""

    def __init__(self, registry: Registry, fan_out: FanOut, calls: EngineCalls, *, clock: Clock) -> None:
        self._registry = registry
        self._fan_out = fan_out
        self._calls = calls
        self._clock = clock
        self._wake = Wake()

    def after_gap(self) -> None:
        """All sessions may have missed events, and the fan-out is whole again."""
        self._registry.all_need_reload()
        self._wake.set()

    async def run(self) -> None:
        """Close gaps, for ever."""
        while True:
            batch = self._registry.take_incomplete()
            if not batch:
                await self._wake.wait(HOUSEKEEPING_MS)
                continue
            unfinished = await self._close_gaps(batch)
            for session in unfinished:
                self._registry.needs_reload(session)
            if unfinished:
                is_opening = any(not session.is_open for session in unfinished)
                await self._wake.wait(OUTBOX_RETRY_MS if is_opening else HOUSEKEEPING_MS)

    async def _close_gaps(self, batch: Sequence[Session]) -> list[Session]:
        """Return the sessions that must be looked at again."""
        opened = [session for session in batch if session.is_open]
        behind = [session for session in opened if session.can_catch_up]
        without_state = [session for session in opened if not session.can_catch_up]
        if self._fan_out.is_connected:
            without_state += await self._catch_up(behind)
        for first in range(0, len(without_state), STATE_RELOADS_MAX):
            await asyncio.gather(*(_reload(session) for session in without_state[first : first + STATE_RELOADS_MAX]))
        return [session for session in batch if not session.is_open or session.is_behind]

    async def _catch_up(self, sessions: Sequence[Session]) -> list[Session]:
        """Return the sessions whose missed events are not all there any more."""
        after: dict[str, int] = {}
        for session in sessions:
            session.expect()
            position = session.position or 0
            after[session.topic] = min(position, after.get(session.topic, position))
        if not after:
            return []
        try:
            history = await self._calls.missed(after)
        except Unavailable:
            return []
        lost = []
        for session in sessions:
            try:
                is_whole = session.catch_up(history)
            except Exception as error:  # noqa: BLE001 - logged, counted; one session's fault is not the others'
                is_whole = True
                _give_up(session, error)
            if not is_whole:
                lost.append(session)
            await self._clock.sleep_ms(0)  # pings go on
        return lost


async def _reload(session: Session) -> None:
    try:
        await session.reload()
    except Exception as error:  # noqa: BLE001 - as above
        _give_up(session, error)


def _give_up(session: Session, error: Exception) -> None:
    """End a session that cannot be served, and nobody else's: its client comes back for what it missed."""
    FAULTS.labels("recovery").inc()
    log.error("recovery.failed", kind=session.kind, exc_info=error)
    session.close(Close.GOING_AWAY)
