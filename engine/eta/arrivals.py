"""When somebody will be there, for those who ask about one trip at a time: many may ask about the same, and at once."""

import asyncio
from typing import TypeAlias

import numpy as np

from config.limits import ARRIVALS_KEPT_MAX, CUSTOMER_ETAS_EVERY_MS, ROUTER_AT_ONCE_MAX
from engine.core.clock import Clock
from engine.eta.source import EtaSource
from engine.eta.straight_line import Eta

LatLng: TypeAlias = tuple[float, float]
"""Degrees."""
Way: TypeAlias = tuple[LatLng, LatLng]


class Arrivals:
    """Asks one source of travel times, a few ways at once and hardly more than once in `limits.CUSTOMER_ETAS_EVERY_MS`.

    Requests that wait for the same way are answered by those few that are under way.
    """

    def __init__(self, source: EtaSource, *, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._at_once = asyncio.Semaphore(ROUTER_AT_ONCE_MAX)
        self._kept: dict[Way, tuple[int, Eta]] = {}
        """When a way was asked about, and the answer; the oldest first."""

    async def of(self, start: LatLng, goal: LatLng) -> Eta:
        """Return how long a trip takes that begins now.

        It may take as long as a router may: no caller holds a transaction, or a connection that others wait for.
        """
        way = start, goal
        if (eta := self._recent(way)) is not None:
            return eta
        async with self._at_once:
            # Who was before us may have asked the same.
            if (eta := self._recent(way)) is not None:
                return eta
            now_ms = self._clock.now_ms()
            found = await self._source.arrivals(np.array([start[0]]), np.array([start[1]]), *goal, at_ms=now_ms)
        eta = Eta(*(round(float(each[0])) for each in (found.eta_s, found.low_s, found.high_s)))
        self._keep(way, now_ms, eta)
        return eta

    def _recent(self, way: Way) -> Eta | None:
        asked_ms, eta = self._kept.get(way, (0, None))
        return eta if self._clock.now_ms() - asked_ms < CUSTOMER_ETAS_EVERY_MS else None

    def _keep(self, way: Way, asked_ms: int, eta: Eta) -> None:
        self._kept.pop(way, None)
        self._kept[way] = asked_ms, eta
        while len(self._kept) > ARRIVALS_KEPT_MAX:
            del self._kept[next(iter(self._kept))]
