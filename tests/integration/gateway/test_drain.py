"""A gateway that is told to stop sends its clients away in waves, and loses nothing that it acknowledged."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import socketio
from redis.asyncio import Redis

from config.limits import DRAIN_RETRY_MS_MAX, DRAIN_WAVE_CLIENTS
from engine.core.database import Pool
from engine.core.vocabulary import Role
from engine.geo.cell_index import CellIndex
from tests.conftest import TokenKeys
from tests.integration.gateway.harness import City, eventually
from tests.integration.gateway.processes import Driver, drivers, gateway_processes, stores_of, token_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CLIENTS = 3 * DRAIN_WAVE_CLIENTS


async def test_three_hundred_clients_leave_in_waves_and_lose_nothing(
    city: City, pool: Pool, redis: Redis, database_url: str, redis_url: str, token_keys: TokenKeys, tmp_path: Path
) -> None:
    stores = stores_of(database_url, redis_url, token_keys, tmp_path)
    async with (
        gateway_processes(2, tmp_path, stores) as gateways,
        drivers(gateways[0].url, city, token_keys, 2 * CLIENTS) as crowd,
    ):
        leaving, staying = gateways
        gone = int(await leaving.metric("clenzy_gateway_connections"))
        assert gone > CLIENTS / 2, "the kernel spreads connections over both"
        for one in crowd:
            one.came_back_s.clear()
        asked_s = time.monotonic()
        stopping = asyncio.create_task(leaving.stop())
        await eventually(lambda: sum(bool(one.came_back_s) for one in crowd) == gone, timeout_s=30)
        assert await stopping == 0
        assert await staying.metric("clenzy_gateway_connections") == len(crowd)
        moved = [one for one in crowd if one.came_back_s]
        span_s = max(one.came_back_s[0] for one in moved) - min(one.came_back_s[0] for one in moved)
        assert span_s > 0.25 * DRAIN_RETRY_MS_MAX / 1000, f"all at once: within {span_s} s"
        assert time.monotonic() - asked_s < 30
        assert {code for one in moved for code in one.socket.counts.close_codes} == {1001}
        await asyncio.gather(*(one.socket.settled() for one in crowd))
        await _check_indexed(redis, pool, crowd)


async def _check_indexed(redis: Redis, pool: Pool, crowd: Sequence[Driver]) -> None:
    records = await CellIndex(redis).records([one.slot for one in crowd])
    assert (records["cell"] != 0).all()

    async def is_stored() -> bool:
        stored: int = await pool.fetchval("SELECT count(*) FROM trail")
        return stored >= sum(one.socket.counts.fixes_acknowledged for one in crowd)

    await eventually(is_stored)
    assert sum(one.socket.counts.fixes_dropped for one in crowd) == 0


async def test_a_console_that_is_sent_away_is_told_when_to_come_back(
    city: City, database_url: str, redis_url: str, token_keys: TokenKeys, tmp_path: Path
) -> None:
    stores = stores_of(database_url, redis_url, token_keys, tmp_path)
    token = token_of(await city.person(Role.DISPATCHER, "D"), token_keys, role=Role.DISPATCHER)
    async with gateway_processes(1, tmp_path, stores) as (gateway,):
        client = socketio.AsyncClient(reconnection=False)
        errors: list[dict[str, Any]] = []
        gone = asyncio.Event()
        client.on("error", errors.append, namespace="/console")
        client.on("disconnect", lambda *_: gone.set(), namespace="/console")
        await client.connect(gateway.url, namespaces=["/console"], auth={"token": token}, transports=["websocket"])
        assert await gateway.stop() == 0
        await asyncio.wait_for(gone.wait(), 10)
        await client.disconnect()
    (error,) = errors
    assert error["code"] == "going_away"
    assert 0 <= error["retry_after_ms"] <= DRAIN_RETRY_MS_MAX
