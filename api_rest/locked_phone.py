"""Doors for a phone that is locked: the person's number and word, and what a hardware button signs with."""

from typing import Annotated

from pydantic import StringConstraints

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.route import PROTECTED, AnyRoute, Route, Uses
from api_rest.schemas import Answer
from config.limits import PHONE_WORD_CHARS_MAX, PHONE_WORD_CHARS_MIN
from engine.core.errors import InvalidInput, NotFound, Unavailable
from engine.safetap.button_secret import button_secret
from engine.safetap.channels.phone_number import e164
from engine.safetap.phone_doors import WORDS_MAX, own_phone_door, remove_phone_door, set_phone_door, words_of

OWN_KEY = "SELECT 1 FROM trigger_key WHERE key_id = $1 AND person_id = $2 AND revoked_at IS NULL"


class NewPhoneDoor(Body):
    """A number, the word that a message from it begins with, and whether a mere call is an alarm too."""

    phone: Annotated[str, StringConstraints(min_length=1, max_length=40)]
    word: Annotated[str, StringConstraints(min_length=PHONE_WORD_CHARS_MIN, max_length=PHONE_WORD_CHARS_MAX)]
    calls: bool = False


class PhoneDoorAnswer(Answer):
    """The registered number; `number` is the one to write to and to call (null: none is set up here)."""

    phone: str
    calls: bool
    number: str | None


class ButtonAnswer(Answer):
    """Where a button posts, and what it signs with (Standard Webhooks)."""

    url: str
    secret: str


async def put_phone_door(call: Call[NewPhoneDoor, NoQuery]) -> Reply:
    """Let messages from a number raise the person's alarm."""
    phone = e164(call.body.phone)
    if phone is None:
        raise InvalidInput("A number with its country: +351910000001.", field="phone")
    if not 1 <= len(words_of(call.body.word)) <= WORDS_MAX:
        raise InvalidInput(f"One to {WORDS_MAX} words.", field="word")
    await set_phone_door(
        call.conn,
        person_id=call.principal.person_id,
        phone=phone,
        word=call.body.word,
        is_call_alarm=call.body.calls,
        now_ms=call.now_ms,
    )
    return Reply({"phone": phone, "calls": call.body.calls, "number": call.services.settings.phone_sender})


async def get_phone_door(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the person's number; the word is told to nobody."""
    own = await own_phone_door(call.conn, call.principal.person_id)
    if own is None:
        raise NotFound
    return Reply({"phone": own[0], "calls": own[1], "number": call.services.settings.phone_sender})


async def delete_phone_door(call: Call[NoBody, NoQuery]) -> Reply:
    """Forget the person's number."""
    if not await remove_phone_door(call.conn, call.principal.person_id):
        raise NotFound
    return Reply()


async def post_alarm_button(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what a hardware button signs with that stands for one of the person's trigger keys."""
    key_id = call.ids["key_id"]
    if await call.conn.fetchval(OWN_KEY, key_id, call.principal.person_id) is None:
        raise NotFound
    settings = call.services.settings
    if settings.webhook_secret is None:
        raise Unavailable("Buttons are not set up here (CLENZY_WEBHOOK_SECRET).")
    url = f"{settings.safetap_url.rstrip('/')}/v1/safetap/doors/button?key={key_id}"
    return Reply({"url": url, "secret": button_secret(settings.webhook_secret.get_secret_value(), key_id)})


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="PUT",
        path="/v1/me/phone-door",
        access=PROTECTED,
        handler=put_phone_door,
        summary="Raise the alarm by a text message or a call",
        uses=Uses.TRANSACTION,
        body=NewPhoneDoor,
        answer=PhoneDoorAnswer,
        errors=(InvalidInput,),
    ),
    Route(
        method="GET",
        path="/v1/me/phone-door",
        access=PROTECTED,
        handler=get_phone_door,
        summary="The number whose messages raise the alarm",
        uses=Uses.CONNECTION,
        answer=PhoneDoorAnswer,
        errors=(NotFound,),
    ),
    Route(
        method="DELETE",
        path="/v1/me/phone-door",
        access=PROTECTED,
        handler=delete_phone_door,
        summary="Forget that number",
        uses=Uses.TRANSACTION,
        answer=None,
        status=204,
        errors=(NotFound,),
    ),
    Route(
        method="POST",
        path="/v1/me/trigger-keys/{key_id}/button",
        access=PROTECTED,
        handler=post_alarm_button,
        summary="Set up a hardware button",
        uses=Uses.CONNECTION,
        answer=ButtonAnswer,
        errors=(NotFound, Unavailable),
    ),
)
