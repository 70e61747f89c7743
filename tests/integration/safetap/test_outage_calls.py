"""Nobody can be asked whom to tell: the door itself calls whom the settings name, until Postgres has the alarm."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from clenzy.ports import any_free
from config.limits import OUTAGE_CALL_AFTER_MS, OUTAGE_CALL_RETRY_MS, OUTAGE_CALL_TRIES_MAX
from config.settings import Settings
from engine.core.ids import OrgId, PersonId
from engine.people.tokens import AccessTokens
from engine.safetap import outage_calls
from engine.safetap.channels.notifier import NoticeMessage, Receipt
from engine.safetap.channels.webhook import org_secret
from engine.safetap.outage_calls import Contact, OutageCalls
from tests.conftest import TokenKeys
from tests.fakes import ManualClock
from tests.integration.safetap.doors import OpenDoor, door_settings, open_door
from tests.integration.safetap.receivers import HookReceiver, open_receiver
from tests.integration.safetap.world import World
from tests.peers.twilio import ACCOUNT, NUMBER, SECRET, FakeTwilio, Fault, open_twilio

MASTER = "m" * 32
OWNER = "+351 910 000 001"


@dataclass
class Outage:
    """An installation whose Postgres is away, and whom its settings name."""

    world: World
    settings: Settings
    hook: HookReceiver
    twilio: FakeTwilio
    token: str

    async def press(self, door: OpenDoor, *, kind: str = "button") -> str:
        body = {"trigger_id": str(uuid4()), "kind": kind}
        assert (await door.trigger(self.token, body))[0] == 202
        return str(body["trigger_id"])


@pytest.fixture
async def outage(
    tmp_path: Path, token_keys: TokenKeys, tokens: AccessTokens, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Outage]:
    monkeypatch.setattr(outage_calls, "OUTAGE_CALL_AFTER_MS", 20)
    monkeypatch.setattr(outage_calls, "OUTAGE_CALL_RETRY_MS", 20)
    world = World(None)  # type: ignore[arg-type]
    async with open_receiver(org_secret(MASTER, OrgId(world.org_id))) as hook, open_twilio() as twilio:
        chosen = {
            "outage_webhook_url": SecretStr(hook.url),
            "outage_phones": [OWNER],
            "webhook_secret": SecretStr(MASTER),
            "webhook_private_networks": True,
            "phone_api_url": twilio.url,
            "phone_account": ACCOUNT,
            "phone_secret": SecretStr(SECRET),
            "phone_sender": NUMBER,
        }
        away = f"postgresql://nobody@127.0.0.1:{any_free()}/nothing"
        settings = door_settings(tmp_path, away, token_keys.public_pem).model_copy(update=chosen)
        yield Outage(world, settings, hook, twilio, world.token(tokens, world.worker, now_ms=0))


async def called(hook: HookReceiver, count: int) -> None:
    while len(hook.ids) < count:
        hook.called.clear()
        await hook.called.wait()


async def test_an_alarm_that_only_the_disk_has_is_called_about_once_a_person(outage: Outage) -> None:
    async with open_door(outage.settings) as door:
        await outage.press(door)
        await called(outage.hook, 1)
        await outage.twilio.has(1)
        await outage.press(door)  # the same person again: they have been called about
        (body,), (message,) = outage.hook.bodies, outage.twilio.messages
    told = body["data"]
    assert isinstance(told, dict)
    assert told["incident"]["person"]["person_id"] == str(outage.world.worker)
    assert told["incident"]["spooled"] is True
    assert message.to == "+351910000001"
    assert message.text.startswith("SafeTap: ")
    assert "nobody else has been told" in message.text
    assert "Do not ring them" in message.text


async def test_the_next_door_calls_about_what_a_killed_one_left_under_the_same_id(outage: Outage) -> None:
    async with open_door(outage.settings) as door:
        await outage.press(door)
        await called(outage.hook, 1)
    async with open_door(outage.settings.model_copy(update={"safetap_port": any_free()})):
        await called(outage.hook, 2)
    assert len(set(outage.hook.ids)) == 1


async def test_a_call_that_fails_is_made_again_and_costs_the_others_nothing(outage: Outage) -> None:
    outage.hook.status, outage.twilio.fault = 503, Fault.BROKEN
    async with open_door(outage.settings) as door:
        await outage.press(door)
        await called(outage.hook, 2)
        await outage.twilio.was_asked(2)
        outage.hook.status, outage.twilio.fault = 204, None
        await outage.twilio.has(1)


async def test_practice_says_so_and_what_becomes_real_is_called_about_again(outage: Outage) -> None:
    async with open_door(outage.settings) as door:
        await outage.press(door, kind="drill")
        await outage.twilio.has(1)
        await outage.press(door)
        await outage.twilio.has(2)
    drill, real = outage.twilio.messages
    assert drill.text.startswith("DRILL. ")
    assert real.text.startswith("SafeTap: ")


async def test_a_number_without_its_country_keeps_the_door_from_starting(outage: Outage) -> None:
    settings = outage.settings.model_copy(update={"outage_phones": [OWNER, "910000001"]})
    with pytest.raises(BaseExceptionGroup) as refused:
        async with open_door(settings):
            pass
    (error,) = refused.value.exceptions
    assert "CLENZY_OUTAGE_PHONES: entry 2" in str(error)


class Counting:
    """A way to reach somebody that only counts."""

    def __init__(self) -> None:
        self.sent: list[NoticeMessage] = []

    async def send(self, message: NoticeMessage) -> Receipt:
        self.sent.append(message)
        return Receipt()


async def test_what_postgres_takes_meanwhile_is_nobodys_call(world: World) -> None:
    clock, counting = ManualClock(), Counting()
    async with OutageCalls(
        [Contact(counting, OWNER)], clock=clock, name_of=lambda _: "Wanda", desk_url="https://desk.test"
    ) as calls:
        first, second, other = world.received(), world.received(), world.received(person_id=PersonId(uuid4()))
        for one in (first, second, first, other):
            calls.spooled(one)
        calls.settled(first, None)
        await clock.advance_ms(OUTAGE_CALL_AFTER_MS - 1)
        calls.settled(second, None)
        await clock.advance_ms(OUTAGE_CALL_AFTER_MS)
        assert [message.incident_id for message in counting.sent] == [other.incident_id]
        await clock.advance_ms(OUTAGE_CALL_TRIES_MAX * OUTAGE_CALL_RETRY_MS)
        assert len(counting.sent) == 1
