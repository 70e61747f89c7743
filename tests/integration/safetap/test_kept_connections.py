"""No alarm waits for a connection to be opened or for a statement to be planned."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from config.limits import COMMITTERS, INTAKE_POOL_MAX
from engine.core.clock import SystemClock
from engine.safetap.trigger_store import TAKE_IN_TURN, rehearse
from safetap_door.database import SERVER_SETTINGS, keep_open, open_pool
from tests.conftest import TokenKeys
from tests.integration.safetap.doors import door_settings
from tests.integration.safetap.world import World

BACKENDS: Final = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1
"""
PLANNED: Final = "SELECT statement FROM pg_prepared_statements WHERE generic_plans > 0"


class HastyClock(SystemClock):
    """Time that flies between two looks."""

    async def sleep_ms(self, ms: float) -> None:
        await super().sleep_ms(min(ms, 5))


async def test_they_are_open_and_planned_before_an_alarm_and_after_a_loss(
    world: World, tmp_path: Path, database_url: str, token_keys: TokenKeys
) -> None:
    async def backends() -> set[int]:
        return {row["pid"] for row in await world.pool.fetch(BACKENDS, SERVER_SETTINGS["application_name"])}

    settings = door_settings(tmp_path, database_url, token_keys.public_pem)
    async with await open_pool(settings, size=INTAKE_POOL_MAX, prepare=rehearse) as pool:
        assert await backends() == set(), "the door starts without Postgres"
        keeping = asyncio.create_task(keep_open(pool, HastyClock(), size=COMMITTERS))
        await seen(lambda: pool.get_size() == COMMITTERS)
        first = await backends()
        async with pool.acquire() as conn:
            assert TAKE_IN_TURN in {row["statement"] for row in await conn.fetch(PLANNED)}

        await world.pool.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::integer[]) AS pid", list(first))
        await seen(lambda: pool.get_size() < COMMITTERS)
        await seen(lambda: pool.get_size() == COMMITTERS)
        assert not first & await backends()
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


async def seen(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - a pool tells nobody
            await asyncio.sleep(0.001)
