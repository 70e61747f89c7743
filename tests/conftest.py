"""Fixtures that every part shares: real stores, a clock under the test's control, keys."""

import inspect
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
import redis as redis_client
import redis.asyncio
from blockbuster import BlockBuster
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import HealthCheck, settings
from pydantic import SecretStr

from config.settings import Settings
from engine.core.redis_store import RedisClient
from engine.people.keyring import Keyring, ensure_keyring
from engine.people.sealing import Sealing
from engine.wiring import open_redis
from tests.databases import Databases
from tests.fakes import ManualClock
from tests.lanes import OneProductAtATime, lane
from tests.servers import RedisNodes, Servers

# CI judges a change, so it draws the same examples each time; people's runs look for new ones. No deadline: the
# first call of a kernel compiles it, and a busy machine is not a fault. Nor is one that draws examples slowly.
settings.register_profile("people", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("people"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "people")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneProductAtATime | None:
    """Let `--dist loadfile` keep the whole products on one worker."""
    return OneProductAtATime(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the browser's tests together behind the shuffle: they share a city, which ends with the last of them."""
    items.sort(key=lambda item: lane(item.nodeid))


class TokenKeys(NamedTuple):
    """An Ed25519 pair in PEM."""

    private_pem: bytes
    public_pem: bytes


UNIT = Path(__file__).parent / "unit"


@pytest.fixture(autouse=True)
def _unit_tests_stay_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit test talks to nobody outside of this machine."""
    if not request.path.is_relative_to(UNIT):
        return
    connect = socket.socket.connect

    def guarded(own: socket.socket, address: tuple[str, int] | str) -> None:
        assert own.family == socket.AF_UNIX or address[0] in {"127.0.0.1", "::1"}, f"a unit test calls {address}"
        connect(own, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _nobody_sleeps_on_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let our own code fail a test where it stops the event loop: by a sleep or a blocking socket.

    Not for files and locks: rendering a traceback reads sources, counting a metric takes a lock, and both are fine.
    """
    if not inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        yield
        return
    watch = BlockBuster(scanned_modules=["api_rest", "engine", "gateway_ws", "ops", "safetap_door"])
    for name, function in watch.functions.items():
        if name.startswith(("time.", "socket.socket.recv", "socket.socket.send", "ssl.")):
            function.activate()
    yield
    watch.deactivate()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The stores of this test process; each starts when a test first needs it."""
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def databases(servers: Servers, worker_id: str) -> Databases:
    """Where the databases of the tests come from."""
    return Databases(servers.database_url, f"test_{worker_id}")


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A database of the test's own with the current schema, empty."""
    url = databases.lend()
    yield url
    databases.take_back(url)


@pytest.fixture(scope="session")
def person_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the keys that wrap people's keys."""
    return ensure_keyring(tmp_path_factory.mktemp("keys") / "person_keys.json")


@pytest.fixture(scope="session")
def sealing(person_keys: Path) -> Sealing:
    """What lets connections open and seal envelopes."""
    return Sealing(Keyring(person_keys))


@pytest.fixture
async def pool(database_url: str, sealing: Sealing) -> AsyncIterator[asyncpg.Pool]:
    """A pool on the test's own database."""
    async with asyncpg.create_pool(
        database_url, min_size=1, max_size=8, command_timeout=10, init=sealing.prepare
    ) as pool:
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
def redis_cluster(servers: Servers) -> RedisNodes:
    """An empty Redis Cluster."""
    for client in servers.redis_cluster.clients():
        with client:
            client.flushall()
    return servers.redis_cluster


@pytest.fixture(params=["one Redis", "cluster"])
def either_settings(request: pytest.FixtureRequest) -> Settings:
    """Settings that name an empty Redis, or an empty Redis Cluster."""
    is_cluster = request.param == "cluster"
    url = request.getfixturevalue("redis_cluster").url if is_cluster else request.getfixturevalue("redis_url")
    return Settings(redis_url=SecretStr(url), redis_cluster=is_cluster)


@pytest.fixture
async def either_redis(either_settings: Settings) -> AsyncIterator[RedisClient]:
    """A client of it, as the processes open one."""
    client = open_redis(either_settings)
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
