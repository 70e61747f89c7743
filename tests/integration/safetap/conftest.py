import asyncpg
import pytest

from tests.integration.safetap.world import World


@pytest.fixture
async def world(pool: asyncpg.Pool) -> World:
    """An organisation with a job under way."""
    return await World(pool).build()
