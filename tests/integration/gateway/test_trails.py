"""What a phone sends over its socket is in the trail: all that was accepted, nothing else, whatever Postgres does."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis

from engine.core.clock import SystemClock
from engine.core.database import Pool
from engine.core.vocabulary import Role
from gateway_ws.engine_calls import EngineCalls
from tests.integration.gateway.harness import ORG, PORTO, City, Stage, eventually, gateway_on, phone_on

pytestmark = pytest.mark.integration

FAR_AWAY = (PORTO[0] + 1, PORTO[1])


def nearby(count: int) -> list[tuple[float, float]]:
    return [(PORTO[0] + number * 1e-5, PORTO[1]) for number in range(count)]


async def lats_e7(pool: Pool, slot: int) -> list[int]:
    rows = await pool.fetch("SELECT lat_e7 FROM trail WHERE slot = $1 AND org_id = $2 ORDER BY at", slot, ORG)
    return [row["lat_e7"] for row in rows]


async def stored(stage: Stage, count: int) -> None:
    assert stage.pool is not None
    pool = stage.pool
    await eventually(lambda: _has(pool, count))


async def _has(pool: Pool, count: int) -> bool:
    return bool(await pool.fetchval("SELECT count(*) FROM trail") == count)


async def test_every_accepted_fix_of_a_frame_is_stored(stage: Stage, city: City, pool: Pool) -> None:
    token = stage.token(Role.WORKER, await city.worker(5), slot=5)
    places = nearby(20)
    async with phone_on(stage, token) as phone:
        await phone.send(1, 1, stage.fixes(*places))
        assert await phone.hear(2) == [2, 1, 0]
        await stored(stage, 20)
    assert await lats_e7(pool, 5) == [round(lat * 1e7) for lat, _ in places]


async def test_refused_fixes_are_in_no_trail(stage: Stage, city: City, pool: Pool) -> None:
    token = stage.token(Role.WORKER, await city.worker(5), slot=5)
    now_ms = stage.clock.now_ms()
    async with phone_on(stage, token) as phone:
        await phone.send(1, 1, stage.fixes(PORTO, at_ms=now_ms - 5_000))
        await phone.send(1, 2, stage.fixes(nearby(2)[1], at_ms=now_ms - 5_000))  # duplicate
        await phone.send(1, 3, stage.fixes(FAR_AWAY, at_ms=now_ms - 4_000))  # jump
        await phone.send(1, 4, stage.fixes(PORTO, at_ms=now_ms - 3_000, accuracy_dm=9_000))  # inaccurate
        await phone.send(1, 5, stage.fixes((0.0, 0.0), at_ms=now_ms - 2_000))  # zero
        await phone.send(1, 6, stage.fixes(PORTO, at_ms=now_ms + 600_000))  # future
        await phone.send(1, 7, stage.fixes(nearby(2)[1], at_ms=now_ms - 1_000))
        await phone.hear(2, where=lambda frame: frame[1] == 7)
        await stored(stage, 2)
    assert await lats_e7(pool, 5) == [round(PORTO[0] * 1e7), round(PORTO[0] * 1e7) + 100]


async def test_a_worker_off_duty_leaves_no_trail(stage: Stage, city: City, pool: Pool) -> None:
    off = stage.token(Role.WORKER, await city.worker(6, duty="off"), slot=6)
    on = stage.token(Role.WORKER, await city.worker(5), slot=5)
    async with phone_on(stage, off) as resting, phone_on(stage, on) as working:
        await resting.send(1, 1, stage.fixes(*nearby(5)))
        await resting.hear(2)
        await working.send(1, 1, stage.fixes(PORTO))
        await working.hear(2)
        await stored(stage, 1)
    assert await lats_e7(pool, 6) == []


async def test_postgres_away_delays_no_acknowledgement_and_loses_no_trail(
    redis: Redis, city: City, pool: Pool, token_keys: Any, tmp_path: Path
) -> None:
    calls = EngineCalls(SystemClock())
    async with gateway_on(redis, pool, token_keys, tmp_path, calls=calls) as stage:
        token = stage.token(Role.WORKER, await city.worker(5), slot=5)
        calls.use(pool)
        async with phone_on(stage, token) as phone:
            await phone.hear(0)
            calls._pool = None
            await phone.send(1, 1, stage.fixes(*nearby(3)))
            assert await phone.hear(2) == [2, 1, 0]
            assert not await stage.gateway.trail.flush()
            assert await lats_e7(pool, 5) == []
            calls.use(pool)
            await stored(stage, 3)


async def test_a_gateway_that_is_told_to_stop_stores_what_waits(
    redis: Redis, city: City, pool: Pool, token_keys: Any, tmp_path: Path
) -> None:
    async with gateway_on(redis, pool, token_keys, tmp_path) as stage:
        token = stage.token(Role.WORKER, await city.worker(5), slot=5)
        async with phone_on(stage, token) as phone:
            await phone.send(1, 1, stage.fixes(*nearby(10)))
            await phone.hear(2)
    assert len(await lats_e7(pool, 5)) == 10


async def test_the_trail_knows_whose_worker_a_slot_is(stage: Stage, city: City, pool: Pool) -> None:
    slots = (3, 2_000)  # the second one beyond what the tables hold at the start
    for slot in slots:
        async with phone_on(stage, stage.token(Role.WORKER, await city.worker(slot), slot=slot)) as phone:
            await phone.send(1, 1, stage.fixes(PORTO))
            await phone.hear(2)
    await stored(stage, 2)
    rows = await pool.fetch("SELECT slot, org_id FROM trail ORDER BY slot")
    assert [(row["slot"], UUID(bytes=row["org_id"].bytes)) for row in rows] == [(slot, ORG) for slot in slots]


async def test_what_two_gateways_accept_twice_is_stored_once(
    redis: Redis, city: City, pool: Pool, token_keys: Any, tmp_path: Path
) -> None:
    """A gateway that was killed after its trail and before its cells has the phone send the frame again."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    worker_id = await city.worker(5)
    async with gateway_on(redis, pool, token_keys, tmp_path / "a") as first:
        frame = first.fixes(*nearby(4))
        token = first.token(Role.WORKER, worker_id, slot=5)
        async with phone_on(first, token) as phone:
            await phone.send(1, 1, frame)
            await phone.hear(2)
    await redis.flushall()
    async with gateway_on(redis, pool, token_keys, tmp_path / "b") as second, phone_on(second, token) as phone:
        await phone.send(1, 1, frame + second.fixes(nearby(5)[4], at_ms=second.clock.now_ms() + 2_000))
        await phone.hear(2)
        await asyncio.wait_for(second.gateway.trail.drain(), 5)
    assert len(await lats_e7(pool, 5)) == 5
