"""What a receiver of webhooks gets and answers: a monitoring centre's export, a reference, a name that moves."""

import asyncio
import socket
from collections.abc import AsyncIterator

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks.webhooks import Webhook

from engine.core.vocabulary import Channel, IncidentKind
from engine.safetap.channels.public_address import PublicResolver
from engine.safetap.channels.webhook import WebhookNotifier, org_secret
from tests.integration.safetap.senders import CLOCK, Desk, add_notice
from tests.integration.safetap.world import World

MASTER = "test master secret, thirty-two characters"


@pytest.fixture
async def centre(world: World) -> AsyncIterator[tuple[str, list[dict[str, object]]]]:
    """A monitoring centre that verifies what comes and names its case."""
    taken: list[dict[str, object]] = []

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        Webhook(org_secret(MASTER, world.org_id)).verify(body, dict(request.headers))
        taken.append(orjson.loads(body))
        return web.json_response({"reference": "case 7"}, status=201)

    app = web.Application()
    app.router.add_post("/alarms", take)
    async with TestServer(app) as server:
        yield str(server.make_url("/alarms")), taken


@pytest.mark.parametrize("kind", [IncidentKind.BUTTON, IncidentKind.DRILL])
async def test_a_monitoring_centre_gets_the_export_and_its_case_is_kept(
    world: World, centre: tuple[str, list[dict[str, object]]], kind: IncidentKind
) -> None:
    url, taken = centre
    await add_notice(world, Channel.WEBHOOK, url, target="monitoring_centre", kind=kind)
    async with WebhookNotifier(master_secret=MASTER, is_private_allowed=True) as notifier:
        desk = Desk(world, {Channel.WEBHOOK: notifier})
        desk.now_ms = CLOCK.now_ms()
        await desk.round()
    notice, (event,) = await desk.notice(), taken
    assert (notice["state"], notice["delivery"], notice["reference"]) == ("sent", "delivered", "case 7")
    alarm = event["data"]
    assert isinstance(alarm, dict)
    assert event["type"] == "alarm.requested"
    assert alarm["reference"] == str(notice["incident_id"])
    assert alarm["test"] is (kind is IncidentKind.DRILL)
    assert alarm["location"] == {
        "address": {"line1": "Rua das Flores 1", "line2": "2"},
        "coordinates": {"lat": 41.15, "lng": -8.61, "accuracy": 12},
    }
    assert "do not ring" in alarm["instructions"]["contact"]
    assert not {"phone", "pin"} & alarm.keys(), "nobody rings the person back"
    assert await world.events() == ["triggered", "notified", "notice_delivered"]


async def test_a_name_is_resolved_once_and_that_address_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that points elsewhere a moment later leads nowhere: the resolver's answer is a literal address."""
    answers = iter(["93.184.216.34", "10.0.0.1"])
    loop = asyncio.get_running_loop()

    async def moving(_host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(loop, "getaddrinfo", moving)
    resolver = PublicResolver(is_private_allowed=False)
    (found,) = await resolver.resolve("moving.test", 443)
    assert (found["host"], found["flags"]) == ("93.184.216.34", socket.AI_NUMERICHOST)
    with pytest.raises(OSError, match="private"):
        await resolver.resolve("moving.test", 443)
