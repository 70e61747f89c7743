"""Real gateway processes, several on one port where a test asks for it, and workers to connect to them."""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import numpy as np

from clenzy.ports import any_free
from engine.core.clock import SystemClock
from engine.core.ids import PersonId, WorkerSlot
from engine.core.vocabulary import Role
from engine.geo.fixes import FIX
from engine.people.tokens import AccessTokens
from sim.client.backoff import Backoff
from sim.client.rest import Account, Rest, Tokens
from sim.client.worker_socket import WorkerSocket
from tests.conftest import TokenKeys
from tests.integration.gateway.harness import ORG, PORTO, REGION, City, eventually

READY_TIMEOUT_S = 80


@dataclass
class GatewayProcess:
    """One gateway: `url` may be another's too, `ops_url` is its own."""

    process: asyncio.subprocess.Process
    url: str
    ops_url: str

    async def stop(self) -> int:
        """End it in good order; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), READY_TIMEOUT_S)

    async def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        async with aiohttp.ClientSession() as client, client.get(f"{self.ops_url}/metrics") as response:
            lines = (await response.text()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)


@asynccontextmanager
async def gateway_processes(
    count: int, folder: Path, stores: Mapping[str, str], **environment: str
) -> AsyncIterator[list[GatewayProcess]]:
    """Run gateways that share one port until the block ends; it starts when each is ready."""
    port = any_free(together=count + 1)
    shared = {"CLENZY_GATEWAY_PORT": str(port), "CLENZY_GATEWAY_PROCESSES": str(count)}
    async with AsyncExitStack() as stack:
        gateways = [
            await stack.enter_async_context(
                _process(port, port + number, os.environ | stores | environment | shared, folder)
            )
            for number in range(1, count + 1)
        ]
        await asyncio.gather(*(_until_ready(gateway) for gateway in gateways))
        yield gateways


@asynccontextmanager
async def _process(
    port: int, ops_port: int, environment: Mapping[str, str], folder: Path
) -> AsyncIterator[GatewayProcess]:
    own = {"CLENZY_STATE_DIR": str(folder), "CLENZY_OPS_PORT": str(ops_port)}
    with (folder / f"gateway-{ops_port}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway_ws"),
            env={**environment, **own},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=log,
        )
    try:
        yield GatewayProcess(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{ops_port}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _until_ready(gateway: GatewayProcess) -> None:
    async def is_ready() -> bool:
        assert gateway.process.returncode is None, "the gateway ended"
        try:
            async with client.get(f"{gateway.ops_url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async with aiohttp.ClientSession() as client:
        await eventually(is_ready, timeout_s=READY_TIMEOUT_S)


def stores_of(database_url: str, redis_url: str, keys: TokenKeys, folder: Path) -> dict[str, str]:
    """Return the environment that points a gateway to its stores and keys."""
    key = folder / "public.pem"
    key.write_bytes(keys.public_pem)
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "CLENZY_JWT_PUBLIC_KEY_FILE": str(key)}


def token_of(person_id: UUID, keys: TokenKeys, *, slot: int | None = None, role: Role = Role.WORKER) -> str:
    tokens = AccessTokens(public_key_pem=keys.public_pem, private_key_pem=keys.private_pem)
    return tokens.issue(
        person_id=PersonId(person_id),
        role=role,
        org_id=ORG,
        region_id=REGION,
        slot=None if slot is None else WorkerSlot(slot),
        session_id=uuid4(),
        now_ms=SystemClock().now_ms(),
    )


def fix_now(number: int) -> bytes:
    """Return a fix of this moment, a little north of the one before."""
    fix = np.zeros(1, FIX)
    fix["ts_ms"] = SystemClock().now_ms()
    fix["lat_e7"], fix["lng_e7"] = round(PORTO[0] * 1e7) + 10 * number, round(PORTO[1] * 1e7)
    return fix.tobytes()


class Driver:
    """A worker of the simulator's client who remembers what was acknowledged."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str, slot: int) -> None:
        tokens = Tokens(token, 2**60, "", "", "worker")
        self.slot = slot
        self.acknowledged = 0
        self.acknowledged_ms = 0
        """The time of the newest fix that was acknowledged."""
        self.all_acknowledged_ms: set[int] = set()
        self.sent = 0
        self._times_ms: dict[int, int] = {}
        self.came_back_s: list[float] = []
        self.socket = WorkerSocket(
            http=http,
            gateway_url=url,
            account=Account(Rest(http, url), tokens),
            listener=self,
            gate=asyncio.Semaphore(1),
            backoff=Backoff(base_s=0.05, cap_s=0.5, rng=random.Random(slot)),
        )

    def on_welcome(self, _state: Mapping[str, Any]) -> None:
        self.came_back_s.append(time.monotonic())

    def on_event(self, name: str, body: Mapping[str, Any]) -> None:
        pass

    def on_ack(self, seq: int, _fixes: int, _latency_ms: float) -> None:
        self.acknowledged = max(self.acknowledged, seq)
        if (at_ms := self._times_ms.pop(seq, None)) is not None:
            self.acknowledged_ms = max(self.acknowledged_ms, at_ms)
            self.all_acknowledged_ms.add(at_ms)

    async def drive(self, every_s: float) -> None:
        while True:
            await self.socket.connected.wait()
            self.sent += 1
            fix = fix_now(self.sent)
            self._times_ms[self.socket.post(fix)] = int(np.frombuffer(fix, FIX)["ts_ms"][0])
            await asyncio.sleep(every_s)


@asynccontextmanager
async def drivers(
    url: str, city: City, keys: TokenKeys, count: int, *, every_s: float = 0.5
) -> AsyncIterator[list[Driver]]:
    """Workers who drive until the block ends, all of them connected."""
    tokens = [token_of(await city.worker(slot), keys, slot=slot) for slot in range(count)]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        crowd = [Driver(http, url, token, slot) for slot, token in enumerate(tokens)]
        tasks = [asyncio.create_task(work) for one in crowd for work in (one.socket.run(), one.drive(every_s))]
        try:
            await eventually(lambda: all(one.socket.connected.is_set() for one in crowd), timeout_s=40)
            yield crowd
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended
