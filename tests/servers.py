"""Real Postgres and Redis for the tests: the embedded ones, in a temporary folder, one pair a test process.

`TEST_DATABASE_URL` and `TEST_REDIS_URL` name other servers instead (the database user must be allowed to create
databases; the Redis database is flushed).
"""

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis

from clenzy.child import Command, store_account
from clenzy.migrations import migrate
from clenzy.ports import any_free, is_free
from clenzy.stores.home import StoreHome, store_home
from clenzy.stores.postgres import Postgres
from clenzy.stores.redis import Redis

START_TIMEOUT_S = 60
TEMPLATE = "clenzy_template"


@dataclass
class Servers:
    """Starts each store when it is first asked for; `close()` stops what was started."""

    _stack: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def database_url(self) -> str:
        """A Postgres whose database `TEMPLATE` has the current schema."""
        url = os.environ.get("TEST_DATABASE_URL") or self._stack.enter_context(running_postgres(self._home))
        create_database(url, TEMPLATE, template="template1")
        migrate(named(url, TEMPLATE))
        return url

    @cached_property
    def redis_url(self) -> str:
        return os.environ.get("TEST_REDIS_URL") or self._stack.enter_context(running_redis(self._home))

    @cached_property
    def redis_cluster(self) -> "RedisNodes":
        """Three masters on free ports."""
        return self._stack.enter_context(running_redis_cluster(self._home.folder))

    @cached_property
    def _home(self) -> StoreHome:
        folder = Path(tempfile.mkdtemp(prefix="clenzy-tests-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return store_home(folder, store_account())

    def close(self) -> None:
        self._stack.close()


@contextmanager
def running_postgres(home: StoreHome, *, durable: bool = False) -> Iterator[str]:
    server = Postgres(home, password=secrets.token_urlsafe(16), port=any_free(), durable=durable)
    server.prepare()
    with running(server.command(), server.answers, home.folder / "postgres.log"):
        yield server.url


@contextmanager
def running_redis(home: StoreHome) -> Iterator[str]:
    server = Redis(home, password=secrets.token_urlsafe(16), port=any_free())
    server.prepare()
    with running(server.command(), server.answers, home.folder / "redis.log"):
        yield server.url


@dataclass
class RedisNodes:
    """A Redis Cluster of single masters, in which a node can be killed and started again, empty."""

    nodes: list[Redis]
    _processes: list[ExitStack]

    @property
    def url(self) -> str:
        return self.nodes[0].url

    def clients(self) -> list[redis.Redis]:
        return [redis.Redis.from_url(node.url, socket_timeout=5) for node in self.nodes]

    def restart(self, number: int) -> None:
        """Kill a node and start it again: it knows its slots and has no data."""
        self._processes[number].close()
        self.start(number)
        self.wait_until_whole()

    def start(self, number: int) -> None:
        node = self.nodes[number]
        log = Path(f"{node.folder}.log")
        self._processes[number].enter_context(running(node.command(), node.answers, log))

    def stop(self) -> None:
        for each in self._processes:
            each.close()

    def form(self) -> None:
        clients = self.clients()
        slots = [16_384 * number // len(clients) for number in range(len(clients) + 1)]
        for number, client in enumerate(clients):
            client.execute_command("CLUSTER ADDSLOTS", *range(slots[number], slots[number + 1]))
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER MEET", "127.0.0.1", self.nodes[0].port)
        for client in clients:
            client.close()
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        clients = self.clients()
        wait_until(lambda: all(map(self._is_whole, clients)), what="the cluster to be whole")
        for client in clients:
            client.close()

    def _is_whole(self, client: redis.Redis) -> bool:
        info = client.execute_command("CLUSTER INFO")
        return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == len(self.nodes)


@contextmanager
def running_redis_cluster(folder: Path, *, size: int = 3) -> Iterator[RedisNodes]:
    password, nodes = secrets.token_urlsafe(16), []
    for number in range(size):
        home = store_home(folder / f"node-{number}", store_account())
        nodes.append(Redis(home, password=password, port=_cluster_port(), is_cluster_node=True))
    cluster = RedisNodes(nodes, [ExitStack() for _ in nodes])
    try:
        for number, node in enumerate(nodes):
            node.prepare()
            cluster.start(number)
        cluster.form()
        yield cluster
    finally:
        cluster.stop()


def _cluster_port() -> int:
    """Return a port whose bus port, 10,000 higher, is free as well."""
    while not is_free((port := any_free()) + 10_000):
        pass
    return port


@contextmanager
def running(command: Command, answers: Callable[[], bool], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server until the block ends; the block starts when it answers."""
    with log.open("ab") as output:
        process = subprocess.Popen(command.argv, stdout=output, stderr=subprocess.STDOUT, **command.popen_arguments())
    try:
        wait_until(lambda: process.poll() is not None or answers(), what=f"{command.argv[0]} to answer")
        assert process.poll() is None, f"{command.argv[0]} ended: {log.read_text()[-2000:]}"
        yield process
    finally:
        process.send_signal(command.stop_signal)
        process.wait(START_TIMEOUT_S)


def wait_until(is_so: Callable[[], bool], *, what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Poll a thing of the outside world that sends no event."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
        time.sleep(0.02)


def create_database(url: str, name: str, *, template: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')


def drop_database(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def named(url: str, database: str) -> str:
    """Return `url` with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
