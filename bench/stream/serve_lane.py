"""Our raw socket without the product behind it: the line, the recogniser and the budget, then a count."""

import asyncio
import time

import uvloop
from aiohttp import WSMessage, WSMsgType, web

from bench.stream.serving import site
from config.limits import FRAME_BYTES_MAX
from engine.geo.fixes import FIX_BYTES
from gateway_ws.budget import FixBudget
from gateway_ws.raw import wire
from gateway_ws.raw.lane import LaneSocket


class Counting:
    """One connection. Its budget is asked for every frame; what it says is not the matter here."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.fixes = 0
        self._transport = transport
        self._budget = FixBudget(time.monotonic_ns() / 1e6)

    def take(self, data: bytes) -> bool:
        """Count a plain ping frame."""
        found = wire.peel_fixes(data)
        if found is None:
            return False
        amount = len(found[1]) // FIX_BYTES
        self._budget.spend(amount, time.monotonic_ns() / 1e6)
        self.fixes += amount
        return True

    def serve(self, message: WSMessage) -> None:
        """Answer pings; hang up with the client."""
        if message.type is WSMsgType.PING:
            self._transport.write(wire.pong_frame(message.data))
        elif message.type is WSMsgType.CLOSE:
            self._transport.close()

    def failed(self, code: int) -> None:
        """Hang up."""
        self._transport.write(wire.close_frame(code, ""))
        self._transport.close()

    def lost(self) -> None:
        """Do nothing more."""


async def _serve(request: web.Request) -> web.StreamResponse:
    transport = request.transport
    assert transport is not None
    socket = LaneSocket(compress=False, max_msg_size=FRAME_BYTES_MAX, autoclose=False)
    await socket.prepare(request)
    assert socket.release(Counting(transport))
    return socket


def main() -> None:
    """Serve until it is ended."""
    app = web.Application()
    app.router.add_get("/ws/ping", _serve)
    uvloop.run(site(app))


if __name__ == "__main__":
    main()
