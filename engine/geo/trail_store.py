"""Stores the trails: accepted fixes go to Postgres in large copies, beside the path of a ping and never in its way.

`keep` costs one copy into a ring; a task of its own writes about once a second, or sooner when a batch is full, and in
small pieces: an alarm's commit shares Postgres' log and processor with the trails, and waits for no whole batch. While
Postgres is away the newest `TRAIL_BUFFER_FIXES_MAX` fixes wait and older ones are dropped and counted. A process that
is killed loses what waits: about `TRAIL_FLUSH_MS` of fixes while Postgres answers. Acknowledgements to phones do not
wait for the trail: they speak of the present, the cell.

Once stored is stored once: a batch whose COPY may or may not have committed is sent again, and rows that are there
already stay as they are.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import date
from typing import Final, TypeAlias

import asyncpg
import numpy as np
import structlog
from prometheus_client import Counter, Gauge

from config.limits import (
    TRAIL_BATCH_FIXES_MAX,
    TRAIL_BUFFER_FIXES_MAX,
    TRAIL_CHUNK_BYTES,
    TRAIL_CHUNK_PAUSE_MS,
    TRAIL_DRAIN_MS,
    TRAIL_FLUSH_MS,
    TRAIL_RETRY_MS,
    TRAIL_TICK_MS,
)
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Connection
from engine.core.errors import Unavailable
from engine.core.ids import OrgId
from engine.geo.fixes import FixArray, SlotArray
from engine.geo.trail_buffer import COLUMNS, Batch, SlotOrgs, TrailBuffer, copy_bytes
from engine.geo.trail_partitions import make_days

log = structlog.get_logger(__name__)

Lend: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]
"""Lends a connection; raises `Unavailable`, or one of `POSTGRES_ERRORS`, while there is none."""

FIXES: Final = Counter("clenzy_trail_fixes", "Accepted fixes by what became of them", ["outcome"])
WAITING: Final = Gauge("clenzy_trail_waiting_fixes", "Accepted fixes that wait to be stored")
FAILURES: Final = Counter("clenzy_trail_write_failures", "Batches that Postgres did not take at the first try")
for _outcome in ("stored", "dropped", "nobodys"):
    FIXES.labels(_outcome)

ORGS_OF_SLOTS: Final = """
SELECT slot, org_id FROM worker JOIN person ON person_id = worker_id WHERE slot = ANY ($1::integer[])
"""
MAKE_STAGE: Final = "CREATE TEMPORARY TABLE trail_stage (LIKE trail) ON COMMIT DROP"
ADD_NEW: Final = "INSERT INTO trail SELECT * FROM trail_stage ON CONFLICT DO NOTHING"


class TrailWriter:
    """The writer of one process. `run` it in a task; `keep` fixes from the same event loop."""

    def __init__(self, lend: Lend, *, clock: Clock, fixes_max: int = TRAIL_BUFFER_FIXES_MAX) -> None:
        self._lend = lend
        self._clock = clock
        self._buffer = TrailBuffer(fixes_max)
        self._orgs = SlotOrgs()
        self._known_days: set[date] = set()
        self._batch: Batch | None = None
        """Taken from the buffer and not yet known to be stored; it is not dropped."""
        self._is_away = False

    def __len__(self) -> int:
        """Return how many fixes wait."""
        return len(self._buffer) + len(self._batch or ())

    def keep(self, fixes: FixArray, slots: SlotArray) -> None:
        """Take accepted fixes, to be stored soon; where the buffer is full the oldest are dropped and counted."""
        dropped = self._buffer.add(fixes, slots)
        if dropped:
            FIXES.labels("dropped").inc(dropped)

    async def run(self) -> None:
        """Store what comes, for ever, through restarts of Postgres."""
        while True:
            for _ in range(TRAIL_FLUSH_MS // TRAIL_TICK_MS):
                await self._clock.sleep_ms(TRAIL_TICK_MS)
                if len(self._buffer) >= TRAIL_BATCH_FIXES_MAX:
                    break
            while not await self.flush():
                await self._clock.sleep_ms(TRAIL_RETRY_MS)

    async def flush(self) -> bool:
        """Store everything that waits; return whether Postgres took it."""
        while len(self):
            if self._batch is None:
                self._batch = self._buffer.take(TRAIL_BATCH_FIXES_MAX)
            try:
                stored = await self._write(self._batch)
            except (Unavailable, *POSTGRES_ERRORS) as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    # Giving a lost connection back fails, and that failure takes the place of the cancellation.
                    raise asyncio.CancelledError from error
                self._failed(error)
                return False
            FIXES.labels("stored").inc(stored)
            FIXES.labels("nobodys").inc(len(self._batch) - stored)
            self._batch = None
            self._is_away = False
        WAITING.set(0)
        return True

    async def drain(self) -> None:
        """Before the process ends: store what waits, within `TRAIL_DRAIN_MS`; what is left is lost, and said."""
        try:
            async with asyncio.timeout(TRAIL_DRAIN_MS / 1000):
                await self.flush()
        except TimeoutError:
            pass
        if len(self):
            log.warning("trail.lost_at_stop", fixes=len(self))

    def _failed(self, error: Exception) -> None:
        FAILURES.inc()
        WAITING.set(len(self))
        if not self._is_away:
            log.warning("trail.postgres_away", error=type(error).__name__, waiting=len(self))
        self._is_away = True

    async def _write(self, batch: Batch) -> int:
        """Store a batch and return how many fixes of it belong to somebody."""
        async with self._lend() as conn:
            batch = await self._owned(conn, batch)
            data, days = copy_bytes(batch, self._orgs), batch.days()
            try:
                await self._copy(conn, data, days)
            except asyncpg.CheckViolationError:
                # No partition, though we made or met it: dropped since, or a backup was restored.
                self._known_days.clear()
                await self._copy(conn, data, days)
        return len(batch)

    async def _owned(self, conn: Connection, batch: Batch) -> Batch:
        """Return the batch without the fixes of slots that are nobody's any more: nobody could be told of them."""
        known = self._orgs.known(batch.slots)
        if known.all():
            return batch
        strangers = np.unique(batch.slots[~known]).tolist()
        for row in await conn.fetch(ORGS_OF_SLOTS, strangers):
            self._orgs.set(row["slot"], OrgId(row["org_id"]))
        return batch.only(self._orgs.known(batch.slots))

    async def _copy(self, conn: Connection, data: bytes, days: set[date]) -> None:
        if not days <= self._known_days:
            await make_days(conn, days)
            self._known_days = set(days)
        try:
            await conn.copy_to_table("trail", source=self._chunks(data), columns=COLUMNS, format="binary")
        except asyncpg.UniqueViolationError:
            await self._copy_new(conn, data)

    async def _copy_new(self, conn: Connection, data: bytes) -> None:
        """Store the rows that are not there yet."""
        async with conn.transaction():
            await conn.execute(MAKE_STAGE)
            await conn.copy_to_table("trail_stage", source=self._chunks(data), columns=COLUMNS, format="binary")
            await conn.execute(ADD_NEW)

    async def _chunks(self, data: bytes) -> AsyncIterator[bytes]:
        """Yield a batch in pieces; while another batch waits already, without a pause."""
        for start in range(0, len(data), TRAIL_CHUNK_BYTES):
            if start and len(self._buffer) < TRAIL_BATCH_FIXES_MAX:
                await self._clock.sleep_ms(TRAIL_CHUNK_PAUSE_MS)
            yield data[start : start + TRAIL_CHUNK_BYTES]
