"""What a killed gateway loses of a trail: what it had not stored yet, about a second of fixes, nothing before it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import msgpack
import numpy as np
import pytest

from clenzy.ports import any_free
from config.limits import TRAIL_FLUSH_MS
from engine.core.clock import SystemClock
from engine.core.database import Pool
from engine.core.ids import PersonId, WorkerSlot
from engine.core.vocabulary import Role
from engine.geo.fixes import FIX
from engine.people.tokens import AccessTokens
from tests.conftest import TokenKeys
from tests.integration.gateway.harness import ORG, PORTO, REGION, City, eventually

pytestmark = pytest.mark.integration

STEP_MS = 50
SLACK_MS = 2_000
"""For a machine that is busy with other tests: the writer's turn comes late, the COPY takes its time."""


@asynccontextmanager
async def gateway_process(folder: Path, **environment: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    port = any_free()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway_ws",
        env=os.environ | environment | {"CLENZY_STATE_DIR": str(folder), "CLENZY_GATEWAY_PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as client:
            await eventually(lambda: _is_ready(client, url), timeout_s=40)
        yield process, url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _is_ready(client: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with client.get(f"{url}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


def token_of(worker_id: UUID, keys: TokenKeys) -> str:
    tokens = AccessTokens(public_key_pem=keys.public_pem, private_key_pem=keys.private_pem)
    return tokens.issue(
        person_id=PersonId(worker_id),
        role=Role.WORKER,
        org_id=ORG,
        region_id=REGION,
        slot=WorkerSlot(5),
        session_id=uuid4(),
        now_ms=SystemClock().now_ms(),
    )


def fix_now(number: int) -> bytes:
    fix = np.zeros(1, FIX)
    fix["ts_ms"] = SystemClock().now_ms()
    fix["lat_e7"], fix["lng_e7"] = round(PORTO[0] * 1e7) + 10 * number, round(PORTO[1] * 1e7)
    return fix.tobytes()


async def test_a_killed_gateway_loses_the_last_moments_only(
    city: City, pool: Pool, database_url: str, redis_url: str, token_keys: TokenKeys, tmp_path: Path
) -> None:
    key = tmp_path / "public.pem"
    key.write_bytes(token_keys.public_pem)
    token = token_of(await city.worker(5), token_keys)
    stores = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "CLENZY_JWT_PUBLIC_KEY_FILE": str(key)}
    sent_ms: list[int] = []
    async with gateway_process(tmp_path, **stores) as (gateway, url), aiohttp.ClientSession() as client:
        socket = await client.ws_connect(f"{url}/ws/ping")
        await socket.send_bytes(msgpack.packb([0, token, {}]))
        await socket.receive(timeout=10)
        while len(sent_ms) * STEP_MS < TRAIL_FLUSH_MS + SLACK_MS + 1_000:
            payload = fix_now(len(sent_ms))
            sent_ms.append(int(np.frombuffer(payload, FIX)["ts_ms"][0]))
            await socket.send_bytes(msgpack.packb([1, len(sent_ms), payload]))
            await asyncio.sleep(STEP_MS / 1000)
        killed_ms = SystemClock().now_ms()
        gateway.kill()
        await gateway.wait()
    rows = await pool.fetch("SELECT (extract(epoch FROM at) * 1000)::bigint AS at_ms FROM trail ORDER BY at")
    stored_ms = [row["at_ms"] for row in rows]
    assert stored_ms == sent_ms[: len(stored_ms)]  # nothing before what was lost is missing, nothing is doubled
    assert [at_ms for at_ms in sent_ms[len(stored_ms) :] if at_ms < killed_ms - TRAIL_FLUSH_MS - SLACK_MS] == []
    assert stored_ms
