"""Keeps the worker table up to date from Postgres and tells Redis each worker's status.

A notification names a worker to read again; every so often all are read, for what no notification told (a person
suspended, a lost connection). `geo:status` is compared with what Redis holds before it is written, so a restarted
Redis, a second matcher or a lost write all end in the same bytes.
"""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import numpy as np
from prometheus_client import Gauge
from redis.exceptions import RedisError

from config.limits import (
    ACCEPTANCE_REFRESH_MS,
    STATUS_CHECK_MS,
    STATUS_WRITE_MS,
    WORKER_REFRESH_MS,
    WORKERS_PER_READ_MAX,
)
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.ids import PersonId
from engine.core.redis_store import RedisClient, ask
from engine.geo.cell_index import STATUS_KEY, CellIndex
from engine.geo.mirror import Mirror
from engine.matcher.wants_store import Areas
from engine.matcher.worker_facts import read_page, read_tallies, read_workers
from engine.matcher.worker_table import WorkerRow, WorkerTable
from engine.outbox.durable_loop import keep_running
from engine.outbox.listener import Wake

WORKERS = Gauge("clenzy_workers", "Workers by status, as the matcher knows them.", ["status"])

RUNS_MAX: Final = 64
"""More separate changes than this are written as one string."""


class WorkerFeed:
    """Reads workers into `table`, tells `mirror` what they can do and writes their status to Redis."""

    def __init__(
        self, *, pool: Pool, redis: RedisClient, table: WorkerTable, clock: Clock, mirror: Mirror | None = None
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._cells = CellIndex(redis)
        self._table = table
        self._mirror = mirror
        self._clock = clock
        self._to_read: set[PersonId] = set()
        self._read_all_at_ms = 0
        self._tallies_at_ms = 0
        self._told = Wake()
        self._changed = Wake()
        self.areas = Areas()
        """Where organisations work, as old as the last reading of everybody."""
        self.is_loaded = False
        """Whether all workers were read once."""

    def notified(self, payload: str) -> None:
        """Take a notification: a worker's id, or nothing when anything may have changed."""
        if payload:
            self._to_read.add(PersonId(UUID(payload)))
        else:
            self._read_all_at_ms = 0
        self._told.set()

    async def run(self) -> None:
        """Follow Postgres and Redis until cancelled, through restarts of both."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_running(self._read_round, name="workers", clock=self._clock, errors=POSTGRES_ERRORS))
            tasks.create_task(
                keep_running(self._write_round, name="status", clock=self._clock, errors=(RedisError, OSError))
            )

    async def read(self) -> None:
        """Read who was named since the last time, or everybody when that is due."""
        now_ms = self._clock.now_ms()
        named, self._to_read = self._to_read, set()
        try:
            if now_ms >= self._read_all_at_ms:
                # Before the reading: what is told from now on may not be in it.
                self._read_all_at_ms = now_ms + WORKER_REFRESH_MS
                await self._read_all(now_ms)
                await self._read_tallies(now_ms)
                async with self._pool.acquire() as conn:
                    await self.areas.refresh(conn)
            elif named:
                self._apply(await read_workers(self._pool, list(named), now_ms=now_ms))
        except BaseException:
            self._to_read |= named
            self._read_all_at_ms = min(self._read_all_at_ms, now_ms)
            raise
        for status, workers in self._table.counts().items():
            WORKERS.labels(status.name.lower()).set(workers)
        self._changed.set()

    async def write_status(self) -> None:
        """Bring `geo:status` in Redis to what the table says, touching only what differs."""
        if not self.is_loaded:
            return
        wanted = self._table.status_bytes()
        found = await self._cells.statuses()
        await ask(self._redis, [("SETRANGE", STATUS_KEY, start, part) for start, part in changed_runs(found, wanted)])

    async def _read_all(self, now_ms: int) -> None:
        first_slot = 0
        while True:
            rows = await read_page(self._pool, first_slot, WORKERS_PER_READ_MAX, now_ms=now_ms)
            self._apply(rows)
            if len(rows) < WORKERS_PER_READ_MAX:
                break
            first_slot = rows[-1].slot + 1
        self.is_loaded = True

    async def _read_tallies(self, now_ms: int) -> None:
        if now_ms < self._tallies_at_ms:
            return
        async with self._pool.acquire() as conn:
            self._table.apply_tallies(await read_tallies(conn, now_ms=now_ms))
        self._tallies_at_ms = now_ms + ACCEPTANCE_REFRESH_MS

    def _apply(self, rows: Sequence[WorkerRow]) -> None:
        self._table.apply(rows)
        if self._mirror is not None:
            self._table.describe(self._mirror, np.fromiter((row.slot for row in rows), np.int64, len(rows)))

    async def _read_round(self) -> None:
        await self.read()
        await self._told.wait(max(1, self._read_all_at_ms - self._clock.now_ms()))

    async def _write_round(self) -> None:
        await self.write_status()
        await self._clock.sleep_ms(STATUS_WRITE_MS)
        await self._changed.wait(STATUS_CHECK_MS)


def changed_runs(found: bytes, wanted: bytes) -> list[tuple[int, bytes]]:
    """Return what to write where, so that `found` becomes `wanted`; what is longer keeps its tail."""
    have = np.frombuffer(found[: len(wanted)].ljust(len(wanted)), np.uint8)
    is_different = have != np.frombuffer(wanted, np.uint8)
    is_different[len(found) :] = True
    differs = np.flatnonzero(is_different)
    if not len(differs):
        return []
    runs = np.split(differs, np.flatnonzero(np.diff(differs) > 1) + 1)
    if len(runs) > RUNS_MAX:
        return [(0, wanted)]
    return [(int(run[0]), wanted[run[0] : run[-1] + 1]) for run in runs]
