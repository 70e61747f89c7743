"""The desk's live stream through a real websocket, fed by whatever commits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from config.limits import ACCESS_TOKEN_MS, LIVE_FRAMES_MAX, TOKEN_GRACE_MS
from engine.people.refresh_tokens import add_refresh_token, revoke_family_of
from engine.people.tokens import AccessTokens
from engine.safetap.chain_reading import verify_everything
from engine.safetap.desk import acknowledge
from engine.safetap.trigger_store import store_trigger
from engine.safetap.watched import who_watched
from safetap_door.live_desks import SLOW_READER, Desk, LiveDesks
from tests.integration.safetap.doors import CLOCK, ORIGIN, OpenDoor
from tests.integration.safetap.world import World

Live = aiohttp.ClientWebSocketResponse


@asynccontextmanager
async def desk(door: OpenDoor, token: str, **headers: str) -> AsyncIterator[Live]:
    async with door.by_port.ws_connect("/v1/safetap/live", headers=headers) as socket:
        await socket.send_json({"token": token})
        yield socket


async def hear(socket: Live) -> dict[str, Any]:
    """Return what comes next, but for news of slow processes, which a busy machine may have."""
    while (message := await socket.receive_json(timeout=20)).get("type") == "watch":
        pass
    assert isinstance(message, dict)
    return message


async def hear_until(socket: Live, **wanted: object) -> dict[str, Any]:
    """Return the first incident that looks as wanted; changes on the way may or may not be shown one by one.

    One that came before the door began to listen is shown with everything else.
    """
    async with asyncio.timeout(20):
        while True:
            message = await hear(socket)
            shown = message["incidents"] if message["type"] == "snapshot" else [message.get("incident", {})]
            for incident in shown:
                if wanted.items() <= incident.items():
                    return dict(incident)


async def ping(socket: Live) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the answer, and what came before it: a door that has just begun to listen shows everything once more."""
    await socket.send_json({"type": "ping"})
    before = []
    while (message := await hear(socket))["type"] != "pong":
        before.append(message)
    return message, before


async def closing(socket: Live) -> int | None:
    async with asyncio.timeout(10):
        async for _message in socket:
            pass
    return socket.close_code


@pytest.fixture
def desk_token(world: World, tokens: AccessTokens) -> str:
    return world.token(tokens, world.dispatcher, now_ms=CLOCK.now_ms())


async def press(world: World) -> Any:
    async with world.pool.acquire() as conn:
        return await store_trigger(conn, world.received(at_ms=CLOCK.now_ms()), new_id=uuid4)


async def test_a_desk_sees_what_is_there_and_then_every_change(
    door: OpenDoor, world: World, tokens: AccessTokens, desk_token: str
) -> None:
    incident_id = await press(world)
    async with desk(door, desk_token) as socket:
        snapshot = await hear(socket)
        assert snapshot["type"] == "snapshot"
        assert [one["incident_id"] for one in snapshot["incidents"]] == [str(incident_id)]
        async with world.pool.acquire() as conn:  # as the API does it, in another process
            actor = world.principal(world.other_dispatcher)
            await acknowledge(conn, incident_id=incident_id, actor=actor, now_ms=CLOCK.now_ms())
        assert (await hear_until(socket, state="acknowledged"))["acknowledged_by"] == "Otto Dispatcher"
        worker_token = world.token(tokens, world.worker, now_ms=CLOCK.now_ms())
        await door.trigger(worker_token, {"trigger_id": str(uuid4()), "kind": "hold"})
        assert (await hear_until(socket, state="open"))["severity"] == 2
        await door.act(desk_token, incident_id, "close", reason="safe")
        await hear_until(socket, state="closed")


async def test_another_organisation_sees_nothing_of_it(
    door: OpenDoor, world: World, tokens: AccessTokens, desk_token: str
) -> None:
    other = await World(world.pool).build()
    token = other.token(tokens, other.dispatcher, now_ms=CLOCK.now_ms())
    async with desk(door, token) as theirs, desk(door, desk_token) as ours:
        assert (await hear(theirs))["incidents"] == []
        assert (await hear(ours))["incidents"] == []
        await press(world)
        await hear_until(ours, step=1)
        _, before = await ping(theirs)
        assert [message["incidents"] for message in before] == [[]] * len(before)


async def test_a_ping_is_answered(door: OpenDoor, desk_token: str) -> None:
    async with desk(door, desk_token) as socket:
        await hear(socket)
        pong, _ = await ping(socket)
        assert abs(pong["at_ms"] - CLOCK.now_ms()) < 5_000


async def test_only_the_desk_may_watch(door: OpenDoor, world: World, tokens: AccessTokens) -> None:
    now_ms = CLOCK.now_ms()
    for token, code in (
        (world.token(tokens, world.worker, now_ms=now_ms), 4403),
        (world.token(tokens, world.customer, now_ms=now_ms), 4403),
        (world.token(tokens, world.dispatcher, now_ms=now_ms - 2 * ACCESS_TOKEN_MS), 4401),
        ("nonsense", 4401),
    ):
        async with desk(door, token) as socket:
            assert await closing(socket) == code


@pytest.mark.parametrize(("first", "code"), [("[]", 4400), ("{", 4400), ("{}", 4401), ('{"token": 7}', 4401)])
async def test_a_first_message_that_is_no_token(door: OpenDoor, first: str, code: int) -> None:
    async with door.by_port.ws_connect("/v1/safetap/live") as socket:
        await socket.send_str(first)
        assert await closing(socket) == code


async def test_pages_of_other_origins_are_turned_away(door: OpenDoor, desk_token: str) -> None:
    async with desk(door, desk_token, Origin=ORIGIN) as socket:
        assert (await hear(socket))["type"] == "snapshot"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with desk(door, desk_token, Origin="https://evil.test"):
            pass
    assert refused.value.status == 403


async def test_a_token_that_runs_out_closes_the_socket_unless_it_is_refreshed(
    door: OpenDoor, world: World, tokens: AccessTokens
) -> None:
    nearly_ms = CLOCK.now_ms() - ACCESS_TOKEN_MS + 3_000
    token = world.token(tokens, world.dispatcher, now_ms=nearly_ms)
    with pytest.MonkeyPatch.context() as limits:
        limits.setattr("safetap_door.live_desks.TOKEN_GRACE_MS", 0)
        async with desk(door, token) as refreshed, desk(door, token) as forgotten:
            await hear(refreshed)
            await hear(forgotten)
            await refreshed.send_json({"token": world.token(tokens, world.dispatcher, now_ms=CLOCK.now_ms())})
            assert await closing(forgotten) == 4401
            await ping(refreshed)
    assert TOKEN_GRACE_MS > 0


async def test_a_socket_does_not_change_hands(
    door: OpenDoor, world: World, tokens: AccessTokens, desk_token: str
) -> None:
    async with desk(door, desk_token) as socket:
        await hear(socket)
        await socket.send_json({"token": world.token(tokens, world.admin, now_ms=CLOCK.now_ms())})
        assert await closing(socket) == 4403


@pytest.mark.parametrize("garbage", ["{", "7"])
async def test_garbage_closes_the_socket(door: OpenDoor, desk_token: str, garbage: str) -> None:
    async with desk(door, desk_token) as socket:
        await hear(socket)
        await socket.send_str(garbage)
        assert await closing(socket) == 4400


async def test_a_stop_sends_the_desks_elsewhere(door: OpenDoor, desk_token: str) -> None:
    async with desk(door, desk_token) as socket:
        await hear(socket)
        door.process.stop.set()
        assert await closing(socket) == 1001


async def test_changes_that_were_missed_are_made_up_for(door: OpenDoor, world: World, desk_token: str) -> None:
    """The listening connection dies, an incident opens meanwhile or right after: a snapshot tells."""
    async with desk(door, desk_token) as socket:
        assert (await hear(socket))["incidents"] == []
        await world.pool.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'safetap_door' AND datname = current_database()"""
        )
        incident_id = await press(world)
        async with asyncio.timeout(30):
            while True:
                message = await hear(socket)
                if message["type"] == "snapshot" and message["incidents"]:
                    break
        assert message["incidents"][0]["incident_id"] == str(incident_id)


def test_a_desk_that_does_not_read_is_ended_and_the_first_reason_stands(lone_desk: Desk) -> None:
    for _ in range(LIVE_FRAMES_MAX):
        lone_desk.send("x")
    assert not lone_desk.ended.is_set()
    lone_desk.send("one too many")
    lone_desk.end(1001, "going_away")
    assert (lone_desk.close_code, lone_desk.close_reason) == (SLOW_READER, "slow_reader")


@pytest.fixture
def lone_desk() -> Desk:
    nobody = World(None)  # type: ignore[arg-type]
    return Desk(nobody.org_id, nobody.principal(nobody.dispatcher))


async def test_a_desk_that_does_not_read_is_closed_and_delays_nobody(
    world: World, tokens: AccessTokens, desk_token: str
) -> None:
    desks = LiveDesks(pool=world.pool, clock=CLOCK, tokens=tokens, origins=frozenset(), name_of=lambda _: None)
    app = web.Application()
    app.router.add_get("/v1/safetap/live", desks.serve)
    async with TestClient(TestServer(app)) as client, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(desks.run())
        silent = await client.ws_connect("/v1/safetap/live")
        reader = await client.ws_connect("/v1/safetap/live")
        for socket in (silent, reader):
            await socket.send_json({"token": desk_token})
            assert (await hear(socket))["type"] == "snapshot"
        line = stop_reading(silent)
        for number in range(2 * LIVE_FRAMES_MAX):
            desks._send_to_org(world.org_id, f'{{"number": {number}, "padding": "{"x" * 50_000}"}}')
            assert (await hear(reader))["number"] == number
        assert desks.sockets == 1
        line.abort()
        await silent.close()
        await reader.close()
        running.cancel()


def stop_reading(socket: Live) -> asyncio.Transport:
    """Let the kernel's buffers fill, as a browser tab does that was put to sleep."""
    connection = socket._response.connection
    assert connection is not None
    assert isinstance(connection.transport, asyncio.Transport)
    connection.transport.pause_reading()
    return connection.transport


LOOKS = """
SELECT actor_id, action, subject, detail ->> 'incident_id' AS incident_id FROM audit_log
 WHERE action IN ('live.opened', 'incident.live_read') ORDER BY audit_id
"""


async def test_line_8_who_opened_the_stream_and_what_it_showed_is_on_record_and_told_when_the_alarm_is_over(
    door: OpenDoor, world: World, desk_token: str
) -> None:
    before, stranger = await press(world), await World(world.pool).build()
    async with stranger.pool.acquire() as conn:
        await store_trigger(conn, stranger.received(at_ms=CLOCK.now_ms()), new_id=uuid4)
    async with desk(door, desk_token) as socket:
        await hear(socket)
        async with world.pool.acquire() as conn:
            customers = world.received(world.customer, at_ms=CLOCK.now_ms())
            later = await store_trigger(conn, customers, new_id=uuid4)
        await hear_until(socket, incident_id=str(later))
        await door.act(desk_token, before, "acknowledge")
        await hear_until(socket, incident_id=str(before), state="acknowledged")
        async with asyncio.timeout(20):
            while len(looks := await world.pool.fetch(LOOKS)) < 3:
                await CLOCK.sleep_ms(50)
    told = {(row["action"], row["subject"], row["incident_id"]) for row in looks}
    assert told == {
        ("live.opened", f"org:{world.org_id}", None),
        ("incident.live_read", f"person:{world.worker}", str(before)),
        ("incident.live_read", f"person:{world.customer}", str(later)),
    }, "each incident once, however often it changes, and nobody else's"
    assert {row["actor_id"] for row in looks} == {world.dispatcher}

    async def seen() -> list[object]:
        async with world.pool.acquire() as conn:
            return [one["what"] for one in await who_watched(conn, world.worker)]

    for reason in ("safe", "reviewed"):
        assert await seen() == [], "live, then held"
        await door.act(desk_token, before, "close", reason=reason)
    assert await seen() == ["incident.live_read"]
    async with world.pool.acquire() as conn:
        assert (await verify_everything(conn)).broken == []


@pytest.mark.parametrize("end", ["suspended", "signed out", "another role", "all tokens"])
async def test_line_13_a_desk_whose_sign_in_ends_is_closed_and_opens_no_more(
    door: OpenDoor, world: World, tokens: AccessTokens, end: str
) -> None:
    now_ms = CLOCK.now_ms()
    who = world.principal(world.dispatcher)
    token = tokens.issue(
        person_id=who.person_id,
        role=who.role,
        org_id=who.org_id,
        region_id=who.region_id,
        slot=None,
        session_id=who.session_id,
        now_ms=now_ms,
    )
    other = world.token(tokens, world.other_dispatcher, now_ms=now_ms)
    async with desk(door, token) as socket, desk(door, other) as staying:
        await hear(socket)
        await hear(staying)
        async with world.pool.acquire() as conn:
            match end:
                case "suspended":
                    await conn.execute("UPDATE person SET status = 'suspended' WHERE person_id = $1", who.person_id)
                case "signed out":
                    refresh = await add_refresh_token(
                        conn, person_id=who.person_id, family_id=who.session_id, now_ms=now_ms
                    )
                    await revoke_family_of(conn, refresh, person_id=who.person_id, now_ms=now_ms)
                case "another role":
                    await conn.execute("UPDATE person SET role = 'admin' WHERE person_id = $1", who.person_id)
                case _:
                    await conn.execute(
                        "UPDATE person SET tokens_valid_after = now() + interval '1 s' WHERE person_id = $1",
                        who.person_id,
                    )
        assert await closing(socket) == 4401
        await ping(staying)
    async with desk(door, token) as again:
        async with asyncio.timeout(15):
            message = await again.receive()
        assert (message.type, again.close_code) == (aiohttp.WSMsgType.CLOSE, 4401), "not even a snapshot"
