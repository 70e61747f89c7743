"""Text messages and calls that really leave, for a provider that behaves as providers do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from config.limits import NOTICE_LEASE_MS
from engine.core.vocabulary import Channel
from engine.safetap.channels.notifier import Notifier
from engine.safetap.channels.phone_api import PhoneAccount, PhoneApi
from engine.safetap.channels.sms import SmsNotifier
from engine.safetap.channels.voice import VoiceNotifier
from tests.integration.safetap.senders import CLOCK, Desk, add_notice
from tests.integration.safetap.world import World
from tests.peers.twilio import ACCOUNT, NUMBER, SECRET, FakeTwilio, Fault, open_twilio

PHONE = "+351910000001"
DOOR_URL = "https://door.clenzy.test"


@pytest.fixture
async def twilio() -> AsyncIterator[FakeTwilio]:
    async with open_twilio() as twilio:
        yield twilio


@asynccontextmanager
async def notifiers(twilio: FakeTwilio, *, secret: str = SECRET) -> AsyncIterator[dict[Channel, Notifier]]:
    async with PhoneApi(PhoneAccount(twilio.url, ACCOUNT, secret, NUMBER), public_url=DOOR_URL) as api:
        yield {Channel.SMS: SmsNotifier(api, console_url="https://desk.test"), Channel.VOICE: VoiceNotifier(api)}


async def test_a_message_arrives_with_a_code_and_names_where_to_tell_of_it(world: World, twilio: FakeTwilio) -> None:
    await add_notice(world, Channel.SMS, PHONE, target=f"person:{world.dispatcher}")
    async with notifiers(twilio) as both:
        desk = Desk(world, both)
        await desk.round()
    notice = await desk.notice()
    (sent,) = twilio.messages
    assert (notice["state"], notice["reference"], notice["delivery"]) == ("sent", sent.sid, None)
    assert (sent.to, sent.fields["From"], sent.key) == (PHONE, NUMBER, notice["idempotency_key"])
    assert sent.fields["StatusCallback"] == f"{DOOR_URL}/v1/safetap/receipts/sms?notice={notice['notice_id']}"
    assert await world.pool.fetchval("SELECT code FROM reply_code") == sent.code
    assert await world.events() == ["triggered", "notified"]


async def test_the_code_is_the_incidents_on_that_phone_and_nobody_elses(world: World, twilio: FakeTwilio) -> None:
    for loop in range(3):
        await add_notice(world, Channel.SMS, PHONE, target=f"person:{world.dispatcher}", loop=loop)
    await add_notice(world, Channel.SMS, "+351910000002", target=f"person:{world.admin}")
    await add_notice(world, Channel.SMS, "+351910000003", target="contact:8b9c9d6e-0000-4000-8000-000000000000")
    async with notifiers(twilio) as both:
        await Desk(world, both).round()
    codes = {sent.to: set() for sent in twilio.messages}
    for sent in twilio.messages:
        codes[sent.to].add(sent.code)
    assert len(codes[PHONE]) == 1
    assert codes["+351910000003"] == {""}, "somebody who cannot acknowledge is asked nothing"
    assert await world.pool.fetchval("SELECT count(*) FROM reply_code") == 2


async def test_a_call_is_placed_with_its_script(world: World, twilio: FakeTwilio) -> None:
    notice_id = await add_notice(world, Channel.VOICE, PHONE, target=f"person:{world.dispatcher}")
    async with notifiers(twilio) as both:
        desk = Desk(world, both)
        await desk.round()
    (call,) = twilio.calls
    keys = call.script.find("Gather")
    assert keys is not None
    assert keys.attrib["action"] == f"{DOOR_URL}/v1/safetap/receipts/voice/answer?notice={notice_id}"
    assert "Walter Worker, worker, needs help" in (keys[0].text or "")
    assert (await desk.notice())["reference"] == call.sid


@pytest.mark.parametrize(
    ("fault", "state", "error"),
    [
        (Fault.BUSY, "pending", "the phone provider answered 429 (20429)"),
        (Fault.BROKEN, "pending", "the phone provider answered 500 (20500)"),
        (Fault.LOSE, "pending", "phone provider: ServerDisconnectedError"),
    ],
)
async def test_what_may_pass_is_tried_again(
    world: World, twilio: FakeTwilio, fault: Fault, state: str, error: str
) -> None:
    twilio.fault = fault
    await add_notice(world, Channel.SMS, PHONE)
    async with notifiers(twilio) as both:
        desk = Desk(world, both)
        await desk.round()
        notice = await desk.notice()
        assert (notice["state"], notice["last_error"]) == (state, error)
        twilio.fault = None
        desk.now_ms += NOTICE_LEASE_MS
        await desk.round()
    assert (await desk.notice())["state"] == "sent"
    assert len({sent.key for sent in twilio.messages}) == 1
    assert len(twilio.messages) == (2 if fault is Fault.LOSE else 1)


async def test_a_number_that_does_not_exist_is_not_tried_again_nor_told(world: World, twilio: FakeTwilio) -> None:
    await add_notice(world, Channel.SMS, "+351910000000")
    async with notifiers(twilio) as both:
        desk = Desk(world, both)
        await desk.round()
    notice = await desk.notice()
    assert (notice["state"], notice["last_error"]) == ("failed", "the phone provider answered 400 (21211)")


async def test_a_wrong_secret_may_be_mended(world: World, twilio: FakeTwilio) -> None:
    await add_notice(world, Channel.SMS, PHONE)
    async with notifiers(twilio, secret="old") as both:
        desk = Desk(world, both)
        await desk.round()
    assert (await desk.notice())["last_error"] == "the phone provider answered 401 (20003)"
    assert (await desk.notice())["state"] == "pending"


async def test_without_a_provider_it_fails_and_says_why(world: World) -> None:
    await add_notice(world, Channel.VOICE, PHONE)
    async with PhoneApi(None, public_url=DOOR_URL) as api:
        desk = Desk(world, {Channel.VOICE: VoiceNotifier(api)})
        await desk.round()
    assert (await desk.notice())["last_error"] == "no phone provider is configured (CLENZY_PHONE_ACCOUNT)"


async def again_and_again(desk: Desk, sends: asyncio.TaskGroup) -> None:
    """Have the sender look for what is due, as its wake-ups would."""
    while True:
        await desk.sender.round(sends)
        await CLOCK.sleep_ms(20)


async def test_a_provider_that_hangs_delays_neither_another_channel_nor_the_next_message(
    world: World, twilio: FakeTwilio
) -> None:
    """More messages hang than repetitions may be under way: a later first one and a call still leave at once."""
    twilio.fault = Fault.HANG
    for number in range(120):
        await add_notice(world, Channel.SMS, f"+35191{number:07d}1")
    async with notifiers(twilio) as both:
        desk = Desk(world, both)
        async with asyncio.TaskGroup() as sends:
            rounds = sends.create_task(again_and_again(desk, sends))
            await twilio.was_asked(120)
            twilio.fault = None
            await add_notice(world, Channel.SMS, PHONE)
            await add_notice(world, Channel.VOICE, PHONE)
            await twilio.has(2)
            assert [sent.to for sent in (*twilio.messages, *twilio.calls)] == [PHONE, PHONE]
            rounds.cancel()
            twilio.released.set()
    assert await world.pool.fetchval("SELECT count(*) FROM notice WHERE state = 'sent'") == 122
