"""Line 18: no coordinate and no phone number is in any log. A day with everything in it, all processes, at DEBUG."""

import asyncio
import base64
import hashlib
import hmac
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import msgpack
import numpy as np
import pytest

from clenzy.ports import any_free
from engine.core.clock import SystemClock
from engine.core.ids import WorkerSlot
from engine.core.vocabulary import Role
from engine.geo.fixes import FIX
from engine.people.seed import DEMO_ACCOUNTS, DEMO_ORG_ID, DEMO_REGION_ID
from engine.people.tokens import AccessTokens
from engine.run_seed import seed
from tests.conftest import TokenKeys
from tests.integration.gateway.harness import eventually
from tests.peers.twilio import ACCOUNT, NUMBER, SECRET, FakeTwilio, Fault, open_twilio

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

CLOCK = SystemClock()
PLACES = [(41.1523461, -8.6135714), (41.1529873, -8.6141259), (41.1534917, -8.6128346), (41.1541628, -8.6152973)]
PHONES = ["+351912345678", "+351923456781", "+351934567812"]
INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{3,6}")
PROCESSES = {
    "api_rest": "CLENZY_API_PORT", "gateway_ws": "CLENZY_GATEWAY_PORT", "safetap_door": "CLENZY_SAFETAP_PORT",
    "engine.run_matcher": "CLENZY_OPS_PORT", "engine.run_notify": "CLENZY_OPS_PORT",
    "engine.run_zones": "CLENZY_OPS_PORT", "engine.run_keeper": "CLENZY_OPS_PORT",
}  # fmt: skip


def whole_number(leading_digits: str) -> re.Pattern[str]:
    """A number that begins so; the digits inside a random id are none."""
    return re.compile(rf"(?<![0-9a-f.])(?<![0-9a-f]-){leading_digits}\d{{0,4}}(?![0-9a-f-])")


def shapes() -> Iterator[re.Pattern[str]]:
    """Every way in which one of them might be written: short, long, scaled, packed, without its country."""
    yield from (re.compile(re.escape(text)) for text in spellings())
    for lat, lng in PLACES:
        yield whole_number(str(round(abs(lat) * 1e7))[:6])
        yield whole_number(str(round(abs(lng) * 1e7))[:6])


def spellings() -> Iterator[str]:
    for lat, lng in PLACES:
        for degrees in (abs(lat), abs(lng)):
            yield f"{degrees:.4f}"
            yield str(round(degrees * 1e7))
        record = np.zeros(1, FIX)
        record["lat_e7"], record["lng_e7"] = round(lat * 1e7), round(lng * 1e7)
        raw = record[["lat_e7", "lng_e7"]].tobytes()
        yield raw.hex()
        yield base64.b64encode(raw).decode().rstrip("=")[:10]
        yield repr(raw)[2:-1]
    for phone in PHONES:
        yield phone[-9:]
        yield " ".join((phone[-9:-6], phone[-6:-3], phone[-3:]))
        yield hashlib.sha256(phone.encode()).hexdigest()


@dataclass
class Running:
    """All processes of an installation, and where they listen."""

    api: str
    gateway: str
    safetap: str
    logs: Path

    def text(self) -> dict[str, str]:
        """What each has logged, but for the instants: the digits of a microsecond may be those of a place."""
        return {file.name: INSTANT.sub("", file.read_text(errors="replace")) for file in self.logs.iterdir()}


@pytest.fixture
async def twilio() -> AsyncIterator[FakeTwilio]:
    async with open_twilio() as twilio:
        twilio.fault = Fault.BROKEN
        yield twilio


@asynccontextmanager
async def process(module: str, variable: str, environment: dict[str, str], logs: Path) -> AsyncIterator[int]:
    port = int(environment.get(variable, 0)) or any_free()
    with (logs / f"{module}.log").open("ab") as log:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, env={**environment, variable: str(port)}, stdout=log, stderr=log
        )
    try:
        yield port
    finally:
        running.terminate()
        await running.wait()


@pytest.fixture
async def everything(
    tmp_path: Path, database_url: str, redis_url: str, token_keys: TokenKeys, twilio: FakeTwilio
) -> AsyncIterator[Running]:
    private, public, logs = tmp_path / "private.pem", tmp_path / "public.pem", tmp_path / "logs"
    private.write_bytes(token_keys.private_pem)
    public.write_bytes(token_keys.public_pem)
    logs.mkdir()
    first = any_free(together=3)
    ports = {f"CLENZY_{name}_PORT": str(first + n) for n, name in enumerate(("API", "GATEWAY", "SAFETAP"))}
    environment = {
        **os.environ, **ports,
        "DATABASE_URL": database_url, "REDIS_URL": redis_url, "CLENZY_STATE_DIR": str(tmp_path), "CLENZY_MODE": "demo",
        "CLENZY_JWT_PRIVATE_KEY_FILE": str(private), "CLENZY_JWT_PUBLIC_KEY_FILE": str(public),
        "CLENZY_LOG_LEVEL": "DEBUG", "CLENZY_PHONE_API_URL": twilio.url, "CLENZY_PHONE_ACCOUNT": ACCOUNT,
        "CLENZY_PHONE_SECRET": SECRET, "CLENZY_PHONE_SENDER": NUMBER, "CLENZY_WEBHOOK_SECRET": "m" * 32,
    }  # fmt: skip
    async with AsyncExitStack() as stack:
        chosen = [
            await stack.enter_async_context(process(module, variable, environment, logs))
            for module, variable in PROCESSES.items()
        ]
        async with aiohttp.ClientSession() as http:
            for port in chosen:
                await eventually(partial(answers, http, port), timeout_s=120)
        urls = [f"http://127.0.0.1:{port}" for port in chosen[:3]]
        yield Running(*urls, logs)


async def answers(http: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, OSError):
        return False


@dataclass
class Day:
    """Everybody does everything once, rightly and wrongly."""

    running: Running
    http: aiohttp.ClientSession
    tokens: AccessTokens

    def token(self, role: Role) -> str:
        account = next(one for one in DEMO_ACCOUNTS if one.role is role)
        return self.tokens.issue(
            person_id=account.person_id, role=role, org_id=DEMO_ORG_ID, region_id=DEMO_REGION_ID,
            slot=WorkerSlot(0) if role is Role.WORKER else None, session_id=uuid4(), now_ms=CLOCK.now_ms(),
        )  # fmt: skip

    async def ask(self, method: str, url: str, role: Role, body: object = None) -> tuple[int, object]:
        headers = {"Authorization": f"Bearer {self.token(role)}", "Idempotency-Key": uuid4().hex}
        data = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self.http.request(method, url, headers=headers, **data) as answer:
            said = await answer.json(content_type=None) if answer.content_length else None
            return answer.status, said

    async def api(self, method: str, path: str, role: Role, body: object = None) -> tuple[int, object]:
        return await self.ask(method, self.running.api + path, role, body)

    async def book(self, place: tuple[float, float]) -> tuple[int, object]:
        pin = {"lat": place[0], "lng": place[1]}
        body = {"service_code": "cleaning", "pin": pin, "address": {"line": "Rua 1", "floor": "2"}}
        return await self.api("POST", "/v1/bookings", Role.CUSTOMER, body)

    async def goes_well(self) -> UUID:
        """Fixes by three ways, a booking near them, an alarm by two doors; numbers of contacts and of a phone door."""
        contact = {"name": "Sister", "phone": PHONES[0], "may_be_at_address": False}
        setup = {"contact_mode": "none", "contacts": [contact]}
        assert (await self.api("PUT", "/v1/me/safety", Role.WORKER, setup))[0] == 200
        door = {"phone": PHONES[1], "word": "sunflower seven"}
        assert (await self.api("PUT", "/v1/me/phone-door", Role.WORKER, door))[0] == 200
        step = {"delay_s": 0, "notify": [{"target": "contacts", "channels": ["sms", "voice"]}]}
        policy = {"name": "Now", "policy": {"steps": [step], "repeat_s": 60, "follow_up_s": 600}}
        assert (await self.api("PUT", "/v1/policies", Role.ADMIN, policy))[0] == 200
        assert (await self.api("PUT", "/v1/me/duty", Role.WORKER, {"duty": "on"}))[0] == 200
        await self.drives(PLACES[0])
        status, device = await self.api("POST", "/v1/devices", Role.WORKER, {"kind": "osmand"})
        assert status == 201
        query = {"id": device["token"], "lat": PLACES[1][0], "lon": PLACES[1][1], "timestamp": CLOCK.now_ms()}
        async with self.http.get(f"{self.running.gateway}/ingest/osmand?{urlencode(query)}") as answer:
            assert answer.status == 200
        assert (await self.book(PLACES[2]))[0] == 201
        fix = {"lat": PLACES[3][0], "lng": PLACES[3][1], "accuracy_m": 5, "ts_ms": CLOCK.now_ms()}
        trigger_id = uuid4()
        for url in (self.running.safetap, self.running.api):
            body = {"trigger_id": str(trigger_id), "kind": "button", "fix": fix}
            assert (await self.ask("POST", f"{url}/v1/safetap", Role.WORKER, body))[0] in (200, 202)
        nearby = f"/v1/workers/nearby?lat={PLACES[0][0]}&lng={PLACES[0][1]}"
        assert (await self.api("GET", nearby, Role.DISPATCHER))[0] == 200
        return trigger_id

    async def drives(self, place: tuple[float, float]) -> None:
        record = np.zeros(1, FIX)
        record["ts_ms"], record["accuracy_dm"] = CLOCK.now_ms(), 50
        record["lat_e7"], record["lng_e7"] = round(place[0] * 1e7), round(place[1] * 1e7)
        async with self.http.ws_connect(f"{self.running.gateway}/ws/ping") as socket, asyncio.timeout(20):
            await socket.send_bytes(msgpack.packb([0, self.token(Role.WORKER), {}]))
            await socket.send_bytes(msgpack.packb([1, 1, record.tobytes()]))
            await socket.send_bytes(msgpack.packb([4, 2, "booking.transition", {"booking_id": str(place)}]))
            await socket.send_bytes(b"\x93\x01" + record.tobytes())
            while msgpack.unpackb((await socket.receive()).data)[0] != 2:
                pass

    async def goes_wrong(self) -> None:
        """What is refused, what is broken, what a database refuses with the row in its words."""
        lat, lng = PLACES[0]
        broken = f'{{"pin": {{"lat": {lat}, "lng": {lng}}}, "phone": "{PHONES[2]}"'.encode()
        wrong = {"phone": PHONES[2], "word": "x", "pin": {"lat": str(lat), "lng": lng}}
        for path in ("/v1/bookings", "/v1/safetap", "/v1/people/batch", "/v1/me/phone-door"):
            for body in (broken, broken + b"}", wrong):
                method = "PUT" if path.endswith("door") else "POST"
                for role in (Role.CUSTOMER, Role.ADMIN):
                    assert (await self.api(method, path, role, body))[0] >= 400
        for door in ("shortcut", "button", "sms", "voice"):
            async with self.http.post(f"{self.running.safetap}/v1/safetap/doors/{door}", data=broken) as answer:
                assert answer.status in (202, 401, 403, 404), door
        await self.writes_to_us(PHONES[1], "sunflower seven")
        await self.writes_to_us(PHONES[2], "ACK 1234")
        for path in ("/ingest/osmand", "/ingest/owntracks", "/ingest/overland"):
            async with self.http.post(f"{self.running.gateway}{path}?lat={lat}&lon={lng}", data=broken) as answer:
                assert answer.status == 401
        for url in (self.running.api, self.running.gateway, self.running.safetap):
            async with self.http.get(f"{url}/nothing/{lat}/{lng}?phone={PHONES[2]}") as answer:
                assert answer.status == 404

    async def writes_to_us(self, phone: str, text: str) -> None:
        """What the provider hands on, signed as it signs."""
        url = f"{self.running.safetap}/v1/safetap/doors/sms"
        fields = {"Body": text, "From": phone, "To": NUMBER}
        signed = url + "".join(name + fields[name] for name in sorted(fields))
        signature = base64.b64encode(hmac.digest(SECRET.encode(), signed.encode(), "sha1")).decode()
        async with self.http.post(url, data=fields, headers={"X-Twilio-Signature": signature}) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(("text", "told"), [
    ('"lat": 411541237', True),
    ('"cell": [-411541,', True),
    ("4115412 4", True),
    ('"request_id": "fa45c1f7a5e245bda90728a652669220", "trace": "10259588411541f19abfc032c8da06d2"', False),
    ("c8da06d2-4115-4115-8115-411541000000", False),
    ("0.411541", False),
    ("1411541", False),
])  # fmt: skip
def test_digits_within_an_id_are_no_place(text: str, told: bool) -> None:
    assert bool(whole_number("411541").search(text)) is told


async def test_line_18_no_log_names_a_place_or_a_number(
    everything: Running, database_url: str, token_keys: TokenKeys, twilio: FakeTwilio
) -> None:
    tokens = AccessTokens(public_key_pem=token_keys.public_pem, private_key_pem=token_keys.private_pem)
    conn = await asyncpg.connect(database_url)
    try:
        await seed(conn, passwords={}, now_ms=CLOCK.now_ms() - 60_000)
        async with aiohttp.ClientSession() as http:
            day = Day(everything, http, tokens)
            await day.goes_well()
            await day.goes_wrong()
            await conn.execute("ALTER TABLE address ADD CONSTRAINT refuses CHECK (line = '') NOT VALID")
            assert (await day.book(PLACES[1]))[0] == 500
        await eventually(lambda: "notice.not_sent" in everything.text()["engine.run_notify.log"], timeout_s=60)
        assert twilio.requests > 0
    finally:
        await conn.close()
    logs = everything.text()
    assert set(logs) == {f"{module}.log" for module in PROCESSES}
    assert all(logs.values()), "each has said something"
    assert "violates check constraint" in logs["api_rest.log"], "the defect is told"
    for name, text in logs.items():
        for shape in shapes():
            found = shape.search(text)
            assert not found, (name, shape.pattern, text[max(0, found.start() - 300) : found.end() + 60])
    assert re.search(r'"level": "debug"', "".join(logs.values())), "and they were talkative"
