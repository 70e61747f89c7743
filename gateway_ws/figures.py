"""The figures that consoles get once a second: what this gateway counts is told to all gateways through Redis."""

from collections import Counter
from typing import Any

import numpy as np
import orjson

from config.limits import BOOKING_COUNTS_KEPT_MS, RATE_KEPT_MS, WORKER_SILENT_MS
from engine.core.clock import Clock
from engine.core.errors import Unavailable
from engine.core.ids import OrgId
from engine.core.redis_store import RedisClient
from engine.core.units import MS_PER_S
from engine.geo.acceptance import NEVER_MS
from engine.geo.worker_table import WorkerTable
from gateway_ws.engine_calls import EngineCalls
from gateway_ws.metrics import IngestMetrics
from gateway_ws.registry import Registry

_RATES_KEY = "gateway:rates"
_RATE_FORGOTTEN_MS = 60_000


class Figures:
    """Counts here, adds up everywhere."""

    def __init__(  # noqa: PLR0913 - what it counts from
        self,
        gateway_id: str,
        redis: RedisClient,
        *,
        registry: Registry,
        table: WorkerTable,
        metrics: IngestMetrics,
        calls: EngineCalls,
        clock: Clock,
        fix_clock: Clock,
    ) -> None:
        self._gateway_id = gateway_id
        self._redis = redis
        self._registry = registry
        self._table = table
        self._metrics = metrics
        self._calls = calls
        self._clock = clock
        self._fix_clock = fix_clock
        self._counted = (0, clock.now_ms())
        self._desk: dict[OrgId, tuple[int, int, dict[str, int]]] = {}

    async def tell_rates(self) -> None:
        """Tell the other gateways this one's rate and live workers.

        Raises:
            RedisError: Redis did not answer.
        """
        now_ms = self._clock.now_ms()
        fixes, (before, before_ms) = self._metrics.fixes, self._counted
        self._counted = (fixes, now_ms)
        rate = (fixes - before) * MS_PER_S / max(now_ms - before_ms, 1)
        told = {"at_ms": now_ms, "fixes_per_s": rate, "live": self._live_workers()}
        await self._redis.hset(_RATES_KEY, self._gateway_id, orjson.dumps(told))

    async def read_rates(self) -> tuple[float, Counter[str]]:
        """Return fixes a second and live workers by organisation, of all gateways.

        Raises:
            RedisError: Redis did not answer.
        """
        now_ms = self._clock.now_ms()
        fixes_per_s, live = 0.0, Counter[str]()
        told = await self._redis.hgetall(_RATES_KEY)
        for gateway_id, text in told.items():
            rates = orjson.loads(text)
            age_ms = now_ms - rates["at_ms"]
            if age_ms > _RATE_FORGOTTEN_MS:
                await self._redis.hdel(_RATES_KEY, gateway_id)
            if age_ms <= RATE_KEPT_MS:
                fixes_per_s += rates["fixes_per_s"]
                live.update(rates["live"])
        return fixes_per_s, live

    async def of_desk(self, org_id: OrgId, fixes_per_s: float, live: Counter[str]) -> dict[str, Any]:
        """Return the `stats` event of one organisation."""
        on_duty, bookings = await self._counts(org_id)
        return {
            "workers_on_duty": on_duty,
            "workers_live": live[str(org_id)],
            "bookings": bookings,
            "fixes_per_s": round(fixes_per_s, 1),
            "at_ms": self._clock.now_ms(),
        }

    def _live_workers(self) -> dict[str, int]:
        """Count the workers on duty here whose newest fix is not older than `WORKER_SILENT_MS`."""
        since_ms = self._fix_clock.now_ms() - WORKER_SILENT_MS
        table = self._table
        is_live = (table.duty_since_ms != NEVER_MS) & (table.last["ts_ms"] >= since_ms)
        slots = np.nonzero(is_live)[0].tolist()
        return Counter(org for slot in slots if (org := self._registry.org_of_worker(slot)) is not None)

    async def _counts(self, org_id: OrgId) -> tuple[int, dict[str, int]]:
        now_ms = self._clock.now_ms()
        at_ms, on_duty, bookings = self._desk.get(org_id, (0, 0, {}))
        if now_ms - at_ms >= BOOKING_COUNTS_KEPT_MS:
            try:
                on_duty, bookings = await self._calls.desk_counts(org_id)
            except Unavailable:
                return on_duty, bookings
            self._desk[org_id] = (now_ms, on_duty, bookings)
        return on_duty, bookings
