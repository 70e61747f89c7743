"""Processes and stores that can be killed at any moment, started again, and told at which place to die."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import aiohttp
import psutil

from clenzy.child import Command
from clenzy.stores.postgres import Postgres
from clenzy.stores.redis import Redis
from engine.core.crash_point import VARIABLE
from tests.acceptance.safetap_chaos.history import Kill

READY_S = 120
LOOK_S = 0.02
STARTS_MAX = 20


class Victim:
    """Something that runs under `name`, counted among its `kind`; every end of it that was no stop is a kill."""

    def __init__(self, name: str, kind: str, log: Path, kills: list[Kill]) -> None:
        self.name = name
        self.kind = kind
        self.process: subprocess.Popen[bytes] | None = None
        self._log = log
        self._kills = kills
        self._died: tuple[int, str | None] | None = None

    async def start(self, crash_at: str = "") -> None:
        """Start it; return when it can work. One that is to die may do so before that."""
        for _ in range(STARTS_MAX):
            self._launch(crash_at)
            if await self._comes_up() or crash_at:
                break
        else:
            raise AssertionError(f"{self.name} does not start: see {self._log}")
        if self._died is not None:
            at_ms, where = self._died
            self._kills.append(Kill(self.name, self.kind, at_ms, wall_ms(), where))
            self._died = None

    async def kill(self) -> None:
        """End it at once, wherever it stands."""
        assert self.process is not None
        self._died = (wall_ms(), None)
        self._end()
        await self._gone()

    async def dies(self, where: str) -> None:
        """Wait until it has ended by itself at a crash point."""
        await self._gone()
        assert self.process is not None
        assert self.process.returncode == -signal.SIGKILL, f"{self.name} ended with {self.process.returncode}"
        self._died = (wall_ms(), where)

    def is_dead(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def stop(self) -> None:
        """End it for good."""
        if not self.is_dead():
            self._end()
            assert self.process is not None
            self.process.wait()

    async def is_ready(self) -> bool:
        raise NotImplementedError

    def command(self) -> Command:
        raise NotImplementedError

    def _launch(self, crash_at: str) -> None:
        command = self.command()
        arguments = command.popen_arguments()
        if crash_at:
            arguments["env"] = {**arguments["env"], VARIABLE: crash_at}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command.argv, stdout=log, stderr=log, **arguments)

    def _end(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)

    async def _comes_up(self) -> bool:
        """Return whether it can work; not: it ended instead, as a store does on whose files a dead one still sits."""
        async with asyncio.timeout(READY_S):
            while not await self.is_ready():
                if self.is_dead():
                    return False
                await asyncio.sleep(LOOK_S)
        return True

    async def _gone(self) -> None:
        async with asyncio.timeout(READY_S):
            while not self.is_dead():  # noqa: ASYNC110 - a process
                await asyncio.sleep(LOOK_S)


class ProcessVictim(Victim):
    """One of our processes, asked for its health on a port of its own."""

    def __init__(
        self, module: str, port: int, environment: Mapping[str, str], *, name: str, kind: str, log: Path,
        kills: list[Kill],
    ) -> None:  # fmt: skip
        super().__init__(name, kind, log, kills)
        self.port = port
        self._module = module
        self._environment = environment

    def command(self) -> Command:
        environment = {**os.environ, **self._environment}
        return Command((sys.executable, "-m", self._module), env=environment, cwd=Path.cwd())

    async def is_ready(self) -> bool:
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http,
                http.get(f"http://127.0.0.1:{self.port}/readyz") as answer,
            ):
                return answer.status == 200
        return False


class StoreVictim(Victim):
    """Postgres or Redis. Killed with all of its children at once, as a machine that loses its power."""

    def __init__(self, server: Postgres | Redis, *, name: str, log: Path, kills: list[Kill]) -> None:
        super().__init__(name, name, log, kills)
        self._server = server
        self._has_prepared = False

    def command(self) -> Command:
        if not self._has_prepared:
            self._server.prepare()
            self._has_prepared = True
        return self._server.command()

    async def is_ready(self) -> bool:
        return await asyncio.to_thread(self._server.answers)

    def _end(self) -> None:
        assert self.process is not None
        server = psutil.Process(self.process.pid)
        for one in (server, *server.children(recursive=True)):
            with suppress(psutil.Error):
                one.kill()


def wall_ms() -> int:
    return int(time.time() * 1000)
