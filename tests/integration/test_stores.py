"""The embedded stores: kills, leftovers, passwords, accounts."""

import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from clenzy.child import Account, CannotStartError, Command, store_account
from clenzy.ports import any_free
from clenzy.stores import home as home_module
from clenzy.stores.home import StoreHome, may_reach, store_home
from clenzy.stores.postgres import Postgres
from clenzy.stores.redis import Redis
from tests.servers import running, wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a child as somebody else")


@pytest.fixture
def home() -> Iterator[StoreHome]:
    """Not under pytest's own folder, which only we may enter."""
    with tempfile.TemporaryDirectory(prefix="clenzy-stores-") as folder:
        yield store_home(Path(folder) / "state", store_account())


@pytest.fixture
def postgres(home: StoreHome) -> Postgres:
    return Postgres(home, password=secrets.token_urlsafe(12), port=any_free(), durable=False)


@pytest.fixture
def redis_server(home: StoreHome) -> Redis:
    return Redis(home, password=secrets.token_urlsafe(12), port=any_free())


@contextmanager
def orphaned(command: Command, server: Postgres | Redis) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server that does not end with us, as after a kill on a system without that signal."""
    arguments = {**replace(command).popen_arguments(), "preexec_fn": None}
    process = subprocess.Popen(command.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **arguments)
    try:
        wait_until(server.answers, what="the server")
        yield process
    finally:
        process.kill()
        process.wait()


def write_row(server: Postgres) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n integer)")
        connection.execute("INSERT INTO kept VALUES (1)")


def rows(server: Postgres) -> int:
    with psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert row is not None
        return int(row[0])


def test_postgres_keeps_what_was_committed_before_a_kill(home: StoreHome, tmp_path: Path) -> None:
    postgres = Postgres(home, password=secrets.token_urlsafe(12), port=any_free(), durable=True)
    postgres.prepare()
    with running(postgres.command(), postgres.answers, tmp_path / "log") as process:
        write_row(postgres)
        process.kill()
        process.wait()
    postgres.prepare()
    wait_until(lambda: _starts(postgres, tmp_path), what="the restart")


def _starts(postgres: Postgres, tmp_path: Path) -> bool:
    """As the supervisor does, try again while backends of the killed server still hold its memory."""
    with suppress(AssertionError), running(postgres.command(), postgres.answers, tmp_path / "log"):
        return rows(postgres) == 1
    return False


def test_a_postgres_left_behind_is_stopped_in_order(postgres: Postgres, tmp_path: Path) -> None:
    postgres.prepare()
    with orphaned(postgres.command(), postgres) as old:
        write_row(postgres)
        again = Postgres(postgres._home, password=postgres._password, port=any_free(), durable=False)
        again.prepare()
        assert old.wait(5) == 0, "stopped in order, not killed"
        with running(again.command(), again.answers, tmp_path / "log"):
            assert rows(again) == 1


def test_a_stale_pid_file_that_names_somebody_else_does_no_harm(postgres: Postgres, tmp_path: Path) -> None:
    postgres.prepare()
    pid_file = postgres._data / "postmaster.pid"
    with subprocess.Popen(["sleep", "60"], **postgres.command().popen_arguments()) as innocent:
        pid_file.write_text(f"{innocent.pid}\n{postgres._data}\n")
        postgres.prepare()
        assert innocent.poll() is None, "it is none of our business"
        with running(postgres.command(), postgres.answers, tmp_path / "log"):
            pass
        innocent.kill()


def test_postgres_refuses_a_wrong_password(postgres: Postgres, tmp_path: Path) -> None:
    postgres.prepare()
    with running(postgres.command(), postgres.answers, tmp_path / "log"):
        wrong = postgres.url.replace(postgres._password, "guess")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)


def test_a_refused_row_is_logged_without_what_it_holds(postgres: Postgres, tmp_path: Path) -> None:
    log = tmp_path / "log"
    postgres.prepare()
    with running(postgres.command(), postgres.answers, log), psycopg.connect(postgres.url, autocommit=True) as conn:
        conn.execute("CREATE TABLE place (phone text, lat real CHECK (lat < 0))")
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute("INSERT INTO place VALUES (%s, %s)", ("+351912345678", 41.1496))
    said = log.read_text()
    assert "violates check constraint" in said
    assert "41.1496" not in said
    assert "912345678" not in said


def test_a_killed_initialisation_is_begun_anew(postgres: Postgres, tmp_path: Path) -> None:
    half_done = postgres._home.data_folder("postgres.new")
    (half_done / "PG_VERSION").write_text("18")
    postgres.prepare()
    with running(postgres.command(), postgres.answers, tmp_path / "log"):
        write_row(postgres)


def test_files_that_are_no_database_are_left_alone(postgres: Postgres) -> None:
    (postgres._home.data_folder("postgres") / "somebody's").write_text("thesis")
    with pytest.raises(CannotStartError, match="holds files but no database"):
        postgres.prepare()


def test_redis_wants_its_password_and_shows_it_to_nobody(redis_server: Redis, tmp_path: Path) -> None:
    redis_server.prepare()
    with running(redis_server.command(), redis_server.answers, tmp_path / "log") as process:
        with redis.Redis(port=redis_server.port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        assert redis_server._password not in " ".join(psutil.Process(process.pid).cmdline())
    assert redis_server._config.stat().st_mode & 0o077 == 0


def test_a_redis_left_behind_is_stopped(redis_server: Redis, tmp_path: Path) -> None:
    redis_server.prepare()
    with orphaned(redis_server.command(), redis_server) as old:
        redis_server.prepare()
        assert old.wait(5) == 0
        with running(redis_server.command(), redis_server.answers, tmp_path / "log"):
            pass


def test_a_redis_starts_again_after_a_kill(redis_server: Redis, tmp_path: Path) -> None:
    for _ in range(2):
        redis_server.prepare()
        with running(redis_server.command(), redis_server.answers, tmp_path / "log") as process:
            process.send_signal(signal.SIGKILL)
            process.wait()


@as_root
def test_as_root_the_stores_run_as_nobody(postgres: Postgres, redis_server: Redis, tmp_path: Path) -> None:
    for server in (postgres, redis_server):
        server.prepare()
        with running(server.command(), server.answers, tmp_path / "log") as process:
            assert psutil.Process(process.pid).username() == "nobody"


@as_root
def test_a_folder_that_nobody_cannot_reach_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    account = store_account()
    assert account is not None
    found = store_home(private / "state", account)
    assert found.folder.parent == tmp_path / "temporary"
    assert "cannot reach" in found.moved_because
    assert store_home(private / "state", account) == found, "the next start finds it again"
    assert private.stat().st_mode & 0o777 == 0o700, "nobody else's folder is opened up"


@as_root
def test_programs_that_nobody_cannot_reach_are_copied(home: StoreHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home_module, "may_reach", lambda *_: False)
    server = Postgres(home, password="x" * 12, port=any_free(), durable=False)
    assert server.command().argv[0].startswith(str(home.folder))
    server.prepare()
    with running(server.command(), server.answers, home.folder / "log"):
        pass
    assert len(list(home.folder.glob("programs-*"))) == 1


def test_reach_is_judged_by_every_folder_on_the_way(tmp_path: Path) -> None:
    stranger = Account(uid=54_321, gid=54_321)
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            assert not may_reach(inner, stranger)
    assert may_reach(Path("/usr/bin"), stranger)
