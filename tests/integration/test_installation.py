"""Whole installations with tiny processes in place of the real ones."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from clenzy import state
from clenzy.installation import POSTGRES_PORT, REDIS_PORT, Installation, Plan
from clenzy.ports import Claims, any_free
from clenzy.screen import Screen
from config.settings import Settings
from tests.servers import wait_until

ROOT = Path(__file__).resolve().parents[2]

HEALTHY = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
HTTPServer(("127.0.0.1", int(os.environ["CLENZY_OPS_PORT"])), Answer).serve_forever()
"""

BROKEN = "raise SystemExit('the moon is in the wrong house')"

RUN = """
import asyncio, sys
from pathlib import Path
from clenzy import state
from clenzy.installation import Plan
from clenzy.programs import Role
from clenzy.runner import run, until_stopped
from clenzy.screen import Screen
from config.settings import Settings

folder, api_port = Path(sys.argv[1]), int(sys.argv[2])
settings = Settings(state_dir=folder, api_port=api_port, gateway_port=api_port + 1, safetap_port=api_port + 2)
roles = (Role("tiny", "tiny_process", "CLENZY_OPS_PORT"),)
try:
    held = state.held(folder)
    held.__enter__()
except state.StateInUseError as error:
    sys.exit(str(error))
sys.exit(asyncio.run(run(Plan(settings, roles=roles, has_pages=False), Screen(), until_stopped)))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="clenzy-installation-") as folder:
        yield Path(folder)


class Running:
    """An installation in a process of its own."""

    def __init__(self, folder: Path, code: str = HEALTHY, *, ignores_sigint: bool = False) -> None:
        self.state_dir = folder / "state"
        (folder / "tiny_process.py").write_text(code)
        command = [sys.executable, "-c", RUN, str(self.state_dir), str(any_free(together=3))]
        if ignores_sigint:
            command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
        env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
        self._facts = self.state_dir / "secrets" / "running.json"
        if state.running(self.state_dir) is None:
            self._facts.unlink(missing_ok=True)
        self._output = folder / f"output-{secrets.token_hex(4)}"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)

    def wait_until_up(self) -> dict[str, str]:
        wait_until(lambda: self.process.poll() is not None or self._facts.exists(), what="the installation")
        assert self.process.poll() is None, self.output()
        found: dict[str, str] = json.loads(self._facts.read_text())
        return found

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, part: str) -> psutil.Process:
        return next(child for child in self.children() if any(part in word for word in child.cmdline()[:3]))

    def output(self) -> str:
        self.process.wait(30)
        return self._output.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


Start = Callable[..., Running]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start installations; what a failed test leaves running is ended."""
    started: list[Running] = []

    def start(code: str = HEALTHY, *, inside: str = "", ignores_sigint: bool = False) -> Running:
        (folder / inside).mkdir(exist_ok=True)
        started.append(Running(folder / inside, code, ignores_sigint=ignores_sigint))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def all_gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=0.1)
    return not alive


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_in_order(start: Start, number: signal.Signals) -> None:
    running = start(ignores_sigint=True)
    running.wait_until_up()
    children = running.children()
    assert len(children) >= 3
    assert running.stop(number) == 0
    wait_until(lambda: all_gone(children), what="the children's end", timeout_s=5)
    log = (running.state_dir / "logs" / "clenzy.log").read_text()
    assert "database system is shut down" in log


def test_what_cannot_start_is_told_with_its_last_words(start: Start) -> None:
    running = start(BROKEN)
    output = running.output()
    assert running.process.returncode == 1
    assert "tiny ended 3 times before it was ready" in output
    assert "the moon is in the wrong house" in output


def test_killed_stores_come_back_on_the_same_ports_with_their_data(start: Start) -> None:
    running = start()
    url = running.wait_until_up()["database_url"]
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO org VALUES (gen_random_uuid(), 'kept', 'epoch')")
    for part in ("bin/postgres", "redis-server"):
        running.child(part).kill()
    wait_until(lambda: _orgs(url) == 1, what="Postgres")
    assert running.stop() == 0


def test_a_killed_supervisor_leaves_nothing_and_the_next_start_finds_the_data(start: Start) -> None:
    first = start()
    url = first.wait_until_up()["database_url"]
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO org VALUES (gen_random_uuid(), 'kept', 'epoch')")
    children = first.children()
    first.process.kill()
    first.output()
    wait_until(lambda: all_gone(children), what="the children's end", timeout_s=10)
    second = start()
    assert _orgs(second.wait_until_up()["database_url"]) == 1
    assert second.stop() == 0


def test_two_at_once_in_one_folder_do_not_collide(start: Start) -> None:
    first = start()
    first.wait_until_up()
    second = start()
    output = second.output()
    assert second.process.returncode == 1
    assert f"another Clenzy (pid {first.process.pid}) runs in" in output
    assert state.running(first.state_dir) is not None
    assert first.stop() == 0
    assert state.running(first.state_dir) is None


def test_two_at_once_in_two_folders_take_different_ports(start: Start) -> None:
    runs = [start(inside="one"), start(inside="two")]
    urls = [run.wait_until_up() for run in runs]
    assert urls[0]["database_url"].rpartition("@")[2] != urls[1]["database_url"].rpartition("@")[2]
    assert urls[0]["redis_url"].rpartition("@")[2] != urls[1]["redis_url"].rpartition("@")[2]
    assert [run.stop() for run in runs] == [0, 0]


def test_a_taken_port_is_the_reason(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (folder / "tiny_process.py").write_text(HEALTHY)
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(folder / "state"), str(port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert f"port {port} for api is taken" in done.stderr


async def test_a_port_that_is_lost_between_choice_and_use_costs_another_choice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals: list[socket.socket] = []
    take = Claims.take

    def take_and_lose_the_first(claims: Claims, port: int) -> bool:
        is_ours = take(claims, port)
        if is_ours and POSTGRES_PORT <= port < REDIS_PORT and not rivals:
            rivals.append(socket.create_server(("127.0.0.1", port)))
        return is_ours

    monkeypatch.setattr(Claims, "take", take_and_lose_the_first)
    first = any_free(together=3)
    settings = Settings(state_dir=folder / "state", api_port=first, gateway_port=first + 1, safetap_port=first + 2)
    installation = Installation(Plan(settings, roles=(), has_pages=False), Screen())
    try:
        await installation.start()
        assert installation.settings.database_url is not None
        lost = rivals[0].getsockname()[1]
        # Another one, not necessarily a higher one: what a neighbour has given back meanwhile is free again.
        assert int(installation.settings.database_url.get_secret_value().rpartition(":")[2].split("/")[0]) != lost
    finally:
        await installation.stop()
        for rival in rivals:
            rival.close()


def _orgs(url: str) -> int:
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            row = connection.execute("SELECT count(*) FROM org").fetchone()
    except psycopg.OperationalError:
        return -1
    assert row is not None
    return int(row[0])
