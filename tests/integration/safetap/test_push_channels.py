"""Pushes that really leave: to a browser that decrypts them, to a Firebase that checks who sends."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from engine.core.vocabulary import Channel
from engine.safetap.channels.fcm import FcmNotifier, load_service_account
from engine.safetap.channels.push_encryption import base64url, public_point
from engine.safetap.channels.web_push import WebPushNotifier
from engine.safetap.push_store import Subscription, add_device, subscribe
from tests.integration.safetap.senders import CLOCK, Desk, add_notice
from tests.integration.safetap.world import NOW_MS, World
from tests.peers.fcm import FakeFcm, open_fcm
from tests.peers.push import FakeBrowser, open_browser

KEY = generate_private_key(SECP256R1())
SUBJECT = "mailto:ops@clenzy.test"


@pytest.fixture
async def browser() -> AsyncIterator[FakeBrowser]:
    async with open_browser() as browser:
        yield browser


@pytest.fixture
async def fcm() -> AsyncIterator[FakeFcm]:
    async with open_fcm() as fcm:
        yield fcm


async def subscribed(world: World, browser: FakeBrowser) -> UUID:
    async with world.pool.acquire() as conn:
        return await subscribe(
            conn,
            new_id=uuid4(),
            org_id=world.org_id,
            person_id=world.dispatcher,
            subscription=Subscription(browser.url, browser.point, browser.auth),
            now_ms=NOW_MS,
        )


async def registered(world: World, token: str) -> UUID:
    async with world.pool.acquire() as conn:
        return await add_device(
            conn, new_id=uuid4(), org_id=world.org_id, person_id=world.dispatcher, token=token, now_ms=NOW_MS
        )


async def push(world: World, *, is_private_allowed: bool = True) -> Desk:
    """Send what is due to browsers."""
    async with WebPushNotifier(
        pool=world.pool, key=KEY, subject=SUBJECT, is_private_allowed=is_private_allowed
    ) as notifier:
        desk = Desk(world, {Channel.PUSH: notifier})
        desk.now_ms = CLOCK.now_ms()  # the service checks the token against its own clock
        await desk.round()
        return desk


async def test_the_browser_shows_the_alarm_and_names_nobody(world: World, browser: FakeBrowser) -> None:
    notice_id = await add_notice(world, Channel.PUSH, str(await subscribed(world, browser)))
    notice = await (await push(world)).notice()
    (shown,) = browser.shown
    assert (notice["state"], notice["reference"]) == ("sent", "/message/1")
    assert shown["notice_id"] == str(notice_id)
    assert not {"Walter", "Flores"} & set(" ".join(shown.values()).split())
    assert browser.subjects == [SUBJECT]
    assert browser.signers == {base64url(public_point(KEY))}
    assert browser.headers[0]["TTL"] == "600"
    assert browser.headers[0]["Urgency"] == "high"
    assert len(browser.headers[0]["Topic"]) <= 32, "RFC 8030, 5.4"


@pytest.mark.parametrize("status", [404, 410])
async def test_a_subscription_that_has_ended_is_removed(world: World, browser: FakeBrowser, status: int) -> None:
    browser.status = status
    await add_notice(world, Channel.PUSH, str(await subscribed(world, browser)))
    notice = await (await push(world)).notice()
    assert (notice["state"], notice["last_error"]) == ("failed", "the browser is subscribed no more")
    assert await world.pool.fetchval("SELECT count(*) FROM push_subscription") == 0


@pytest.mark.parametrize(("status", "state"), [(400, "failed"), (413, "failed"), (429, "pending"), (503, "pending")])
async def test_what_a_push_service_refuses(world: World, browser: FakeBrowser, status: int, state: str) -> None:
    browser.status = status
    await add_notice(world, Channel.PUSH, str(await subscribed(world, browser)))
    notice = await (await push(world)).notice()
    assert (notice["state"], notice["last_error"]) == (state, f"the push service answered {status}")
    assert await world.pool.fetchval("SELECT count(*) FROM push_subscription") == 1


async def test_an_endpoint_is_no_way_into_our_network(world: World, browser: FakeBrowser) -> None:
    browser.is_redirecting = True
    await add_notice(world, Channel.PUSH, str(await subscribed(world, browser)))
    assert (await (await push(world)).notice())["last_error"] == "the push service answered 307"
    assert browser.redirected == 0
    await world.pool.execute("UPDATE notice SET state = 'pending', due_at = created_at")
    assert (await (await push(world, is_private_allowed=False)).notice())["last_error"] == "a push goes to https"


async def test_another_organisations_browser_is_not_told(world: World, browser: FakeBrowser) -> None:
    other = await World(world.pool).build()
    await add_notice(world, Channel.PUSH, str(await subscribed(other, browser)))
    assert (await (await push(world)).notice())["last_error"] == "the browser is subscribed no more"
    assert browser.shown == []


async def test_an_app_is_told_with_a_token_that_is_asked_for_once(world: World, fcm: FakeFcm, tmp_path: Path) -> None:
    await add_notice(world, Channel.FCM, str(await registered(world, "app one")))
    await add_notice(world, Channel.FCM, str(await registered(world, "app two")), loop=1)
    account = load_service_account(fcm.credentials(tmp_path))
    async with FcmNotifier(pool=world.pool, account=account, api_url=fcm.url, now_ms=CLOCK.now_ms) as notifier:
        desk = Desk(world, {Channel.FCM: notifier})
        await desk.round()
        await add_notice(world, Channel.FCM, str(await registered(world, "app three")))
        await desk.round()
    assert len(fcm.tokens) == 1
    assert sorted(str(message["token"]) for message in fcm.messages) == ["app one", "app three", "app two"]
    assert fcm.messages[0]["android"]["priority"] == "HIGH"  # type: ignore[index]
    references = await world.pool.fetch("SELECT reference FROM notice WHERE state = 'sent'")
    assert {row["reference"] for row in references} == {f"projects/clenzy-test/messages/{n}" for n in (1, 2, 3)}


async def test_an_app_that_has_gone_is_removed_and_a_token_that_ended_is_asked_for_anew(
    world: World, fcm: FakeFcm, tmp_path: Path
) -> None:
    await add_notice(world, Channel.FCM, str(await registered(world, "app")))
    account = load_service_account(fcm.credentials(tmp_path))
    async with FcmNotifier(pool=world.pool, account=account, api_url=fcm.url, now_ms=CLOCK.now_ms) as notifier:
        desk = Desk(world, {Channel.FCM: notifier})
        fcm.status = 503
        await desk.round()
        assert (await desk.notice())["last_error"] == "Firebase answered 503"
        fcm.status = 200
        fcm.tokens.append("somebody else's")
        desk.now_ms += 10_000
        await desk.round()
        assert (await desk.notice())["last_error"] == "Firebase answered 401"
        fcm.gone.add("app")
        desk.now_ms += 10_000
        await desk.round()
    notice = await desk.notice()
    assert (notice["state"], notice["last_error"]) == ("failed", "the app is registered no more")
    assert await world.pool.fetchval("SELECT count(*) FROM push_device") == 0


async def test_without_keys_they_fail_and_say_why(world: World, browser: FakeBrowser) -> None:
    await add_notice(world, Channel.PUSH, str(await subscribed(world, browser)))
    async with (
        WebPushNotifier(pool=world.pool, key=None, subject=SUBJECT) as push_notifier,
        FcmNotifier(pool=world.pool, account=None, api_url="", now_ms=CLOCK.now_ms) as fcm_notifier,
    ):
        desk = Desk(world, {Channel.PUSH: push_notifier, Channel.FCM: fcm_notifier})
        await desk.round()
    assert (await desk.notice())["last_error"] == "no VAPID key is configured (CLENZY_VAPID_KEY_FILE)"


def test_a_credentials_file_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("{}")
    with pytest.raises(ValueError, match="CLENZY_FCM_CREDENTIALS_FILE"):
        load_service_account(file)
