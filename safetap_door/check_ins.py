"""The answer to "is all well?" at SafeTap's own door: from the sockets, and by text message.

The same deed in the same silence as the API's: see `engine.safetap.silence.check_in`. A text message is answered by
nothing, whatever it says.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.limits import PIN_DIGITS_MAX, PIN_DIGITS_MIN
from engine.core.errors import InvalidInput, TooMany
from engine.core.ids import BookingId, PersonId
from engine.core.vocabulary import Channel
from engine.people.accounts import check_standing
from engine.people.passwords import Passwords
from engine.safetap.forwarding import CHECK_IN_PATH
from engine.safetap.metrics import REPLIES
from engine.safetap.silence.check_in import CheckIn, check_in
from engine.safetap.silence.text_answer import Asked, answer_in, asked_on
from safetap_door.cancelling import PASSWORDS, add_cancel_route, protected, raise_duress, turn
from safetap_door.provider_requests import PROVIDERS
from safetap_door.routes import SERVICES

RaiseFor = Callable[[Asked], Awaitable[None]]
"""Raises the alarm of somebody who has answered with their duress PIN."""


class CheckInBody(BaseModel):
    """All is well, on one job or on all; a PIN where the organisation wants one. A broken fix costs no alarm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    booking_id: BookingId | None = None
    pin: Annotated[str, Field(min_length=PIN_DIGITS_MIN, max_length=PIN_DIGITS_MAX, pattern=r"^[0-9]+$")] | None = None
    fix: object = None


def add_pin_routes(app: web.Application, passwords: Passwords) -> None:
    """Let `app`, which has the door's requests, take PINs: to cancel an alarm, and to say that all is well."""
    add_cancel_route(app, passwords)
    app.router.add_post(CHECK_IN_PATH, take_check_in)


async def take_check_in(request: web.Request) -> web.Response:
    """Take an answer; the safe and the duress PIN are answered alike."""
    services = request.app[SERVICES]
    principal = protected(services, request)
    said = _parse(await request.read())
    async with turn(request, principal.person_id):
        async with services.pool.acquire() as conn:
            await check_standing(conn, principal)
        items = await check_in(
            services.pool,
            request.app[PASSWORDS],
            services.clock,
            CheckIn(principal.person_id, said.booking_id, said.pin),
            raise_duress=lambda: raise_duress(request, principal, said.fix),
            new_id=services.new_id,
        )
    return web.Response(body=orjson.dumps({"items": items}), content_type="application/json")


async def take_text_answer(
    request: web.Request, *, phone: str, text: str, reply_id: str, owners: Sequence[PersonId], raise_for: RaiseFor
) -> bool:
    """Return whether a text message answers the question, having acted on it.

    A number of several people answers for whose PIN it says; without one for nobody, and the question stands.

    Raises:
        POSTGRES_ERRORS: nobody can look it up now: the provider is told to come again.
        Unavailable: a duress PIN could be told nowhere: the same.
    """
    answer = answer_in(text)
    if answer is None:
        return False
    services = request.app[PROVIDERS]
    async with services.pool.acquire() as conn:
        asked = await asked_on(conn, phone, owners=owners, now_ms=services.clock.now_ms())
    if not asked:
        return False
    is_taken = False
    for one in asked if answer.pin is not None or len(asked) == 1 else ():
        is_taken |= await _take(request, one, pin=answer.pin, reply_id=reply_id, raise_for=raise_for)
    REPLIES.labels(Channel.SMS.value, "checked_in" if is_taken else "not_checked_in").inc()
    return True


async def _take(request: web.Request, asked: Asked, *, pin: str | None, reply_id: str, raise_for: RaiseFor) -> bool:
    services = request.app[PROVIDERS]
    try:
        async with turn(request, asked.person_id):
            await check_in(
                services.pool,
                request.app[PASSWORDS],
                services.clock,
                CheckIn(asked.person_id, None, pin, reply_id),
                raise_duress=lambda: raise_for(asked),
                new_id=request.app[SERVICES].new_id,
            )
    except (InvalidInput, TooMany):
        return False
    return True


def _parse(body: bytes) -> CheckInBody:
    try:
        return CheckInBody.model_validate_json(body or b"{}")
    except ValidationError as error:
        field: Final = str(error.errors()[0]["loc"][0]) if error.errors()[0]["loc"] else None
        raise InvalidInput("What this field may be is in docs/protocol.md.", field=field) from None
