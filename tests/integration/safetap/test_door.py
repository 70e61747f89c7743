"""The door through real HTTP: what a phone and a desk meet."""

import asyncio
import socket
import stat
from pathlib import Path
from uuid import uuid4

import pytest

from clenzy.ports import any_free
from config.limits import ACCESS_TOKEN_MS, TRIGGER_BYTES_MAX
from engine.core.ids import DeviceId
from engine.core.vocabulary import DeviceKind
from engine.people.devices import add_device, new_token
from engine.people.tokens import AccessTokens
from tests.conftest import TokenKeys
from tests.integration.safetap.doors import CLOCK, ORIGIN, OpenDoor, door_settings, open_door
from tests.integration.safetap.world import World


def trigger(**fields: object) -> dict[str, object]:
    return {"trigger_id": str(uuid4()), "kind": "button", **fields}


@pytest.fixture
def worker_token(world: World, tokens: AccessTokens) -> str:
    return world.token(tokens, world.worker, now_ms=CLOCK.now_ms())


@pytest.fixture
def desk_token(world: World, tokens: AccessTokens) -> str:
    return world.token(tokens, world.dispatcher, now_ms=CLOCK.now_ms())


async def test_a_trigger_is_committed_before_it_is_acknowledged(
    door: OpenDoor, world: World, worker_token: str
) -> None:
    body = trigger(
        booking_id=str(world.booking_id), fix={"lat": 41.15, "lng": -8.61, "accuracy_m": 9, "ts_ms": CLOCK.now_ms()}
    )
    status, answer = await door.trigger(worker_token, body)
    row = await world.pool.fetchrow("SELECT * FROM safetap_trigger")  # another connection than the door's
    assert (status, answer) == (200, {"trigger_id": body["trigger_id"], "state": "committed"})
    assert (str(row["trigger_id"]), row["door"], row["token_state"]) == (body["trigger_id"], "direct", "valid")
    assert (await world.incident())["booking_id"] == world.booking_id


async def test_the_same_trigger_gives_the_same_answer_through_every_door(
    door: OpenDoor, world: World, worker_token: str
) -> None:
    body = trigger()
    answers = await asyncio.gather(
        *(
            door.trigger(worker_token, body, through_socket=n % 2 == 0, headers={"X-Clenzy-Door": "socket"})
            for n in range(8)
        )
    )
    assert {status for status, _ in answers} == {200}
    assert all(answer == answers[0][1] for _, answer in answers)
    assert await world.pool.fetchval("SELECT count(*) FROM incident_event WHERE kind <> 'step'") == 1


async def test_a_trackers_alarm_is_committed_and_its_token_is_good_on_the_unix_socket_alone(
    door: OpenDoor, world: World
) -> None:
    token, device_id = new_token(), DeviceId(uuid4())
    async with world.pool.acquire() as conn, conn.transaction():
        await add_device(
            conn, device_id=device_id, token=token, worker_id=world.worker, org_id=world.org_id,
            kind=DeviceKind.OSMAND, label="", actor_id=None, now_ms=CLOCK.now_ms(),
        )  # fmt: skip
    body = trigger(fix={"lat": 41.15, "lng": -8.61, "ts_ms": CLOCK.now_ms()})
    headers = {"Authorization": f"Device {token}", "X-Clenzy-Door": "socket"}
    for _ in range(2):
        status, answer = await door.trigger("", body, headers=headers, through_socket=True)
        assert (status, answer) == (200, {"trigger_id": body["trigger_id"], "state": "committed"})
    row = await world.pool.fetchrow("SELECT * FROM safetap_trigger")
    assert (row["person_id"], row["door"], row["token_state"]) == (world.worker, "socket", "valid")
    assert (await world.incident())["booking_id"] == world.booking_id
    for sent, through_socket in ((headers, False), ({"Authorization": f"Device {new_token()}"}, True)):
        status, answer = await door.trigger("", trigger(), headers=sent, through_socket=through_socket)
        assert (status, answer["state"]) == (202, "received")
    assert await world.pool.fetchval("SELECT count(*) FROM safetap_trigger") == 1


@pytest.mark.parametrize(
    ("through_socket", "claims", "door_name"),
    [(True, "socket", "socket"), (True, "api", "api"), (True, "moon", "direct"), (False, "socket", "direct")],
)
async def test_only_the_unix_socket_is_believed_about_the_way_in(
    door: OpenDoor, world: World, worker_token: str, *, through_socket: bool, claims: str, door_name: str
) -> None:
    await door.trigger(worker_token, trigger(), headers={"X-Clenzy-Door": claims}, through_socket=through_socket)
    assert await world.pool.fetchval("SELECT door FROM safetap_trigger") == door_name


async def test_an_expired_token_still_calls_for_help_and_is_marked(
    door: OpenDoor, world: World, tokens: AccessTokens
) -> None:
    old = world.token(tokens, world.customer, now_ms=CLOCK.now_ms() - 30 * ACCESS_TOKEN_MS)
    status, _answer = await door.trigger(old, trigger())
    assert status == 200
    assert await world.pool.fetchval("SELECT token_state FROM safetap_trigger") == "expired"


async def test_a_request_that_shows_nothing_is_refused(door: OpenDoor, world: World) -> None:
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Basic YTpi"}):
        status, problem = await door.trigger("", trigger(), headers=headers)
        assert (status, problem["code"]) == (401, "not_signed_in")
    assert await world.pool.fetchval("SELECT count(*) FROM incident") == 0


async def test_the_desk_raises_no_alarm(door: OpenDoor, desk_token: str) -> None:
    status, problem = await door.trigger(desk_token, trigger())
    assert (status, problem["code"]) == (403, "not_allowed")


async def test_a_person_who_is_gone_is_told_so(door: OpenDoor, world: World, tokens: AccessTokens) -> None:
    ghost = World(world.pool, org_id=world.org_id, region_id=world.region_id)
    status, problem = await door.trigger(ghost.token(tokens, ghost.worker, now_ms=CLOCK.now_ms()), trigger())
    assert (status, problem["code"]) == (401, "not_signed_in")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"no json", None),
        ({"kind": "button"}, "trigger_id"),
        ({"trigger_id": "7", "kind": "button"}, "trigger_id"),
        ({"trigger_id": "5f0c1f0a-0000-4000-8000-000000000000", "kind": "shake"}, "kind"),
    ],
)
async def test_a_wrong_field_is_named(door: OpenDoor, worker_token: str, body: object, field: str | None) -> None:
    status, problem = await door.trigger(worker_token, body)
    assert (status, problem["code"], problem.get("field")) == (422, "invalid_input", field)
    assert problem["title"] == "Unprocessable Entity"
    assert problem["detail"]


async def test_an_oversized_body_is_refused(door: OpenDoor, worker_token: str) -> None:
    status, problem = await door.trigger(worker_token, b"x" * (TRIGGER_BYTES_MAX + 1))
    assert (status, problem["code"]) == (413, "body_too_large")


async def test_errors_are_problem_documents(door: OpenDoor) -> None:
    async with door.by_port.get("/nowhere") as answer:
        assert (answer.status, answer.content_type) == (404, "application/problem+json")
    async with door.by_port.get("/v1/safetap") as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (405, "method_not_allowed")
    async with door.by_port.post("/v1/safetap") as answer:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_pages_of_our_origins_may_call_and_others_may_not(door: OpenDoor, worker_token: str) -> None:
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    async with door.by_port.options("/v1/safetap", headers=preflight) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    async with door.by_port.options("/v1/safetap", headers={**preflight, "Origin": "https://evil.test"}) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
    headers = {"Authorization": f"Bearer {worker_token}", "Origin": ORIGIN}
    async with door.by_port.post("/v1/safetap", headers=headers, json={}) as answer:
        assert answer.status == 422
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


async def test_the_desk_acknowledges_and_closes_here_too(
    door: OpenDoor, world: World, worker_token: str, desk_token: str
) -> None:
    await door.trigger(worker_token, trigger())
    incident_id = (await world.incident())["incident_id"]
    status, problem = await door.act(worker_token, incident_id, "acknowledge")
    assert (status, problem["code"]) == (403, "not_allowed")
    status, view = await door.act(desk_token, incident_id, "acknowledge")
    assert (status, view["state"], view["acknowledged_by"]) == (200, "acknowledged", "Dora Dispatcher")
    status, problem = await door.act(desk_token, incident_id, "close")
    assert (status, problem["field"]) == (422, "reason")
    status, view = await door.act(desk_token, incident_id, "close", reason="safe")
    assert (status, view["state"], view["close_reason"]) == (200, "closed", "safe")
    status, problem = await door.act(desk_token, incident_id, "acknowledge")
    assert (status, problem["code"]) == (409, "conflict")


async def test_an_expired_token_does_not_act_for_the_desk(
    door: OpenDoor, world: World, tokens: AccessTokens, worker_token: str
) -> None:
    await door.trigger(worker_token, trigger())
    old = world.token(tokens, world.dispatcher, now_ms=CLOCK.now_ms() - 2 * ACCESS_TOKEN_MS)
    status, problem = await door.act(old, (await world.incident())["incident_id"], "acknowledge")
    assert (status, problem["code"]) == (401, "not_signed_in")


@pytest.mark.parametrize("incident_id", ["nonsense", "5f0c1f0a-0000-4000-8000-000000000000"])
async def test_an_incident_that_does_not_exist(door: OpenDoor, desk_token: str, incident_id: str) -> None:
    status, problem = await door.act(desk_token, incident_id, "acknowledge")
    assert (status, problem["code"]) == (404, "not_found")


async def test_the_first_step_follows_by_itself(door: OpenDoor, world: World, worker_token: str) -> None:
    """The real loop, woken by the trigger's commit: no test moves the time."""
    await door.trigger(worker_token, trigger())
    async with asyncio.timeout(10):
        while (await world.incident())["step"] < 1:
            await CLOCK.sleep_ms(10)
    due_at, opened_at = await world.pool.fetchrow("SELECT due_at, opened_at FROM incident_timer, incident")
    assert (due_at - opened_at).total_seconds() == 20
    assert await world.pool.fetchval("SELECT state FROM notice WHERE channel = 'desk'") == "sent"


async def test_what_the_door_counts_can_be_read(door: OpenDoor, worker_token: str) -> None:
    await door.trigger(worker_token, trigger())
    async with door.by_port.get("/metrics") as answer:
        text = await answer.text()
    assert 'clenzy_safetap_triggers_total{door="direct",outcome="committed"}' in text
    for name in ("acknowledge_seconds_bucket", "incidents_live", "step_lateness_seconds_bucket", "spool_bytes"):
        assert f"clenzy_safetap_{name}" in text


async def test_the_socket_is_for_our_own_group_only(door: OpenDoor) -> None:
    mode = door.settings.safetap_socket_path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


async def test_a_second_door_does_not_steal_the_socket(door: OpenDoor) -> None:
    settings = door.settings.model_copy(update={"safetap_port": any_free()})
    with pytest.raises(ExceptionGroup) as refused:
        async with open_door(settings):
            pass
    assert refused.group_contains(OSError, match="another process listens")


async def test_the_socket_that_a_killed_door_left_is_replaced_and_removed(
    tmp_path: Path, world: World, database_url: str, token_keys: TokenKeys, worker_token: str
) -> None:
    settings = door_settings(tmp_path, database_url, token_keys.public_pem)
    path = settings.safetap_socket_path
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    async with open_door(settings) as door:
        status, _answer = await door.trigger(worker_token, trigger(), through_socket=True)
    assert status == 200
    assert not path.exists()
    assert await world.pool.fetchval("SELECT count(*) FROM safetap_trigger") == 1
