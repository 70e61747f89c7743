"""SafeTap's own small pools. Opened without a connection, so that the door takes triggers while Postgres is away."""

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Final, TypeAlias

import asyncpg
import structlog

from config.limits import READY_PROBE_MS, STATEMENT_TIMEOUT_MS, TRIGGER_COMMIT_MS_MAX
from config.settings import Settings
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.units import MS_PER_S
from engine.outbox.durable_loop import end_if_cancelled

log = structlog.get_logger(__name__)

SERVER_SETTINGS: Final[Mapping[str, str]] = {
    "application_name": "safetap_door",
    "synchronous_commit": "on",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}


NewConnection: TypeAlias = Callable[["asyncpg.Connection[asyncpg.Record]"], Coroutine[object, object, None]]
"""What a connection is prepared with before anybody is lent it."""


async def open_pool(settings: Settings, *, size: int, prepare: NewConnection | None = None) -> Pool:
    """Return a pool that connects on first use and keeps what it has.

    `synchronous_commit` is asked for by name: whatever the server's default, a trigger that was acknowledged has been
    flushed. `jit` stays off, and a plan is made once: compiling or planning the trigger's statement would take longer
    than running it. A plan that is made once, on the empty tables of the first day, must not be one that reads whole
    tables; the same holds for the plans that Postgres keeps inside its triggers and foreign keys. A statement is kept
    for as long as its connection, or the first alarm after a quiet while would pay for the plan again.

    Raises:
        ValueError: `DATABASE_URL` is not set.
    """
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is not set: start with `clenzy up`, or point it at a Postgres 14 or later")
    return await asyncpg.create_pool(
        settings.database_url.get_secret_value(),
        min_size=0,
        max_size=size,
        max_inactive_connection_lifetime=0,
        max_cached_statement_lifetime=0,
        init=prepare,
        reset=_leave_as_it_is,
        timeout=10 * TRIGGER_COMMIT_MS_MAX / MS_PER_S,
        command_timeout=STATEMENT_TIMEOUT_MS / MS_PER_S,
        server_settings={**SERVER_SETTINGS},
    )


async def _leave_as_it_is(conn: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Spare an alarm the round trip: whoever is lent one of these connections leaves nothing on it behind."""


async def keep_open(pool: Pool, clock: Clock, *, size: int) -> None:
    """Open `size` connections before anybody needs them, and again after they were lost, until cancelled."""
    while True:
        if pool.get_size() < size:
            try:
                async with AsyncExitStack() as held:
                    for _ in range(size):
                        await held.enter_async_context(pool.acquire())
            except POSTGRES_ERRORS as error:
                end_if_cancelled()
                log.info("pool.not_open", error=type(error).__name__)
        await clock.sleep_ms(READY_PROBE_MS)
