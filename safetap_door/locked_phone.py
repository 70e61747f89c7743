"""Doors for a phone that is locked, and for things that are no phone: text message, call, hardware button, Shortcut.

All of them make the same trigger and go the same two ways as every other: who is known is committed or spooled before
the answer; for whom nothing vouches is marked, and dropped by nobody. One sender's alarms of a kind within one minute
are one trigger until its incident is closed. No answer makes a sound on the phone that it goes to.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import orjson
import structlog
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from config.limits import DEVICE_LOOKUP_MS
from engine.core.database import POSTGRES_ERRORS
from engine.core.errors import NotAllowed, NotFound
from engine.core.ids import IncidentId, TriggerId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Acknowledgement, Channel, Door, IncidentKind
from engine.outbox.durable_loop import end_if_cancelled
from engine.safetap.alarm_id import alarm_id, alarm_id_after, message_alarm_id
from engine.safetap.bare_trigger import bare_trigger
from engine.safetap.button_secret import button_secret
from engine.safetap.channels.phone_number import e164
from engine.safetap.channels.voice import busy
from engine.safetap.key_table import KeyTable
from engine.safetap.metrics import REPLIES, TRIGGERS
from engine.safetap.phone_doors import PhoneDoor, PhoneDoors
from engine.safetap.reply_codes import acknowledge_by_code, code_in, is_awaited
from engine.safetap.senders import KEY_SCHEME, Sender, Senders, Shown, Stranger
from engine.safetap.silence.text_answer import Asked
from engine.safetap.trigger import ReceivedTrigger, TokenState, Trigger
from engine.safetap.unverified import UnverifiedTrigger
from safetap_door.check_ins import take_text_answer
from safetap_door.provider_requests import NOTHING_TO_SAY, PROVIDERS, signed_fields, xml
from safetap_door.routes import SERVICES, STATUS_OF, TRIGGERING_ROLES, DoorServices, source_of

log = structlog.get_logger(__name__)

IS_CLOSED: Final = """
SELECT EXISTS (SELECT FROM safetap_trigger t JOIN incident i USING (incident_id)
                WHERE t.person_id = $1 AND t.trigger_id = $2 AND i.state = 'closed')
"""
SMS_PATH: Final = "/v1/safetap/doors/sms"
VOICE_PATH: Final = "/v1/safetap/doors/voice"
BUTTON_PATH: Final = "/v1/safetap/doors/button"
SHORTCUT_PATH: Final = "/v1/safetap/doors/shortcut"


@dataclass(frozen=True, slots=True)
class LockedPhoneServices:
    """What these doors use beside the others'."""

    keys: KeyTable
    phones: PhoneDoors
    senders: Senders


LOCKED: Final = web.AppKey("locked", LockedPhoneServices)


def add_locked_phone_routes(app: web.Application, services: LockedPhoneServices) -> None:
    """Give `app` the doors. The routes for triggers and for receipts must be there."""
    app[LOCKED] = services
    app.router.add_post(SMS_PATH, take_text_message)
    app.router.add_post(VOICE_PATH, take_call)
    app.router.add_post(BUTTON_PATH, take_button)
    app.router.add_post(SHORTCUT_PATH, take_shortcut)


async def take_text_message(request: web.Request) -> web.Response:
    """Take what was written to our number: somebody's word, their answer to a check-in, or a responder's answer.

    Always the same empty answer: no message goes back to a phone that somebody else may be looking at.
    """
    fields = await signed_fields(request)
    text = fields.get("Body", "")
    phone = e164(fields.get("From", "")) or ""
    owners = request.app[LOCKED].phones.of(phone)
    meant = [owner for owner in owners if owner.is_meant_by(text)]
    is_answer = not meant and (
        await _is_check_in(request, phone, text, fields.get("MessageSid", ""), owners)
        or await _is_answer(request, phone, text, owners)
    )
    if not is_answer:
        await _by_phone(request, Door.SMS, fields.get("From", ""), meant, owners)
    return xml(NOTHING_TO_SAY)


async def take_call(request: web.Request) -> web.Response:
    """Take a call to our number; whoever calls hears a busy line."""
    fields = await signed_fields(request)
    phone = e164(fields.get("From", "")) or ""
    owners = request.app[LOCKED].phones.of(phone)
    meant = [owner for owner in owners if owner.is_call_alarm]
    if meant or not await _is_responder(request, phone):
        await _by_phone(request, Door.VOICE, fields.get("From", ""), meant, owners)
    return xml(busy())


async def take_button(request: web.Request) -> web.Response:
    """Take the press of a button that signs (Standard Webhooks) as one of its owner's trigger keys."""
    body = await request.read()
    master = request.app[PROVIDERS].webhook_secret
    if master is None:
        raise NotFound
    key_id = _key_id(request.query.get("key", ""))
    holder = request.app[LOCKED].keys.with_id(key_id)
    digest = hashlib.sha256(key_id.bytes).hexdigest()
    is_signed = _is_signed(button_secret(master, key_id), body, request.headers)
    sender: Sender | Stranger
    if holder is None or holder.is_tracker:
        sender = Stranger(TokenState.UNKNOWN, digest)
    elif not is_signed or not holder.is_live:
        state = TokenState.REVOKED if is_signed else TokenState.FORGED
        sender = Stranger(state, digest, holder.person_id, holder.org_id)
    else:
        sender = Sender(holder.person_id, holder.role, holder.org_id, holder.region_id, TokenState.KEY, None)
    return await _answer(request, sender, Door.BUTTON, body, str(key_id))


async def take_shortcut(request: web.Request) -> web.Response:
    """Take what an iOS Shortcut or an Android intent posts with a trigger key; the body may be empty."""
    body = await request.read()
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    source = None if request.remote is None else source_of(request.remote)
    shown = Shown(scheme or KEY_SCHEME, credential.strip(), body, source)
    sender = await request.app[LOCKED].senders.tell(shown, request.app[SERVICES].clock.now_ms())
    device = hashlib.sha256(credential.strip().encode(errors="surrogateescape")).hexdigest()
    return await _answer(request, sender, Door.SHORTCUT, body, device)


async def _is_check_in(
    request: web.Request, phone: str, text: str, message_id: str, owners: Sequence[PhoneDoor]
) -> bool:
    """Return whether a message answers a check-in, and act on it; its duress PIN is an alarm like any other."""

    async def raise_for(asked: Asked) -> None:
        sender = Sender(asked.person_id, asked.role, asked.org_id, asked.region_id, TokenState.KEY, None)
        trigger = Trigger(message_alarm_id(message_id, asked.person_id), IncidentKind.DURESS_PIN)
        await _take(request, sender, Door.SMS, trigger, source=None)

    return await take_text_answer(
        request,
        phone=phone,
        text=text,
        reply_id=message_id,
        owners=[owner.person_id for owner in owners],
        raise_for=raise_for,
    )


async def _is_answer(request: web.Request, phone: str, text: str, owners: Sequence[PhoneDoor]) -> bool:
    """Return whether a message is a responder's, and act on it.

    Digits that stand for nothing, from a number that was told of nothing, are no answer of who registered that number:
    it may be a PIN, typed in the place of a word.

    Raises:
        POSTGRES_ERRORS: a code came, and nobody can look it up now: the provider is told to come again.
    """
    services = request.app[PROVIDERS]
    code = code_in(text)
    if code is None:
        return await _is_responder(request, phone)
    async with services.pool.acquire() as conn:
        is_right = await acknowledge_by_code(conn, phone=phone, code=code, now_ms=services.clock.now_ms())
    REPLIES.labels(Channel.SMS.value, "acknowledged" if is_right else "wrong").inc()
    return is_right or not owners or await _is_responder(request, phone)


async def _is_responder(request: web.Request, phone: str) -> bool:
    """Return whether somebody was told on this number and answers in their own words. Unknown: they are not."""
    try:
        async with request.app[PROVIDERS].pool.acquire() as conn:
            is_awaited_ = await is_awaited(conn, phone)
    except POSTGRES_ERRORS:
        end_if_cancelled()
        return False
    if is_awaited_:
        REPLIES.labels(Channel.SMS.value, "not_understood").inc()
    return is_awaited_


async def _by_phone(
    request: web.Request, door: Door, number: str, meant: Sequence[PhoneDoor], owners: Sequence[PhoneDoor]
) -> None:
    """Raise the alarms that a message or a call means; without a word that vouches for it, a marked one."""
    digest = hashlib.sha256(number.encode()).hexdigest()
    senders: list[Sender | Stranger] = [
        Sender(owner.person_id, owner.role, owner.org_id, owner.region_id, TokenState.KEY, None) for owner in meant
    ]
    if not senders and owners:
        senders.append(Stranger(TokenState.UNKNOWN, digest, owners[0].person_id, owners[0].org_id))
    elif not senders:
        senders.append(Stranger(TokenState.UNKNOWN, digest))
    first = alarm_id(digest, request.app[SERVICES].clock.now_ms())
    for sender in senders:
        trigger = Trigger(await _live_id(request, sender, first), IncidentKind.BUTTON)
        await _take(request, sender, door, trigger, source=digest)


async def _take(
    request: web.Request, sender: Sender | Stranger, door: Door, trigger: Trigger, *, source: str | None
) -> Acknowledgement:
    """Make a trigger durable, or let a stranger's wait in its own lane."""
    services = request.app[SERVICES]
    outcome = "refused"
    try:
        if isinstance(sender, Stranger):
            incident_id, now_ms = IncidentId(services.new_id()), services.clock.now_ms()
            if services.unverified.has_room(source):
                services.unverified.offer(source, UnverifiedTrigger(trigger, sender, door, now_ms, incident_id))
            acknowledgement = Acknowledgement.RECEIVED
        else:
            acknowledgement = await services.intake.take(_received(services, sender, door, trigger))
        outcome = acknowledgement.value
    finally:
        TRIGGERS.labels(door.value, outcome).inc()
    return acknowledgement


def _received(services: DoorServices, sender: Sender, door: Door, trigger: Trigger) -> ReceivedTrigger:
    if sender.role not in TRIGGERING_ROLES:
        raise NotAllowed("Customers and workers raise alarms; the desk answers them.")
    return ReceivedTrigger(
        trigger=trigger,
        person_id=sender.person_id,
        role=sender.role,
        org_id=sender.org_id,
        region_id=sender.region_id,
        door=door,
        token_state=sender.token_state,
        received_at_ms=services.clock.now_ms(),
        incident_id=IncidentId(services.new_id()),
        issued_at_ms=sender.issued_at_ms,
    )


async def _answer(
    request: web.Request, sender: Sender | Stranger, door: Door, body: bytes, device: str
) -> web.Response:
    """Take what a thing posts, under the name that it chose, else under that of its minute."""
    now_ms = request.app[SERVICES].clock.now_ms()
    trigger = bare_trigger(body, trigger_id=alarm_id(device, now_ms), now_ms=now_ms)
    if trigger.trigger_id == alarm_id(device, now_ms):
        first = alarm_id(device, now_ms, trigger.kind)
        trigger = replace(trigger, trigger_id=await _live_id(request, sender, first))
    source = None if request.remote is None else source_of(request.remote)
    acknowledgement = await _take(request, sender, door, trigger, source=source)
    said = {"trigger_id": trigger.trigger_id, "state": acknowledgement.value}
    return web.Response(body=orjson.dumps(said), status=STATUS_OF[acknowledgement], content_type="application/json")


async def _live_id(request: web.Request, sender: Sender | Stranger, first: TriggerId) -> TriggerId:
    """Return what the alarm of this minute is called by now: one whose incident is closed is over, this is another.

    While Postgres is away it is the first one's name. A request that its sender repeats after the close raises another
    alarm, too: better one too many than none.
    """
    person_id = sender.person_id if isinstance(sender, Sender) else sender.claimed_person_id
    trigger_id = first
    try:
        async with asyncio.timeout(DEVICE_LOOKUP_MS / MS_PER_S), request.app[SERVICES].pool.acquire() as conn:
            while await conn.fetchval(IS_CLOSED, person_id, trigger_id):
                trigger_id = alarm_id_after(trigger_id)
    except POSTGRES_ERRORS as error:
        end_if_cancelled()
        log.warning("alarm.not_looked_up", error=type(error).__name__)
    return trigger_id


def _key_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound from None


def _is_signed(secret: str, body: bytes, headers: Mapping[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, {name.lower(): value for name, value in headers.items()}, json_parse=False)
    except WebhookVerificationError:
        return False
    return True
