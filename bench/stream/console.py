"""One desk that watches the whole city with a stock Socket.IO client, beside a listener on the map's Redis channels.

`python -m bench.stream.console GATEWAY_URL TOKEN REDIS_URL FILE` prints `watching`, listens until its input ends, and
writes what it heard to FILE: two arrays (`desk`, `channel`) of slot, time of the fix and when it was heard.
"""

import asyncio
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import msgpack
import numpy as np
import socketio
from numpy.typing import NDArray
from redis.asyncio import Redis

from bench.stream.phones import trusting
from gateway_ws.positions import MAP_ROW

HEARD: Final = np.dtype([("slot", "<i8"), ("ts_ms", "<i8"), ("at_s", "<f8")])
_VIEW: Final = {"bbox": [-8.9, 40.9, -8.3, 41.4], "zoom": 13}


@dataclass(slots=True)
class Heard:
    """Rows as they came: when, and their bytes."""

    parts: list[tuple[float, bytes]] = field(default_factory=list)

    def rows(self) -> NDArray[np.void]:
        """Return each place of a worker when it was first heard."""
        found = []
        for at_s, part in self.parts:
            rows = np.frombuffer(part, MAP_ROW)
            heard = np.zeros(len(rows), HEARD)
            heard["slot"], heard["ts_ms"], heard["at_s"] = rows["slot"], rows["ts_ms"], at_s
            found.append(heard)
        every = np.concatenate([np.zeros(0, HEARD), *found])
        _, first = np.unique(every[["slot", "ts_ms"]], return_index=True)
        return every[first]


async def watch(url: str, token: str, redis_url: str, file: str) -> None:
    """Listen until standard input ends."""
    desk, channel = Heard(), Heard()
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting()))
    client = socketio.AsyncClient(reconnection=False, http_session=session, ssl_verify=False)

    async def take(body: Any) -> None:  # noqa: ANN401 - what the library hands over
        message = msgpack.unpackb(body)
        if message["kind"] == "workers":
            desk.parts.append((time.perf_counter(), message["rows"]))

    client.on("map", take, namespace="/console")
    await client.connect(url, namespaces=["/console"], auth={"token": token}, transports=["websocket"])
    await client.call("view", _VIEW, namespace="/console")
    redis: Redis = Redis.from_url(redis_url, protocol=2)
    listening = asyncio.create_task(_listen(redis, channel))
    print("watching", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    listening.cancel()
    await client.disconnect()
    await session.close()
    np.savez(file, desk=desk.rows(), channel=channel.rows())


async def _listen(redis: Redis, channel: Heard) -> None:
    async with redis.pubsub() as pubsub:
        await pubsub.psubscribe("fan:map:*")
        async for message in pubsub.listen():
            if message["type"] == "pmessage":
                channel.parts.append((time.perf_counter(), msgpack.unpackb(message["data"])["rows"]))


if __name__ == "__main__":
    asyncio.run(watch(*sys.argv[1:]))
