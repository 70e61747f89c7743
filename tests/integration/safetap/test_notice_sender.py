"""Notices that really leave: mail to an SMTP server, signed requests to a receiver that verifies them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from config.limits import (
    NOTICE_ATTEMPTS_MAX,
    NOTICE_BATCH_MAX,
    NOTICE_LEASE_MS,
    NOTICES_AT_ONCE_MAX,
    NOTICES_PER_ADDRESS_MAX,
)
from engine.core.units import ms_from_utc
from engine.core.vocabulary import Channel, IncidentKind
from engine.safetap import first_places, notice_sender
from engine.safetap.channels.email import EmailNotifier, parse_smtp_url
from engine.safetap.channels.notifier import NotSent
from engine.safetap.channels.webhook import WebhookNotifier, org_secret
from engine.safetap.notice_sender import retry_delay_ms
from tests.integration.safetap.receivers import HookReceiver, Mailbox, open_mailbox, open_receiver
from tests.integration.safetap.senders import CLOCK, Desk, Recorder, add_notice
from tests.integration.safetap.world import NOW_MS, World

MASTER = "test master secret, thirty-two characters"


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with open_mailbox() as mailbox:
        yield mailbox


@pytest.fixture
async def receiver(world: World) -> AsyncIterator[HookReceiver]:
    async with open_receiver(org_secret(MASTER, world.org_id)) as receiver:
        yield receiver


@asynccontextmanager
async def webhook() -> AsyncIterator[WebhookNotifier]:
    async with WebhookNotifier(master_secret=MASTER, is_private_allowed=True) as notifier:
        yield notifier


def email(mailbox: Mailbox) -> EmailNotifier:
    return EmailNotifier(parse_smtp_url(mailbox.url), sender="safetap@clenzy.test", console_url="https://console.test")


async def test_mail_arrives_and_the_incident_knows(world: World, mailbox: Mailbox) -> None:
    await add_notice(world, Channel.EMAIL, "dora@clenzy.test")
    desk = Desk(world, {Channel.EMAIL: email(mailbox)})
    await desk.round()
    notice = await desk.notice()
    assert (notice["state"], notice["attempts"], notice["last_error"]) == ("sent", 1, None)
    (mail,) = mailbox.mails
    assert mailbox.recipients == ["dora@clenzy.test"]
    assert mail["Subject"] == "SafeTap: Walter Worker (worker) needs help"
    assert mail["Message-ID"] == f"<{notice['notice_id']}@safetap.clenzy>"
    text = mail.get_payload(decode=True)
    assert isinstance(text, bytes)
    for words in ("Rua das Flores 1, 2, ring twice", "41.150000, -8.610000", "https://console.test/", "Do not ring"):
        assert words in text.decode()
    assert await world.events() == ["triggered", "notified"]


async def test_a_drill_says_so_in_the_subject(world: World, mailbox: Mailbox) -> None:
    await add_notice(world, Channel.EMAIL, "dora@clenzy.test", kind=IncidentKind.DRILL)
    await Desk(world, {Channel.EMAIL: email(mailbox)}).round()
    assert mailbox.mails[0]["Subject"].startswith("[DRILL] SafeTap")


async def test_a_webhook_arrives_signed(world: World, receiver: HookReceiver) -> None:
    await add_notice(world, Channel.WEBHOOK, receiver.url)
    async with webhook() as notifier:
        desk = Desk(world, {Channel.WEBHOOK: notifier})
        desk.now_ms = CLOCK.now_ms()  # the receiver's library checks the timestamp against its own clock
        await desk.round()
    notice = await desk.notice()
    assert notice["state"] == "sent"
    assert receiver.ids == [str(notice["notice_id"])]
    (body,) = receiver.bodies
    assert body["type"] == "incident.escalated"
    assert body["data"]["incident"]["person"]["name"] == "Walter Worker"  # type: ignore[index]


async def test_each_organisation_has_its_own_secret(world: World) -> None:
    other = World(world.pool)
    assert org_secret(MASTER, world.org_id) != org_secret(MASTER, other.org_id)
    assert org_secret(MASTER, world.org_id) == org_secret(MASTER, world.org_id)


async def test_a_redirect_is_not_followed(world: World, receiver: HookReceiver) -> None:
    receiver.status = 307
    await add_notice(world, Channel.WEBHOOK, receiver.url)
    async with webhook() as notifier:
        desk = Desk(world, {Channel.WEBHOOK: notifier})
        desk.now_ms = CLOCK.now_ms()
        await desk.round()
    assert (await desk.notice())["last_error"] == "the receiver answered 307"
    assert receiver.redirected == 0


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]"]
)
async def test_private_networks_are_refused(world: World, host: str) -> None:
    await add_notice(world, Channel.WEBHOOK, f"https://{host}:9/hook")
    async with WebhookNotifier(master_secret=MASTER) as notifier:
        desk = Desk(world, {Channel.WEBHOOK: notifier})
        await desk.round()
    notice = await desk.notice()
    assert notice["state"] == ("pending" if host == "localhost" else "failed")
    assert "private" in notice["last_error"] or notice["last_error"] == "webhook: ClientConnectorDNSError"


async def test_plain_http_is_refused(world: World) -> None:
    await add_notice(world, Channel.WEBHOOK, "http://example.com/hook")
    async with WebhookNotifier(master_secret=MASTER) as notifier:
        desk = Desk(world, {Channel.WEBHOOK: notifier})
        await desk.round()
    assert (await desk.notice())["last_error"] == "a webhook goes to https"


async def test_a_hung_webhook_does_not_delay_the_mail(world: World, mailbox: Mailbox, receiver: HookReceiver) -> None:
    receiver.is_hung = True
    for _ in range(2 * NOTICES_PER_ADDRESS_MAX):
        await add_notice(world, Channel.WEBHOOK, receiver.url, loop=1)
    async with webhook() as notifier:
        desk = Desk(world, {Channel.WEBHOOK: notifier, Channel.EMAIL: email(mailbox)})
        desk.now_ms = CLOCK.now_ms()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(desk.sender.run())
            await receiver.called.wait()
            await add_notice(world, Channel.EMAIL, "dora@clenzy.test")
            await mailbox.has(1)
            assert len(receiver.bodies) <= NOTICES_PER_ADDRESS_MAX
            running.cancel()
    assert await world.pool.fetchval("SELECT count(*) FROM notice WHERE channel = 'webhook' AND state = 'sent'") == 0


async def test_a_receiver_that_does_not_answer_is_given_up_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.safetap.notice_sender.NOTICE_SEND_TIMEOUT_MS", 50)
    hung = Recorder()
    hung.is_hung = True
    await add_notice(world, Channel.EMAIL, "dora@clenzy.test")
    desk = Desk(world, {Channel.EMAIL: hung})
    await desk.round()
    notice = await desk.notice()
    assert (notice["state"], notice["attempts"]) == ("pending", 1)
    assert notice["last_error"].startswith("no answer within")


async def test_what_fails_is_tried_ever_more_slowly_and_then_marked_failed(world: World, mailbox: Mailbox) -> None:
    mailbox.answer = "451 try later"
    await add_notice(world, Channel.EMAIL, "dora@clenzy.test")
    desk = Desk(world, {Channel.EMAIL: email(mailbox)})
    for attempt in range(1, NOTICE_ATTEMPTS_MAX):
        await desk.round()
        notice = await desk.notice()
        assert (notice["state"], notice["attempts"], notice["last_error"]) == ("pending", attempt, "SMTP answered 451")
        waits_ms = ms_from_utc(notice["due_at"]) - desk.now_ms
        assert retry_delay_ms(attempt) <= waits_ms < retry_delay_ms(attempt) + 10_000
        desk.now_ms += waits_ms - 1
        await desk.round()
        assert (await desk.notice())["attempts"] == attempt, "not before its time"
        desk.now_ms += 1
    await desk.round()
    notice = await desk.notice()
    assert (notice["state"], notice["attempts"]) == ("failed", NOTICE_ATTEMPTS_MAX)
    assert await world.events() == ["triggered", "notice_failed"]
    await desk.round()
    assert (await desk.notice())["attempts"] == NOTICE_ATTEMPTS_MAX


async def test_a_retry_that_succeeds_is_the_same_message(world: World) -> None:
    recorder = Recorder()
    recorder.error = NotSent("busy")
    await add_notice(world, Channel.EMAIL, "dora@clenzy.test")
    desk = Desk(world, {Channel.EMAIL: recorder})
    await desk.round()
    recorder.error = None
    desk.now_ms += 60_000
    await desk.round()
    assert [message.key for message in recorder.sent] == [recorder.sent[0].key] * 2
    assert (await desk.notice())["state"] == "sent"


@pytest.mark.parametrize("answer", ["550 no such user", "554 refused"])
async def test_a_refusal_for_good_is_not_repeated(world: World, mailbox: Mailbox, answer: str) -> None:
    mailbox.answer = answer
    await add_notice(world, Channel.EMAIL, "nobody@clenzy.test")
    desk = Desk(world, {Channel.EMAIL: email(mailbox)})
    await desk.round()
    notice = await desk.notice()
    assert (notice["state"], notice["attempts"]) == ("failed", 1)


async def test_without_a_server_mail_fails_and_says_why(world: World) -> None:
    await add_notice(world, Channel.EMAIL, "dora@clenzy.test")
    desk = Desk(world, {Channel.EMAIL: EmailNotifier(None, sender="a@b", console_url="")})
    await desk.round()
    assert (await desk.notice())["last_error"] == "no SMTP server is configured (CLENZY_SMTP_URL)"


async def test_a_defect_of_a_channel_is_a_failed_attempt_and_nothing_more(world: World) -> None:
    broken = Recorder()
    broken.error = ZeroDivisionError()
    await add_notice(world, Channel.EMAIL, "dora@clenzy.test")
    desk = Desk(world, {Channel.EMAIL: broken})
    await desk.round()
    assert (await desk.notice())["last_error"] == "internal: ZeroDivisionError"


async def test_what_a_killed_sender_held_is_sent_when_its_lease_ends(world: World) -> None:
    recorder = Recorder()
    await add_notice(world, Channel.EMAIL, "dora@clenzy.test")
    desk = Desk(world, {Channel.EMAIL: recorder})
    async with world.pool.acquire() as conn:
        assert len(await desk.sender._claim_firsts(conn, Channel.EMAIL, NOW_MS)) == 1  # and then it was killed
    desk.now_ms = NOW_MS + NOTICE_LEASE_MS - 1
    await desk.round()
    assert recorder.sent == []
    desk.now_ms += 1
    await desk.round()
    assert len(recorder.sent) == 1


async def test_two_senders_send_each_notice_once(world: World) -> None:
    recorder = Recorder()
    for number in range(40):
        await add_notice(world, Channel.EMAIL, f"{number}@clenzy.test")
    desks = [Desk(world, {Channel.EMAIL: recorder}) for _ in range(3)]
    await asyncio.gather(*(desk.round() for desk in desks))
    assert len(recorder.sent) == len({message.address for message in recorder.sent}) == 40
    assert await world.pool.fetchval("SELECT count(*) FROM incident_event WHERE kind = 'notified'") == 40


async def test_a_first_notice_waits_for_no_share_and_for_no_free_place(world: World) -> None:
    """Repetitions hang in all the places that there are; the first notices to that very address leave at once."""
    hung = Recorder()
    hung.is_hung = True
    for number in range(NOTICE_BATCH_MAX):
        await add_notice(world, Channel.EMAIL, f"{number // NOTICES_PER_ADDRESS_MAX}@clenzy.test", loop=1)
    desk = Desk(world, {Channel.EMAIL: hung})
    async with asyncio.TaskGroup() as sends:
        stop = sends.create_task(asyncio.Event().wait())
        await desk.sender.round(sends)
        await hung.has(NOTICE_BATCH_MAX)
        for _ in range(NOTICES_PER_ADDRESS_MAX + 1):
            await add_notice(world, Channel.EMAIL, "0@clenzy.test")
        await add_notice(world, Channel.EMAIL, "1@clenzy.test", loop=1)
        await desk.sender.round(sends)
        await hung.has(NOTICE_BATCH_MAX + NOTICES_PER_ADDRESS_MAX + 1)
        assert stop.cancel()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
    assert len(hung.sent) == NOTICE_BATCH_MAX + NOTICES_PER_ADDRESS_MAX + 1, "the repetition waits"


async def test_of_a_crowd_of_first_notices_as_many_are_claimed_as_are_written_at_once(world: World) -> None:
    """The rest is free for other senders, and no lease runs out while it waits."""
    recorder = Recorder()
    for number in range(2 * NOTICES_AT_ONCE_MAX + 1):
        await add_notice(world, Channel.EMAIL, f"{number}@clenzy.test")
    desk = Desk(world, {Channel.EMAIL: recorder})
    for sent in (NOTICES_AT_ONCE_MAX, 2 * NOTICES_AT_ONCE_MAX, 2 * NOTICES_AT_ONCE_MAX + 1):
        await desk.round()
        assert len(recorder.sent) == sent
    assert len({message.address for message in recorder.sent}) == len(recorder.sent)


async def test_of_a_crowd_each_address_has_its_turn(world: World) -> None:
    """An organisation's receiver with hundreds of notices is not asked for all of them before another's for one."""
    recorder = Recorder()
    for address in ["crowd@clenzy.test"] * (NOTICES_AT_ONCE_MAX + 10) + ["dora@clenzy.test"]:
        await add_notice(world, Channel.EMAIL, address)
    desk = Desk(world, {Channel.EMAIL: recorder})
    await desk.round()
    assert len(recorder.sent) == NOTICES_AT_ONCE_MAX
    assert [message.address for message in recorder.sent].count("dora@clenzy.test") == 1


async def test_who_hangs_is_asked_no_faster_than_places_become_free(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Places are held by whom we wait for, until that is long enough to be thought of as hung."""
    monkeypatch.setattr(first_places, "NOTICE_PLACE_MS", 200)
    hung = Recorder()
    hung.is_hung = True
    for number in range(2 * NOTICES_AT_ONCE_MAX):
        await add_notice(world, Channel.EMAIL, f"{number}@clenzy.test")
    desk = Desk(world, {Channel.EMAIL: hung})
    async with asyncio.TaskGroup() as sends:
        began_ns = CLOCK.steady_ns()
        while len(hung.sent) < 2 * NOTICES_AT_ONCE_MAX:
            await desk.sender.round(sends)
            await CLOCK.sleep_ms(10)
        assert CLOCK.steady_ns() - began_ns > 195_000_000, "the last waits for the place of one who had just been asked"
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


async def test_the_deadline_is_the_receivers_and_not_our_own_stores(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it not, a receiver would be asked with no time left to answer, and then asked again."""
    monkeypatch.setattr(notice_sender, "NOTICE_SEND_TIMEOUT_MS", 500)
    recorder = Recorder()
    await add_notice(world, Channel.EMAIL, "dora@clenzy.test")
    desk = Desk(world, {Channel.EMAIL: recorder})
    async with world.pool.acquire() as slow, asyncio.timeout(20):
        locks = slow.transaction()
        await locks.start()
        await slow.execute("LOCK TABLE booking IN ACCESS EXCLUSIVE MODE")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(desk.round())
            while not await world.pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                await CLOCK.sleep_ms(10)
            await CLOCK.sleep_ms(2 * 500)
            await locks.rollback()
    assert len(recorder.sent) == 1
    notice = await desk.notice()
    assert (notice["state"], notice["attempts"], notice["last_error"]) == ("sent", 1, None)


async def test_one_address_gets_no_more_than_its_share_of_a_batch(world: World) -> None:
    recorder = Recorder()
    for _ in range(NOTICES_PER_ADDRESS_MAX + 3):
        await add_notice(world, Channel.EMAIL, "busy@clenzy.test", loop=1)
    desk = Desk(world, {Channel.EMAIL: recorder})
    await desk.round()
    assert len(recorder.sent) == NOTICES_PER_ADDRESS_MAX
    await desk.round()
    assert len(recorder.sent) == NOTICES_PER_ADDRESS_MAX + 3


@pytest.mark.parametrize(
    ("url", "fault"), [("http://x", "CLENZY_SMTP_URL"), ("smtp://", "CLENZY_SMTP_URL"), ("smtp://x:y", "Port")]
)
def test_an_smtp_url_that_is_none(url: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_smtp_url(url)


def test_an_smtp_url_with_everything() -> None:
    server = parse_smtp_url("smtps://me%40x:p%2Fw@mail.test:4650")
    assert (server.host, server.port, server.user, server.password) == ("mail.test", 4650, "me@x", "p/w")
    assert server.is_tls
    assert parse_smtp_url("smtp://mail.test").port == 587


async def test_an_outcome_that_a_lock_took_back_is_written_again(world: World) -> None:
    """Were it not, the lease would run out and the notice go a second time, with nobody killed."""
    await add_notice(world, Channel.EMAIL, "dora@clenzy.test")
    recorder = Recorder()
    desk = Desk(world, {Channel.EMAIL: recorder})
    async with world.pool.acquire() as other, asyncio.timeout(20):
        other_locks = other.transaction()
        await other_locks.start()
        incident_id = await other.fetchval("SELECT incident_id FROM notice")
        async with asyncio.TaskGroup() as tasks:
            recorder.before_it_returns = lambda: other.execute("SELECT FROM notice FOR UPDATE")
            tasks.create_task(desk.round())
            while not await world.pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                await CLOCK.sleep_ms(10)
            # The sender has the incident and waits for the notice: it waited first, so it is the one to give way.
            await other.execute("SELECT FROM incident WHERE incident_id = $1 FOR UPDATE", incident_id)
            await other_locks.rollback()
    assert len(recorder.sent) == 1
    assert ((await desk.notice())["state"], await world.events()) == ("sent", ["triggered", "notified"])


def test_the_pause_between_attempts_doubles_up_to_its_limit() -> None:
    assert [retry_delay_ms(attempts) for attempts in (1, 2, 3, 7, 40)] == [1_000, 2_000, 4_000, 60_000, 60_000]
