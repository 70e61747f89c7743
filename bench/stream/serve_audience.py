"""The anchors of the fan-out: `python -m bench.stream.serve_audience KIND`, on a port that it prints.

`rooms`: stock python-socketio; an event `go` of any client is one emit to the room that all are in. `redis URL`: the
same behind `AsyncRedisManager`. `sends SIZE`: no protocol; a byte of the first client is one pass of `send` over the
sockets of all others, as fast as the machine lets anybody be from Python.
"""

import asyncio
import select
import socket
import sys
from typing import Final

import socketio
import uvloop
from aiohttp import web

from bench.stream.audience import MARK
from bench.stream.serving import site

BODY: Final = {
    "booking_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "lat": 41.15,
    "lng": -8.61,
    "eta_s": 300,
    "note": MARK,
}
_READ_BYTES: Final = 65_536


async def _rooms(url: str | None) -> None:
    manager = None if url is None else socketio.AsyncRedisManager(url)
    server = socketio.AsyncServer(async_mode="aiohttp", cors_allowed_origins="*", client_manager=manager)

    async def connect(sid: str, _environ: object, _auth: object = None) -> None:
        await server.enter_room(sid, "all")

    async def go(*_: object) -> None:
        await server.emit("position", BODY, room="all")

    server.on("connect", connect)
    server.on("go", go)
    app = web.Application()
    server.attach(app)
    await site(app)


def _sends(frame: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4_096)
    print(listener.getsockname()[1], flush=True)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    director: socket.socket | None = None
    audience: list[socket.socket] = []
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listener.fileno():
                line, _ = listener.accept()
                if director is None:
                    director = line
                    poll.register(line, select.EPOLLIN)
                else:
                    audience.append(line)
            elif director is not None:
                for _ in director.recv(_READ_BYTES):
                    for each in audience:
                        each.send(frame)


def main() -> None:
    """Serve until it is ended."""
    match sys.argv[1:]:
        case ["rooms"]:
            uvloop.run(_rooms(None))
        case ["redis", url]:
            uvloop.run(_rooms(url))
        case ["sends", size]:
            _sends(MARK.encode().rjust(int(size), b"."))
        case _:
            asyncio.run(asyncio.sleep(0))


if __name__ == "__main__":
    main()
