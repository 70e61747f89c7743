"""Composition root of SafeTap's door: its port, its Unix socket, the escalation loop and the replay of the spool.

Starts without Postgres: triggers are spooled from the first moment on. Never needs Redis.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from socket import gethostname
from typing import Final
from uuid import uuid4

from aiohttp import web

from config.jurisdictions import load_jurisdictions
from config.limits import (
    ACCEPT_BACKLOG,
    COMMITTERS,
    INTAKE_POOL_MAX,
    LADDER_POOL_MAX,
    LIVE_CLOSE_MS,
    READY_PROBE_MS,
    SAFETAP_POOL_MAX,
    TRIGGER_BYTES_MAX,
    UNVERIFIED_POOL_MAX,
    UNVERIFIED_SPOOL_BYTES_MAX,
)
from config.settings import Settings
from engine.core.clock import Clock, SystemClock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.outbox.durable_loop import end_if_cancelled
from engine.outbox.listener import Listener, Wake
from engine.people.keyring import open_keyring
from engine.people.passwords import Passwords
from engine.people.sealing import Sealing
from engine.people.seed import refused_orgs
from engine.people.tokens import AccessTokens
from engine.safetap.channels.phone_account import phone_account
from engine.safetap.channels.phone_api import PhoneApi
from engine.safetap.channels.phone_number import e164
from engine.safetap.channels.sms import SmsNotifier
from engine.safetap.channels.webhook import WebhookNotifier
from engine.safetap.escalation_loop import EscalationLoop
from engine.safetap.intake import Intake
from engine.safetap.key_table import KeyTable
from engine.safetap.outage_calls import Contact, OutageCalls
from engine.safetap.phone_doors import PhoneDoors
from engine.safetap.senders import Senders
from engine.safetap.spool import Spool
from engine.safetap.trigger_store import rehearse
from engine.safetap.unverified_lane import UnverifiedLane
from engine.safetap.watchdog.health import Part
from engine.safetap.watchdog.peer_watch import PeerWatch, Pulse
from ops.http import add_guards, add_ops_routes, app_runner, guards, tls_context
from ops.process import Process, run
from ops.readiness import Readiness
from safetap_door.check_ins import add_pin_routes
from safetap_door.database import NewConnection, keep_open, open_pool
from safetap_door.live_desks import LiveDesks
from safetap_door.locked_phone import LockedPhoneServices, add_locked_phone_routes
from safetap_door.peer_news import PeerNews
from safetap_door.problems import cors, problems
from safetap_door.provider_requests import ProviderServices
from safetap_door.receipts import add_receipt_routes
from safetap_door.routes import DoorServices, add_routes
from safetap_door.trigger_line import TriggerLines
from safetap_door.unix_socket import listening_at
from safetap_door.whole_body import whole_body

NAME: Final = "safetap_door"


async def root(process: Process) -> None:
    """Take triggers and climb ladders until told to stop."""
    settings, clock = process.settings, SystemClock()
    tokens = open_tokens(settings)
    async with AsyncExitStack() as stack:
        sealing = Sealing(open_keyring(settings))
        pool = await opened_pool(stack, settings, size=SAFETAP_POOL_MAX, prepare=sealing.prepare)
        ladder_pool = await opened_pool(stack, settings, size=LADDER_POOL_MAX, prepare=sealing.prepare)
        intake_pool = await opened_pool(stack, settings, size=INTAKE_POOL_MAX, prepare=rehearse)
        keys = KeyTable(pool=intake_pool, clock=clock)
        phones = PhoneDoors(pool=pool, clock=clock)
        desks = LiveDesks(pool=pool, clock=clock, tokens=tokens, origins=settings.origins, name_of=keys.name_of)
        spool = await stack.enter_async_context(Spool(settings.state_dir / "spool", name=uuid4()))
        calls = await opened_outage_calls(stack, settings, clock, keys)
        intake = Intake(pool=intake_pool, spool=spool, clock=clock, new_id=uuid4, watches=[desks, calls])
        unverified = await open_unverified_lane(stack, settings, clock)
        due = Wake()
        pulses = {part: Pulse(clock) for part in (Part.DOOR, Part.ESCALATOR)}
        escalation = escalation_loop(settings, ladder_pool, due, pulses[Part.ESCALATOR])
        seat = f"{gethostname()}:{settings.safetap_port}"
        peers = PeerWatch(pool=pool, clock=clock, seat=seat, pulses=pulses)
        news = PeerNews(pool=pool, clock=clock, show=desks.show_watch)
        listener = Listener(
            pool=pool,
            clock=clock,
            handlers={
                "clenzy_safetap": due.set,
                "clenzy_incident": desks.changed,
                "clenzy_trigger_key": keys.changed,
                "clenzy_phone_door": phones.changed,
                "clenzy_peer": news.changed,
            },
        )
        services = DoorServices(
            clock=clock,
            tokens=tokens,
            senders=Senders(tokens=tokens, keys=keys),
            intake=intake,
            unverified=unverified,
            pool=pool,
            new_id=uuid4,
        )
        app = build_app(settings, services, desks, process.readiness)
        passwords = Passwords(threads=1)
        stack.callback(passwords.close)
        add_pin_routes(app, passwords)
        add_locked_phone_routes(app, LockedPhoneServices(keys=keys, phones=phones, senders=services.senders))
        await serve(stack, settings, app, services)
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(listener.run()),
                tasks.create_task(keys.run()),
                tasks.create_task(phones.run()),
                tasks.create_task(desks.run()),
                tasks.create_task(desks.watch_standing()),
                tasks.create_task(keep_open(intake_pool, clock, size=COMMITTERS)),
                tasks.create_task(intake.run()),
                tasks.create_task(intake.replay_loop()),
                tasks.create_task(unverified.run()),
                tasks.create_task(unverified.replay_loop()),
                tasks.create_task(unverified.sweep_loop()),
                tasks.create_task(escalation.run(clock)),
                tasks.create_task(peers.run()),
                tasks.create_task(news.run()),
                tasks.create_task(watch_database(pool, process.readiness, clock, pulses[Part.DOOR].beat)),
            ]
            await process.until_stopped()
            desks.end_all()
            for task in work:
                task.cancel()


def escalation_loop(settings: Settings, pool: Pool, due: Wake, pulse: Pulse) -> EscalationLoop:
    """Return what climbs the ladders, by the rules of each place."""
    rules = load_jurisdictions(own=settings.jurisdictions_dir)
    return EscalationLoop(pool=pool, wake=due, new_id=uuid4, jurisdictions=rules, on_round=pulse.beat)


async def opened_pool(
    stack: AsyncExitStack, settings: Settings, *, size: int, prepare: NewConnection | None = None
) -> Pool:
    """Open a pool until `stack` ends. Every write is one transaction: there is nothing to wait for then."""
    pool = await open_pool(settings, size=size, prepare=prepare)
    stack.callback(pool.terminate)
    return pool


async def opened_outage_calls(stack: AsyncExitStack, settings: Settings, clock: Clock, keys: KeyTable) -> OutageCalls:
    """Return what calls for help while Postgres cannot be asked whom to tell, until `stack` ends.

    Raises:
        ValueError: `CLENZY_OUTAGE_PHONES` holds something else than a number.
    """
    contacts = []
    if settings.outage_webhook_url is not None:
        secret = settings.webhook_secret
        webhook = WebhookNotifier(
            master_secret=None if secret is None else secret.get_secret_value(),
            is_private_allowed=settings.webhook_private_networks,
        )
        await stack.enter_async_context(webhook)
        contacts.append(Contact(webhook, settings.outage_webhook_url.get_secret_value()))
    if settings.outage_phones:
        api = PhoneApi(phone_account(settings), public_url=settings.safetap_url)
        sms = SmsNotifier(await stack.enter_async_context(api), console_url=settings.api_url)
        for position, written in enumerate(settings.outage_phones):
            number = e164(written)
            if number is None:
                raise ValueError(f"CLENZY_OUTAGE_PHONES: entry {position + 1} is no number with its country (+351...)")
            contacts.append(Contact(sms, number))
    return await stack.enter_async_context(
        OutageCalls(contacts, clock=clock, name_of=keys.name_of, desk_url=settings.api_url)
    )


async def open_unverified_lane(stack: AsyncExitStack, settings: Settings, clock: Clock) -> UnverifiedLane:
    """Return the lane of strangers, which shares nothing with the other but Postgres itself."""
    pool = await opened_pool(stack, settings, size=UNVERIFIED_POOL_MAX)
    folder = settings.state_dir / "spool-unverified"
    spool = await stack.enter_async_context(Spool(folder, name=uuid4(), bytes_max=UNVERIFIED_SPOOL_BYTES_MAX))
    return UnverifiedLane(pool=pool, spool=spool, clock=clock, new_id=uuid4)


def open_tokens(settings: Settings) -> AccessTokens:
    """Return what checks access tokens; the door has no key to sign any.

    Raises:
        ValueError: `CLENZY_JWT_PUBLIC_KEY_FILE` is not set.
    """
    if settings.jwt_public_key_file is None:
        raise ValueError("CLENZY_JWT_PUBLIC_KEY_FILE is not set: `clenzy up` makes a pair of keys")
    return AccessTokens(
        public_key_pem=settings.jwt_public_key_file.read_bytes(),
        refused_orgs=refused_orgs(is_demo=settings.mode == "demo"),
    )


def build_app(settings: Settings, services: DoorServices, desks: LiveDesks, readiness: Readiness) -> web.Application:
    """Return the door's application: triggers, the desk's stream and actions, health."""
    app = web.Application(middlewares=[cors(settings.origins), problems, whole_body], client_max_size=TRIGGER_BYTES_MAX)
    add_routes(app, services)
    add_receipt_routes(app, provider_services(settings, services))
    app.router.add_get("/v1/safetap/live", desks.serve)
    add_ops_routes(app, readiness)
    add_guards(app, is_tls=settings.tls_cert_file is not None)
    return app


def provider_services(settings: Settings, services: DoorServices) -> ProviderServices:
    """Return what requests of phone providers and of receivers are checked with."""
    return ProviderServices(
        clock=services.clock,
        pool=services.pool,
        public_url=settings.safetap_url,
        phone_secret=None if settings.phone_secret is None else settings.phone_secret.get_secret_value(),
        webhook_secret=None if settings.webhook_secret is None else settings.webhook_secret.get_secret_value(),
    )


async def serve(stack: AsyncExitStack, settings: Settings, app: web.Application, services: DoorServices) -> None:
    """Open the port and the Unix socket until `stack` ends."""
    listener = stack.enter_context(listening_at(settings.safetap_socket_path))
    runner = app_runner(app, stop_ms=2 * LIVE_CLOSE_MS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    assert runner.server is not None
    tls = tls_context(settings)
    tasks = await stack.enter_async_context(asyncio.TaskGroup())
    headers = guards(is_tls=tls is not None)
    lines = TriggerLines(services, full_server=runner.server, tasks=tasks, origins=settings.origins, headers=headers)
    teller = tasks.create_task(lines.tell_strangers())
    stack.callback(teller.cancel)
    stack.push_async_callback(lines.close, stop_ms=2 * LIVE_CLOSE_MS)
    loop = asyncio.get_running_loop()
    for opened in (
        await loop.create_server(lines, sock=listener),
        await loop.create_server(
            lines, settings.host, settings.safetap_port, ssl=tls, backlog=ACCEPT_BACKLOG, reuse_address=True
        ),
    ):
        stack.callback(opened.close)


async def watch_database(pool: Pool, readiness: Readiness, clock: Clock, on_answer: Callable[[], None]) -> None:
    """Say in the check `intake` where triggers go at the moment, and tell `on_answer` each time Postgres answers.

    The door is ready without Postgres too: taking it out of a balancer then would turn alarms away that it can keep.
    """
    while True:
        try:
            async with pool.acquire() as conn:
                await conn.execute("SELECT")
        except POSTGRES_ERRORS as error:
            end_if_cancelled()
            readiness.set("intake", ok=True, detail=f"spool only, database: {type(error).__name__}")
        else:
            on_answer()
            readiness.set("intake", ok=True, detail="database")
        await clock.sleep_ms(READY_PROBE_MS)


if __name__ == "__main__":
    run(NAME, root)
