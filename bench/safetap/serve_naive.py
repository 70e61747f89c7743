"""The naive design: a websocket for pings and a request for alarms in one process, each handled when its turn comes.

An alarm writes what ours writes: incident, trigger, event, timer and outbox in one transaction, statement by statement.
Whom the token names is believed without a look at its signature.
"""

import base64
import os
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import orjson
import uvloop
from aiohttp import WSMsgType, web

from bench.stream.serving import site
from engine.geo.fixes import FIX_BYTES

RAISE = """
INSERT INTO incident AS had (incident_id, org_id, region_id, person_id, person_role, kind, state, version, policy,
                             opened_at)
SELECT $1, org_id, region_id, person_id, role, 'button', 'open', 1, '{}', $3 FROM person WHERE person_id = $2
ON CONFLICT (person_id) WHERE state <> 'closed' DO UPDATE SET version = had.version + 1
RETURNING incident_id, org_id, version
"""
KEEP = """
INSERT INTO safetap_trigger (trigger_id, incident_id, person_id, door, kind, token_state, body, received_at)
VALUES ($1, $2, $3, 'direct', 'button', 'valid', '{}', $4)
"""
TELL = "INSERT INTO incident_event (incident_id, version, kind, actor_id, at) VALUES ($1, $2, 'naive', $3, $4)"
TIME = """
INSERT INTO incident_timer (incident_id, due_at, step) VALUES ($1, 'infinity', 1)
ON CONFLICT (incident_id) DO UPDATE SET fence = incident_timer.fence + 1
"""
SHOW = "INSERT INTO outbox (topic, kind, body, created_at) VALUES ('desk:' || $1, 'incident', '{}', $2)"


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
    claims = request.headers["Authorization"].split(".")[1]
    person_id = UUID(orjson.loads(base64.urlsafe_b64decode(claims + "=="))["sub"])
    at = datetime.now(UTC)
    pool: asyncpg.Pool[asyncpg.Record] = request.app[POOL]
    async with pool.acquire() as conn, conn.transaction():
        raised = await conn.fetchrow(RAISE, uuid4(), person_id, at)
        assert raised is not None
        incident_id, org_id, version = raised
        await conn.execute(KEEP, UUID(body["trigger_id"]), incident_id, person_id, at)
        await conn.execute(TELL, incident_id, version, person_id, at)
        await conn.execute(TIME, incident_id)
        await conn.execute(SHOW, str(org_id), at)
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
