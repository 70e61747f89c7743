"""Fixtures that every part shares: real stores, a clock under the test's control, keys."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import NamedTuple

import asyncpg
import pytest
import redis as redis_client
import redis.asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.fakes import ManualClock
from tests.servers import TEMPLATE, Servers, create_database, drop_database, named

_numbers = count(1)


class TokenKeys(NamedTuple):
    """An Ed25519 pair in PEM."""

    private_pem: bytes
    public_pem: bytes


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The stores of this test process; each starts when a test first needs it."""
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture
def database_url(servers: Servers, worker_id: str) -> Iterator[str]:
    """A database of the test's own with the current schema, empty."""
    name = f"test_{worker_id}_{next(_numbers)}"
    create_database(servers.database_url, name, template=TEMPLATE)
    yield named(servers.database_url, name)
    drop_database(servers.database_url, name)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool on the test's own database."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=8, command_timeout=10) as pool:
        yield pool


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """An empty Redis."""
    with redis_client.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    return servers.redis_url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator["redis_client.asyncio.Redis"]:
    """A client of the empty Redis: bytes in, bytes out."""
    client = redis_client.asyncio.Redis.from_url(redis_url, protocol=2, socket_timeout=5)
    yield client
    await client.aclose()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until the test moves it."""
    return ManualClock()


@pytest.fixture(scope="session")
def token_keys() -> TokenKeys:
    """Keys for access tokens."""
    key = Ed25519PrivateKey.generate()
    return TokenKeys(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )
