"""Line 10 at SafeTap's own port and Unix socket: every route, everybody who might knock. Generated from the router."""

import asyncio
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from config.settings import Settings
from engine.core.units import utc_from_ms
from engine.people.tokens import AccessTokens
from engine.safetap.trigger_store import store_trigger
from ops.readiness import Readiness
from safetap_door.__main__ import build_app
from safetap_door.check_ins import add_pin_routes
from safetap_door.live_desks import LiveDesks
from safetap_door.locked_phone import LockedPhoneServices, add_locked_phone_routes
from safetap_door.routes import DoorServices
from tests.integration.safetap.doors import CLOCK, OpenDoor
from tests.integration.safetap.world import World

OPEN = {"GET /healthz", "GET /readyz", "GET /metrics"}
"""Tell nothing of anybody; a test below looks."""
SIGNED = {
    "POST /v1/safetap/doors/sms", "POST /v1/safetap/doors/voice", "POST /v1/safetap/receipts/sms",
    "POST /v1/safetap/receipts/voice", "POST /v1/safetap/receipts/voice/answer", "POST /v1/safetap/receipts/webhook",
}  # fmt: skip
"""Take nothing without a provider's or a receiver's signature."""
NEVER_DROPS = {"POST /v1/safetap", "POST /v1/safetap/doors/shortcut", "POST /v1/safetap/doors/button"}
"""Keep what comes from anybody, marked unless something vouches for it."""
DESK = {
    "POST /v1/incidents/{incident_id}/acknowledge": {},
    "POST /v1/incidents/{incident_id}/close": {"reason": "a test"},
}
"""For dispatchers and admins of the organisation, none of whom has a stake in it."""
SOCKET = {"GET /v1/safetap/live"}
VICTIM = {"POST /v1/safetap/cancel", "POST /v1/safetap/check-in"}
"""For customers and workers, each for themselves; a PIN decides what happens."""


def routes_of(app: web.Application) -> set[str]:
    """Every route of an application, but the HEAD that comes with a GET."""
    routes = {f"{route.method} {route.resource.canonical}" for route in app.router.routes() if route.resource}
    return {route for route in routes if not route.startswith("HEAD ")}


@pytest.fixture
async def door_app(tmp_path: Path) -> web.Application:
    """The application as the composition root builds it; nothing is behind it."""
    nothing: Any = None
    desks = LiveDesks(pool=nothing, clock=CLOCK, tokens=nothing, origins=frozenset(), name_of=lambda _: None)
    services = DoorServices(CLOCK, *[nothing] * (len(fields(DoorServices)) - 1))
    app = build_app(Settings(state_dir=tmp_path), services, desks, Readiness())
    add_pin_routes(app, nothing)
    add_locked_phone_routes(app, LockedPhoneServices(nothing, nothing, nothing))
    return app


async def test_line_10_every_route_of_the_door_has_a_rule(door_app: web.Application) -> None:
    assert routes_of(door_app) == OPEN | SIGNED | NEVER_DROPS | set(DESK) | SOCKET | VICTIM


async def knockers(world: World, tokens: AccessTokens) -> dict[str, str]:
    """What each shows; every one is fresh and authentic."""
    other = await World(world.pool).build()
    now_ms = CLOCK.now_ms()
    forged = world.token(tokens, world.admin, now_ms=now_ms)
    return {
        "nobody": "",
        "nonsense": "a.b.c",
        "forged": forged[:-8] + ("AAAAAAAA" if not forged.endswith("AAAAAAAA") else "BBBBBBBB"),
        "expired": world.token(tokens, world.admin, now_ms=now_ms - 86_400_000),
        "customer": world.token(tokens, world.customer, now_ms=now_ms),
        "worker": world.token(tokens, world.worker, now_ms=now_ms),
        "stranger": other.token(tokens, other.admin, now_ms=now_ms),
        "dispatcher": world.token(tokens, world.dispatcher, now_ms=now_ms),
    }


EXPECTED = {"nobody": 401, "nonsense": 401, "forged": 401, "expired": 401, "customer": 403, "worker": 403,
            "stranger": 404, "dispatcher": 200}  # fmt: skip


async def test_line_10_acts_of_the_desk_are_the_desks_alone(door: OpenDoor, world: World, tokens: AccessTokens) -> None:
    async with world.pool.acquire() as conn:
        incident_id = await store_trigger(conn, world.received(), new_id=uuid4)
    for route, body in DESK.items():
        method, path = route.replace("{incident_id}", str(incident_id)).split(" ")
        for who, token in (await knockers(world, tokens)).items():
            for session in (door.by_port, door.by_socket):
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                async with session.request(method, path, json=body, headers=headers) as answer:
                    assert answer.status == EXPECTED[who], (route, who, await answer.text())


async def test_line_10_a_pin_is_taken_from_whose_it_may_be_alone(
    door: OpenDoor, world: World, tokens: AccessTokens
) -> None:
    """Who has none is told the same as who guessed wrongly; nobody else is asked. An expired token counts."""
    expected = {"customer": 422, "worker": 422, "dispatcher": 403, "stranger": 403, "expired": 403}
    for who, token in (await knockers(world, tokens)).items():
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        for route in VICTIM:
            async with door.by_port.post(route.split(" ")[1], json={"pin": "0000"}, headers=headers) as answer:
                assert answer.status == expected.get(who, 401), (route, who, await answer.text())


async def test_line_13_acts_of_a_desk_whose_sign_in_has_ended_are_refused(
    door: OpenDoor, world: World, tokens: AccessTokens
) -> None:
    async with world.pool.acquire() as conn:
        incident_id = await store_trigger(conn, world.received(), new_id=uuid4)
    token = world.token(tokens, world.dispatcher, now_ms=CLOCK.now_ms() - 1_000)
    await world.pool.execute("UPDATE person SET tokens_valid_after = $1", utc_from_ms(CLOCK.now_ms()))
    for verb, body in (("acknowledge", {}), ("close", {"reason": "a test"})):
        status, problem = await door.act(token, incident_id, verb, **body)
        assert (status, problem["code"]) == (401, "not_signed_in")
    assert (await world.incident())["state"] == "open"


async def test_line_10_the_live_stream_is_the_desks_alone(door: OpenDoor, world: World, tokens: AccessTokens) -> None:
    for who, token in (await knockers(world, tokens)).items():
        async with door.by_port.ws_connect("/v1/safetap/live") as socket, asyncio.timeout(15):
            await socket.send_json({"token": token} if token else {})
            message = await socket.receive()
            if EXPECTED[who] in (200, 404):  # a stranger is the desk of another organisation: theirs is empty
                assert message.json() == {"type": "snapshot", "incidents": []}, who
            else:
                assert message.type is aiohttp.WSMsgType.CLOSE, who
                assert socket.close_code == (4403 if who in ("customer", "worker") else 4401), who


async def test_line_10_without_a_signature_nothing_of_a_provider_is_taken(door: OpenDoor, world: World) -> None:
    """Without secrets of ours these doors do not exist; with them: tests of receipts and of locked phones."""
    for route in SIGNED:
        for headers in ({}, {"X-Twilio-Signature": "AAAA"}, {"webhook-signature": "v1,AAAA"}):
            async with door.by_port.post(route.split(" ")[1], data=b"Body=x&From=%2B1", headers=headers) as answer:
                assert answer.status in (403, 404), route
    assert await world.pool.fetchval("SELECT count(*) FROM safetap_trigger") == 0


async def test_line_10_what_is_open_tells_nothing_of_anybody(
    door: OpenDoor, world: World, tokens: AccessTokens
) -> None:
    place = {"lat": 41.1502345, "lng": -8.6103456, "ts_ms": CLOCK.now_ms()}
    token = world.token(tokens, world.worker, now_ms=CLOCK.now_ms())
    await door.trigger(token, {"trigger_id": str(uuid4()), "kind": "button", "fix": place})
    for route in OPEN:
        async with door.by_port.get(route.split(" ")[1]) as answer:
            text = await answer.text()
        told = [str(one) for one in (world.worker, world.org_id, world.booking_id, "41.15", "8.61", "Walter")]
        assert [one for one in told if one in text] == [], route


async def test_line_10_the_unix_socket_is_our_own_accounts(door: OpenDoor) -> None:
    mode = door.settings.safetap_socket_path.stat().st_mode
    assert mode & 0o007 == 0, "others on this machine may not speak as a gateway"
