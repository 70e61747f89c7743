"""Another process of a python-socketio fleet: `python -m bench.stream.emit_rooms REDIS_URL MESSAGES ROOMS`.

Emits to each room in turn; the room `all` is the only one in which anybody is.
"""

import asyncio
import sys

import socketio

from bench.stream.serve_audience import BODY


async def main(url: str, messages: int, rooms: int) -> None:
    """Emit all of them."""
    manager = socketio.AsyncRedisManager(url, write_only=True)
    for number in range(messages):
        await manager.emit(
            "position", BODY, namespace="/", room="all" if number % rooms == 0 else f"room {number % rooms}"
        )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
