"""The whole API on real stores, spoken to over real HTTP; every answer is held against the table of routes."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import numpy as np
import orjson
import pytest
import redis.asyncio
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from api_rest.app import build_app
from api_rest.context import Services
from api_rest.problems import Problem
from api_rest.route import AnyRoute
from api_rest.table import TABLE
from clenzy.ports import any_free
from config.settings import Settings
from engine.core.ids import OrgId, PersonId, RegionId, WorkerSlot
from engine.core.problem import PROBLEM_TYPE
from engine.core.units import DEG_E7
from engine.core.vocabulary import Door, Role
from engine.eta.arrivals import Arrivals
from engine.eta.source import EtaSource, StraightLineSource
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cell_of
from engine.geo.fixes import RECORD
from engine.people.passwords import Passwords, hash_password
from engine.people.seed import DEMO_ACCOUNTS, DEMO_ORG_ID, DEMO_REGION_ID
from engine.people.tokens import AccessTokens
from engine.run_seed import seed
from engine.safetap.forwarding import Forwarder
from ops.readiness import Readiness
from tests.conftest import TokenKeys
from tests.fakes import ManualClock
from tests.integration.safetap.doors import OpenDoor, open_door

PASSWORD = "correct horse battery"
PASSWORD_HASH = hash_password(PASSWORD)  # once: it is slow on purpose

DOOR = 41.15, -8.61
BOOKING = {
    "service_code": "cleaning",
    "pin": {"lat": DOOR[0], "lng": DOOR[1]},
    "address": {"line": "Rua das Flores 1", "floor": "2", "entry_notes": "ring twice"},
    "notes": "a dog lives here",
}


@dataclass(frozen=True)
class Person:
    """Somebody with a token."""

    person_id: PersonId
    role: Role
    token: str
    slot: int | None = None


@dataclass(frozen=True)
class Said:
    """What the API answered."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        return str(self.body["code"])


class Api:
    """A client that holds every answer against the route that gave it."""

    def __init__(self, client: "TestClient[Any, Any]") -> None:
        self.client = client

    async def get(
        self,
        path: str,
        *,
        by: Person | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Said:
        return await self.call("GET", path, by=by, headers=headers, query=query)

    async def post(self, path: str, body: object = None, *, by: Person | None = None, key: str | None = None) -> Said:
        return await self.call("POST", path, body, by=by, headers=None if key is None else {"Idempotency-Key": key})

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        by: Person | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Said:
        sent = dict(headers or {})
        if by is not None:
            sent["Authorization"] = f"Bearer {by.token}"
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        data = body if isinstance(body, bytes | None) else orjson.dumps(body)
        async with self.client.request(method, path, data=data, headers=sent, params=query) as response:
            raw = await response.read()
            said = Said(response.status, orjson.loads(raw) if raw else None, response.headers.copy())
            check_promises(method, path.partition("?")[0], response, raw)
            return said

    async def fetch(self, path: str, *, by: Person, query: Mapping[str, str]) -> tuple[str, bytes]:
        """Return the media type and the bytes of an answer that need not be JSON."""
        headers = {"Authorization": f"Bearer {by.token}"}
        async with self.client.get(path, headers=headers, params=query) as response:
            raw = await response.read()
            assert response.status == 200, raw
            check_promises("GET", path, response, raw)
            return response.content_type, raw

    async def book(self, customer: Person, **changes: object) -> dict[str, Any]:
        said = await self.post("/v1/bookings", BOOKING | changes, by=customer, key=uuid4().hex)
        assert said.status == 201, said.body
        return dict(said.body)


def check_promises(method: str, path: str, response: ClientResponse, raw: bytes) -> None:
    """Every answer is what its route declares, every refusal a problem with a documented code."""
    if not path.startswith("/v1/"):
        return
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    route = route_of(method, path)
    if response.status >= 400:
        assert response.content_type == PROBLEM_TYPE
        assert Problem.model_validate_json(raw).status == response.status
    elif route is not None and route.answer is not None:
        if response.content_type not in route.other_media_types:
            assert response.content_type == "application/json"
            route.answer.model_validate_json(raw)
    else:
        assert raw == b""


def route_of(method: str, path: str) -> AnyRoute | None:
    parts = path.split("/")
    for route in TABLE:
        pattern = route.path.split("/")
        fits = len(pattern) == len(parts) and all(
            wanted == found or wanted.startswith("{") for wanted, found in zip(pattern, parts, strict=True)
        )
        if fits and route.method == method:
            return route
    return None


@pytest.fixture
def access_tokens(token_keys: TokenKeys) -> AccessTokens:
    return AccessTokens(public_key_pem=token_keys.public_pem, private_key_pem=token_keys.private_pem)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        mode="demo",
        state_dir=tmp_path,
        api_public_url="https://clenzy.test",
        gateway_public_url="https://gateway.clenzy.test",
        safetap_public_url="http://127.0.0.1:1",  # nobody listens there
        allowed_origins=["https://partner.test"],
    )


def beside_a_door(settings: Settings, database_url: str, token_keys: TokenKeys) -> Settings:
    """The same settings with what SafeTap's own process needs to run beside the API, for a fixture `settings`."""
    public, private = settings.state_dir / "public.pem", settings.state_dir / "private.pem"
    public.write_bytes(token_keys.public_pem)
    private.write_bytes(token_keys.private_pem)
    port = any_free()
    return settings.model_copy(
        update={
            "database_url": SecretStr(database_url),
            "jwt_public_key_file": public,
            "jwt_private_key_file": private,
            "safetap_port": port,
            "safetap_public_url": f"http://127.0.0.1:{port}",
        }
    )


@pytest.fixture
async def door(settings: Settings) -> AsyncIterator[OpenDoor]:
    """SafeTap's real door, for modules whose `settings` are those of `beside_a_door`."""
    async with open_door(settings) as door:
        yield door


@pytest.fixture
def eta() -> EtaSource:
    """Where travel times come from; modules that are about them have one of their own."""
    return StraightLineSource()


@pytest.fixture
async def services(
    settings: Settings,
    eta: EtaSource,
    pool: asyncpg.Pool,
    redis: "redis.asyncio.Redis",
    access_tokens: AccessTokens,
    clock: ManualClock,
    tmp_path: Path,
) -> AsyncIterator[Services]:
    passwords = Passwords()
    async with Forwarder(
        socket_path=settings.safetap_socket_path, url=settings.safetap_url, door=Door.API
    ) as forwarder:
        yield Services(
            settings=settings,
            clock=clock,
            pool=pool,
            redis=redis,
            tokens=access_tokens,
            passwords=passwords,
            safetap=forwarder,
            arrivals=Arrivals(eta, clock=clock),
            pages_dir=tmp_path / "dist",
        )
    passwords.close()


@pytest.fixture
async def api(services: Services) -> AsyncIterator[Api]:
    """The API over a database with the demo's organisation, services and people."""
    async with services.pool.acquire() as conn:
        await seed(conn, passwords={}, now_ms=services.clock.now_ms())
        await conn.execute("UPDATE person SET password_hash = $1", PASSWORD_HASH)
    server = TestServer(build_app(services, Readiness()))
    async with TestClient(server, auto_decompress=False) as client:
        yield Api(client)


class Cast:
    """Makes people of any kind, with tokens."""

    def __init__(self, pool: asyncpg.Pool, tokens: AccessTokens, clock: ManualClock) -> None:
        self._pool = pool
        self._tokens = tokens
        self._clock = clock

    def demo(self, role: Role) -> Person:
        """The demo's person of a role; its worker has slot 0."""
        account = next(account for account in DEMO_ACCOUNTS if account.role is role)
        return self._person(account.person_id, role, slot=0 if role is Role.WORKER else None)

    async def another(self, role: Role, *, org_id: UUID = DEMO_ORG_ID, region_id: UUID = DEMO_REGION_ID) -> Person:
        """Somebody new."""
        person_id, now = PersonId(uuid4()), "2023-01-01T00:00:00Z"
        await self._pool.execute(
            f"""INSERT INTO person (person_id, org_id, region_id, role, full_name, tokens_valid_after, tz, created_at)
                VALUES ($1, $2, $3, $4, 'Somebody Else', '{now}', 'Europe/Lisbon', '{now}')""",
            person_id,
            org_id,
            region_id,
            role.value,
        )
        slot = None
        if role is Role.WORKER:
            slot = await self._pool.fetchval(
                f"INSERT INTO worker (worker_id, updated_at) VALUES ($1, '{now}') RETURNING slot", person_id
            )
        return self._person(person_id, role, slot=slot, org_id=org_id, region_id=region_id)

    async def in_another_org(self, role: Role) -> Person:
        """Somebody new at a competitor's."""
        org_id, region_id = uuid4(), uuid4()
        await self._pool.execute("INSERT INTO org VALUES ($1, 'Other', '2023-01-01T00:00:00Z')", org_id)
        await self._pool.execute(
            "INSERT INTO region VALUES ($1, $2, 'Elsewhere', 'PT', 'Europe/Lisbon', 38.7, -9.1)", region_id, org_id
        )
        return await self.another(role, org_id=org_id, region_id=region_id)

    def _person(
        self,
        person_id: PersonId,
        role: Role,
        *,
        slot: int | None,
        org_id: UUID = DEMO_ORG_ID,
        region_id: UUID = DEMO_REGION_ID,
    ) -> Person:
        token = self._tokens.issue(
            person_id=person_id,
            role=role,
            org_id=OrgId(org_id),
            region_id=RegionId(region_id),
            slot=None if slot is None else WorkerSlot(slot),
            session_id=uuid4(),
            now_ms=self._clock.now_ms(),
        )
        return Person(person_id, role, token, slot)


@pytest.fixture
def cast(api: Api, pool: asyncpg.Pool, access_tokens: AccessTokens, clock: ManualClock) -> Cast:
    assert api  # whose start has seeded the demo's people
    return Cast(pool, access_tokens, clock)


@pytest.fixture
def customer(cast: Cast) -> Person:
    return cast.demo(Role.CUSTOMER)


@pytest.fixture
def worker(cast: Cast) -> Person:
    return cast.demo(Role.WORKER)


@pytest.fixture
def dispatcher(cast: Cast) -> Person:
    return cast.demo(Role.DISPATCHER)


@pytest.fixture
def admin(cast: Cast) -> Person:
    return cast.demo(Role.ADMIN)


@pytest.fixture
async def on_duty(
    api: Api, worker: Person, pool: asyncpg.Pool, redis: "redis.asyncio.Redis", clock: ManualClock
) -> Person:
    """The demo's worker, on duty and heard of a kilometre from the door."""
    await api.call("PUT", "/v1/me/duty", {"duty": "on"}, by=worker)
    await pool.execute("UPDATE worker SET skills = -1 & 16777215 WHERE worker_id = $1", worker.person_id)
    lat_deg, lng_deg = DOOR[0] + 0.009, DOOR[1]
    record = np.zeros(1, RECORD)
    record["ts_ms"], record["cell"] = clock.now_ms(), cell_of(lat_deg, lng_deg)
    record["lat_e7"], record["lng_e7"] = round(lat_deg * DEG_E7), round(lng_deg * DEG_E7)
    await CellIndex(redis).move(np.array([worker.slot], np.int64), record)
    return worker
