from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from engine.people.tokens import AccessTokens
from tests.conftest import TokenKeys
from tests.integration.safetap.doors import OpenDoor, door_settings, open_door
from tests.integration.safetap.world import World


@pytest.fixture
async def world(pool: asyncpg.Pool) -> World:
    """An organisation with a job under way."""
    return await World(pool).build()


@pytest.fixture
def tokens(token_keys: TokenKeys) -> AccessTokens:
    return AccessTokens(public_key_pem=token_keys.public_pem, private_key_pem=token_keys.private_pem)


@pytest.fixture
async def door(tmp_path: Path, database_url: str, token_keys: TokenKeys) -> AsyncIterator[OpenDoor]:
    """SafeTap's door as it runs for real."""
    async with open_door(door_settings(tmp_path, database_url, token_keys.public_pem)) as door:
        yield door
