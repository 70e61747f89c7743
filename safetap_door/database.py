"""SafeTap's own small pools. Opened without a connection, so that the door takes triggers while Postgres is away."""

from collections.abc import Mapping
from typing import Final

import asyncpg

from config.limits import STATEMENT_TIMEOUT_MS, TRIGGER_COMMIT_MS_MAX
from config.settings import Settings
from engine.core.database import Pool
from engine.core.units import MS_PER_S
from engine.people.sealing import Sealing

SERVER_SETTINGS: Final[Mapping[str, str]] = {
    "application_name": "safetap_door",
    "synchronous_commit": "on",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}


async def open_pool(settings: Settings, *, size: int, sealing: Sealing | None = None) -> Pool:
    """Return a pool that connects on first use and keeps what it has.

    `synchronous_commit` is asked for by name: whatever the server's default, a trigger that was acknowledged has been
    flushed. `jit` stays off, and a plan is made once: compiling or planning the trigger's statement would take longer
    than running it. A plan that is made once, on the empty tables of the first day, must not be one that reads whole
    tables; the same holds for the plans that Postgres keeps inside its triggers and foreign keys. Only with `sealing`
    do its connections open envelopes: what takes triggers needs no key.

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
        init=None if sealing is None else sealing.prepare,
        timeout=10 * TRIGGER_COMMIT_MS_MAX / MS_PER_S,
        command_timeout=STATEMENT_TIMEOUT_MS / MS_PER_S,
        server_settings={**SERVER_SETTINGS},
    )
