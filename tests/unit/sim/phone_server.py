"""A server that a test scripts, frame by frame: for what a real gateway cannot be made to do on purpose."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgpack
from aiohttp import web

Script = Callable[["Phone"], Awaitable[None]]


class Phone:
    """The server's end of one `/ws/ping` connection."""

    def __init__(self, ws: web.WebSocketResponse) -> None:
        self.ws = ws

    async def receive(self) -> list[Any]:
        message = await self.ws.receive(timeout=5)
        assert message.type is aiohttp.WSMsgType.BINARY, message
        return msgpack.unpackb(message.data)

    async def send(self, *frame: Any) -> None:
        await self.ws.send_bytes(msgpack.packb(list(frame)))

    async def welcome(self, **state: Any) -> str:
        """Take the hello, answer it, return its token."""
        kind, token, _ = await self.receive()
        assert kind == 0
        await self.send(
            0, 7, {"cadence_ms": 1_000, "duty": "on", "offer": None, "booking": None, "server_ms": 0} | state
        )
        return token

    async def until_closed(self) -> None:
        async for _ in self.ws:
            pass


class PhoneServer:
    """Runs one script a connection, in order, and answers `/v1/...` from a table of answers."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self.url = ""
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        """Answers by path, given in order; the last one is given again and again."""
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.failures: list[BaseException] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["PhoneServer"]:
        app = web.Application()
        app.router.add_get("/ws/ping", self._phone)
        app.router.add_route("*", "/v1/{path:.*}", self._rest)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()
        if self.failures:
            raise self.failures[0]

    async def _phone(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        script = self._scripts.pop(0) if self._scripts else _refuse
        try:
            await script(Phone(ws))
        except Exception as failure:  # noqa: BLE001 - reported where the test can see it
            self.failures.append(failure)
        await ws.close()
        return ws

    async def _rest(self, request: web.Request) -> web.Response:
        self.requests.append((f"{request.method} {request.path}", dict(request.headers), await request.read()))
        waiting = self.answers[request.path]
        status, body = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return web.json_response(body, status=status)


async def _refuse(phone: Phone) -> None:
    await phone.ws.close(code=4403)
