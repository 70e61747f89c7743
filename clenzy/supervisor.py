"""Starts programs, waits until each is ready, starts again what ends, and stops all of them in good order.

It knows nothing of what the programs do.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from clenzy.child import CannotStartError, Command
from clenzy.log_stream import LogStream
from config.limits import (
    HEALTH_SILENT_MS,
    READY_TIMEOUT_MS,
    RESTART_BACKOFF_MS_MAX,
    RESTART_BACKOFF_MS_MIN,
    RESTART_CALM_MS,
    RESTARTS_AT_START_MAX,
    STOP_TIMEOUT_MS,
)

READY_POLL_S: Final = 0.05
HEALTH_POLL_S: Final = 2.0
LINE_BYTES_MAX: Final = 1_048_576
LAST_WORDS_S: Final = 1.0
"""How long to read on after a program ended: something of its own may hold the pipe open."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program to keep running."""

    name: str
    command: Command
    is_ready: Callable[[], Awaitable[bool]]
    """Polled after each start until it holds."""
    is_alive: Callable[[], Awaitable[bool]] | None = None
    """Polled while it runs; one that does not answer for `HEALTH_SILENT_MS` is killed and started again."""
    prepare: Callable[[], Awaitable[None]] | None = None
    """Awaited before each start; raises `CannotStartError`."""
    stop_timeout_ms: int | None = None
    """How long it may take to end in good order, where that is not what the supervisor allows everybody."""


class State(Enum):
    """Where a program is in its life."""

    STARTING = "starting"
    READY = "ready"
    ENDED = "ended"
    STOPPED = "stopped"


@dataclass(slots=True, eq=False)
class _Watched:
    program: Program
    task: asyncio.Task[None] | None = None
    process: asyncio.subprocess.Process | None = None
    was_ready: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    ready_at_s: float | None = None
    """When it became ready in its present life (steady clock)."""
    failures: int = 0
    """Ends in a row without a calm while in between."""


class Supervisor:
    """Keeps programs running until `stop`."""

    def __init__(
        self,
        log: LogStream,
        *,
        changed: Callable[[str, State, str], None],
        ready_timeout_ms: int = READY_TIMEOUT_MS,
        stop_timeout_ms: int = STOP_TIMEOUT_MS,
        health_silent_ms: int = HEALTH_SILENT_MS,
    ) -> None:
        """`changed(name, state, detail)` is told of every change of a program's state."""
        self._log = log
        self._changed = changed
        self._ready_timeout_s = ready_timeout_ms / 1000
        self._stop_timeout_s = stop_timeout_ms / 1000
        self._health_silent_s = health_silent_ms / 1000
        self._groups: list[list[_Watched]] = []

    async def start(self, programs: Sequence[Program]) -> None:
        """Start `programs` side by side; return when each was ready once.

        Raises:
            CannotStartError: one of them cannot run, ended again and again, or was not ready in time.
                The others go on: call `stop`.
        """
        group = [_Watched(program) for program in programs]
        self._groups.append(group)
        for watched in group:
            # Outlives this call; `stop` ends and awaits it.
            watched.task = asyncio.create_task(self._keep(watched), name=watched.program.name)
        waits = [asyncio.create_task(self._first_readiness(watched)) for watched in group]
        try:
            await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()

    async def stop(self) -> None:
        """Ask every program to end, those started last first; kill what does not within the time allowed."""
        for group in self._groups:
            for watched in group:
                watched.stopping.set()
        while self._groups:
            await asyncio.gather(*(self._end(watched) for watched in self._groups.pop()))

    def kill_all(self) -> None:
        """End everything at once; `stop` then returns soon."""
        for group in self._groups:
            for watched in group:
                watched.stopping.set()
                _signal(watched, signal.SIGKILL)

    def pid(self, name: str) -> int | None:
        """Return the process id of a running program."""
        for watched in (watched for group in self._groups for watched in group):
            if watched.program.name == name and watched.process is not None:
                return watched.process.pid
        return None

    async def _first_readiness(self, watched: _Watched) -> None:
        assert watched.task is not None
        name = watched.program.name
        ready = asyncio.create_task(watched.was_ready.wait())
        try:
            done, _ = await asyncio.wait(
                {ready, watched.task}, timeout=self._ready_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ready.cancel()
        if watched.task in done:
            await watched.task  # raises why
        elif not done:
            seconds = round(self._ready_timeout_s)
            raise CannotStartError(f"{name} was not ready within {seconds} s{self._last_words(name)}")

    async def _keep(self, watched: _Watched) -> None:
        name = watched.program.name
        while not watched.stopping.is_set():
            self._changed(name, State.STARTING, "")
            try:
                how = await self._live_once(watched)
            except (CannotStartError, OSError) as error:
                if not watched.was_ready.is_set():
                    raise CannotStartError(f"{name} cannot start: {error}") from error
                how = f"could not start: {error}"
            if watched.stopping.is_set():
                break
            await self._after_end(watched, how)
        self._changed(name, State.STOPPED, "")

    async def _live_once(self, watched: _Watched) -> str:
        """Run the program until it ends; return how it ended."""
        program = watched.program
        if program.prepare is not None:
            await program.prepare()
        self._log.forget(program.name)
        watched.ready_at_s = None
        async with _line_pipe() as (lines, write_end):
            try:
                watched.process = await asyncio.create_subprocess_exec(
                    *program.command.argv,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=write_end,
                    stderr=write_end,
                    **program.command.popen_arguments(),
                )
            finally:
                os.close(write_end)
            return await self._until_end(watched, watched.process, lines)

    async def _until_end(
        self, watched: _Watched, process: asyncio.subprocess.Process, lines: asyncio.StreamReader
    ) -> str:
        program = watched.program
        if watched.stopping.is_set():  # it was asked to stop while it was being started
            _signal(watched, program.command.stop_signal)
        beside = [asyncio.create_task(self._pump(program.name, lines)), asyncio.create_task(self._watch(watched))]
        try:
            code = await process.wait()
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started and left behind
            await asyncio.wait(beside[:1], timeout=LAST_WORDS_S)
            return _how_ended(code, self._log.tail(program.name))
        finally:
            for task in beside:
                task.cancel()

    async def _pump(self, name: str, output: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await output.readline()
            except ValueError:  # longer than LINE_BYTES_MAX: what was read of it is dropped
                continue
            if not line:
                return
            self._log.take(name, line)

    async def _watch(self, watched: _Watched) -> None:
        program = watched.program
        while not await program.is_ready():  # noqa: ASYNC110 - another program's state sends no event
            await asyncio.sleep(READY_POLL_S)
        watched.ready_at_s = time.monotonic()
        watched.was_ready.set()
        self._changed(program.name, State.READY, "")
        heard_s = time.monotonic()
        while program.is_alive is not None:
            await asyncio.sleep(HEALTH_POLL_S)
            if await program.is_alive():
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > self._health_silent_s:
                self._log.say("program.silent", level="error", program=program.name)
                _signal(watched, signal.SIGKILL)
                return

    async def _after_end(self, watched: _Watched, how: str) -> None:
        """Wait a while that grows with each end in a row; give up on what never got ready."""
        name = watched.program.name
        was_calm = watched.ready_at_s is not None and time.monotonic() - watched.ready_at_s > RESTART_CALM_MS / 1000
        watched.failures = 1 if was_calm else watched.failures + 1
        self._log.say("program.ended", level="warning", program=name, how=how, failures=watched.failures)
        if not watched.was_ready.is_set() and watched.failures > RESTARTS_AT_START_MAX:
            times = f"{watched.failures} times before it was ready"
            raise CannotStartError(f"{name} ended {times}{self._last_words(name)}")
        self._changed(name, State.ENDED, how)
        delay_ms = min(RESTART_BACKOFF_MS_MIN * 2 ** min(watched.failures - 1, 16), RESTART_BACKOFF_MS_MAX)
        with suppress(TimeoutError):
            await asyncio.wait_for(watched.stopping.wait(), delay_ms / 1000)

    async def _end(self, watched: _Watched) -> None:
        assert watched.task is not None
        own_ms = watched.program.stop_timeout_ms
        _signal(watched, watched.program.command.stop_signal)
        await asyncio.wait({watched.task}, timeout=self._stop_timeout_s if own_ms is None else own_ms / 1000)
        if not watched.task.done():
            self._log.say(
                "program.killed", level="warning", program=watched.program.name, why="it did not stop in time"
            )
            _signal(watched, signal.SIGKILL)
            await asyncio.wait({watched.task}, timeout=self._stop_timeout_s)
        watched.task.cancel()
        with suppress(asyncio.CancelledError, CannotStartError):
            await watched.task

    def _last_words(self, name: str) -> str:
        tail = self._log.tail(name)
        return f". Its last words:\n{tail}" if tail else f" and said nothing; see {self._log.path}"


@asynccontextmanager
async def _line_pipe() -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    """Open a pipe of our own; its write end is the caller's to close.

    With asyncio's, waiting for a program also waits for whatever it left behind with the pipe open.
    """
    read_end, write_end = os.pipe()
    lines = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(read_end, "rb", buffering=0)
    )
    try:
        yield lines, write_end
    finally:
        transport.close()


def _signal(watched: _Watched, number: signal.Signals) -> None:
    if watched.process is not None:
        with suppress(ProcessLookupError):
            watched.process.send_signal(number)


def _how_ended(code: int, tail: str) -> str:
    if code >= 0:
        last_line = tail.rpartition("\n")[2]
        return f"ended with exit code {code}" + (f" ({last_line})" if last_line else "")
    return f"was ended by {signal.Signals(-code).name}"
