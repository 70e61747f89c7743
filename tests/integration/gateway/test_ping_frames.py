"""Socket.IO's fast lane: ping frames beside events, with aiohttp's private reading and with its public one."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import pytest
from redis.asyncio import Redis

from config.limits import FIXES_PER_FRAME_MAX
from engine.core.database import Pool
from engine.core.vocabulary import Role
from engine.geo.cell_index import CellIndex
from gateway_ws.socketio.ping_frame import encode
from tests.integration.gateway.harness import PORTO, City, FakeDoor, Stage, eventually, gateway_on

pytestmark = pytest.mark.integration

SLOT = 4


@pytest.fixture(params=[True, False], ids=["lane", "public"])
async def stage(
    request: pytest.FixtureRequest,
    redis: Redis,
    pool: Pool,
    token_keys: Any,
    tmp_path: Path,
    door: FakeDoor,  # noqa: ARG001 - serves on a socket in the same folder
) -> AsyncIterator[Stage]:
    async with gateway_on(redis, pool, token_keys, tmp_path, lane=request.param) as stage:
        yield stage


class Phone:
    """A client that speaks the protocol itself, to decide what comes in which frame."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def hear(self, name: str) -> Any:
        """Return the first argument of the next event of that name."""
        async with asyncio.timeout(10):
            while True:
                text = await self.socket.receive_str()
                if text.startswith("42/worker,"):
                    event, *arguments = orjson.loads(text.removeprefix("42/worker,"))
                    if event == name:
                        return arguments[0]


@asynccontextmanager
async def phone_on(stage: Stage, city: City, *, role: Role = Role.WORKER) -> AsyncIterator[Phone]:
    token = stage.token(role, await city.worker(SLOT), slot=SLOT)
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{stage.url}/socket.io/?EIO=4&transport=websocket") as socket,
    ):
        await socket.send_str(f'40/worker,{{"token":"{token}"}}')
        yield Phone(socket)


async def test_a_ping_frame_is_indexed_and_acknowledged(stage: Stage, city: City) -> None:
    async with phone_on(stage, city) as phone:
        await phone.hear("welcome")
        await phone.socket.send_bytes(encode(7, stage.fixes(PORTO, PORTO)))
        assert await phone.hear("ack") == {"seq": 7, "state": 0}
        records = await CellIndex(stage.redis).records([SLOT])
        assert records[0]["lat_e7"] == round(PORTO[0] * 1e7)


async def test_a_ping_frame_before_the_welcome_waits_for_it(stage: Stage, city: City) -> None:
    async with phone_on(stage, city) as phone:
        await phone.socket.send_bytes(encode(1, stage.fixes(PORTO)))
        assert (await phone.hear("welcome"))["slot"] == SLOT
        assert await phone.hear("ack") == {"seq": 1, "state": 0}


async def test_ping_frames_keep_their_order_among_ping_events(stage: Stage, city: City) -> None:
    now_ms = stage.clock.now_ms()
    async with phone_on(stage, city) as phone:
        await phone.hear("welcome")
        for seq in range(1, 21):
            fixes = stage.fixes(PORTO, at_ms=now_ms - 30_000 + seq * 1_000)
            if seq % 3:
                await phone.socket.send_bytes(encode(seq, fixes))
            else:
                await phone.socket.send_str(
                    f'451-/worker,["ping",{{"seq":{seq},"fixes":{{"_placeholder":true,"num":0}}}}]'
                )
                await phone.socket.send_bytes(fixes)
        while (await phone.hear("ack"))["seq"] < 20:
            pass
        records = await CellIndex(stage.redis).records([SLOT])
        assert records[0]["ts_ms"] == now_ms - 10_000


async def test_an_attachment_that_looks_like_a_ping_frame_is_an_attachment(stage: Stage, city: City) -> None:
    fixes = stage.fixes(PORTO, at_ms=stage.clock.now_ms() // 256 * 256 - 63)  # the lowest byte of the time is 0xC1
    assert fixes[0] == 0xC1
    async with phone_on(stage, city) as phone:
        await phone.hear("welcome")
        await phone.socket.send_str('451-/worker,["ping",{"seq":1,"fixes":{"_placeholder":true,"num":0}}]')
        await phone.socket.send_bytes(fixes)
        assert await phone.hear("ack") == {"seq": 1, "state": 0}


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (b"\xc1", {"code": "malformed_frame"}),
        (encode(5, b""), {"code": "malformed_frame"}),
        (encode(5, b"x" * 23), {"code": "malformed_frame"}),
        (encode(5, bytes(24 * (FIXES_PER_FRAME_MAX + 1))), {"code": "too_many_fixes"}),
    ],
    ids=["no head", "no fixes", "half a fix", "too many"],
)
async def test_a_refused_ping_frame_is_named_and_the_connection_lives(
    stage: Stage, city: City, frame: bytes, error: dict[str, object]
) -> None:
    async with phone_on(stage, city) as phone:
        await phone.hear("welcome")
        await phone.socket.send_bytes(frame)
        told = await phone.hear("error")
        assert {name: told[name] for name in error} == error
        await phone.socket.send_bytes(encode(6, stage.fixes(PORTO)))
        assert await phone.hear("ack") == {"seq": 6, "state": 0}


async def test_binary_that_is_neither_ends_the_connection(stage: Stage, city: City) -> None:
    async with phone_on(stage, city) as phone:
        await phone.hear("welcome")
        await phone.socket.send_bytes(b"\x93\x01\x02\x03")
        assert (await phone.hear("error"))["code"] == "malformed_frame"
        assert (await phone.socket.receive(5)).type is aiohttp.WSMsgType.CLOSE


async def test_a_ping_frame_of_a_customer_is_refused(stage: Stage, city: City) -> None:
    token = stage.token(Role.CUSTOMER, await city.person(Role.CUSTOMER, "C"))
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{stage.url}/socket.io/?EIO=4&transport=websocket") as socket,
    ):
        await socket.send_str(f'40/customer,{{"token":"{token}"}}')
        await socket.send_bytes(encode(1, stage.fixes(PORTO)))
        async with asyncio.timeout(10):
            while "only workers" not in await socket.receive_str():
                pass


async def test_a_ping_frame_by_polling(stage: Stage, city: City) -> None:
    token = stage.token(Role.WORKER, await city.worker(SLOT), slot=SLOT)
    async with aiohttp.ClientSession(f"{stage.url}/socket.io/") as http, asyncio.timeout(15):
        async with http.get("?EIO=4&transport=polling") as response:
            path = f"?EIO=4&transport=polling&sid={orjson.loads((await response.text())[1:])['sid']}"
        frame = base64.b64encode(encode(3, stage.fixes(PORTO))).decode()
        async with http.post(path, data=f'40/worker,{{"token":"{token}"}}\x1eb{frame}') as response:
            assert response.status == 200
        heard = ""
        while '["ack",{"seq":3,"state":0}]' not in heard:
            async with http.get(path) as response:
                heard += await response.text()
        assert heard.index("40/worker") < heard.index('["welcome"') < heard.index('["ack"')


async def test_two_sessions_of_strangers_do_not_share_a_frame(stage: Stage, city: City) -> None:
    async with phone_on(stage, city) as phone:
        await phone.hear("welcome")
        async with aiohttp.ClientSession() as client:
            url = f"{stage.url}/socket.io/?EIO=4&transport=websocket"
            async with client.ws_connect(url) as stranger:
                await stranger.send_bytes(encode(9, stage.fixes(PORTO)))
                await stranger.send_str(f'40/worker,{{"token":"{uuid4()}"}}')
                async with asyncio.timeout(5):
                    while not (await stranger.receive_str()).startswith("44/worker"):
                        pass
        await phone.socket.send_bytes(encode(1, stage.fixes(PORTO)))
        assert (await phone.hear("ack"))["seq"] == 1
    await eventually(lambda: not len(stage.gateway.services.registry))
