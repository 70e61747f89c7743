"""The servers that the official conformance suites ask for, made of the gateway's own parts.

`/engine.io/` sends every message back. `/socket.io/` has the namespaces `/` and `/custom`, which tell a client its
handshake in `auth`, answer `message` with `message-back` and acknowledge `message-with-ack`. Run as a module it serves
on port 3000, for the suites themselves.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import socketio
from aiohttp import web

from engine.core.clock import SystemClock
from gateway_ws.background import Background
from gateway_ws.engineio.server import EngineOptions, EngineServer
from gateway_ws.fan_out.stalled import StalledConnections
from gateway_ws.socketio.protocol import ProtocolServer

INTERVAL_MS = 1_000
TIMEOUT_MS = 800
"""No ping falls among the packets of a test, however busy the machine is."""
OFFICIAL_INTERVAL_MS, OFFICIAL_TIMEOUT_MS = 300, 200
"""What the official suites expect to be told."""
PAYLOAD_BYTES_MAX = 1_000_000
HELLO_TIMEOUT_MS = 3 * INTERVAL_MS
AFTER_HANDSHAKE_S = 0.02


class Echo(socketio.AsyncNamespace):
    """What the suite for Socket.IO expects of a namespace."""

    async def on_connect(self, sid: str, _environ: object, auth: Any = None) -> None:
        # A frame of its own: the official suite misses the second of two messages that arrive in one read.
        asyncio.get_running_loop().call_later(AFTER_HANDSHAKE_S, self._tell, sid, auth or {})

    async def trigger_event(self, event: str, *args: Any) -> Any:
        match event, args:
            case "message", (sid, *arguments):
                await self.emit("message-back", tuple(arguments), to=sid)
            case "message-with-ack", (_sid, *arguments):
                return tuple(arguments)
            case _:
                return await super().trigger_event(event, *args)
        return None

    def _tell(self, sid: str, auth: Any) -> None:
        self._telling = asyncio.ensure_future(self.emit("auth", auth, to=sid))


@asynccontextmanager
async def serving(
    port: int = 0, *, has_lane: bool = True, interval_ms: int = INTERVAL_MS, timeout_ms: int = TIMEOUT_MS
) -> AsyncIterator[str]:
    """Serve both; yields the address."""
    clock = SystemClock()
    app = web.Application()
    async with asyncio.TaskGroup() as tasks:
        background, stalled = Background(tasks), StalledConnections(clock)
        options = EngineOptions(
            interval_ms=interval_ms,
            timeout_ms=timeout_ms,
            payload_bytes_max=PAYLOAD_BYTES_MAX,
            has_lane=has_lane,
        )
        echo = EngineServer(clock, background, stalled, options)
        _send_back(echo)
        echo.attach(app, "engine.io")
        engine = EngineServer(clock, background, stalled, options)
        server = ProtocolServer(engine, clock, attachments_max=10, hello_timeout_ms=HELLO_TIMEOUT_MS)
        for namespace in ("/", "/custom"):
            server.register_namespace(Echo(namespace))
        server.attach(app)
        loops = [tasks.create_task(work) for work in (echo.run(), engine.run(), stalled.run(), _close_silent(server))]
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
            for loop in loops:
                loop.cancel()


def _send_back(engine: EngineServer) -> None:
    async def nothing(*_: object) -> None: ...

    engine.on("connect", nothing)
    engine.on("message", engine.send)
    engine.on("disconnect", nothing)


async def _close_silent(server: ProtocolServer) -> None:
    while True:
        await asyncio.sleep(0.05)
        await server.close_silent()


async def _main() -> None:
    async with serving(
        3_000,
        has_lane="--no-lane" not in sys.argv,
        interval_ms=OFFICIAL_INTERVAL_MS,
        timeout_ms=OFFICIAL_TIMEOUT_MS,
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
