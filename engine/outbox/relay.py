"""Carries committed events from Postgres to Redis channels, at least once and in order.

Order: `event_id` within what is committed. Whatever changes one booking, offer or incident does so under that row's
lock, so its events get their ids in the order of their commits. One relay publishes at a time (an advisory lock of the
transaction); others stand by and take over when its connection ends.

An event is marked published in the transaction that published it. A relay killed in between publishes it again: readers
compare versions, or take the event's id for a key.
"""

import asyncio
from typing import Final

import asyncpg
import orjson
import structlog
from prometheus_client import Counter, Histogram
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.limits import RELAY_BATCH_MAX, RELAY_POLL_MS, RELAY_STALL_MS
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Connection, Pool
from engine.core.units import MS_PER_S, ms_from_utc, utc_from_ms
from engine.outbox.durable_loop import keep_running
from engine.outbox.listener import Listener, Wake

log = structlog.get_logger(__name__)

PUBLISHED = Counter("clenzy_relay_events_total", "Events published to Redis.")
LAG = Histogram(
    "clenzy_relay_lag_seconds",
    "From an event's creation to its publication.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
)

RELAY_LOCK: Final = 0x72656C6179
"""Key of the advisory lock that makes one relay the active one (`relay` in ASCII)."""

TAKE_TURN: Final = """
SELECT pg_try_advisory_xact_lock($1), set_config('idle_in_transaction_session_timeout', $2, true)
"""

# SKIP LOCKED costs nothing under the lock and keeps a relay safe even from a statement that somebody runs by hand.
CLAIM: Final = """
SELECT event_id, topic, kind, body::text AS body, created_at
  FROM outbox
 WHERE published_at IS NULL
 ORDER BY event_id
 LIMIT $1
   FOR UPDATE SKIP LOCKED
"""

MARK: Final = "UPDATE outbox SET published_at = $2 WHERE event_id = ANY($1::bigint[])"


class Relay:
    """Publishes the outbox to `fan:<topic>` as `{"event_id", "kind", "body"}`."""

    def __init__(self, *, pool: Pool, redis: Redis, clock: Clock) -> None:
        self._pool = pool
        self._redis = redis
        self._clock = clock
        self._wake = Wake()
        self._listener = Listener(pool=pool, clock=clock, handlers={"clenzy_outbox": self._wake.set})

    async def run(self) -> None:
        """Relay until cancelled, through restarts of both stores."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listener.run())
            tasks.create_task(
                keep_running(self._round, name="relay", clock=self._clock, errors=(*POSTGRES_ERRORS, RedisError))
            )

    async def relay_batch(self) -> int:
        """Publish one batch; return how many events that were (0 also while another relay has its turn)."""
        async with self._pool.acquire() as conn, conn.transaction():
            if not await conn.fetchval(TAKE_TURN, RELAY_LOCK, str(RELAY_STALL_MS)):
                return 0
            rows = await conn.fetch(CLAIM, RELAY_BATCH_MAX)
            if rows:
                await self._publish(conn, rows)
        return len(rows)

    async def _round(self) -> None:
        while await self.relay_batch() == RELAY_BATCH_MAX:
            pass
        await self._wake.wait(RELAY_POLL_MS)

    async def _publish(self, conn: Connection, rows: list[asyncpg.Record]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for row in rows:
            pipeline.publish(f"fan:{row['topic']}", _message(row))  # type: ignore[unused-awaitable]  # only queued
        await pipeline.execute()
        now_ms = self._clock.now_ms()
        await conn.execute(MARK, [row["event_id"] for row in rows], utc_from_ms(now_ms))
        PUBLISHED.inc(len(rows))
        for row in rows:
            LAG.observe(max(0, now_ms - ms_from_utc(row["created_at"])) / MS_PER_S)


def _message(row: asyncpg.Record) -> bytes:
    return orjson.dumps({"event_id": row["event_id"], "kind": row["kind"], "body": orjson.Fragment(row["body"])})
