"""Stock phone trackers over real HTTP: accepted, answered to the letter, silent off duty, closed to strangers."""

import base64
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import orjson
import pytest
import structlog
from prometheus_client import REGISTRY

from config.limits import DEVICE_FRESH_MS, DEVICE_TRUSTED_MS, TRACKER_BODY_BYTES_MAX, TRACKER_FIXES_MAX
from engine.core.database import Pool
from engine.core.errors import NotSignedIn, Unavailable
from engine.core.ids import DeviceId, PersonId
from engine.core.units import rfc3339, utc_from_ms
from engine.core.vocabulary import DeviceKind, Role
from engine.people.devices import add_device, new_token
from gateway_ws.engine_calls import EngineCalls
from gateway_ws.trackers.devices import Devices
from tests.fakes import ManualClock
from tests.integration.gateway.harness import ORG, PORTO, City, FakeDoor, Stage, eventually, phone_on

SLOT = 7
LAT, LNG = PORTO


@dataclass
class Tracker:
    """A worker's phone with a stock app."""

    client: aiohttp.ClientSession
    stage: Stage
    worker_id: UUID
    device_id: DeviceId
    token: str

    @property
    def basic(self) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"clenzy:{self.token}".encode()).decode()}

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def now_s(self) -> float:
        return self.stage.clock.now_ms() / 1000

    async def post(self, path: str, body: Any = None, **options: Any) -> tuple[int, bytes]:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.client.post(f"{self.stage.url}/ingest/{path}", data=data, **options) as response:
            return response.status, await response.read()

    async def get(self, path: str, **parameters: Any) -> tuple[int, bytes]:
        query = {name: str(value) for name, value in parameters.items()}
        async with self.client.get(f"{self.stage.url}/ingest/{path}", params=query) as response:
            return response.status, await response.read()

    def owntracks(self, lat: float = LAT, **fields: Any) -> dict[str, Any]:
        return {"_type": "location", "lat": lat, "lon": LNG, "tst": int(self.now_s), "acc": 5, **fields}

    def feature(self, *, age_s: float = 0, **properties: Any) -> dict[str, Any]:
        return {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [LNG, LAT]},
            "properties": {"timestamp": self.now_s - age_s, "horizontal_accuracy": 5, "speed": -1, **properties},
        }

    async def record(self) -> Any:
        return (await self.stage.gateway.services.index.records([SLOT]))[0]


async def a_device(pool: Pool, worker_id: UUID, *, now_ms: int) -> tuple[DeviceId, str]:
    device_id, token = DeviceId(uuid4()), new_token()
    async with pool.acquire() as conn, conn.transaction():
        await add_device(
            conn, device_id=device_id, token=token, worker_id=PersonId(worker_id), org_id=ORG,
            kind=DeviceKind.OWNTRACKS, label="", actor_id=None, now_ms=now_ms,
        )  # fmt: skip
    return device_id, token


@pytest.fixture
async def tracker(stage: Stage, city: City, pool: Pool) -> AsyncIterator[Tracker]:
    worker_id = await city.worker(SLOT)
    device_id, token = await a_device(pool, worker_id, now_ms=stage.clock.now_ms())
    async with aiohttp.ClientSession() as client:
        yield Tracker(client, stage, worker_id, device_id, token)


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"clenzy_gateway_{name}_total", labels) or 0.0


async def test_owntracks_is_answered_when_the_fix_is_in_its_cell(tracker: Tracker) -> None:
    body = tracker.owntracks(vel=36, batt=55, bs=2)
    headers = {**tracker.basic, "X-Limit-U": "jo", "X-Limit-D": "phone"}
    assert await tracker.post("owntracks", body, headers=headers) == (200, b"[]")
    record = await tracker.record()
    assert (record["ts_ms"], record["lat_e7"]) == (body["tst"] * 1000, round(LAT * 1e7))
    assert (record["speed_cm_s"], record["battery_pct"], record["flags"]) == (1000, 55, 1)
    assert record["cell"] != 0


@pytest.mark.parametrize("by", ["get", "form"])
async def test_osmand_by_query_and_by_form(tracker: Tracker, by: str) -> None:
    fields = {
        "id": tracker.token, "lat": LAT, "lon": LNG, "timestamp": int(tracker.now_s), "hdop": 4, "altitude": 90,
        "speed": 19.438444924406, "batt": 31.5,
    }  # fmt: skip
    if by == "get":
        assert await tracker.get("osmand", **fields) == (200, b"")
    else:
        form = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
        assert await tracker.post("osmand", form) == (200, b"")
    record = await tracker.record()
    assert (record["speed_cm_s"], record["accuracy_dm"], record["battery_pct"]) == (1000, 40, 32)


async def test_traccar_by_its_device_id_alone(tracker: Tracker) -> None:
    body = {
        "location": {
            "timestamp": utc_from_ms(tracker.stage.clock.now_ms()).isoformat(),
            "coords": {"latitude": LAT, "longitude": LNG, "accuracy": 5, "speed": 2.5, "heading": 90, "altitude": 1},
            "is_moving": True,
            "battery": {"level": 0.5, "is_charging": False},
            "activity": {"type": "walking"},
        },
        "device_id": tracker.token,
    }
    assert await tracker.post("traccar", body) == (200, b"")
    record = await tracker.record()
    assert (record["speed_cm_s"], record["heading_cdeg"], record["battery_pct"]) == (250, 9_000, 50)


async def test_overland_brings_a_full_batch_and_gets_its_one_answer(tracker: Tracker) -> None:
    before = count("fixes", outcome="accepted")
    features = [tracker.feature(age_s=TRACKER_FIXES_MAX - at) for at in range(TRACKER_FIXES_MAX)]
    features += [{"type": "Feature"}, tracker.feature(timestamp="never")]
    skipped = count("tracker_skipped", app="overland", reason="no_time")
    status, answer = await tracker.post("overland", {"locations": features}, headers=tracker.bearer)
    assert (status, answer) == (200, b'{"result":"ok"}')
    assert count("fixes", outcome="accepted") == before + TRACKER_FIXES_MAX
    assert count("tracker_skipped", app="overland", reason="no_time") == skipped + 1


async def test_gpslogger_with_the_token_in_the_path_or_in_the_query(tracker: Tracker) -> None:
    fields = {"lat": LAT, "lon": LNG, "acc": 5, "spd": 1, "dir": 90, "batt": 80, "aid": "abc"}
    assert (await tracker.get("gpslogger", time=int(tracker.now_s) - 2, token=tracker.token, **fields))[0] == 200
    first = (await tracker.record())["ts_ms"]
    assert (await tracker.get(f"gpslogger/{tracker.token}", time=int(tracker.now_s), **fields))[0] == 200
    assert (await tracker.record())["ts_ms"] > first


@pytest.mark.parametrize(
    ("app", "body", "reason", "answer"),
    [
        ("owntracks", b"", "empty", b"[]"),
        ("owntracks", b'{"_type":"lwt","tst":1}', "not_a_fix", b"[]"),
        ("owntracks", b"{broken", "malformed", b"[]"),
        ("owntracks", b'{"_type":"encrypted","data":"x"}', "encrypted", b"[]"),
        ("traccar", b"[]", "malformed", b""),
        ("overland", b'{"locations":[]}', "empty", b'{"result":"ok"}'),
        ("overland", b"\xff\x00", "malformed", b'{"result":"ok"}'),
        ("osmand", b"lat=1", "no_place", b""),
        ("gpslogger", b"lat=1&lon=2", "no_time", b""),
    ],
)
async def test_what_cannot_be_read_is_accepted_and_counted(
    tracker: Tracker, app: str, body: bytes, reason: str, answer: bytes
) -> None:
    before = count("tracker_skipped", app=app, reason=reason)
    assert await tracker.post(app, body, headers=tracker.bearer) == (200, answer)
    assert count("tracker_skipped", app=app, reason=reason) == before + 1


async def test_a_fix_out_of_range_is_accepted_and_counted_like_a_sockets(tracker: Tracker) -> None:
    before = count("fixes", outcome="invalid")
    assert await tracker.post("owntracks", tracker.owntracks(lat=91), headers=tracker.basic) == (200, b"[]")
    assert count("fixes", outcome="invalid") == before + 1
    assert (await tracker.record())["ts_ms"] == 0


async def test_off_duty_leaves_nothing_but_a_count(tracker: Tracker, city: City, pool: Pool) -> None:
    await pool.execute("UPDATE worker SET duty = 'off'")
    before, moved = count("fixes", outcome="off_duty"), count("workers_moved")
    with structlog.testing.capture_logs() as logs:
        assert await tracker.post("owntracks", tracker.owntracks(), headers=tracker.basic) == (200, b"[]")
    assert count("fixes", outcome="off_duty") == before + 1
    assert count("workers_moved") == moved
    assert (await tracker.record())["ts_ms"] == 0
    assert not [key async for key in tracker.stage.redis.scan_iter("geo:*")]
    assert logs == []
    # On duty again by any door: the next fix counts, and off duty the place is gone at once.
    await city.relay(tracker.stage)
    since = rfc3339(utc_from_ms(tracker.stage.clock.now_ms() - 5_000))
    await tracker.stage.publish(f"user:{tracker.worker_id}", "duty", {"duty": "on", "since": since})
    table = tracker.stage.gateway.services.table
    await eventually(lambda: table.is_on_duty(SLOT))
    await tracker.post("owntracks", tracker.owntracks(), headers=tracker.basic)
    assert (await tracker.record())["cell"] != 0
    await tracker.stage.publish(f"user:{tracker.worker_id}", "duty", {"duty": "off"})

    async def is_gone() -> bool:
        return bool((await tracker.record())["cell"] == 0)

    await eventually(is_gone)


@pytest.mark.parametrize("app", ["owntracks", "osmand", "traccar", "overland", "gpslogger"])
async def test_a_stranger_is_not_signed_in(tracker: Tracker, app: str) -> None:
    wrong = new_token()
    for headers in ({}, {"Authorization": f"Bearer {wrong}"}, {"Authorization": "Basic %%%"}, {"Authorization": "x"}):
        status, body = await tracker.post(app, b"{}", headers=headers)
        assert (status, orjson.loads(body)["code"]) == (401, "not_signed_in")
    assert (await tracker.post(f"{app}/{wrong}", b"{}"))[0] == 401
    assert (await tracker.post(f"{app}?token=short", b"{}"))[0] == 401


async def test_a_revoked_device_is_refused(tracker: Tracker, pool: Pool) -> None:
    await pool.execute("UPDATE device SET revoked_at = created_at")
    assert (await tracker.post("owntracks", tracker.owntracks(), headers=tracker.basic))[0] == 401
    assert (await tracker.record())["ts_ms"] == 0


@pytest.mark.parametrize("way", ["at_once", "in_chunks", "compressed"])
async def test_a_body_beyond_the_limit_is_413(tracker: Tracker, way: str) -> None:
    body = b" " * (TRACKER_BODY_BYTES_MAX + 1)

    async def in_chunks() -> AsyncIterator[bytes]:
        yield body

    data: Any = {"at_once": BytesIO(body), "in_chunks": in_chunks(), "compressed": gzip.compress(body)}[way]
    headers = tracker.bearer | ({"Content-Encoding": "gzip"} if way == "compressed" else {})
    url = f"{tracker.stage.url}/ingest/overland"
    async with tracker.client.post(url, data=data, headers=headers) as response:
        assert response.status == 413


async def test_a_compressed_body_is_read(tracker: Tracker) -> None:
    headers = {**tracker.bearer, "Content-Encoding": "gzip"}
    body = gzip.compress(orjson.dumps({"locations": [tracker.feature()]}))
    assert await tracker.post("overland", body, headers=headers) == (200, b'{"result":"ok"}')
    assert (await tracker.record())["ts_ms"] != 0
    assert (await tracker.post("overland", b"no gzip at all", headers=headers))[0] == 400


async def test_methods_and_paths_that_are_none(tracker: Tracker) -> None:
    assert (await tracker.get("owntracks"))[0] == 405
    assert (await tracker.get("nokia"))[0] == 404


async def test_a_tracker_takes_no_sockets_place(tracker: Tracker) -> None:
    stage = tracker.stage

    async with phone_on(stage, stage.token(Role.WORKER, tracker.worker_id, slot=SLOT)) as phone:
        await phone.hear(0)
        assert (await tracker.post("owntracks", tracker.owntracks(), headers=tracker.basic))[0] == 200
        await phone.send(1, 1, stage.fixes((LAT, LNG)))
        assert (await phone.hear(2))[1] == 1
    assert (await tracker.post("owntracks", tracker.owntracks(), headers=tracker.basic))[0] == 200


async def test_a_tracker_shows_the_customer_who_comes(tracker: Tracker, city: City) -> None:

    customer = await city.person(Role.CUSTOMER, "Customer")
    booking_id = await city.booking(customer, state="en_route", worker_id=tracker.worker_id)
    channel = tracker.stage.redis.pubsub()
    await channel.subscribe(f"fan:booking:{booking_id}")
    await tracker.post("owntracks", tracker.owntracks(), headers=tracker.basic)
    while True:
        message = await channel.get_message(timeout=10)
        assert message is not None
        if message["type"] == "message":
            break
    assert orjson.loads(message["data"])["lat"] == pytest.approx(LAT)
    await channel.aclose()  # type: ignore[no-untyped-call]


def sos(tracker: Tracker, **fields: Any) -> dict[str, Any]:
    return {"id": tracker.token, "lat": LAT, "lon": LNG, "timestamp": 1_700_000_000, "alarm": "sos", **fields}


async def test_an_alarm_goes_to_safetap_at_once_also_off_duty_and_again_as_the_same(
    tracker: Tracker, door: FakeDoor, pool: Pool
) -> None:
    await pool.execute("UPDATE worker SET duty = 'off'")
    for _ in range(2):
        assert (await tracker.get("osmand", **sos(tracker, accuracy=7)))[0] == 200
    (headers, first), (_, again) = [await door.received.get() for _ in range(2)]
    assert first == again
    assert headers["Authorization"] == f"Device {tracker.token}"
    assert first["kind"] == "button"
    assert first["fix"] == {"lat": LAT, "lng": LNG, "accuracy_m": 7, "ts_ms": 1_700_000_000_000}
    assert (await tracker.record())["ts_ms"] == 0
    await tracker.get("osmand", **sos(tracker, timestamp=1_700_000_001))
    _, later = await door.received.get()
    assert later["trigger_id"] != first["trigger_id"]


@pytest.mark.parametrize(("status", "answer"), [(202, {"state": "spooled"}), (401, {"code": "not_signed_in"})])
async def test_an_alarm_that_is_not_committed_stays_with_the_phone(
    tracker: Tracker, door: FakeDoor, status: int, answer: dict[str, Any]
) -> None:
    door.status, door.answer = status, answer
    assert (await tracker.get("osmand", **sos(tracker)))[0] == 503
    door.status, door.answer = 200, {"state": "committed"}
    assert (await tracker.get("osmand", **sos(tracker)))[0] == 200


async def test_a_strangers_alarm_is_not_forwarded(tracker: Tracker, door: FakeDoor) -> None:
    assert (await tracker.get("osmand", **sos(tracker, id=new_token())))[0] == 401
    assert door.received.empty()


async def test_traccars_shortcut_reaches_safetap_without_a_place(tracker: Tracker, door: FakeDoor) -> None:
    body = {"location": {"extras": {"alarm": "sos"}}, "device_id": tracker.token}
    assert (await tracker.post("traccar", body))[0] == 200
    _, trigger = await door.received.get()
    assert set(trigger) == {"trigger_id", "kind"}


async def test_a_worker_whose_trackers_fell_silent_is_forgotten_and_welcome_again(tracker: Tracker) -> None:
    workers = tracker.stage.gateway._trackers.workers
    await tracker.post("owntracks", tracker.owntracks(), headers=tracker.basic)
    await workers.forget_idle()
    assert len(workers) == 1
    workers._by_slot[SLOT]._heard_ms = 0
    await workers.forget_idle()
    assert len(workers) == 0
    assert not tracker.stage.gateway.ingest.has_source(SLOT)
    assert (await tracker.post("owntracks", tracker.owntracks(), headers=tracker.basic))[0] == 200
    assert len(workers) == 1


class AwayCalls(EngineCalls):
    """Postgres that can be away."""

    is_away = False
    asked = 0

    async def device_speaker(self, token: str) -> Any:
        self.asked += 1
        if self.is_away:
            raise Unavailable
        return await super().device_speaker(token)


async def test_a_known_device_outlives_an_outage_and_a_revoked_one_its_freshness(
    city: City, pool: Pool, clock: ManualClock
) -> None:
    worker_id = await city.worker(SLOT)
    _, token = await a_device(pool, worker_id, now_ms=clock.now_ms())
    calls = AwayCalls(clock, pool)
    devices = Devices(calls, clock)
    speaker = await devices.speaker(token)
    assert (speaker.person_id, speaker.slot) == (worker_id, SLOT)
    calls.is_away = True
    assert await devices.speaker(token) == speaker
    assert calls.asked == 1
    clock.step_ms(DEVICE_FRESH_MS)
    assert [await devices.speaker(token) for _ in range(3)] == [speaker] * 3
    assert calls.asked == 2
    with pytest.raises(Unavailable):
        await devices.speaker(new_token())
    calls.is_away = False
    clock.step_ms(DEVICE_FRESH_MS)
    await devices.speaker(token)
    await pool.execute("UPDATE device SET revoked_at = created_at")
    assert await devices.speaker(token) == speaker
    clock.step_ms(DEVICE_FRESH_MS)
    with pytest.raises(NotSignedIn):
        await devices.speaker(token)


async def test_trust_in_a_device_has_an_end(city: City, pool: Pool, clock: ManualClock) -> None:
    _, token = await a_device(pool, await city.worker(SLOT), now_ms=clock.now_ms())
    calls = AwayCalls(clock, pool)
    devices = Devices(calls, clock)
    await devices.speaker(token)
    calls.is_away = True
    clock.step_ms(DEVICE_TRUSTED_MS + 1)
    with pytest.raises(Unavailable):
        await devices.speaker(token)
