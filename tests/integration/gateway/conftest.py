"""A gateway on real stores, a city in Postgres, a door that remembers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from engine.core.clock import SystemClock
from engine.core.database import Pool
from tests.integration.gateway.harness import City, FakeDoor, Stage, gateway_on


@pytest.fixture
async def city(pool: Pool) -> City:
    return await City(pool, SystemClock()).found()


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[FakeDoor]:
    door = FakeDoor()
    async with door.serving(tmp_path / "safetap.sock"):
        yield door


@pytest.fixture
async def stage(
    redis: Redis,
    pool: Pool,
    token_keys: Any,
    tmp_path: Path,
    door: FakeDoor,  # noqa: ARG001 - serves on a socket in the same folder
) -> AsyncIterator[Stage]:
    async with gateway_on(redis, pool, token_keys, tmp_path) as stage:
        yield stage
