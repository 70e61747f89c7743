"""Wrong bytes at every door of a real gateway: refused by name or answered, and the next phone is served as ever."""

import asyncio
import logging
import random
from collections.abc import Iterator
from uuid import uuid4

import aiohttp
import msgpack
import orjson
import pytest
from prometheus_client import REGISTRY

from engine.core.vocabulary import Role
from tests.integration.gateway.harness import PORTO, City, Stage, phone_on
from tests.mutation import mutated

pytestmark = pytest.mark.integration

ROUNDS = 60
CODES = {
    "malformed_frame", "unknown_type", "too_many_fixes", "too_many", "invalid_input", "not_found", "not_signed_in",
    "frame_too_large", "conflict",
}  # fmt: skip
CLOSES = {1000, 1001, 1005, 1006, 1009, 4401, 4403, 4408, 4409}


def faults() -> float:
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        if metric.name == "clenzy_gateway_faults"
        for sample in metric.samples
        if sample.name.endswith("_total")
    )


async def serves(stage: Stage, token: str) -> None:
    async with phone_on(stage, token) as phone:
        await phone.hear(0)
        await phone.send(1, 1, stage.fixes(PORTO))
        assert await phone.hear(2) == [2, 1, 0]


@pytest.fixture(autouse=True)
def nothing_unexpected(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    before = faults()
    yield
    assert faults() == before
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []


async def test_frames_of_the_raw_socket(stage: Stage, city: City) -> None:
    rng = random.Random(1)
    token = stage.token(Role.WORKER, await city.worker(5), slot=5)
    hello = msgpack.packb([0, token, {"epoch": str(uuid4()), "offset": 3}])
    frames = [
        msgpack.packb([1, 1, stage.fixes(PORTO, PORTO)]),
        msgpack.packb([4, 2, "state", {}]),
        msgpack.packb([4, 2, "booking.transition", {"booking_id": str(uuid4()), "to": "arrived"}]),
        msgpack.packb([7, token]),
    ]
    async with aiohttp.ClientSession() as client:
        for _ in range(ROUNDS // 4):
            async with client.ws_connect(f"{stage.url}/ws/ping") as socket:
                await socket.send_bytes(hello if rng.random() < 0.7 else mutated(rng, [hello]))
                for _ in range(8):
                    await socket.send_bytes(mutated(rng, frames))
                await socket.send_bytes(msgpack.packb([4, 77, "state", {}]))
                await _answered(socket)
    await serves(stage, token)


async def _answered(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Read until the last command is answered or the server has closed, by name."""
    async with asyncio.timeout(10):
        async for message in socket:
            assert message.type is aiohttp.WSMsgType.BINARY
            frame = msgpack.unpackb(message.data)
            if frame[0] == 8:
                assert frame[1]["code"] in CODES, frame
            if frame[0] == 5 and frame[1] == 77:
                return
    assert socket.close_code in CLOSES, socket.close_code


async def test_packets_of_socketio(stage: Stage, city: City) -> None:
    rng = random.Random(2)
    token = stage.token(Role.WORKER, await city.worker(5), slot=5)
    desk = stage.token(Role.DISPATCHER, await city.person(Role.DISPATCHER, "Ana"))
    texts = [
        f'40/worker,{{"token":"{token}"}}',
        f'40/console,{{"token":"{desk}"}}',
        '42/console,1["view",{"bbox":[-9,41,-8,42],"zoom":14}]',
        '42/worker,2["ping",{"seq":1,"fixes":[{"ts_ms":1700000000000,"lat":41.1,"lng":-8.6}]}]',
        '42/worker,3["duty",{"duty":"on"}]',
        '42/console,4["view",{"bbox":[-9,41,1' + "0" * 400 + ',42],"zoom":14}]',
        '451-/worker,5["ping",{"seq":2,"fixes":{"_placeholder":true,"num":0}}]',
        '42/customer,["token",{"token":"x"}]',
        "3",
        "41/worker,",
    ]
    seeds = [text.encode() for text in texts]
    lane = bytes([0xC1]) + (1).to_bytes(8, "little") + stage.fixes(PORTO)
    async with aiohttp.ClientSession() as client:
        for _ in range(ROUNDS // 4):
            async with client.ws_connect(f"{stage.url}/socket.io/?EIO=4&transport=websocket") as socket:
                await socket.send_str(texts[0])
                await socket.send_str(texts[1])
                for _ in range(8):
                    if rng.random() < 0.7:
                        await socket.send_str(mutated(rng, seeds).decode("utf-8", "replace"))
                    else:
                        await socket.send_bytes(mutated(rng, [lane, stage.fixes(PORTO)]) or b"\xc1")
                await socket.close()
    await serves(stage, token)


@pytest.mark.parametrize("app", ["owntracks", "osmand", "traccar", "overland", "gpslogger"])
async def test_requests_of_trackers(stage: Stage, app: str) -> None:
    rng = random.Random(app)
    bodies = [
        orjson.dumps({"_type": "location", "lat": 41.1, "lon": -8.6, "tst": 1_700_000_000}),
        orjson.dumps({"locations": [{"geometry": {"coordinates": [-8.6, 41.1]}, "properties": {"timestamp": 1}}]}),
        b"id=token&lat=41.1&lon=-8.6&timestamp=1700000000&alarm=sos",
    ]
    async with aiohttp.ClientSession() as client:
        for _ in range(10):
            body = mutated(rng, bodies)
            headers = {"Authorization": f"Basic {body[:8].hex()}"} if rng.random() < 0.3 else {}
            async with client.post(f"{stage.url}/ingest/{app}", data=body, headers=headers) as answer:
                assert answer.status == 401
