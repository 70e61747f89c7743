"""Real processes to be harmed: two gateways, a relay, a Redis; Postgres stays, for it holds the truth."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from clenzy.child import Command, store_account
from clenzy.ports import any_free
from clenzy.stores.home import store_home
from clenzy.stores.redis import Redis
from tests.integration.gateway.harness import eventually

READY_S = 60


class Part:
    """One process on a port of its own that can be killed and started again."""

    def __init__(self, module: str, port_variable: str, environment: dict[str, str]) -> None:
        self._log = Path(environment["CLENZY_STATE_DIR"]) / "parts.log"
        self.port = any_free()
        self.kills = 0
        self._module = module
        self._environment = environment | {port_variable: str(self.port)}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._module, env=os.environ | self._environment, stdout=log, stderr=log
            )
        async with aiohttp.ClientSession() as http:
            await eventually(lambda: self._is_ready(http), timeout_s=READY_S)

    async def stop(self) -> None:
        """End it at once, as the machine might."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._process = None

    async def kill_and_restart(self) -> None:
        self.kills += 1
        await self.stop()
        await self.start()

    async def _is_ready(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"http://127.0.0.1:{self.port}/readyz") as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError):
            return False


class OwnRedis:
    """A Redis that comes back empty on the same port."""

    def __init__(self, folder: Path) -> None:
        self._home = store_home(folder, store_account())
        self._server = Redis(self._home, password=secrets.token_urlsafe(16), port=any_free())
        self._process: subprocess.Popen[bytes] | None = None
        self.url = self._server.url
        self.kills = 0

    async def start(self) -> None:
        self._server.prepare()
        command = self._server.command()
        self._process = await asyncio.to_thread(_popen, command)
        await eventually(lambda: asyncio.to_thread(self._server.answers), timeout_s=READY_S)

    async def kill_and_restart(self) -> None:
        self.kills += 1
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(self._process.wait)


def _popen(command: Command) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command.argv, stdout=subprocess.DEVNULL, **command.popen_arguments())


class Installation:
    """What the clients connect to."""

    def __init__(self, folder: Path, database_url: str, public_key: Path) -> None:
        self.redis = OwnRedis(folder)
        common = {
            "DATABASE_URL": database_url,
            "REDIS_URL": self.redis.url,
            "CLENZY_JWT_PUBLIC_KEY_FILE": str(public_key),
            "CLENZY_STATE_DIR": str(folder),
        }
        self.gateways = [Part("gateway_ws", "CLENZY_GATEWAY_PORT", common) for _ in range(2)]
        self.relay = Part("engine.run_notify", "CLENZY_OPS_PORT", common)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.redis.start()
        parts = [*self.gateways, self.relay]
        try:
            await asyncio.gather(*(part.start() for part in parts))
            yield
        finally:
            await asyncio.gather(*(part.stop() for part in parts))
            await self.redis.stop()

    def ports(self) -> list[int]:
        """Return where gateways can be tried; one that has just been killed is among them, as for real clients."""
        return [gateway.port for gateway in self.gateways]
