"""Composition root of the process that tells and asks people: notices, the watch over jobs, the relay of the outbox.

They share a process but not a fate: notices and the watch need Postgres alone, so a Redis that is away stops the relay
and nothing else.
"""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from socket import gethostname
from typing import Final
from uuid import uuid4

import structlog
from pydantic import SecretStr
from redis.exceptions import RedisError

from config.jurisdictions import load_jurisdictions
from config.limits import DATABASE_POOL_MAX, RESTART_BACKOFF_MS_MAX
from config.settings import Settings
from engine.core.clock import Clock, SystemClock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Channel
from engine.outbox.relay import Relay
from engine.safetap.centre_alarms import CentreNotifier, CentreSync
from engine.safetap.channels.centre_api import CentreAccount, CentreApi
from engine.safetap.channels.email import EmailNotifier, parse_smtp_url
from engine.safetap.channels.fcm import FcmNotifier, load_service_account
from engine.safetap.channels.notifier import Notifier
from engine.safetap.channels.outside_ping import OutsidePing
from engine.safetap.channels.phone_account import phone_account
from engine.safetap.channels.phone_api import PhoneApi
from engine.safetap.channels.push_encryption import load_vapid_key
from engine.safetap.channels.sms import SmsNotifier
from engine.safetap.channels.voice import VoiceNotifier
from engine.safetap.channels.web_push import WebPushNotifier
from engine.safetap.channels.webhook import WebhookNotifier
from engine.safetap.notice_sender import NoticeSender
from engine.safetap.silence.ask_sender import AskSender
from engine.safetap.silence.watch_loop import WatchLoop
from engine.safetap.watchdog.health import Part
from engine.safetap.watchdog.outside import OutsideWatchdog
from engine.safetap.watchdog.peer_watch import PeerWatch, Pulse
from engine.wiring import open_database, open_redis
from ops.http import ops_server
from ops.probe import keep_checked
from ops.process import Process, run

log = structlog.get_logger(__name__)

NAME: Final = "notify"


async def root(process: Process) -> None:
    """Send notices and relay events until told to stop."""
    settings = process.settings
    clock = SystemClock()
    smtp = None if settings.smtp_url is None else parse_smtp_url(settings.smtp_url.get_secret_value())
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ops_server(process.readiness, settings.host, settings.ops_port))
        pool = await open_database(settings, pool_max=DATABASE_POOL_MAX, pool_min=0)
        stack.callback(pool.terminate)  # every write is one transaction: there is nothing to wait for
        redis = open_redis(settings)
        stack.push_async_callback(redis.aclose)
        webhook = await stack.enter_async_context(
            WebhookNotifier(
                master_secret=_secret(settings.webhook_secret), is_private_allowed=settings.webhook_private_networks
            )
        )
        centre = await stack.enter_async_context(CentreApi(centre_account(settings)))
        notifiers: dict[Channel, Notifier] = {
            Channel.EMAIL: EmailNotifier(smtp, sender=settings.mail_from, console_url=settings.api_url),
            Channel.WEBHOOK: CentreNotifier(pool=pool, api=centre, webhook=webhook),
        }
        phone_api = await open_phone_api(stack, settings)
        notifiers |= phone_notifiers(phone_api, settings)
        notifiers |= await push_notifiers(stack, settings, pool, clock)
        pulse = Pulse(clock)
        rules = load_jurisdictions(own=settings.jurisdictions_dir)
        sender = NoticeSender(pool=pool, clock=clock, notifiers=notifiers, jurisdictions=rules, on_round=pulse.beat)
        seat = f"{gethostname()}:{settings.ops_port or NAME}"
        peers = PeerWatch(pool=pool, clock=clock, seat=seat, pulses={Part.SENDER: pulse})
        told_outside = await outside_watchdog(stack, settings, pool, clock)
        watch = WatchLoop(pool=pool, new_id=uuid4)
        asks = AskSender(pool=pool, api=phone_api)
        relay = Relay(pool=pool, redis=redis, clock=clock)
        check = partial(keep_checked, process.readiness, sleep_ms=clock.sleep_ms)
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(sender.run()),
                tasks.create_task(CentreSync(pool=pool, api=centre).run(clock)),
                tasks.create_task(peers.run()),
                *[tasks.create_task(watchdog.run()) for watchdog in told_outside],
                tasks.create_task(watch.run(clock)),
                tasks.create_task(asks.run(clock)),
                tasks.create_task(keep_relaying(relay, clock)),
                tasks.create_task(check("database", partial(pool.execute, "SELECT"), errors=POSTGRES_ERRORS)),
                tasks.create_task(check("redis", redis.ping, errors=(RedisError, OSError))),
            ]
            await process.until_stopped()
            for task in work:
                task.cancel()


async def outside_watchdog(
    stack: AsyncExitStack, settings: Settings, pool: Pool, clock: Clock
) -> list[OutsideWatchdog]:
    """Return what pings the configured watchdog outside; nothing where there is none."""
    if settings.watchdog_url is None:
        return []
    ping = OutsidePing(settings.watchdog_url.get_secret_value(), is_private_allowed=settings.webhook_private_networks)
    await stack.enter_async_context(ping)
    every_ms = settings.watchdog_every_s * MS_PER_S
    return [OutsideWatchdog(pool=pool, clock=clock, ping=ping.send, every_ms=every_ms)]


async def open_phone_api(stack: AsyncExitStack, settings: Settings) -> PhoneApi:
    """Open a session with the phone provider until `stack` ends."""
    return await stack.enter_async_context(PhoneApi(phone_account(settings), public_url=settings.safetap_url))


def phone_notifiers(api: PhoneApi, settings: Settings) -> dict[Channel, Notifier]:
    """Return what sends text messages and places calls."""
    return {Channel.SMS: SmsNotifier(api, console_url=settings.api_url), Channel.VOICE: VoiceNotifier(api)}


async def push_notifiers(
    stack: AsyncExitStack, settings: Settings, pool: Pool, clock: Clock
) -> dict[Channel, Notifier]:
    """Return what tells browsers and apps.

    Raises:
        OSError, ValueError: a key file cannot be read, or is none.
    """
    key_file, account_file = settings.vapid_key_file, settings.fcm_credentials_file
    push = WebPushNotifier(
        pool=pool,
        key=None if key_file is None else load_vapid_key(key_file.read_bytes()),
        subject=settings.vapid_subject,
        is_private_allowed=settings.webhook_private_networks,
    )
    fcm = FcmNotifier(
        pool=pool,
        account=None if account_file is None else load_service_account(account_file),
        api_url=settings.fcm_api_url,
        now_ms=clock.now_ms,
    )
    return {
        Channel.PUSH: await stack.enter_async_context(push),
        Channel.FCM: await stack.enter_async_context(fcm),
    }


def centre_account(settings: Settings) -> CentreAccount | None:
    """Return the configured account with a monitoring centre."""
    token = _secret(settings.centre_token)
    return None if token is None else CentreAccount(settings.centre_api_url, token)


async def keep_relaying(relay: Relay, clock: Clock) -> None:
    """Run the relay; should it ever end by an error, start it again, and leave the notices alone."""
    while True:
        try:
            await relay.run()
        except Exception:
            log.exception("relay.failed")
        await clock.sleep_ms(RESTART_BACKOFF_MS_MAX)


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


if __name__ == "__main__":
    run(NAME, root)
