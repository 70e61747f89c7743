"""Runs SafeTap's real composition root inside the test, on a free port and a socket of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from pydantic import SecretStr

from clenzy.ports import any_free
from config.settings import Settings
from engine.core.clock import SystemClock
from ops.process import Process
from safetap_door.__main__ import root

ORIGIN = "https://console.clenzy.test"
CLOCK = SystemClock()


@dataclass
class OpenDoor:
    """A running door: a client of its port, a client of its Unix socket."""

    settings: Settings
    process: Process
    by_port: aiohttp.ClientSession
    by_socket: aiohttp.ClientSession

    async def trigger(
        self, token: str, body: object, *, headers: dict[str, str] | None = None, through_socket: bool = False
    ) -> tuple[int, dict[str, object]]:
        session = self.by_socket if through_socket else self.by_port
        auth = {"Authorization": f"Bearer {token}"} if token else {}
        data = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with session.post("/v1/safetap", headers={**auth, **(headers or {})}, **data) as answer:
            return answer.status, await answer.json(content_type=None)

    async def act(self, token: str, incident_id: object, verb: str, **body: str) -> tuple[int, dict[str, object]]:
        headers = {"Authorization": f"Bearer {token}"}
        path = f"/v1/incidents/{incident_id}/{verb}"
        async with self.by_port.post(path, headers=headers, json=body) as answer:
            return answer.status, await answer.json(content_type=None)


def door_settings(folder: Path, database_url: str, public_pem: bytes) -> Settings:
    key = folder / "public.pem"
    key.write_bytes(public_pem)
    return Settings(
        state_dir=folder,
        database_url=SecretStr(database_url),
        safetap_port=any_free(),
        jwt_public_key_file=key,
        allowed_origins=[ORIGIN],
    )


@asynccontextmanager
async def open_door(settings: Settings) -> AsyncIterator[OpenDoor]:
    process = Process("safetap_door", settings)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(root(process))
        url = f"http://127.0.0.1:{settings.safetap_port}"
        unix = aiohttp.UnixConnector(str(settings.safetap_socket_path))
        async with (
            aiohttp.ClientSession(url) as by_port,
            aiohttp.ClientSession("http://safetap", connector=unix) as by_socket,
        ):
            await _answers(by_port, running)
            yield OpenDoor(settings, process, by_port, by_socket)
        process.stop.set()
        async with asyncio.timeout(10):
            await running


async def _answers(session: aiohttp.ClientSession, running: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(20):
        while not running.done():
            try:
                async with session.get("/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await CLOCK.sleep_ms(10)
    await running
