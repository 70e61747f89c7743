"""What most people would take: stock python-socketio on aiohttp, one JSON event a ping, a handler that counts."""

from typing import Any

import socketio
import uvloop
from aiohttp import web

from bench.stream.serving import site


def main() -> None:
    """Serve until it is ended."""
    server = socketio.AsyncServer(async_mode="aiohttp", cors_allowed_origins="*")
    counted = [0]

    async def ping(_sid: str, _body: dict[str, Any]) -> None:
        counted[0] += 1

    server.on("ping", ping)
    app = web.Application()
    server.attach(app)
    uvloop.run(site(app))


if __name__ == "__main__":
    main()
