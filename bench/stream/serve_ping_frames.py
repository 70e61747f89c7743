"""Our Socket.IO without the product behind it: Engine.IO, the lane, the ping frame and the budget, then a count."""

import asyncio
import time

import socketio
import uvloop
from aiohttp import web

from bench.stream.serving import site
from config.limits import HELLO_TIMEOUT_MS
from engine.core.clock import SystemClock
from engine.geo.fixes import FIX_BYTES
from gateway_ws.background import Background
from gateway_ws.budget import FixBudget
from gateway_ws.engineio.server import EngineOptions, EngineServer
from gateway_ws.fan_out.stalled import StalledConnections
from gateway_ws.socketio import ping_frame
from gateway_ws.socketio.protocol import ProtocolServer


class Counting(socketio.AsyncNamespace):  # type: ignore[misc]  # the library has no types
    """Takes the ping frames of whoever enters. Their budget is asked for every frame, as in the product."""

    def __init__(self, engine: EngineServer) -> None:
        super().__init__("/")
        self.fixes = 0
        self._engine = engine

    async def on_connect(self, sid: str, _environ: object, _auth: object = None) -> None:
        """Take the connection's ping frames from now on."""
        server = self.server
        eio_sid = server.manager.eio_sid_from_sid(sid, "/")
        budget = FixBudget(time.monotonic_ns() / 1e6)

        def take(data: bytes) -> bool:
            if not ping_frame.is_ping(data) or server.awaits_attachment(eio_sid):
                return False
            _, fixes = ping_frame.decode(data)
            amount = len(fixes) // FIX_BYTES
            budget.spend(amount, time.monotonic_ns() / 1e6)
            self.fixes += amount
            return True

        self._engine.sessions[eio_sid].take_ping = take


async def _serve() -> None:
    clock, app = SystemClock(), web.Application()
    async with asyncio.TaskGroup() as tasks:
        engine = EngineServer(clock, Background(tasks), StalledConnections(clock), EngineOptions())
        server = ProtocolServer(engine, clock, attachments_max=1, hello_timeout_ms=HELLO_TIMEOUT_MS)
        server.register_namespace(Counting(engine))
        server.attach(app)
        heartbeat = tasks.create_task(engine.run())
        await site(app)
        heartbeat.cancel()


if __name__ == "__main__":
    uvloop.run(_serve())
