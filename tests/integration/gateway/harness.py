"""A whole gateway in this process on a free port, real stores behind it, real sockets in front of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import msgpack
import numpy as np
import orjson
import socketio
from aiohttp import web
from redis.asyncio import Redis

from config.settings import Settings
from engine.core.clock import Clock, SystemClock
from engine.core.database import Pool
from engine.core.ids import OrgId, PersonId, RegionId, WorkerSlot
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Door, Role
from engine.geo.fixes import FIX
from engine.people.tokens import AccessTokens
from engine.safetap.forwarding import Forwarder
from gateway_ws.engine_calls import EngineCalls
from gateway_ws.gateway import Gateway, Stores
from gateway_ws.safetap_client import SafeTapClient
from ops.http import app_runner
from ops.readiness import Readiness

TIMEOUT_S = 20
PORTO = (41.15, -8.61)
ORG, REGION, SERVICE = OrgId(UUID(int=1)), RegionId(UUID(int=2)), UUID(int=3)


@dataclass
class FakeDoor:
    """Stands in for SafeTap's process on its Unix socket: remembers what came, answers as told."""

    status: int = 200
    answer: dict[str, Any] = field(default_factory=lambda: {"state": "committed"})
    received: "asyncio.Queue[tuple[dict[str, str], dict[str, Any]]]" = field(default_factory=asyncio.Queue)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        await self.received.put((dict(request.headers), body))
        await self.gate.wait()
        return web.json_response({"trigger_id": body.get("trigger_id"), **self.answer}, status=self.status)

    @asynccontextmanager
    async def serving(self, path: Path) -> AsyncIterator[None]:
        self.gate.set()
        app = web.Application()
        app.router.add_post("/v1/safetap", self.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        yield
        await runner.cleanup()


@dataclass
class Stage:
    """What a test acts on."""

    gateway: Gateway
    url: str
    redis: Redis
    pool: Pool | None
    tokens: AccessTokens
    readiness: Readiness
    clock: Clock
    stop: asyncio.Event

    def token(self, role: Role, person_id: UUID, *, slot: int | None = None, org: OrgId = ORG, age_ms: int = 0) -> str:
        return self.tokens.issue(
            person_id=PersonId(person_id),
            role=role,
            org_id=org,
            region_id=REGION,
            slot=None if slot is None else WorkerSlot(slot),
            session_id=uuid4(),
            now_ms=self.clock.now_ms() - age_ms,
        )

    async def publish(self, topic: str, kind: str, body: dict[str, Any]) -> None:
        """Do what the relay does."""
        await self.redis.publish(f"fan:{topic}", orjson.dumps({"event_id": 1, "kind": kind, "body": body}))

    def fixes(self, *places: tuple[float, float], at_ms: int | None = None, **fields: int) -> bytes:
        """Fixes a second apart, the last one now."""
        end_ms = self.clock.now_ms() if at_ms is None else at_ms
        rows = np.zeros(len(places), FIX)
        rows["accuracy_dm"], rows["speed_cm_s"], rows["heading_cdeg"], rows["battery_pct"] = 50, 100, 9_000, 80
        for at, (lat, lng) in enumerate(places):
            rows[at]["ts_ms"] = end_ms - 1_000 * (len(places) - 1 - at)
            rows[at]["lat_e7"], rows[at]["lng_e7"] = round(lat * 1e7), round(lng * 1e7)
        for name, value in fields.items():
            rows[name] = value
        return rows.tobytes()


@asynccontextmanager
async def gateway_on(
    redis: Redis,
    pool: Pool | None,
    token_keys: Any,
    folder: Path,
    *,
    clock: Clock | None = None,
    calls: EngineCalls | None = None,
    lane: bool = True,
    **settings: Any,
) -> AsyncIterator[Stage]:
    clock = clock or SystemClock()
    tokens = AccessTokens(public_key_pem=token_keys.public_pem, private_key_pem=token_keys.private_pem)
    chosen = Settings(state_dir=folder, allowed_origins=["https://desk.example"], safetap_port=1, **settings)
    stop, readiness = asyncio.Event(), Readiness()
    async with (
        Forwarder(socket_path=chosen.safetap_socket_path, url=chosen.safetap_url, door=Door.SOCKET) as forwarder,
        asyncio.TaskGroup() as tasks,
    ):
        stores = Stores(chosen, redis, calls or EngineCalls(clock, pool), tokens, clock, clock)
        gateway = Gateway(stores, SafeTapClient(forwarder), tasks, readiness, lane=lane)
        runner = app_runner(gateway.app(), stop_ms=1_000)
        await runner.setup()
        async with gateway.running():
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            url = f"http://127.0.0.1:{port}"
            await eventually(lambda: gateway.fan_out.is_connected)
            yield Stage(gateway, url, redis, pool, tokens, readiness, clock, stop)
        await runner.cleanup()


async def eventually(is_so: Callable[[], bool | Awaitable[bool]], *, timeout_s: float = TIMEOUT_S) -> None:
    """Wait for something that sends no event to the test."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = is_so()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)


@dataclass
class Phone:
    """A raw websocket that sorts what it hears."""

    socket: aiohttp.ClientWebSocketResponse
    frames: list[list[Any]] = field(default_factory=list)

    async def send(self, *elements: object) -> None:
        await self.socket.send_bytes(msgpack.packb(elements))

    async def hear(self, kind: int, *, where: Callable[[list[Any]], bool] = lambda _: True) -> list[Any]:
        """Return the next frame of a type, heard already or to come."""
        for at, frame in enumerate(self.frames):
            if frame[0] == kind and where(frame):
                return self.frames.pop(at)
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                message = await self.socket.receive()
                assert message.type is aiohttp.WSMsgType.BINARY, f"{message} {self.socket.close_code} {self.frames}"
                frame = msgpack.unpackb(message.data)
                if frame[0] == kind and where(frame):
                    return frame
                self.frames.append(frame)

    async def close_code(self) -> int | None:
        """Read on until the server closes."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                message = await self.socket.receive()
                if message.type is aiohttp.WSMsgType.BINARY:
                    self.frames.append(msgpack.unpackb(message.data))
                else:
                    return self.socket.close_code


@asynccontextmanager
async def phone_on(stage: Stage, token: str, **options: Any) -> AsyncIterator[Phone]:
    """Open `/ws/ping` and say hello; what is answered is the test's business."""
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{stage.url}/ws/ping", **options) as socket:
        phone = Phone(socket)
        await phone.send(0, token, {"client": "test"})
        yield phone


@dataclass
class Page:
    """A stock Socket.IO client in one namespace."""

    client: socketio.AsyncClient
    namespace: str
    heard: "asyncio.Queue[tuple[str, Any]]" = field(default_factory=asyncio.Queue)

    async def hear(self, name: str, *, where: Callable[[Any], bool] = lambda _: True) -> Any:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                event, body = await self.heard.get()
                if event == name and where(body):
                    return body

    async def call(self, event: str, body: Any = None) -> Any:
        return await self.client.call(event, body, namespace=self.namespace, timeout=TIMEOUT_S)

    async def emit(self, event: str, body: Any = None) -> None:
        await self.client.emit(event, body, namespace=self.namespace)


@asynccontextmanager
async def page_on(stage: Stage, namespace: str, auth: Any) -> AsyncIterator[Page]:
    client = socketio.AsyncClient(reconnection=False)
    page = Page(client, namespace)

    @client.on("*", namespace=namespace)
    async def _any(event: str, body: Any = None, *_offset: str) -> None:
        await page.heard.put((event, body))

    @client.on("disconnect", namespace=namespace)
    async def _gone(*_: Any) -> None:
        await page.heard.put(("disconnect", None))

    await client.connect(stage.url, namespaces=[namespace], auth=auth, transports=["websocket"])
    try:
        yield page
    finally:
        await client.disconnect()


class City:
    """People and bookings in the test's database, by the shortest way."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._at = utc_from_ms(clock.now_ms())

    async def found(self) -> "City":
        await self._pool.execute("INSERT INTO org VALUES ($1, 'Org', $2)", ORG, self._at)
        await self._pool.execute(
            "INSERT INTO region VALUES ($1, $2, 'Porto', 'PT', 'Europe/Lisbon', $3, $4)", REGION, ORG, *PORTO
        )
        await self._pool.execute(
            "INSERT INTO service VALUES ($1, $2, 'cleaning', 'Cleaning', 0, 60, 5000, 'EUR')", SERVICE, ORG
        )
        return self

    async def person(self, role: Role, name: str, *, org: OrgId = ORG) -> UUID:
        person_id = uuid4()
        await self._pool.execute(
            "INSERT INTO person (person_id, org_id, region_id, role, full_name, tokens_valid_after, tz, created_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, 'Europe/Lisbon', $7)",
            person_id, org, REGION, role.value, name, self._at - timedelta(days=1), self._at,
        )  # fmt: skip
        return person_id

    async def worker(self, slot: int, *, duty: str = "on", org: OrgId = ORG) -> UUID:
        worker_id = await self.person(Role.WORKER, f"Worker {slot}", org=org)
        await self._pool.execute(
            "INSERT INTO worker (worker_id, slot, skills, duty, updated_at) VALUES ($1, $2, 1, $3, $4)",
            worker_id, slot, duty, self._at,
        )  # fmt: skip
        return worker_id

    async def booking(self, customer_id: UUID, *, state: str = "searching", worker_id: UUID | None = None) -> UUID:
        booking_id, address_id = uuid4(), uuid4()
        await self._pool.execute(
            "INSERT INTO address VALUES ($1, $2, $3, $4, 'Rua 1', '', '', $5, $6, 'Europe/Lisbon')",
            address_id, ORG, REGION, customer_id, PORTO[0] + 0.01, PORTO[1],
        )  # fmt: skip
        await self._pool.execute(
            "INSERT INTO booking (booking_id, org_id, region_id, customer_id, service_id, address_id, state, version,"
            " worker_id, tz, created_at, updated_at, search_until)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, 'Europe/Lisbon', $9, $9, $9)",
            booking_id, ORG, REGION, customer_id, SERVICE, address_id, state, worker_id, self._at,
        )  # fmt: skip
        return booking_id

    async def relay(self, stage: Stage) -> None:
        """Publish what the outbox holds, once, as the relay's process does."""
        for row in await self._pool.fetch("DELETE FROM outbox RETURNING topic, kind, body, event_id"):
            body = row["body"] if isinstance(row["body"], dict) else orjson.loads(row["body"])
            await stage.publish(row["topic"], row["kind"], body)
