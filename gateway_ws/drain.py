"""Sends the clients of a stopping gateway away in waves, so that the gateways that stay do not get all at once."""

import asyncio
import random
from collections.abc import Sequence

import structlog

from config.limits import DRAIN_RETRY_MS_MAX, DRAIN_WAVE_CLIENTS, DRAIN_WAVE_MS
from engine.core.clock import Clock
from gateway_ws.closing import Close
from gateway_ws.registry import Registry, Session

log = structlog.get_logger(__name__)


def wave_clients(clients: int, within_ms: int) -> int:
    """Return how many leave in one wave: `DRAIN_WAVE_CLIENTS`, or as many more as the time asks for."""
    waves = max(1, within_ms // DRAIN_WAVE_MS)
    return max(DRAIN_WAVE_CLIENTS, -(-clients // waves))


class Drain:
    """Empties a registry. Whoever leaves is told how long to wait before coming back."""

    def __init__(self, registry: Registry, *, clock: Clock, rng: random.Random) -> None:
        self._registry = registry
        self._clock = clock
        self._rng = rng

    async def run(self, within_ms: int, at_once: asyncio.Event) -> None:
        """Close every session within about `within_ms`; when `at_once` is set, the rest without a pause."""
        sessions = list(self._registry)
        self._rng.shuffle(sessions)
        size = wave_clients(len(sessions), within_ms)
        log.info("drain.started", clients=len(sessions), wave=size)
        for start in range(0, len(sessions), size):
            if start:
                await self._pause(at_once)
            self._send_away(sessions[start : start + size])
        log.info("drain.done")

    def _send_away(self, sessions: Sequence[Session]) -> None:
        for session in sessions:
            session.close(Close.GOING_AWAY, retry_after_ms=self._rng.randint(0, DRAIN_RETRY_MS_MAX))

    async def _pause(self, at_once: asyncio.Event) -> None:
        """Wait for the next wave, half a wave more or less: several gateways that stop shall not keep step."""
        pausing = asyncio.ensure_future(self._clock.sleep_ms(DRAIN_WAVE_MS * self._rng.uniform(0.5, 1.5)))
        hurrying = asyncio.ensure_future(at_once.wait())
        try:
            await asyncio.wait({pausing, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pausing.cancel()
            hurrying.cancel()
