"""Composition root of the process that tells people: the notice sender, and the relay of the outbox beside it.

They share a process but not a fate: notices need Postgres alone, so a Redis that is away stops the relay and no notice.
"""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import structlog
from pydantic import SecretStr
from redis.exceptions import RedisError

from config.limits import DATABASE_POOL_MAX, RESTART_BACKOFF_MS_MAX
from engine.core.clock import Clock, SystemClock
from engine.core.database import POSTGRES_ERRORS
from engine.core.vocabulary import Channel
from engine.outbox.relay import Relay
from engine.safetap.channels.email import EmailNotifier, parse_smtp_url
from engine.safetap.channels.webhook import WebhookNotifier
from engine.safetap.notice_sender import NoticeSender
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
        email = EmailNotifier(smtp, sender=settings.mail_from, console_url=settings.api_url)
        sender = NoticeSender(pool=pool, clock=clock, notifiers={Channel.EMAIL: email, Channel.WEBHOOK: webhook})
        relay = Relay(pool=pool, redis=redis, clock=clock)
        check = partial(keep_checked, process.readiness, sleep_ms=clock.sleep_ms)
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(sender.run()),
                tasks.create_task(keep_relaying(relay, clock)),
                tasks.create_task(check("database", partial(pool.execute, "SELECT"), errors=POSTGRES_ERRORS)),
                tasks.create_task(check("redis", redis.ping, errors=(RedisError, OSError))),
            ]
            await process.stop.wait()
            for task in work:
                task.cancel()


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
