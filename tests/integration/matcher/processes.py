"""Processes of ours as a test runs them, each with its health port."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from clenzy.ports import any_free
from config.limits import STOP_TIMEOUT_MS

START_S = 100
"""The first start of a checkout compiles the kernels."""


class Program:
    """A process of ours with its health port."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def report(self) -> dict:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
            return await answer.json()

    async def until_checks(self, **expected: bool) -> None:
        for _ in range(START_S * 20):
            assert self.process.returncode is None, "the program ended"
            try:
                checks = (await self.report())["checks"]
            except aiohttp.ClientError:
                checks = {}
            if expected.items() <= {name: check["ok"] for name, check in checks.items()}.items():
                return
            await asyncio.sleep(0.05)
        pytest.fail(f"not within {START_S} s: {expected}, but {checks}")

    async def stop(self, *, within_s: float = STOP_TIMEOUT_MS / 1000) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(within_s):
            return await self.process.wait()


@asynccontextmanager
async def running(
    module: str, *, database_url: str, redis_url: str, port: int | None = None, **environment: str
) -> AsyncIterator[Program]:
    port = port or any_free()
    own = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "CLENZY_OPS_PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, env=os.environ | own | environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield Program(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
