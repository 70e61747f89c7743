"""The supervisor over tiny programs."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from clenzy.child import CannotStartError, Command
from clenzy.log_stream import LogLine, LogStream
from clenzy.supervisor import Program, State, Supervisor
from tests.servers import wait_until

STEADY = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text('up'); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
BROKEN = "import sys; print('the disk is made of cheese', file=sys.stderr); sys.exit(3)"
PARENT = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "open(sys.argv[1], 'w').write(str(child.pid)); time.sleep(600)"
)


class Changes:
    """What the supervisor told, and a way to wait for it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, State, str]] = []
        self._told = asyncio.Event()

    def __call__(self, name: str, state: State, detail: str) -> None:
        self.seen.append((name, state, detail))
        self._told.set()

    def count(self, name: str, state: State) -> int:
        return sum((name, state) == change[:2] for change in self.seen)

    async def wait_for(self, name: str, state: State, times: int = 1) -> None:
        async with asyncio.timeout(15):
            while self.count(name, state) < times:
                await self._told.wait()
                self._told.clear()


@pytest.fixture
def lines() -> list[LogLine]:
    return []


@pytest.fixture
def log(tmp_path: Path, lines: list[LogLine]) -> LogStream:
    return LogStream(tmp_path / "logs", lines.append)


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
async def supervisor(log: LogStream, changes: Changes) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(log, changed=changes, ready_timeout_ms=10_000, stop_timeout_ms=3_000)
    yield supervisor
    await supervisor.stop()


def program(name: str, code: str, *arguments: str, ready: Callable[[], bool] = lambda: True) -> Program:
    async def is_ready() -> bool:
        return ready()

    return Program(name, Command((sys.executable, "-c", code, *arguments), stop_signal=signal.SIGTERM), is_ready)


async def test_start_returns_when_everything_is_ready(supervisor: Supervisor, changes: Changes, tmp_path: Path) -> None:
    marks = [tmp_path / name for name in ("one", "two")]
    await supervisor.start([program(mark.name, STEADY, str(mark), ready=mark.exists) for mark in marks])
    assert all(mark.exists() for mark in marks)
    assert changes.count("one", State.READY) == changes.count("two", State.READY) == 1


async def test_a_killed_program_starts_again_with_another_pid(
    supervisor: Supervisor, changes: Changes, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    await supervisor.start([program("steady", STEADY, str(mark), ready=mark.exists)])
    first = supervisor.pid("steady")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await changes.wait_for("steady", State.READY, times=2)
    assert supervisor.pid("steady") != first
    assert ("steady", State.ENDED, "was ended by SIGKILL") in changes.seen


async def test_a_program_that_cannot_start_is_the_reason(supervisor: Supervisor, changes: Changes) -> None:
    with pytest.raises(CannotStartError, match=r"broken ended 3 times before it was ready(?s:.*)made of cheese"):
        await supervisor.start([program("broken", BROKEN, ready=lambda: False)])
    assert changes.count("broken", State.STARTING) == 3
    assert ("broken", State.ENDED, "ended with exit code 3 (the disk is made of cheese)") in changes.seen


async def test_a_program_that_does_not_exist_is_the_reason(supervisor: Supervisor) -> None:
    async def never() -> bool:
        return False

    with pytest.raises(CannotStartError, match=r"nobody cannot start: .*No such file"):
        await supervisor.start([Program("nobody", Command(("/nonexistent/program",)), never)])


async def test_a_program_that_never_gets_ready_is_the_reason(log: LogStream, changes: Changes, tmp_path: Path) -> None:
    supervisor = Supervisor(log, changed=changes, ready_timeout_ms=300, stop_timeout_ms=3_000)
    with pytest.raises(CannotStartError, match="slow was not ready within"):
        await supervisor.start([program("slow", STEADY, str(tmp_path / "mark"), ready=lambda: False)])
    await supervisor.stop()


async def test_a_failed_preparation_is_the_reason(supervisor: Supervisor, tmp_path: Path) -> None:
    async def refuse() -> None:
        raise CannotStartError("no room left")

    steady = program("steady", STEADY, str(tmp_path / "mark"))
    with pytest.raises(CannotStartError, match="steady cannot start: no room left"):
        await supervisor.start([Program("steady", steady.command, steady.is_ready, prepare=refuse)])


async def test_stop_ends_the_last_started_first(supervisor: Supervisor, changes: Changes, tmp_path: Path) -> None:
    for name in ("store", "server"):
        await supervisor.start([program(name, STEADY, str(tmp_path / name), ready=(tmp_path / name).exists)])
    pids = [supervisor.pid("store"), supervisor.pid("server")]
    await supervisor.stop()
    assert [change[0] for change in changes.seen if change[1] is State.STOPPED] == ["server", "store"]
    assert not any(pid is not None and psutil.pid_exists(pid) for pid in pids)


async def test_a_program_that_ignores_the_request_is_killed(
    log: LogStream, changes: Changes, lines: list[LogLine]
) -> None:
    supervisor = Supervisor(log, changed=changes, stop_timeout_ms=300)
    await supervisor.start([program("deaf", DEAF, ready=lambda: any(line.event == "deaf" for line in lines))])
    pid = supervisor.pid("deaf")
    await supervisor.stop()
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert any(line.event == "program.killed" for line in lines)


async def test_a_program_may_be_given_longer_to_end(
    log: LogStream, changes: Changes, lines: list[LogLine], tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    slow = (
        "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit(0)));"
        "pathlib.Path(sys.argv[1]).write_text('up'); time.sleep(600)"
    )
    supervisor = Supervisor(log, changed=changes, stop_timeout_ms=100)
    await supervisor.start([replace(program("slow", slow, str(mark), ready=mark.exists), stop_timeout_ms=10_000)])
    await supervisor.stop()
    assert [line.event for line in lines if line.event == "program.killed"] == []


async def test_children_of_a_program_do_not_outlive_it(supervisor: Supervisor, tmp_path: Path) -> None:
    mark = tmp_path / "child"
    await supervisor.start(
        [program("parent", PARENT, str(mark), ready=lambda: mark.exists() and mark.read_text() != "")]
    )
    child = psutil.Process(int(mark.read_text()))
    await supervisor.stop()
    wait_until(lambda: not _runs(child), what="the child's end", timeout_s=5)


async def test_a_hung_program_is_killed_and_started_again(log: LogStream, changes: Changes, tmp_path: Path) -> None:
    supervisor = Supervisor(log, changed=changes, stop_timeout_ms=3_000, health_silent_ms=0)
    steady = program("steady", STEADY, str(tmp_path / "mark"))

    async def silent() -> bool:
        return False

    await supervisor.start([Program("steady", steady.command, steady.is_ready, is_alive=silent)])
    await changes.wait_for("steady", State.READY, times=2)
    assert ("steady", State.ENDED, "was ended by SIGKILL") in changes.seen
    await supervisor.stop()


def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "child"
    script = f"""
import asyncio, os, pathlib, sys
from clenzy.child import Command
from clenzy.log_stream import LogStream
from clenzy.supervisor import Program, Supervisor

async def main():
    async def is_ready():
        return True
    supervisor = Supervisor(LogStream(pathlib.Path({str(tmp_path)!r}), lambda line: None), changed=lambda *_: None)
    code = "import time; time.sleep(600)"
    await supervisor.start([Program("child", Command((sys.executable, "-c", code)), is_ready)])
    pathlib.Path({str(mark)!r}).write_text(str(supervisor.pid("child")))
    await asyncio.sleep(600)

asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    wait_until(lambda: mark.exists() and mark.read_text() != "", what="the child")
    child = psutil.Process(int(mark.read_text()))
    parent.kill()
    parent.wait()
    wait_until(lambda: not _runs(child), what="the child's end", timeout_s=5)


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
