"""A silent trigger on the line: the size and the family of a ping, and a ping's answer in a ping's time."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgpack
import pytest
from redis.asyncio import Redis

from engine.core.clock import SystemClock
from engine.core.database import Pool
from engine.core.vocabulary import Role
from gateway_ws.socketio.ping_frame import MAGIC, TRIGGER_MAGIC
from tests.integration.gateway.harness import PORTO, City, FakeDoor, Stage, gateway_on

pytestmark = pytest.mark.integration

SLOT = 5
CLOCK = SystemClock()
WAIT_S = 20
PAIRS = 40

Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture
async def city(pool: Pool) -> City:
    return await City(pool, CLOCK).found()


@pytest.fixture
async def stage(redis: Redis, pool: Pool, token_keys: Any, tmp_path: Path) -> AsyncIterator[Stage]:
    """A gateway before a door that commits at once: what a trigger's answer takes beyond that is the gateway's."""
    async with FakeDoor().serving(tmp_path / "safetap.sock"), gateway_on(redis, pool, token_keys, tmp_path) as stage:
        yield stage


@asynccontextmanager
async def raw(stage: Stage, token: str) -> AsyncIterator[Socket]:
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{stage.url}/ws/ping") as socket:
        await socket.send_bytes(msgpack.packb([0, token, {}]))
        yield socket


@asynccontextmanager
async def socketio(stage: Stage, token: str) -> AsyncIterator[Socket]:
    address = f"{stage.url}/socket.io/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as client, client.ws_connect(address) as socket:
        await socket.send_str(f'40/worker,{{"token":"{token}"}}')
        yield socket


def raw_frame(kind: int, seq: int, body: bytes) -> bytes:
    return bytes(msgpack.packb([3 if kind == TRIGGER_MAGIC else 1, seq, body]))


def socketio_frame(kind: int, seq: int, body: bytes) -> bytes:
    return bytes((kind,)) + seq.to_bytes(8, "little") + body


WAYS: dict[str, tuple[Any, Callable[[int, int, bytes], bytes], Callable[[int, int], bytes]]] = {
    "raw": (raw, raw_frame, lambda seq, state: b"\x93\x02\xce" + seq.to_bytes(4, "big") + bytes((state,))),
    "socket.io": (
        socketio, socketio_frame, lambda seq, state: f'42/worker,["ack",{{"seq":{seq},"state":{state}}}]'.encode()
    ),
}  # fmt: skip


async def answer(socket: Socket, wanted: bytes) -> bytes:
    """Return the answer as it came; cadences, welcomes and the like are not the answer to this."""
    async with asyncio.timeout(WAIT_S):
        while True:
            data = (await socket.receive()).data
            if data == "2":
                await socket.send_str("3")
                continue
            told = data.encode() if isinstance(data, str) else data
            if told == wanted:
                return bytes(told)


@pytest.mark.parametrize("way", list(WAYS))
async def test_line_6_a_trigger_is_a_ping_in_size_family_and_answer(stage: Stage, city: City, way: str) -> None:
    connect, frame, acknowledged = WAYS[way]
    token = stage.token(Role.WORKER, await city.worker(SLOT), slot=SLOT)
    fix = stage.fixes(PORTO)
    async with connect(stage, token) as socket:
        ping, trigger = frame(MAGIC, 7, fix + fix), frame(TRIGGER_MAGIC, 8, fix + uuid4().bytes + bytes(8))
        assert len(ping) == len(trigger)
        assert sum(one != other for one, other in zip(ping[:4], trigger[:4], strict=True)) <= 2, "kind and number"
        await socket.send_bytes(ping)
        to_ping = await answer(socket, acknowledged(7, 0))
        await socket.send_bytes(trigger)
        to_trigger = await answer(socket, acknowledged(8, 2))
        apart = [at for at, (one, other) in enumerate(zip(to_ping, to_trigger, strict=True)) if one != other]
        assert len(apart) == 2, "its number and its state"


@pytest.mark.parametrize("way", list(WAYS))
async def test_line_6_its_answer_comes_in_the_time_of_a_pings(stage: Stage, city: City, way: str) -> None:
    """Turn by turn, so that what slows the machine slows both. A ping waits for the next flush, a trigger for a disk:

    neither may stand out by more than the ordinary spread of pings.
    """
    connect, frame, acknowledged = WAYS[way]
    token = stage.token(Role.WORKER, await city.worker(SLOT), slot=SLOT)
    took: dict[int, list[float]] = {MAGIC: [], TRIGGER_MAGIC: []}
    base_ms, seq = CLOCK.now_ms() - 60_000, 100
    async with connect(stage, token) as socket:
        for turn in range(PAIRS):
            for kind in (MAGIC, TRIGGER_MAGIC) if turn % 2 else (TRIGGER_MAGIC, MAGIC):
                seq += 1
                fix = stage.fixes(PORTO, at_ms=base_ms + seq * 100)
                body = fix + uuid4().bytes + bytes(8) if kind == TRIGGER_MAGIC else fix + fix
                began_ns = CLOCK.steady_ns()
                await socket.send_bytes(frame(kind, seq, body))
                await answer(socket, acknowledged(seq, 2 if kind == TRIGGER_MAGIC else 0))
                took[kind].append((CLOCK.steady_ns() - began_ns) / 1_000_000)
    ping, trigger = statistics.median(took[MAGIC]), statistics.median(took[TRIGGER_MAGIC])
    slowest_ping = statistics.quantiles(took[MAGIC], n=20)[-1]
    assert trigger <= 2 * slowest_ping, (ping, trigger, slowest_ping)
    assert trigger >= ping / 50, (ping, trigger)


async def test_a_broken_trigger_frame_of_socketio_is_named_as_a_broken_ping_is(stage: Stage, city: City) -> None:
    token = stage.token(Role.WORKER, await city.worker(SLOT), slot=SLOT)
    async with socketio(stage, token) as socket:
        for kind in (MAGIC, TRIGGER_MAGIC):
            await socket.send_bytes(bytes((kind,)) + bytes(8) + b"short")
            async with asyncio.timeout(WAIT_S):
                while "malformed_frame" not in str((await socket.receive()).data):
                    pass
        await socket.send_bytes(socketio_frame(TRIGGER_MAGIC, 3, bytes(24) + uuid4().bytes + bytes(8)))
        await answer(socket, WAYS["socket.io"][2](3, 2))
