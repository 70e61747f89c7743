"""Carries committed events from Postgres to Redis channels, in one order that never changes.

A round is three steps: give numbers (`seq`) to what is waiting and commit that, publish in the order of the numbers,
and mark what was published, which the next round's statement does along with its own numbers. A relay killed between
two steps leaves events that have a number and are not marked: the next one publishes them again under the same numbers,
before anything newer, and whoever heard them already drops them (`seq` is not above the last one).

Order: `event_id` within what is committed. Whatever changes one booking, offer or incident does so under that row's
lock, so its events get their ids in the order of their commits. One relay is active at a time: it holds an advisory
lock for as long as its connection lives, and Postgres ends a connection that asks nothing for `RELAY_STALL_MS`. Should
the relay behind it wake up later, what it still publishes are numbers that everybody is past.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import orjson
import structlog
from prometheus_client import Counter, Histogram
from redis.exceptions import RedisError

from config.limits import RELAY_BATCH_MAX, RELAY_POLL_MS, RELAY_STALL_MS
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Connection, Pool
from engine.core.redis_store import RedisClient, publish_together
from engine.core.units import MS_PER_S, ms_from_utc, utc_from_ms
from engine.outbox.durable_loop import end_if_cancelled, keep_running
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

# Both end with the connection, or when the pool takes it back.
TAKE_TURN: Final = "SELECT pg_try_advisory_lock($1), set_config('idle_session_timeout', $2, false)"

# $1: everything up to this number has been published by this relay; $2: when; $3: events of a round.
# Who has a number already comes first: a relay before this one did not get to publish it, or to mark it.
# Numbers wait for the disk, and with them whatever was committed before them, so an offer itself need not. A mark alone
# does not: what it marked would be told again under the same number.
NEXT_ROUND: Final = """
WITH marked AS (
  UPDATE outbox SET published_at = $2
   WHERE published_at IS NULL AND seq <= $1
     AND CASE WHEN EXISTS (SELECT FROM outbox WHERE published_at IS NULL AND seq IS NULL) THEN true
              ELSE set_config('synchronous_commit', 'off', true) IS NOT NULL END),
waiting AS (
  SELECT event_id, seq FROM outbox
   WHERE published_at IS NULL AND (seq > $1 OR seq IS NULL)
   ORDER BY seq, event_id LIMIT $3),
numbered AS (
  UPDATE outbox
     SET seq = fresh.position + greatest((SELECT max(seq) FROM outbox), (SELECT floor_seq FROM outbox_epoch))
    FROM (SELECT event_id, row_number() OVER (ORDER BY event_id) AS position FROM waiting WHERE seq IS NULL) AS fresh
   WHERE outbox.event_id = fresh.event_id
  RETURNING outbox.event_id, outbox.seq)
SELECT event_id, coalesce(waiting.seq, numbered.seq) AS seq, topic, kind, body::text AS body, created_at
  FROM waiting LEFT JOIN numbered USING (event_id) JOIN outbox USING (event_id)
 ORDER BY 2
"""


class Relay:
    """Publishes the outbox to `fan:<topic>` as `{"event_id", "seq", "kind", "body"}`."""

    def __init__(self, *, pool: Pool, redis: RedisClient, clock: Clock) -> None:
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
                keep_running(self._serve, name="relay", clock=self._clock, errors=(*POSTGRES_ERRORS, RedisError))
            )

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["Turn | None"]:
        """Be the active relay while the block runs; None while another one is."""
        async with self._pool.acquire() as conn:
            if await conn.fetchval(TAKE_TURN, RELAY_LOCK, str(RELAY_STALL_MS)):
                yield Turn(conn, self._redis, self._clock)
            else:
                yield None

    async def _serve(self) -> None:
        async with self.turn() as turn:
            while turn is not None:
                while await turn.relay_batch():
                    end_if_cancelled()
                await self._wake.wait(RELAY_POLL_MS)
        await self._clock.sleep_ms(RELAY_POLL_MS)


class Turn:
    """One relay's time as the active one: a connection that holds the lock, and how far it got."""

    def __init__(self, conn: Connection, redis: RedisClient, clock: Clock) -> None:
        self._conn = conn
        self._redis = redis
        self._clock = clock
        self._published = 0

    async def relay_batch(self) -> int:
        """Mark what the last call published, publish the next batch; return how many events that were.

        Nothing is left unmarked after a call that returns 0.
        """
        rows = await self.number_batch()
        if rows:
            await self.publish(rows)
        return len(rows)

    async def number_batch(self) -> list[asyncpg.Record]:
        """Mark what was published; commit numbers for the next batch and return it, in their order."""
        now = utc_from_ms(self._clock.now_ms())
        return await self._conn.fetch(NEXT_ROUND, self._published, now, RELAY_BATCH_MAX)

    async def publish(self, rows: list[asyncpg.Record]) -> None:
        """Publish a numbered batch: all of it or, when Redis fails, perhaps nothing; never a later event alone."""
        await publish_together(self._redis, [(f"fan:{row['topic']}", _message(row)) for row in rows])
        self._published = rows[-1]["seq"]
        now_ms = self._clock.now_ms()
        PUBLISHED.inc(len(rows))
        for row in rows:
            LAG.observe(max(0, now_ms - ms_from_utc(row["created_at"])) / MS_PER_S)


def _message(row: asyncpg.Record) -> bytes:
    message = {
        "event_id": row["event_id"],
        "seq": row["seq"],
        "kind": row["kind"],
        "body": orjson.Fragment(row["body"]),
    }
    return orjson.dumps(message)
