"""Line 10 at the gateway: every path, namespace and event, whoever knocks. Generated from what is registered."""

import asyncio
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import socketio

from engine.core.vocabulary import Role
from gateway_ws.socketio.namespace import SessionNamespace
from gateway_ws.trackers.door import APPS
from tests.integration.gateway.harness import City, Stage, page_on, phone_on

OPEN = {"GET /healthz", "GET /readyz", "GET /metrics"}
SOCKETS = {"GET /ws/ping", "* /socket.io/"}
TRACKERS = {
    f"{method} /ingest/{name}{rest}"
    for name, tracker in APPS.items()
    for method in (("GET", "POST") if tracker.takes_get else ("POST",))
    for rest in ("", "/{token}")
}

NAMESPACES = {
    "/worker": ({Role.WORKER}, {"duty", "offer.accept", "offer.decline", "booking.transition", "state"}
                | {"check.in", "ping", "safetap", "token"}),
    "/customer": ({Role.CUSTOMER}, {"check.in", "safetap", "token"}),
    "/console": ({Role.DISPATCHER, Role.ADMIN}, {"view", "token"}),
}  # fmt: skip
"""Who may come in, and what they may say there, written down once more by hand."""


def registered(stage: Stage) -> dict[str, SessionNamespace[Any]]:
    handlers: dict[str, SessionNamespace[Any]] = stage.gateway._sio.namespace_handlers
    return handlers


async def test_line_10_every_path_of_the_gateway_has_a_rule(stage: Stage) -> None:
    routes = {f"{one.method} {one.resource.canonical}" for one in stage.gateway.app().router.routes() if one.resource}
    assert {one for one in routes if not one.startswith("HEAD ")} == OPEN | SOCKETS | TRACKERS


async def test_line_10_every_namespace_and_event_has_a_rule(stage: Stage) -> None:
    found = {name: (set(one.roles), set(one.events)) for name, one in registered(stage).items()}
    assert found == NAMESPACES


async def test_line_10_each_role_enters_its_own_namespace_and_no_other(stage: Stage, city: City) -> None:
    slots = {Role.WORKER: 3}
    for role in Role:
        person = await city.worker(3) if role is Role.WORKER else await city.person(role, role.value)
        token = stage.token(role, person, slot=slots.get(role))
        for namespace, (roles, _) in NAMESPACES.items():
            if role in roles:
                async with page_on(stage, namespace, {"token": token}) as page:
                    await page.hear("welcome")
            else:
                assert await refusal(stage, namespace, token) == "not_allowed", (role, namespace)
    for namespace in NAMESPACES:
        for token in ("", "a.b.c", stage.token(Role.ADMIN, uuid4(), age_ms=86_400_000)):
            assert await refusal(stage, namespace, token) == "not_signed_in", (namespace, token[:10])


async def refusal(stage: Stage, namespace: str, token: str) -> str:
    told: asyncio.Queue[Any] = asyncio.Queue()
    client = socketio.AsyncClient(reconnection=False)
    client.on("connect_error", told.put, namespace=namespace)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(stage.url, namespaces=[namespace], auth={"token": token}, transports=["websocket"])
    async with asyncio.timeout(15):
        code: str = (await told.get())["data"]["code"]
    await client.disconnect()
    return code


async def test_line_10_an_event_of_another_namespace_is_unknown(stage: Stage, city: City) -> None:
    every = {event for _, events in NAMESPACES.values() for event in events}
    for namespace, (roles, events) in NAMESPACES.items():
        role = min(roles)
        person = await city.worker(4) if role is Role.WORKER else await city.person(role, "P")
        token = stage.token(role, person, slot=4 if role is Role.WORKER else None)
        async with page_on(stage, namespace, {"token": token}) as page:
            await page.hear("welcome")
            for event in sorted(every - events):
                answer = await page.call(event, {})
                assert answer["error"]["code"] == "unknown_type", (namespace, event)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.WORKER])
async def test_line_10_the_ping_socket_is_the_workers_alone(stage: Stage, city: City, role: Role) -> None:
    async with phone_on(stage, stage.token(role, await city.person(role, "P"))) as phone:
        assert await phone.close_code() == 4403
        assert phone.frames[0][1]["code"] == "not_allowed"


async def test_line_10_a_tracker_posts_with_its_own_token_alone(stage: Stage, city: City) -> None:
    """An access token, whoever's, opens no tracker's door: it would be kept in phones that never renew it."""
    tokens = ["", "nonsense", stage.token(Role.WORKER, await city.worker(5), slot=5), stage.token(Role.ADMIN, uuid4())]
    async with aiohttp.ClientSession(stage.url) as client:
        for route in TRACKERS:
            method, path = route.split(" ")
            for token in tokens:
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                place = path.replace("{token}", token or "x")
                async with client.request(method, place, headers=headers) as answer:
                    assert answer.status == 401, (route, token[:10])


async def test_line_10_no_command_reaches_a_booking_or_an_offer_of_somebody_else(stage: Stage, city: City) -> None:
    customer, other = await city.person(Role.CUSTOMER, "C"), await city.worker(7)
    booking_id = await city.booking(customer, state="assigned", worker_id=other)
    async with page_on(stage, "/worker", {"token": stage.token(Role.WORKER, await city.worker(6), slot=6)}) as page:
        await page.hear("welcome")
        for event, body in (
            ("booking.transition", {"booking_id": str(booking_id), "to": "en_route"}),
            ("offer.accept", {"offer_id": str(uuid4())}),
            ("offer.decline", {"offer_id": str(uuid4())}),
        ):
            answer = await page.call(event, body)
            assert answer["error"]["code"] == "not_found", (event, answer)
