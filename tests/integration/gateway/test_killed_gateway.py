"""What a killed gateway loses of a trail: what it had not stored yet, about a second of fixes, nothing before it."""

import asyncio
from pathlib import Path

import aiohttp
import msgpack
import numpy as np
import pytest

from config.limits import TRAIL_FLUSH_MS
from engine.core.clock import SystemClock
from engine.core.database import Pool
from engine.geo.fixes import FIX
from tests.conftest import TokenKeys
from tests.integration.gateway.harness import City
from tests.integration.gateway.processes import fix_now, gateway_processes, stores_of, token_of

pytestmark = pytest.mark.integration

STEP_MS = 50
SLACK_MS = 2_000
"""For a machine that is busy with other tests: the writer's turn comes late, the COPY takes its time."""


async def test_a_killed_gateway_loses_the_last_moments_only(
    city: City, pool: Pool, database_url: str, redis_url: str, token_keys: TokenKeys, tmp_path: Path
) -> None:
    token = token_of(await city.worker(5), token_keys, slot=5)
    stores = stores_of(database_url, redis_url, token_keys, tmp_path)
    sent_ms: list[int] = []
    async with gateway_processes(1, tmp_path, stores) as (gateway,), aiohttp.ClientSession() as client:
        socket = await client.ws_connect(f"{gateway.url}/ws/ping")
        await socket.send_bytes(msgpack.packb([0, token, {}]))
        await socket.receive(timeout=10)
        while len(sent_ms) * STEP_MS < TRAIL_FLUSH_MS + SLACK_MS + 1_000:
            payload = fix_now(len(sent_ms))
            sent_ms.append(int(np.frombuffer(payload, FIX)["ts_ms"][0]))
            await socket.send_bytes(msgpack.packb([1, len(sent_ms), payload]))
            await asyncio.sleep(STEP_MS / 1000)
        killed_ms = SystemClock().now_ms()
        gateway.process.kill()
        await gateway.process.wait()
        await socket.close()
    rows = await pool.fetch("SELECT (extract(epoch FROM at) * 1000)::bigint AS at_ms FROM trail ORDER BY at")
    stored_ms = [row["at_ms"] for row in rows]
    assert stored_ms == sent_ms[: len(stored_ms)]  # nothing before what was lost is missing, nothing is doubled
    assert [at_ms for at_ms in sent_ms[len(stored_ms) :] if at_ms < killed_ms - TRAIL_FLUSH_MS - SLACK_MS] == []
    assert stored_ms
