"""The naive design: a websocket for pings and a request for alarms in one process, each handled when its turn comes."""

import os
from uuid import uuid4

import asyncpg
import orjson
import uvloop
from aiohttp import WSMsgType, web

from bench.stream.serving import site
from engine.geo.fixes import FIX_BYTES

INSERT = "INSERT INTO audit_log (action, subject, at) VALUES ('safetap', $1, to_timestamp($2))"


async def _pings(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            for at in range(0, len(message.data) - FIX_BYTES, FIX_BYTES):
                int.from_bytes(message.data[at : at + 8], "little")
    return socket


async def _alarm(request: web.Request) -> web.Response:
    body = orjson.loads(await request.read())
    pool: asyncpg.Pool[asyncpg.Record] = request.app[POOL]
    await pool.execute(INSERT, body.get("trigger_id", str(uuid4())), 0)
    return web.Response(body=orjson.dumps({"state": "committed"}), content_type="application/json")


POOL = web.AppKey("pool", asyncpg.Pool)


async def _serve() -> None:
    app = web.Application()
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=4) as pool:
        app[POOL] = pool
        app.router.add_get("/ws/ping", _pings)
        app.router.add_post("/v1/safetap", _alarm)
        await site(app)


if __name__ == "__main__":
    uvloop.run(_serve())
