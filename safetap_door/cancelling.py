"""Cancelling an alarm with a PIN at SafeTap's own port and socket, so that it works while the API is down.

The same deed in the same silence as the API's: see `engine.safetap.pin_cancel`. Hashing is a thread's work,
one at a time: whoever calls for help meanwhile waits for none of it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Final
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.limits import DOOR_CANCELS_MAX, DOOR_CANCELS_PER_PERSON_MAX, PIN_DIGITS_MAX, PIN_DIGITS_MIN
from engine.core.errors import InvalidInput, NotAllowed, Unavailable
from engine.core.ids import IncidentId, PersonId, TriggerId
from engine.core.vocabulary import Role
from engine.people.accounts import check_standing
from engine.people.passwords import Passwords
from engine.people.tokens import Principal, bearer_token
from engine.safetap.pin_cancel import Given, cancel
from engine.safetap.trigger import ReceivedTrigger, TokenState, duress_trigger
from safetap_door.routes import SERVICES, DoorServices, door_of

CANCEL_PATH: Final = "/v1/safetap/cancel"
CANCELLED: Final = orjson.dumps({"state": "cancelled"})
"""The one answer to the safe and to the duress PIN."""
PASSWORDS: Final = web.AppKey("passwords", Passwords)


class Cancel(BaseModel):
    """A PIN; `trigger_id` names the alarm that the phone means, `fix` where it is. A broken fix costs no alarm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pin: Annotated[str, Field(min_length=PIN_DIGITS_MIN, max_length=PIN_DIGITS_MAX, pattern=r"^[0-9]+$")]
    trigger_id: UUID | None = None
    fix: object = None


@dataclass(slots=True)
class Queue:
    """One person's PINs: each is judged after the one before it."""

    judging: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


TURNS: Final = web.AppKey("turns", dict[PersonId, Queue])
"""Whose PINs are being judged. Whoever sends many is one of them."""


def add_cancel_route(app: web.Application, passwords: Passwords) -> None:
    """Let `app`, which has the door's requests, take PINs too."""
    app[PASSWORDS] = passwords
    app[TURNS] = {}
    app.router.add_post(CANCEL_PATH, cancel_alarm)


async def cancel_alarm(request: web.Request) -> web.Response:
    """Answer "cancelled" to the safe and to the duress PIN alike.

    A token that has expired is as good as for a trigger: a phone cannot refresh it while the API is down. While
    Postgres is away too, nobody can tell one PIN from another, and every one is answered `unavailable`.
    """
    services = request.app[SERVICES]
    principal = protected(services, request)
    asked = _parse(await request.read())
    async with turn(request, principal.person_id):
        async with services.pool.acquire() as conn:
            await check_standing(conn, principal)
        await cancel(
            services.pool,
            request.app[PASSWORDS],
            services.clock,
            Given(principal.person_id, asked.pin, asked.trigger_id),
            raise_duress=lambda: raise_duress(request, principal, asked.fix),
            new_id=services.new_id,
        )
    return web.Response(body=CANCELLED, content_type="application/json")


@asynccontextmanager
async def turn(request: web.Request, person_id: PersonId) -> AsyncIterator[None]:
    """Hold a place of those whose PINs are judged: each person has one, and waits in it for their own.

    Raises:
        Unavailable: all are taken, or this person's queue is full.
    """
    turns = request.app[TURNS]
    if person_id not in turns and len(turns) >= DOOR_CANCELS_MAX:
        raise Unavailable
    queue = turns.setdefault(person_id, Queue())
    if queue.waiting >= DOOR_CANCELS_PER_PERSON_MAX:
        raise Unavailable
    queue.waiting += 1
    try:
        async with queue.judging:
            yield
    finally:
        queue.waiting -= 1
        if not queue.waiting:
            del turns[person_id]


def protected(services: DoorServices, request: web.Request) -> Principal:
    """Return the customer or worker who asks; an expired token counts.

    Raises:
        NotSignedIn: the token is not ours.
        NotAllowed: they are of those who answer alarms.
    """
    token = bearer_token(request.headers.get("Authorization", ""))
    principal = services.tokens.verify(token, services.clock.now_ms(), allow_expired=True)
    if principal.role not in (Role.CUSTOMER, Role.WORKER):
        raise NotAllowed("Customers and workers have PINs.")
    return principal


def _parse(body: bytes) -> Cancel:
    try:
        return Cancel.model_validate_json(body)
    except ValidationError as error:
        places = [str(part) for one in error.errors() for part in one["loc"][:1]]
        raise InvalidInput("A PIN of 4 to 8 digits.", field=places[0] if places else None) from None


async def raise_duress(request: web.Request, principal: Principal, fix: object) -> None:
    """Raise the alarm of somebody who has given their duress PIN."""
    services = request.app[SERVICES]
    now_ms = services.clock.now_ms()
    trigger = duress_trigger(TriggerId(services.new_id()), fix)
    is_expired = principal.expires_at_ms <= now_ms
    await services.intake.take(
        ReceivedTrigger(
            trigger=trigger,
            person_id=principal.person_id,
            role=principal.role,
            org_id=principal.org_id,
            region_id=principal.region_id,
            door=door_of(request),
            token_state=TokenState.EXPIRED if is_expired else TokenState.VALID,
            received_at_ms=now_ms,
            incident_id=IncidentId(services.new_id()),
            issued_at_ms=principal.issued_at_ms,
        )
    )
