"""Composition root of the keeper: deletes what has outlived its use, a batch at a time, and mends the cell index.

Every job can be stopped anywhere and taken up again, and several keepers may run: a batch takes the rows that nobody
else holds, and what is left over is the next batch's.
"""

import asyncio
from collections import Counter as Tally
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from prometheus_client import Counter, Gauge

from config.jurisdictions import Jurisdictions, load_jurisdictions
from config.limits import (
    DECISION_KEEP_EVERY_MS,
    DECISION_RECORD_DAYS,
    ENROLMENT_CODE_MS,
    EXPIRY_BATCH_MAX,
    IDEMPOTENCY_KEPT_MS,
    KEEPER_BATCH_MAX,
    KEEPER_PAUSE_MS,
    OUTBOX_KEPT_MS,
    PERSONAL_EVERY_MS,
    REPAIR_EVERY_MS,
    SIGN_IN_WINDOW_MS,
    SILENCE_EVENTS_KEPT_MS,
    TRAIL_KEEP_EVERY_MS,
    ZONE_EVENTS_KEPT_MS,
)
from engine.core.clock import Clock, SystemClock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.redis_store import REDIS_ERRORS, RedisClient
from engine.core.units import MS_PER_MIN, MS_PER_S, utc_from_ms
from engine.eta.calibration_keeper import CalibrationKeeper
from engine.eta.choice import open_eta_source
from engine.geo.repair import Mended, Repair
from engine.geo.trail_partitions import Kept, keep_days
from engine.matcher.record_keeping import Cleared, keep_records
from engine.outbox.durable_loop import keep_running
from engine.people.sealing_backlog import seal_backlog
from engine.safetap.retention import expire, keep_live_trails, keep_trails
from engine.wiring import open_database, open_fix_clock, open_redis
from ops.http import ops_server
from ops.probe import keep_checked
from ops.process import Process, run

log = structlog.get_logger(__name__)

NAME: Final = "keeper"

DELETED = Counter("clenzy_keeper_deleted_total", "Rows deleted because they outlived their use.", ["job"])
MENDED = Counter("clenzy_cells_mended_total", "Faults of the cell index that were mended.", ["fault"])
LAST_RUN = Gauge("clenzy_keeper_last_run_timestamp_seconds", "When a job last got to its end.", ["job"])


@dataclass(frozen=True, slots=True)
class Job:
    """Rows older than `kept_ms` go; looked for every `every_ms`.

    `statement` deletes one batch: `$1` is the instant before which rows are old, `$2` how many at most.
    """

    name: str
    kept_ms: int
    every_ms: int
    statement: str


JOBS: Final[tuple[Job, ...]] = (
    Job(
        "outbox",
        OUTBOX_KEPT_MS,
        5 * MS_PER_MIN,
        # In the order of the primary key: what is old and published lies at its beginning. The floor tells clients that
        # come back with an older offset that their history is gone.
        """
        WITH old AS (
          SELECT event_id, seq FROM outbox WHERE published_at <= $1 ORDER BY event_id LIMIT $2 FOR UPDATE SKIP LOCKED),
        risen AS (
          UPDATE outbox_epoch SET floor_seq = (SELECT max(seq) FROM old)
           WHERE floor_seq < (SELECT max(seq) FROM old))
        DELETE FROM outbox WHERE event_id IN (SELECT event_id FROM old)
        """,
    ),
    Job(
        "idempotency_keys",
        IDEMPOTENCY_KEPT_MS,
        5 * MS_PER_MIN,
        """
        DELETE FROM idempotency_key WHERE (person_id, key) IN (
          SELECT person_id, key FROM idempotency_key WHERE created_at <= $1
           ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)
        """,
    ),
    Job(
        # A spent token is kept until it would have expired: using it again must revoke its family.
        "refresh_tokens",
        0,
        30 * MS_PER_MIN,
        """
        DELETE FROM refresh_token WHERE token_hash IN (
          SELECT token_hash FROM refresh_token WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
        """,
    ),
    Job(
        # A used code is kept as long as an unused one, so that using it twice can be told from a wrong one.
        "enrolment_codes",
        ENROLMENT_CODE_MS,
        30 * MS_PER_MIN,
        """
        DELETE FROM enrolment_code WHERE code_hash IN (
          SELECT code_hash FROM enrolment_code WHERE created_at <= $1 AND (used_at IS NOT NULL OR expires_at <= $1)
           LIMIT $2 FOR UPDATE SKIP LOCKED)
        """,
    ),
    Job(
        "sign_in_failures",
        SIGN_IN_WINDOW_MS,
        5 * MS_PER_MIN,
        """
        DELETE FROM sign_in_failure WHERE ctid = ANY (ARRAY(
          SELECT ctid FROM sign_in_failure WHERE at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))
        """,
    ),
    Job(
        "silence_events",
        SILENCE_EVENTS_KEPT_MS,
        30 * MS_PER_MIN,
        """
        DELETE FROM silence_event WHERE event_id IN (
          SELECT event_id FROM silence_event WHERE at <= $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)
        """,
    ),
    Job(
        "silence_asks",
        SILENCE_EVENTS_KEPT_MS,
        30 * MS_PER_MIN,
        """
        DELETE FROM silence_ask WHERE ask_id IN (
          SELECT ask_id FROM silence_ask WHERE due_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
        """,
    ),
    Job(
        "trip_shares",
        0,
        30 * MS_PER_MIN,
        """
        DELETE FROM trip_share WHERE share_id IN (
          SELECT share_id FROM trip_share WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
        """,
    ),
    Job(
        "zone_events",
        ZONE_EVENTS_KEPT_MS,
        30 * MS_PER_MIN,
        """
        DELETE FROM zone_event WHERE event_id IN (
          SELECT event_id FROM zone_event WHERE detected_at <= $1
           ORDER BY detected_at LIMIT $2 FOR UPDATE SKIP LOCKED)
        """,
    ),
)


class Keeper:
    """Runs every job at its own pace."""

    def __init__(self, *, pool: Pool, clock: Clock, jobs: Sequence[Job] = JOBS) -> None:
        self._pool = pool
        self._clock = clock
        self._jobs = jobs

    async def run(self) -> None:
        """Keep house until cancelled, through restarts of Postgres."""
        async with asyncio.TaskGroup() as tasks:
            for job in self._jobs:
                step = partial(self._step, job)
                tasks.create_task(keep_running(step, name=job.name, clock=self._clock, errors=POSTGRES_ERRORS))

    async def run_job(self, job: Job) -> int:
        """Delete all that is old now, a batch at a time; return how many rows."""
        old = utc_from_ms(self._clock.now_ms() - job.kept_ms)
        deleted = 0
        while True:
            # `DELETE 42`
            batch = int((await self._pool.execute(job.statement, old, KEEPER_BATCH_MAX)).split()[1])
            deleted += batch
            DELETED.labels(job.name).inc(batch)
            if batch < KEEPER_BATCH_MAX:
                break
            await self._clock.sleep_ms(KEEPER_PAUSE_MS)
        LAST_RUN.labels(job.name).set(self._clock.now_ms() / MS_PER_S)
        return deleted

    async def _step(self, job: Job) -> None:
        deleted = await self.run_job(job)
        if deleted:
            log.info("keeper.deleted", job=job.name, rows=deleted)
        await self._clock.sleep_ms(job.every_ms)


class TrailKeeper:
    """Makes the days of the trail ahead, and drops those that are too old."""

    NAME: Final = "trails"

    def __init__(self, *, pool: Pool, clock: Clock, fix_clock: Clock, kept_days: int) -> None:
        self._pool = pool
        self._clock = clock
        self._fix_clock = fix_clock
        self._kept_days = kept_days

    async def run(self) -> None:
        """Keep the days until cancelled, through restarts of Postgres."""
        await keep_running(self._step, name=self.NAME, clock=self._clock, errors=POSTGRES_ERRORS)

    async def run_once(self) -> Kept:
        """Do what is to be done today."""
        async with self._pool.acquire() as conn:
            kept = await keep_days(conn, now_ms=self._fix_clock.now_ms(), kept_days=self._kept_days)
        LAST_RUN.labels(self.NAME).set(self._clock.now_ms() / MS_PER_S)
        return kept

    async def _step(self) -> None:
        kept = await self.run_once()
        if kept.made or kept.dropped:
            log.info("keeper.trails", made=[*map(str, kept.made)], dropped=[*map(str, kept.dropped)])
        await self._clock.sleep_ms(TRAIL_KEEP_EVERY_MS)


class DecisionKeeper:
    """Empties the days of the records of decisions that are too old or too much; they hold places, as trails do."""

    NAME: Final = "decision_records"

    def __init__(self, *, pool: Pool, clock: Clock, trail_days: int) -> None:
        self._pool = pool
        self._clock = clock
        self._kept_days = min(DECISION_RECORD_DAYS, trail_days)

    async def run(self) -> None:
        """Keep the days until cancelled, through restarts of Postgres."""
        await keep_running(self._step, name=self.NAME, clock=self._clock, errors=POSTGRES_ERRORS)

    async def run_once(self) -> Cleared:
        """Do what is to be done now."""
        async with self._pool.acquire() as conn:
            cleared = await keep_records(conn, now_ms=self._clock.now_ms(), kept_days=self._kept_days)
        DELETED.labels(self.NAME).inc(cleared.rows)
        LAST_RUN.labels(self.NAME).set(self._clock.now_ms() / MS_PER_S)
        return cleared

    async def _step(self) -> None:
        cleared = await self.run_once()
        if cleared.tables or cleared.rows:
            log.info("keeper.decision_records", emptied=cleared.tables, rows=cleared.rows)
        await self._clock.sleep_ms(DECISION_KEEP_EVERY_MS)


class PersonalKeeper:
    """Seals what lies in the clear, keeps the trails of incidents, deletes what the law lets be kept no longer."""

    NAME: Final = "personal"

    def __init__(self, *, pool: Pool, clock: Clock, jurisdictions: Jurisdictions) -> None:
        self._pool = pool
        self._clock = clock
        self._jurisdictions = jurisdictions

    async def run(self) -> None:
        """Keep it so until cancelled, through restarts of Postgres."""
        await keep_running(self._step, name=self.NAME, clock=self._clock, errors=POSTGRES_ERRORS)

    async def run_once(self) -> dict[str, int]:
        """Do all that is to be done now; return of how much."""
        done: Tally[str] = Tally()
        async with self._pool.acquire() as conn:
            await keep_live_trails(conn, now_ms=self._clock.now_ms())
        while (batch := await self._batch()).total():
            done += batch
            if batch.total() >= EXPIRY_BATCH_MAX:
                await self._clock.sleep_ms(KEEPER_PAUSE_MS)
        for part in (part for part in done if part.startswith("incident_")):
            DELETED.labels(part).inc(done[part])
        LAST_RUN.labels(self.NAME).set(self._clock.now_ms() / MS_PER_S)
        return dict(done)

    async def _batch(self) -> Tally[str]:
        now_ms = self._clock.now_ms()
        async with self._pool.acquire() as conn:
            counts = {"sealed": await seal_backlog(conn, now_ms=now_ms)}
            async with conn.transaction():
                counts["trails_kept"] = await keep_trails(conn, now_ms=now_ms)
            expired = await expire(conn, self._jurisdictions, now_ms=now_ms)
        return Tally(counts | {f"incident_{part}": count for part, count in expired.items()})

    async def _step(self) -> None:
        done = await self.run_once()
        if done:
            log.info("keeper.personal", **done)
        await self._clock.sleep_ms(PERSONAL_EVERY_MS)


class CellKeeper:
    """Mends the cell index in Redis; several at once do no harm."""

    NAME: Final = "cells"

    def __init__(self, *, redis: RedisClient, clock: Clock) -> None:
        self._repair = Repair(redis)
        self._clock = clock

    async def run(self) -> None:
        """Mend until cancelled, through restarts of Redis."""
        await keep_running(self._step, name=self.NAME, clock=self._clock, errors=REDIS_ERRORS)

    async def run_once(self) -> Mended:
        """Look at everything once and mend what is wrong."""
        mended = await self._repair.run_pass(self._clock.now_ms())
        MENDED.labels("missing").inc(mended.missing)
        MENDED.labels("extra").inc(mended.extra)
        MENDED.labels("unlisted_page").inc(mended.unlisted_pages)
        LAST_RUN.labels(self.NAME).set(self._clock.now_ms() / MS_PER_S)
        return mended

    async def _step(self) -> None:
        mended = await self.run_once()
        if mended.total:
            log.warning("keeper.cells_mended", missing=mended.missing, extra=mended.extra, pages=mended.unlisted_pages)
        await self._clock.sleep_ms(REPAIR_EVERY_MS)


async def root(process: Process) -> None:
    """Keep house until told to stop."""
    settings, clock = process.settings, SystemClock()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ops_server(process.readiness, settings.host, settings.ops_port))
        pool = await open_database(settings, pool_max=len(JOBS) + 5, pool_min=0)
        stack.callback(pool.terminate)  # every statement is a transaction of its own
        ask = partial(pool.execute, "SELECT")
        trails = TrailKeeper(pool=pool, clock=clock, fix_clock=open_fix_clock(settings), kept_days=settings.trail_days)
        decisions = DecisionKeeper(pool=pool, clock=clock, trail_days=settings.trail_days)
        redis = open_redis(settings)
        stack.push_async_callback(redis.aclose)
        rules = load_jurisdictions(own=settings.jurisdictions_dir)
        arrivals = CalibrationKeeper(
            pool=pool,
            redis=redis,
            source=await stack.enter_async_context(open_eta_source(settings, clock)),
            zone=ZoneInfo(settings.eta_time_zone),
            clock=clock,
        )
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(Keeper(pool=pool, clock=clock).run()),
                tasks.create_task(trails.run()),
                tasks.create_task(decisions.run()),
                tasks.create_task(PersonalKeeper(pool=pool, clock=clock, jurisdictions=rules).run()),
                tasks.create_task(CellKeeper(redis=redis, clock=clock).run()),
                tasks.create_task(arrivals.run()),
                tasks.create_task(
                    keep_checked(process.readiness, "database", ask, errors=POSTGRES_ERRORS, sleep_ms=clock.sleep_ms)
                ),
            ]
            await process.until_stopped()
            for task in work:
                task.cancel()


if __name__ == "__main__":
    run(NAME, root)
