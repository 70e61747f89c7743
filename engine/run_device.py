"""Adds a stock phone tracker from the machine itself: `python -m engine.run_device`, a JSON object on standard input.

Prints the set-up of its app as a JSON object, which holds the token; or says why not.
"""

import asyncio
import sys
from dataclasses import asdict
from uuid import uuid4

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.limits import LINE_CHARS_MAX
from config.settings import Settings
from engine.core.clock import SystemClock
from engine.core.database import Connection
from engine.core.errors import ClenzyError
from engine.core.ids import DeviceId
from engine.core.vocabulary import DeviceKind
from engine.people.device_setup import setup_of
from engine.people.devices import add_device, find_worker, new_token
from engine.wiring import open_database


class Request(BaseModel):
    """Whose phone, and with which app."""

    model_config = ConfigDict(extra="forbid")

    email: str
    kind: DeviceKind
    label: str = Field(default="", max_length=LINE_CHARS_MAX)


async def create(conn: Connection, request: Request, *, token: str, now_ms: int) -> DeviceId:
    """Let `token` speak for the worker.

    Raises:
        ClenzyError: with the reason.
    """
    device_id = DeviceId(uuid4())
    async with conn.transaction():
        worker_id, org_id = await find_worker(conn, request.email)
        await add_device(
            conn,
            device_id=device_id,
            token=token,
            worker_id=worker_id,
            org_id=org_id,
            kind=request.kind,
            label=request.label,
            actor_id=None,
            now_ms=now_ms,
        )
    return device_id


async def _main(settings: Settings, request: Request) -> bytes:
    pool = await open_database(settings, pool_max=1)
    token = new_token()
    try:
        async with pool.acquire() as conn:
            device_id = await create(conn, request, token=token, now_ms=SystemClock().now_ms())
    finally:
        await pool.close()
    setup = setup_of(request.kind, gateway_url=settings.gateway_url, token=token)
    return orjson.dumps({"device_id": device_id, "token": token, **asdict(setup)})


if __name__ == "__main__":
    try:
        wanted = Request.model_validate_json(sys.stdin.buffer.read())
        print(asyncio.run(_main(Settings(), wanted)).decode())  # noqa: T201 - the answer of a command
    except (ClenzyError, ValidationError, OSError, ValueError) as error:
        sys.exit(str(error))
