"""Customers' phones and consoles on a real Socket.IO server that a test scripts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgpack
import numpy as np
import pytest
import socketio
from aiohttp import web

from sim.client.backoff import Backoff
from sim.client.clock import wall_ms
from sim.client.console_socket import CELL_ROW_DTYPE, MAP_ROW_DTYPE, ConsoleSocket, LiveMap
from sim.client.customer_socket import CustomerSocket, Position
from sim.client.errors import Disconnected, Refused, WireFault
from sim.client.rest import Account, Rest, Tokens
from sim.client.socketio_session import SocketIoSession

POSITION = {"booking_id": "b1", "lat": 41.1, "lng": -8.6, "ts_ms": 5, "eta_s": 60, "eta_low_s": 40, "eta_high_s": 90}


class Namespace(socketio.AsyncNamespace):
    """Keeps what clients said; answers acknowledged events as the protocol does."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.tokens: list[str] = []
        self.refuses = False
        self.sids: list[str] = []

    async def on_connect(self, sid: str, _environ: object, auth: dict[str, str]) -> None:
        self.tokens.append(auth["token"])
        if self.refuses:
            self.refuses = False
            raise socketio.exceptions.ConnectionRefusedError("sign in first", {"code": "not_signed_in"})
        self.sids.append(sid)
        await self.emit("welcome", {"bookings": [{"booking_id": "b0", "state": "assigned"}]}, to=sid)

    async def on_token(self, _sid: str, body: dict[str, str]) -> None:
        self.tokens.append(body["token"])

    async def on_view(self, _sid: str, body: dict[str, Any]) -> dict[str, Any]:
        if body["zoom"] > 20:
            return {"ok": False, "error": {"code": "invalid_input", "detail": "too near", "field": "zoom"}}
        return {"ok": True, "result": body["bbox"]}


@asynccontextmanager
async def serving(name: str) -> AsyncIterator[tuple[Namespace, str]]:
    server = socketio.AsyncServer(async_mode="aiohttp", namespaces=[name])
    namespace = Namespace(name)
    server.register_namespace(namespace)
    app = web.Application()
    server.attach(app)
    app.router.add_post("/v1/auth/refresh", _refresh)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield namespace, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await server.shutdown()
        await runner.cleanup()


async def _refresh(_request: web.Request) -> web.Response:
    body = {"access_token": "a2", "expires_in_s": 900, "refresh_token": "r2", "person_id": "p", "role": "customer"}
    return web.json_response(body)


@asynccontextmanager
async def running(session: SocketIoSession) -> AsyncIterator[None]:
    session._backoff = Backoff(base_s=0.01, cap_s=0.02)
    task = asyncio.ensure_future(session.run())
    try:
        async with asyncio.timeout(10):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def account(http: aiohttp.ClientSession, url: str, *, lives_ms: int = 600_000) -> Account:
    return Account(Rest(http, url), Tokens("a1", wall_ms() + lives_ms, "r1", "p", "customer"))


async def until(holds: Callable[[], bool]) -> None:
    while True:
        if holds():
            return
        await asyncio.sleep(0.01)


async def test_a_customer_sees_bookings_of_the_welcome_and_later_and_positions() -> None:
    bookings: list[Any] = []
    positions: list[Position] = []
    async with serving("/customer") as (namespace, url), aiohttp.ClientSession() as http:
        phone = CustomerSocket(
            http=http,
            gateway_url=url,
            account=account(http, url),
            on_booking=bookings.append,
            on_position=positions.append,
        )
        async with running(phone):
            await phone.connected.wait()
            await namespace.emit("booking", {"booking_id": "b1", "state": "searching"})
            await namespace.emit("position", POSITION)
            await until(lambda: bool(positions))
    assert [booking["booking_id"] for booking in bookings] == ["b0", "b1"]
    assert positions == [Position("b1", 41.1, -8.6, 5, 60, 40, 90)]
    assert namespace.tokens == ["a1"]


async def test_a_refused_connection_is_tried_again_with_a_fresh_token() -> None:
    async with serving("/customer") as (namespace, url), aiohttp.ClientSession() as http:
        namespace.refuses = True
        phone = SocketIoSession(http=http, gateway_url=url, namespace="/customer", account=account(http, url))
        async with running(phone):
            await phone.connected.wait()
    assert namespace.tokens == ["a1", "a2"]


async def test_a_lost_connection_comes_back() -> None:
    async with serving("/customer") as (namespace, url), aiohttp.ClientSession() as http:
        phone = SocketIoSession(http=http, gateway_url=url, namespace="/customer", account=account(http, url))
        async with running(phone):
            await phone.connected.wait()
            await namespace.disconnect(namespace.sids[0])
            await until(lambda: phone.connects == 2 and phone.connected.is_set())
    assert namespace.tokens == ["a1", "a1"]


async def test_a_token_near_its_end_is_replaced_on_the_open_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.client.socketio_session.TOKEN_CHECK_S", 0.05)
    async with serving("/customer") as (namespace, url), aiohttp.ClientSession() as http:
        person = account(http, url)
        phone = SocketIoSession(http=http, gateway_url=url, namespace="/customer", account=person)
        async with running(phone):
            await phone.connected.wait()
            person.tokens = Tokens("a1", wall_ms() + 1_000, "r1", "p", "customer")
            await until(lambda: namespace.tokens == ["a1", "a2"])
            assert phone.connects == 1


async def test_a_console_chooses_its_view_and_follows_the_map() -> None:
    seen: list[int] = []
    async with serving("/console") as (namespace, url), aiohttp.ClientSession() as http:
        console = ConsoleSocket(
            http=http, gateway_url=url, account=account(http, url), on_map=lambda live: seen.append(len(live.workers))
        )
        with pytest.raises(Disconnected):
            await console.view(0, 0, 1, 1, zoom=13)
        async with running(console):
            await console.connected.wait()
            await console.view(-9, 41, -8, 42, zoom=13)
            with pytest.raises(Refused) as refusal:
                await console.view(-9, 41, -8, 42, zoom=30)
            assert refusal.value.field == "zoom"
            await namespace.emit("map", workers_frame([1, 2], full=True))
            await until(lambda: seen == [2])


def workers_frame(slots: list[int], *, gone: tuple[int, ...] = (), full: bool = False) -> bytes:
    rows = np.zeros(len(slots), MAP_ROW_DTYPE)
    rows["slot"] = slots
    body = {"rows": rows.tobytes(), "gone": np.array(gone, "<u4").tobytes()}
    return msgpack.packb({"kind": "workers", "at_ms": 1, "full": full, **body})


def test_the_live_map_keeps_forgets_and_starts_anew() -> None:
    live = LiveMap()
    live.take(workers_frame([1, 2, 3], full=True))
    live.take(workers_frame([3, 4], gone=(1,)))
    assert sorted(live.workers) == [2, 3, 4]
    live.take(workers_frame([9], full=True))
    assert sorted(live.workers) == [9]
    cells = np.zeros(2, CELL_ROW_DTYPE)
    cells["workers"] = [5, 6]
    live.take(msgpack.packb({"kind": "cells", "at_ms": 1, "cells": cells.tobytes()}))
    assert live.cells["workers"].tolist() == [5, 6]
    assert live.workers == {}
    assert live.frames == 4


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", msgpack.packb({"kind": "moon"}), msgpack.packb({"kind": "cells", "cells": b"x"})]
)
def test_a_map_frame_that_cannot_be_read_is_named(data: bytes) -> None:
    with pytest.raises(WireFault):
        LiveMap().take(data)
