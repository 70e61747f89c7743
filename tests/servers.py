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

from clenzy.child import Command, store_account
from clenzy.migrations import migrate
from clenzy.ports import any_free
from clenzy.stores.home import StoreHome, store_home
from clenzy.stores.postgres import Postgres
from clenzy.stores.redis import Redis

START_TIMEOUT_S = 30
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
