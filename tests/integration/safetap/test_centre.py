"""The connector to a monitoring centre: one alarm an incident, told where the person is, over when the incident is."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from config.limits import CENTRE_SYNC_MS
from engine.core.database import Connection
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Channel, IncidentKind
from engine.safetap.centre_alarms import CentreNotifier, CentreSync
from engine.safetap.channels.centre_api import CentreAccount, CentreApi
from engine.safetap.desk import close
from engine.safetap.policy import default_policy, parse_policy
from tests.integration.safetap.senders import Desk, Recorder, add_notice
from tests.integration.safetap.world import NOW_MS, World
from tests.peers.centre import TOKEN, FakeCentre, open_centre

ADDRESS = "centre:+351210000000"


@dataclass
class Connected:
    """A sender with the connector, beside a centre."""

    world: World
    centre: FakeCentre
    desk: Desk
    webhook: Recorder
    sync: CentreSync
    now_ms: int = NOW_MS

    async def later(self, delay_ms: int = CENTRE_SYNC_MS) -> int:
        self.now_ms += delay_ms
        return await self.sync.round()

    async def open(self, kind: IncidentKind = IncidentKind.BUTTON) -> None:
        await add_notice(self.world, Channel.WEBHOOK, ADDRESS, target="monitoring_centre", kind=kind)
        await self.desk.round()

    async def move(self, lat: float) -> None:
        self.now_ms += 1_000
        await self.world.pool.execute("UPDATE incident SET lat = $1, fix_at = $2", lat, utc_from_ms(self.now_ms))


@pytest.fixture
async def connected(world: World) -> AsyncIterator[Connected]:
    async with open_centre() as centre, CentreApi(CentreAccount(centre.url, TOKEN)) as api:
        webhook = Recorder()
        notifier = CentreNotifier(pool=world.pool, api=api, webhook=webhook)

        async def read_clock(_conn: Connection) -> int:
            return connected.now_ms

        sync = CentreSync(pool=world.pool, api=api, read_clock=read_clock)
        connected = Connected(world, centre, Desk(world, {Channel.WEBHOOK: notifier}), webhook, sync)
        yield connected


async def test_an_alarm_is_opened_followed_and_ended_with_its_incident(connected: Connected, world: World) -> None:
    await connected.open()
    ((alarm_id, alarm),) = connected.centre.alarms.items()
    incident = await world.incident()
    assert (alarm.request["phone"], alarm.request["owner_id"]) == ("+351210000000", str(incident["incident_id"]))
    assert alarm.request["location"]["address"]["line1"] == "Rua das Flores 1"
    assert "do not ring" in alarm.request["instructions"]["contact"]
    assert (await connected.desk.notice())["reference"] == alarm_id
    await connected.later()
    assert alarm.places == [], "the place has not changed"
    await connected.move(41.2)
    await connected.later()
    await connected.later()
    assert [place["lat"] for place in alarm.places] == [41.2], "each place is told once"
    async with world.pool.acquire() as conn:
        actor = world.principal(world.dispatcher)
        await close(conn, incident_id=incident["incident_id"], actor=actor, reason="safe", now_ms=connected.now_ms)
    connected.centre.is_down = True
    await connected.later()
    assert "503" in await world.pool.fetchval("SELECT trouble FROM centre_alarm")
    connected.centre.is_down = False
    await connected.later()
    assert alarm.status == "CANCELED"
    assert await connected.later() == 0, "nothing is told of an alarm that is over"


async def test_a_ladder_that_comes_round_opens_no_second_alarm(connected: Connected, world: World) -> None:
    await connected.open()
    for loop in (1, 2):
        await add_notice(world, Channel.WEBHOOK, ADDRESS, target="monitoring_centre", loop=loop)
    await connected.desk.round()
    references = await world.pool.fetch("SELECT DISTINCT reference, state FROM notice")
    assert [(row["reference"], row["state"]) for row in references] == [(*connected.centre.alarms, "sent")]


async def test_an_alarm_that_the_centre_ended_is_opened_anew_by_the_next_round(
    connected: Connected, world: World
) -> None:
    await connected.open()
    next(iter(connected.centre.alarms.values())).status = "CANCELED"
    await connected.move(41.3)
    await connected.later()
    await add_notice(world, Channel.WEBHOOK, ADDRESS, target="monitoring_centre", loop=1)
    await connected.desk.round()
    assert [alarm.status for alarm in connected.centre.alarms.values()] == ["CANCELED", "ACTIVE"]


async def test_a_drill_opens_none_and_a_centre_that_is_down_is_tried_again(connected: Connected, world: World) -> None:
    await connected.open(IncidentKind.DRILL)
    notice = await connected.desk.notice()
    assert (notice["state"], connected.centre.asked) == ("failed", 0)
    await world.pool.execute("UPDATE incident SET is_drill = false, kind = 'button'")
    await world.pool.execute("UPDATE notice SET state = 'pending', attempts = 0")
    connected.centre.is_down = True
    await connected.desk.round()
    assert (await connected.desk.notice())["state"] == "pending"
    connected.centre.is_down = False
    connected.desk.now_ms += 60_000
    await connected.desk.round()
    assert len(connected.centre.alarms) == 1


async def test_without_an_account_it_fails_and_says_so(world: World) -> None:
    async with CentreApi(None) as api:
        notifier = CentreNotifier(pool=world.pool, api=api, webhook=Recorder())
        await add_notice(world, Channel.WEBHOOK, ADDRESS, target="monitoring_centre")
        desk = Desk(world, {Channel.WEBHOOK: notifier})
        await desk.round()
    assert "CLENZY_CENTRE_TOKEN" in (await desk.notice())["last_error"]


async def test_other_webhooks_go_their_way(connected: Connected, world: World) -> None:
    await add_notice(world, Channel.WEBHOOK, "https://hook.example/", target="webhook")
    await connected.desk.round()
    assert (len(connected.webhook.sent), connected.centre.asked) == (1, 0)


def test_a_policy_names_the_connector_by_the_desks_number() -> None:
    policy = parse_policy(default_policy() | {"monitoring_centre": {"call_back": "+351210000000"}})
    assert policy.monitoring_centre is not None
    assert policy.monitoring_centre.address(Channel.WEBHOOK) == ADDRESS
    both = parse_policy(
        default_policy() | {"monitoring_centre": {"call_back": "+351210000000", "url": "https://centre.example"}}
    )
    assert both.monitoring_centre is not None
    assert both.monitoring_centre.address(Channel.WEBHOOK) == "https://centre.example"
