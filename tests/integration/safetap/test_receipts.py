"""What comes back: receipts, answers, pressed keys. The door, the sender and a provider, each as it runs for real."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import aiohttp
import orjson
import pytest
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook

from engine.core.ids import NoticeId, PersonId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Channel
from engine.safetap.channels.phone_api import PhoneAccount, PhoneApi
from engine.safetap.channels.sms import SmsNotifier
from engine.safetap.channels.voice import VoiceNotifier
from engine.safetap.channels.webhook import org_secret
from tests.conftest import TokenKeys
from tests.integration.safetap.doors import CLOCK, OpenDoor, door_settings, open_door
from tests.integration.safetap.senders import Desk, add_notice
from tests.integration.safetap.world import World
from tests.peers.twilio import ACCOUNT, NUMBER, SECRET, FakeTwilio, Sent, open_twilio

PHONE = "+351910000001"
OTHER_PHONE = "+351910000002"
MASTER = "test master secret, thirty-two characters"


@dataclass
class Exchange:
    """A door with a provider, and a sender between them."""

    world: World
    door: OpenDoor
    twilio: FakeTwilio
    desk: Desk

    async def sent(self, channel: Channel, phone: str = PHONE, *, who: PersonId | None = None) -> tuple[NoticeId, Sent]:
        """Send one notice to a dispatcher, or to `who`."""
        target = f"person:{who or self.world.dispatcher}"
        notice_id = await add_notice(self.world, channel, phone, target=target, due_at_ms=self.desk.now_ms)
        await self.desk.round()
        return notice_id, (self.twilio.messages if channel is Channel.SMS else self.twilio.calls)[-1]

    async def told(self) -> list[str]:
        """The history without the steps, which the door takes beside us."""
        return [kind for kind in await self.world.events() if kind.startswith(("notice", "acknow"))]

    async def detail(self, kind: str) -> dict[str, object]:
        body = await self.world.pool.fetchval("SELECT body::text FROM incident_event WHERE kind = $1", kind)
        found: dict[str, object] = orjson.loads(body)
        return found

    async def delivery(self, notice_id: NoticeId) -> str | None:
        found: str | None = await self.world.pool.fetchval(
            "SELECT delivery FROM notice WHERE notice_id = $1", notice_id
        )
        return found

    async def state(self) -> tuple[str, object]:
        incident = await self.world.incident()
        return incident["state"], incident["acknowledged_by"]


@asynccontextmanager
async def exchange(folder: Path, url: str, keys: TokenKeys, world: World) -> AsyncIterator[Exchange]:
    chosen = {"phone_account": ACCOUNT, "phone_secret": SecretStr(SECRET), "webhook_secret": SecretStr(MASTER)}
    settings = door_settings(folder, url, keys.public_pem).model_copy(update=chosen)
    async with open_door(settings) as door, open_twilio(door_url=settings.safetap_url) as twilio:
        account = PhoneAccount(twilio.url, ACCOUNT, SECRET, NUMBER)
        async with PhoneApi(account, public_url=settings.safetap_url) as api:
            phones = {Channel.SMS: SmsNotifier(api, console_url=""), Channel.VOICE: VoiceNotifier(api)}
            desk = Desk(world, phones)
            desk.now_ms = CLOCK.now_ms()
            yield Exchange(world, door, twilio, desk)


@pytest.fixture
async def both(tmp_path: Path, database_url: str, token_keys: TokenKeys, world: World) -> AsyncIterator[Exchange]:
    async with exchange(tmp_path, database_url, token_keys, world) as both:
        yield both


async def test_what_is_known_of_a_message_only_grows(both: Exchange) -> None:
    notice_id, sent = await both.sent(Channel.SMS)
    assert await both.twilio.tell(sent, "sent") == 204
    assert await both.told() == [], "that it has it is no news"
    assert await both.twilio.tell(sent, "undelivered", ErrorCode="30003") == 204
    assert await both.detail("notice_undelivered") == {
        "channel": "sms", "target": f"person:{both.world.dispatcher}", "step": 2, "loop": 0, "attempts": 1,
        "detail": "undelivered (30003)",
    }  # fmt: skip
    await both.twilio.tell(sent, "delivered")
    await both.twilio.tell(sent, "delivered")
    await both.twilio.tell(sent, "failed")
    assert await both.told() == ["notice_undelivered", "notice_delivered"]
    assert await both.delivery(notice_id) == "delivered"


async def test_a_receipt_tells_of_a_message_whose_sender_was_killed_before_it_could(both: Exchange) -> None:
    """The provider has it, the row does not know: the receipt does, and nothing is sent twice."""
    notice_id, sent = await both.sent(Channel.SMS)
    await both.world.pool.execute("UPDATE notice SET state = 'pending', sent_at = NULL, reference = NULL")
    await both.twilio.tell(sent, "queued")
    row = await both.world.pool.fetchrow("SELECT * FROM notice WHERE notice_id = $1", notice_id)
    assert (row["state"], row["reference"], row["delivery"]) == ("sent", sent.sid, None)
    both.desk.now_ms += 60_000
    await both.desk.round()
    assert len(both.twilio.messages) == 1


@pytest.mark.parametrize("spoilt", ["secret", "notice", "number", "nothing signed"])
async def test_a_receipt_that_is_not_the_providers_changes_nothing(both: Exchange, spoilt: str) -> None:
    notice_id, sent = await both.sent(Channel.SMS)
    if spoilt == "secret":
        both.twilio.secret = "somebody else's"
    if spoilt == "number":
        sent.fields["To"] = OTHER_PHONE
    if spoilt == "notice":
        sent.fields["StatusCallback"] = sent.fields["StatusCallback"].partition("=")[0] + f"={uuid4()}"
    if spoilt == "nothing signed":
        fields = {"MessageSid": sent.sid, "MessageStatus": "delivered", "To": sent.to, "From": NUMBER}
        url = sent.fields["StatusCallback"]
        async with aiohttp.ClientSession() as session, session.post(url, data=fields) as answer:
            assert answer.status == 403
    else:
        assert await both.twilio.tell(sent, "delivered") == (403 if spoilt == "secret" else 204)
    assert await both.delivery(notice_id) is None


async def test_a_pressed_key_acknowledges_as_whoever_was_called(both: Exchange) -> None:
    _notice_id, call = await both.sent(Channel.VOICE)
    assert await both.twilio.press(call, "5") == (200, "<Response><Hangup /></Response>")
    assert await both.state() == ("open", None)
    status, said = await both.twilio.press(call, "1")
    assert (status, "You have taken it" in said) == (200, True)
    assert await both.state() == ("acknowledged", both.world.dispatcher)
    assert await both.told() == ["acknowledged", "notice_read"]


async def test_a_key_pressed_on_another_phone_counts_for_nothing(both: Exchange) -> None:
    _notice_id, call = await both.sent(Channel.VOICE)
    assert "Hangup" in (await both.twilio.press(call, "1", to=OTHER_PHONE))[1]
    assert await both.state() == ("open", None)


async def test_a_party_who_was_told_by_mistake_cannot_acknowledge(both: Exchange) -> None:
    """Whatever a policy says: the function that every door calls refuses."""
    await both.world.pool.execute("UPDATE person SET role = 'dispatcher' WHERE person_id = $1", both.world.customer)
    _notice_id, call = await both.sent(Channel.VOICE, who=both.world.customer)
    said = (await both.twilio.press(call, "1"))[1]
    assert "Hangup" in said
    assert await both.state() == ("open", None)


async def test_a_receiver_tells_later_what_became_of_a_webhook(both: Exchange) -> None:
    url = "https://receiver.test/hook"
    notice_id = await add_notice(both.world, Channel.WEBHOOK, url)
    body = orjson.dumps({"delivery": "read", "reference": "case 7"}).decode()
    answers = []
    for secret in (org_secret(MASTER, both.world.org_id), org_secret(MASTER, World(both.world.pool).org_id)):
        now_ms = CLOCK.now_ms()
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(now_ms // 1_000),
            "webhook-signature": Webhook(secret).sign("msg_1", utc_from_ms(now_ms), body),
        }
        path = f"/v1/safetap/receipts/webhook?notice={notice_id}"
        async with both.door.by_port.post(path, data=body, headers=headers) as answer:
            answers.append(answer.status)
    assert answers == [204, 403]
    row = await both.world.pool.fetchrow(
        "SELECT state, delivery, reference FROM notice WHERE notice_id = $1", notice_id
    )
    assert tuple(row) == ("sent", "read", "case 7")
