"""A gateway that is full or leaving opens no socket; who has not signed in counts too."""

import random
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from engine.core.clock import SystemClock
from gateway_ws.admission import Admission
from gateway_ws.arrivals import Arrivals


@pytest.fixture
async def door() -> AsyncIterator[tuple[Admission, str]]:
    async def socket(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for _ in response:
            pass
        return response

    async def plain(_request: web.Request) -> web.Response:
        return web.Response(text="here")

    admission = Admission(Arrivals(SystemClock(), random.Random(1)), sockets_max=2)
    app = web.Application(middlewares=[admission.middleware])
    app.router.add_get("/socket", socket)
    app.router.add_get("/plain", plain)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield admission, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_sockets_count_before_anybody_has_signed_in(door: tuple[Admission, str]) -> None:
    admission, url = door
    async with aiohttp.ClientSession() as client:
        first = await client.ws_connect(f"{url}/socket")
        async with client.ws_connect(f"{url}/socket"):
            assert admission.sockets == 2
            with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                await client.ws_connect(f"{url}/socket")
            assert (await client.get(f"{url}/plain")).status == 200
        await first.close()


async def test_a_gateway_that_leaves_takes_nobody_in_and_lets_go_of_idle_lines(door: tuple[Admission, str]) -> None:
    admission, url = door
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{url}/plain") as response:
            assert "Connection" not in response.headers
        admission.shut()
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            await client.ws_connect(f"{url}/socket")
        async with client.get(f"{url}/plain") as response:
            assert response.status == 200
            assert response.headers["Connection"] == "close"
