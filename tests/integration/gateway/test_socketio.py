"""The three namespaces of Socket.IO through the stock Python client."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import msgpack
import numpy as np
import pytest
import socketio

from config.limits import BAD_FRAMES_MAX
from engine.core.ids import OrgId
from engine.core.vocabulary import Role
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cell_of
from gateway_ws.live_map.view import CELL_ROW
from gateway_ws.positions import MAP_ROW
from tests.integration.gateway.harness import (
    ORG,
    PORTO,
    City,
    FakeDoor,
    Page,
    Phone,
    Stage,
    eventually,
    page_on,
    phone_on,
)

pytestmark = pytest.mark.integration

CITY_BOX = [-8.75, 41.05, -8.45, 41.25]


# ---------------------------------------------------------------- signing in


@pytest.mark.parametrize(
    ("namespace", "role", "code"),
    [
        ("/worker", Role.CUSTOMER, "not_allowed"),
        ("/customer", Role.DISPATCHER, "not_allowed"),
        ("/console", Role.CUSTOMER, "not_allowed"),
        ("/console", None, "not_signed_in"),
        ("/worker", None, "not_signed_in"),
    ],
)
async def test_a_refused_connection_says_why(stage: Stage, namespace: str, role: Role | None, code: str) -> None:
    token = "rubbish" if role is None else stage.token(role, uuid4())
    told: asyncio.Queue[Any] = asyncio.Queue()
    client = socketio.AsyncClient(reconnection=False)
    client.on("connect_error", told.put, namespace=namespace)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(stage.url, namespaces=[namespace], auth={"token": token}, transports=["websocket"])
    refusal = await asyncio.wait_for(told.get(), 5)
    assert refusal["data"] == {"code": code}
    assert refusal["message"]
    await client.disconnect()


@pytest.mark.parametrize("auth", [{}, None, {"token": 5}, "text"])
async def test_a_connection_without_a_token_is_refused(stage: Stage, auth: Any) -> None:
    with pytest.raises(socketio.exceptions.ConnectionError):
        async with page_on(stage, "/worker", auth):
            pass


async def test_origins_and_compression(stage: Stage) -> None:
    url = f"{stage.url}/socket.io/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect(url, origin="https://evil.example")
        async with client.ws_connect(url, origin="https://desk.example", compress=15) as socket:
            assert socket.compress == 0, "the client offers deflate, the gateway declines"
        polling = f"{stage.url}/socket.io/?EIO=4&transport=polling"
        async with client.get(polling, headers={"Origin": "https://evil.example"}) as polled:
            assert polled.status == 403
        async with client.get(polling, headers={"Origin": "https://desk.example"}) as polled:
            assert polled.status == 200
            assert polled.headers["Access-Control-Allow-Origin"] == "https://desk.example"


# ---------------------------------------------------------------- workers


async def test_a_worker_over_socketio_does_what_the_raw_one_does(stage: Stage, city: City) -> None:
    token = stage.token(Role.WORKER, await city.worker(4), slot=4)
    async with page_on(stage, "/worker", {"token": token}) as page:
        welcome = await page.hear("welcome")
        assert (welcome["slot"], welcome["duty"]) == (4, "on")
        await page.emit("ping", {"seq": 1, "fixes": stage.fixes(PORTO, at_ms=stage.clock.now_ms() - 2_000)})
        assert await page.hear("ack") == {"seq": 1, "state": 0}
        now_ms = stage.clock.now_ms()
        written = [
            {"ts_ms": now_ms - 1_000, "lat": math.nan, "lng": 1},
            {"ts_ms": now_ms - 1_000, "lat": None, "lng": 1},
            {"ts_ms": now_ms, "lat": PORTO[0], "lng": PORTO[1], "accuracy_m": 5},
        ]
        await page.emit("ping", {"seq": 2, "fixes": written})
        assert await page.hear("ack") == {"seq": 2, "state": 0}
        assert (await page.hear("fixes.refused"))["reasons"] == {"invalid": 2}
        assert await page.call("duty", {"duty": "off"}) == {"ok": True, "result": {"duty": "off"}}
        refused = await page.call("offer.accept", {"offer_id": "x"})
        assert (refused["ok"], refused["error"]["code"]) == (False, "invalid_input")
        state = await page.call("state", {})
        assert state["result"]["duty"] == "off"


@pytest.mark.parametrize(
    ("event", "body", "code"),
    [
        ("ping", {"seq": 1, "fixes": [{}] * 51}, "too_many_fixes"),
        ("ping", {"seq": 1, "fixes": b"x"}, "malformed_frame"),
        ("ping", {"seq": 1}, "malformed_frame"),
        ("ping", [], "malformed_frame"),
        ("fly", {}, "unknown_type"),
        ("connect", {}, "unknown_type"),
        ("disconnect", "x", "unknown_type"),
        ("token", {"token": "rubbish"}, "not_signed_in"),
    ],
)
async def test_a_refused_event_is_named_and_the_connection_lives(
    stage: Stage, city: City, event: str, body: Any, code: str
) -> None:
    token = stage.token(Role.WORKER, await city.worker(4), slot=4)
    async with page_on(stage, "/worker", {"token": token}) as page:
        await page.emit(event, body)
        assert (await page.hear("error"))["code"] == code
        await page.emit("ping", {"seq": 3, "fixes": stage.fixes(PORTO)})
        assert await page.hear("ack") == {"seq": 3, "state": 0}


@pytest.mark.parametrize(
    ("namespace", "role"), [("/worker", Role.WORKER), ("/customer", Role.CUSTOMER), ("/console", Role.DISPATCHER)]
)
async def test_an_unknown_event_that_asks_for_an_answer_gets_it(
    stage: Stage, city: City, namespace: str, role: Role
) -> None:
    slot = 4 if role is Role.WORKER else None
    token = stage.token(role, await city.worker(4) if slot else uuid4(), slot=slot)
    async with page_on(stage, namespace, {"token": token}) as page:
        said = await page.call("fly", {})
        assert (said["ok"], said["error"]["code"]) == (False, "unknown_type")
        assert (await page.hear("error"))["code"] == "unknown_type"


@pytest.mark.parametrize(
    "packet", ["42/worker,{bad json", "4zzz", '459-/worker,["ping"]', "42/worker,[]", "47/worker,"]
)
async def test_a_broken_packet_is_named_and_ends_the_connection(stage: Stage, city: City, packet: str) -> None:
    async with _worker_socket(stage, city) as socket:
        await socket.send_str(packet)
        assert "malformed_frame" in await _text_with(socket, "error")
        assert (await socket.receive(5)).type is aiohttp.WSMsgType.CLOSE


async def test_abuse_ends_the_session(stage: Stage, city: City) -> None:
    async with _worker_socket(stage, city) as socket:
        for _ in range(BAD_FRAMES_MAX):
            await socket.send_str("42/worker,[5]")
        await _text_with(socket, '"abuse"')
        await _text_with(socket, "41/worker")


@asynccontextmanager
async def _worker_socket(stage: Stage, city: City) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    token = stage.token(Role.WORKER, await city.worker(4), slot=4)
    async with aiohttp.ClientSession() as client:
        url = f"{stage.url}/socket.io/?EIO=4&transport=websocket"
        async with client.ws_connect(url) as socket:
            await socket.send_str(f'40/worker,{{"token":"{token}"}}')
            await _text_with(socket, "welcome")
            yield socket


async def _text_with(socket: aiohttp.ClientWebSocketResponse, wanted: str) -> str:
    async with asyncio.timeout(5):
        while True:
            message = await socket.receive()
            assert message.type is aiohttp.WSMsgType.TEXT, message
            if wanted in message.data:
                return str(message.data)


# ---------------------------------------------------------------- customers


@pytest.fixture
async def job(city: City, stage: Stage) -> tuple[str, str, UUID, UUID, UUID]:
    """Tokens of customer and worker, and customer, worker and an assigned booking."""
    customer_id, worker_id = await city.person(Role.CUSTOMER, "C"), await city.worker(5)
    booking_id = await city.booking(customer_id, state="assigned", worker_id=worker_id)
    customer, worker = stage.token(Role.CUSTOMER, customer_id), stage.token(Role.WORKER, worker_id, slot=5)
    return customer, worker, customer_id, worker_id, booking_id


async def test_a_customer_follows_the_worker_from_the_way_there_to_arrived_and_no_longer(
    stage: Stage, city: City, job: tuple[str, str, UUID, UUID, UUID]
) -> None:
    customer, worker, _, _, booking_id = job
    async with page_on(stage, "/customer", {"token": customer}) as page, phone_on(stage, worker) as phone:
        welcome = await page.hear("welcome")
        assert [booking["booking_id"] for booking in welcome["bookings"]] == [str(booking_id)]
        state = (await phone.hear(0))[2]
        assert state["booking"]["state"] == "assigned"
        await phone.send(1, 0, stage.fixes(PORTO, at_ms=stage.clock.now_ms() - 2_000))
        await phone.hear(2, where=lambda frame: frame[1] == 0)
        await _nothing_of(stage, page, "position")
        for seq, to in enumerate(["en_route", "arrived"], start=1):
            await _move(stage, city, phone, booking_id, to)
            await page.hear("booking", where=lambda body, to=to: body["state"] == to)
            await phone.send(1, seq, stage.fixes((PORTO[0] + seq / 1e4, PORTO[1])))
            position = await page.hear("position")
            assert position["booking_id"] == str(booking_id)
            assert position["lat"] == pytest.approx(PORTO[0] + seq / 1e4)
            assert 0 < position["eta_low_s"] < position["eta_s"] < position["eta_high_s"]
            assert position["heading_deg"] == 90
        await _move(stage, city, phone, booking_id, "in_progress")
        await page.hear("booking", where=lambda body: body["state"] == "in_progress")
        await phone.send(1, 9, stage.fixes(PORTO))
        await phone.hear(2, where=lambda frame: frame[1] == 9)
        await _nothing_of(stage, page, "position")


async def _move(stage: Stage, city: City, phone: Phone, booking_id: UUID, to: str) -> None:
    await phone.send(4, 1, "booking.transition", {"booking_id": str(booking_id), "to": to})
    answer = await phone.hear(5)
    assert answer[2], answer
    await city.relay(stage)


async def _nothing_of(stage: Stage, page: Page, event: str) -> None:
    """An event that is sent after whatever could have come marks the end of the wait."""
    session = next(each for each in stage.gateway.services.registry if each.kind == "customer")
    await stage.publish(f"user:{session.principal.person_id}", "marker", {})
    seen = []
    async with asyncio.timeout(5):
        while (heard := await page.heard.get())[0] != "marker":
            seen.append(heard[0])
    assert event not in seen


async def test_a_worker_without_a_job_is_nobodys_to_see(stage: Stage, city: City) -> None:
    customer_id, worker_id = await city.person(Role.CUSTOMER, "C"), await city.worker(5)
    await city.booking(customer_id, state="searching")
    token = stage.token(Role.CUSTOMER, customer_id)
    async with (
        page_on(stage, "/customer", {"token": token}) as page,
        phone_on(stage, stage.token(Role.WORKER, worker_id, slot=5)) as phone,
    ):
        await page.hear("welcome")
        await phone.send(1, 1, stage.fixes(PORTO))
        await phone.hear(2)
        await _nothing_of(stage, page, "position")


async def test_a_strangers_position_is_not_heard(
    stage: Stage, job: tuple[str, str, UUID, UUID, UUID], city: City
) -> None:
    _, worker, *_ = job
    stranger = stage.token(Role.CUSTOMER, await city.person(Role.CUSTOMER, "S"))
    async with page_on(stage, "/customer", {"token": stranger}) as page, phone_on(stage, worker) as phone:
        await page.hear("welcome")
        await phone.send(1, 1, stage.fixes(PORTO))
        await phone.hear(2)
        await _nothing_of(stage, page, "position")


# ---------------------------------------------------------------- alarms


async def test_a_raw_trigger_is_forwarded_at_once_as_the_person(stage: Stage, city: City, door: FakeDoor) -> None:
    token = stage.token(Role.WORKER, await city.worker(5), slot=5)
    trigger_id = uuid4()
    fix = stage.fixes(PORTO)
    async with phone_on(stage, token) as phone:
        await phone.hear(0)
        await phone.send(3, 4, fix + trigger_id.bytes + bytes([2]) + bytes(7))
        headers, body = await asyncio.wait_for(door.received.get(), 5)
        assert await phone.hear(2) == [2, 4, 2]
        door.status, door.answer = 202, {"state": "spooled"}
        await phone.send(3, 5, bytes(24) + trigger_id.bytes + bytes([4]) + bytes(7))
        assert await phone.hear(2) == [2, 5, 1]
    assert headers["Authorization"] == f"Bearer {token}"
    assert headers["X-Clenzy-Door"] == "socket"
    assert (body["trigger_id"], body["kind"]) == (str(trigger_id), "gesture")
    assert body["fix"]["lat"] == pytest.approx(PORTO[0])
    assert body["fix"]["accuracy_m"] == 5
    assert "fix" not in (await door.received.get())[1]


async def test_an_alarm_does_not_wait_for_pings_commands_or_a_spent_budget(stage: Stage, city: City) -> None:
    token = stage.token(Role.WORKER, await city.worker(5, duty="off"), slot=5)
    async with phone_on(stage, token) as phone:
        await phone.hear(0)
        for seq in range(45):
            await phone.send(1, seq, stage.fixes(*[PORTO] * 50))
        await phone.send(3, 99, bytes(24) + uuid4().bytes + bytes(8))
        await phone.hear(2, where=lambda frame: frame[2] == 2)


async def test_the_same_trigger_under_way_is_forwarded_once(stage: Stage, city: City, door: FakeDoor) -> None:
    token = stage.token(Role.WORKER, await city.worker(5), slot=5)
    body = bytes(24) + uuid4().bytes + bytes(8)
    door.gate.clear()
    async with phone_on(stage, token) as phone:
        for seq in (1, 2, 3):
            await phone.send(3, seq, body)
        await asyncio.wait_for(door.received.get(), 5)
        await phone.send(1, 4, stage.fixes(PORTO))
        await phone.hear(2, where=lambda frame: frame[1] == 4)
        door.gate.set()
        assert (await phone.hear(2, where=lambda frame: frame[2] == 2))[1] == 1
    assert door.received.empty()


async def test_a_trigger_without_a_door_is_unavailable(stage: Stage, city: City, door: FakeDoor) -> None:
    door.status, door.answer = 503, {"code": "unavailable", "detail": "no disk"}
    token = stage.token(Role.WORKER, await city.worker(5), slot=5)
    async with phone_on(stage, token) as phone:
        await phone.send(3, 7, bytes(24) + uuid4().bytes + bytes(8))
        refusal = (await phone.hear(8))[1]
    assert (refusal["code"], refusal["seq"]) == ("unavailable", 7)


async def test_a_customers_trigger_carries_the_doors_answer(stage: Stage, city: City, door: FakeDoor) -> None:
    token = stage.token(Role.CUSTOMER, await city.person(Role.CUSTOMER, "C"))
    trigger = {"trigger_id": str(uuid4()), "kind": "button"}
    async with page_on(stage, "/customer", {"token": token}) as page:
        answer = await page.call("safetap", trigger)
        assert answer == {"ok": True, "result": {"trigger_id": trigger["trigger_id"], "state": "committed"}}
        door.status, door.answer = 422, {"code": "invalid_input", "detail": "no such kind", "field": "kind"}
        refused = await page.call("safetap", {"kind": "x"})
    assert refused == {"ok": False, "error": {"code": "invalid_input", "detail": "no such kind", "field": "kind"}}
    assert (await door.received.get())[1] == trigger


# ---------------------------------------------------------------- consoles


@pytest.fixture
async def desk(city: City, stage: Stage) -> str:
    return stage.token(Role.DISPATCHER, await city.person(Role.DISPATCHER, "D"))


def rows_of(frame: bytes) -> tuple[dict[str, Any], np.ndarray]:
    body = msgpack.unpackb(frame)
    return body, np.frombuffer(body["rows"], MAP_ROW)


async def test_a_console_sees_workers_come_move_change_and_leave(stage: Stage, city: City, desk: str) -> None:
    token = stage.token(Role.WORKER, await city.worker(5), slot=5)
    async with phone_on(stage, token) as phone, page_on(stage, "/console", {"token": desk}) as page:
        await phone.send(1, 1, stage.fixes(PORTO, at_ms=stage.clock.now_ms() - 3_000))
        await phone.hear(2)
        assert (await page.call("view", {"bbox": CITY_BOX, "zoom": 14}))["ok"]
        body, rows = rows_of(await page.hear("map"))
        assert (body["kind"], body["full"]) == ("workers", True)
        assert [(row["slot"], row["lat_e7"], row["status"], row["battery_pct"]) for row in rows] == [
            (5, round(PORTO[0] * 1e7), 0, 80)
        ]
        await phone.send(1, 2, stage.fixes((PORTO[0] + 0.0005, PORTO[1])))
        body, rows = rows_of(await page.hear("map"))
        assert not body["full"]
        assert rows["lat_e7"].tolist() == [round((PORTO[0] + 0.0005) * 1e7)]
        await stage.redis.set("geo:status", bytes(5) + b"\x03")
        body, rows = rows_of(await page.hear("map"))
        assert rows["status"].tolist() == [2]
        await phone.send(4, 1, "duty", {"duty": "off"})
        body, rows = rows_of(await page.hear("map"))
        assert (len(rows), np.frombuffer(body["gone"], "<u4").tolist()) == (0, [5])


async def test_far_out_a_console_sees_cells_with_counts(stage: Stage, city: City, desk: str) -> None:
    workers = [stage.token(Role.WORKER, await city.worker(slot), slot=slot) for slot in (5, 6)]
    await stage.redis.set("geo:status", bytes(5) + b"\x01\x03")
    async with phone_on(stage, workers[0]) as one, phone_on(stage, workers[1]) as two:
        for phone in (one, two):
            await phone.send(1, 1, stage.fixes(PORTO))
            await phone.hear(2)
        async with page_on(stage, "/console", {"token": desk}) as page:
            await page.call("view", {"bbox": CITY_BOX, "zoom": 11})
            body = msgpack.unpackb(await page.hear("map"))
            cells = np.frombuffer(body["cells"], CELL_ROW)
            assert (body["kind"], cells["workers"].tolist(), cells["busy"].tolist()) == ("cells", [2], [1])
            await page.call("view", {"bbox": [-180, -80, 180, 80], "zoom": 1})
            body = msgpack.unpackb(await page.hear("map"))
            assert np.frombuffer(body["cells"], CELL_ROW)["workers"].tolist() == [2]


async def test_a_console_sees_its_own_organisation_only(stage: Stage, city: City, desk: str) -> None:
    other = OrgId(UUID(int=9))
    await stage.pool.execute("INSERT INTO org SELECT $1, 'Other', created_at FROM org", other)
    token = stage.token(Role.WORKER, await city.worker(5, org=other), slot=5, org=other)
    async with phone_on(stage, token) as phone, page_on(stage, "/console", {"token": desk}) as page:
        await phone.send(1, 1, stage.fixes(PORTO))
        await phone.hear(2)
        await page.call("view", {"bbox": CITY_BOX, "zoom": 14})
        body, rows = rows_of(await page.hear("map"))
    assert (body["full"], len(rows)) == (True, 0)


async def test_line_8_what_a_console_is_shown_of_an_incident_is_on_record_once(stage: Stage, city: City) -> None:
    desk_id, worker_id = await city.person(Role.DISPATCHER, "D"), await city.worker(5)
    incident_id = uuid4()
    await stage.pool.execute(
        """INSERT INTO incident (incident_id, org_id, region_id, person_id, person_role, kind, severity, version, step,
                                 state, policy, opened_at)
           SELECT $1, org_id, region_id, person_id, role, 'button', 1, 1, 0, 'open', '{}', now()
             FROM person WHERE person_id = $2""",
        incident_id, worker_id,
    )  # fmt: skip
    entries = "SELECT actor_id, subject, detail ->> 'incident_id' FROM audit_log WHERE action = 'incident.live_read'"
    token = stage.token(Role.DISPATCHER, desk_id)
    async with page_on(stage, "/console", {"token": token}) as page, page_on(stage, "/console", {"token": token}):
        await page.hear("welcome")
        for _ in range(3):
            await stage.publish(f"desk:{ORG}", "incident", {"incident_id": str(incident_id), "is_drill": False})
            await page.hear("incident")

        async def are_written() -> bool:
            return len(await stage.pool.fetch(entries)) >= 2

        await eventually(are_written, timeout_s=20)
    rows = [tuple(row) for row in await stage.pool.fetch(entries)]
    assert rows == [(desk_id, f"person:{worker_id}", str(incident_id))] * 2, (
        "each console once, however often it changes"
    )


async def test_a_console_hears_of_its_desk_and_gets_figures(stage: Stage, city: City, desk: str) -> None:
    customer_id = await city.person(Role.CUSTOMER, "C")
    await city.booking(customer_id)
    token = stage.token(Role.WORKER, await city.worker(5), slot=5)
    async with phone_on(stage, token) as phone, page_on(stage, "/console", {"token": desk}) as page:
        await phone.send(1, 1, stage.fixes(PORTO))
        await phone.hear(2)
        incident_id = str(uuid4())
        await stage.publish(f"desk:{ORG}", "incident", {"incident_id": incident_id, "is_drill": True})
        assert (await page.hear("incident"))["incident_id"] == incident_id
        figures = await page.hear("stats", where=lambda body: body["workers_live"] == 1)
    assert (figures["workers_on_duty"], figures["bookings"]) == (1, {"searching": 1})


@pytest.mark.parametrize(
    "view",
    [
        {},
        {"bbox": [1, 2, 3], "zoom": 1},
        {"bbox": [0, 50, 1, 40], "zoom": 1},
        {"bbox": [0, 40, math.nan, 50], "zoom": 1},
        {"bbox": ["a", 1, 2, 3], "zoom": 1},
        None,
    ],
)
async def test_a_view_of_nowhere_is_refused(stage: Stage, desk: str, view: Any) -> None:
    async with page_on(stage, "/console", {"token": desk}) as page:
        answer = await page.call("view", view)
    assert (answer["ok"], answer["error"]["code"]) == (False, "malformed_frame")


async def test_metrics_and_readiness_are_served(stage: Stage, city: City) -> None:
    token = stage.token(Role.WORKER, await city.worker(5), slot=5)
    async with phone_on(stage, token) as phone, aiohttp.ClientSession() as client:
        await phone.send(1, 1, stage.fixes(PORTO))
        await phone.hear(2)
        await eventually(lambda: stage.readiness.is_ready)
        async with client.get(f"{stage.url}/readyz") as ready:
            assert ready.status == 200
        async with client.get(f"{stage.url}/metrics") as metrics:
            text = await metrics.text()
    assert 'clenzy_gateway_fixes_total{outcome="accepted"}' in text
    assert "clenzy_gateway_ping_to_cell_seconds_bucket" in text
    assert (await CellIndex(stage.redis).cell_members([cell_of(*PORTO)]))[cell_of(*PORTO)] == [5]
