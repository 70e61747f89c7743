"""The safe and the duress PIN: setting them up, and cancelling an alarm with one. See `engine.safetap.pin_cancel`."""

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID, uuid4

import orjson
from pydantic import Field

from api_rest.context import Body, Call, NoQuery, Reply
from api_rest.route import PROTECTED, AnyRoute, Route, Uses
from api_rest.safetap import FORWARDED_HEADERS, TriggerFix
from api_rest.schemas import Answer
from config.limits import PIN_DIGITS_MAX, PIN_DIGITS_MIN
from engine.core.errors import InvalidInput, NotAllowed, TooMany, Unavailable
from engine.core.vocabulary import IncidentKind
from engine.people.audit import append_audit
from engine.safetap.pin_cancel import cancel, note_duress
from engine.safetap.pins import PinKind, check_pins, check_right, even_timing, judge_pin, save_pins

Digits = Annotated[str, Field(min_length=PIN_DIGITS_MIN, max_length=PIN_DIGITS_MAX, pattern=r"^[0-9]+$")]


class SetPins(Body):
    """Both PINs. Who has set some before also gives one of those."""

    safe_pin: Digits
    duress_pin: Digits
    current_pin: Digits | None = None


class PinsAnswer(Answer):
    """They are set."""

    state: str


class Cancel(Body):
    """A PIN; `trigger_id` names the alarm that the phone means, `fix` where it is."""

    pin: Digits
    trigger_id: UUID | None = None
    fix: TriggerFix | None = None


class CancelAnswer(Answer):
    """What the screen shows, whichever of the two PINs it was."""

    state: str


async def put_pins(call: Call[SetPins, NoQuery]) -> Reply:
    """Set both PINs. A duress PIN given as the current one raises the alarm, changes nothing and looks as if it had."""
    check_pins(call.body.safe_pin, call.body.duress_pin)
    async with even_timing(call.services.clock):
        await _change_pins(call)
    return Reply({"state": "set"})


async def _change_pins(call: Call[SetPins, NoQuery]) -> None:
    body, services, principal = call.body, call.services, call.principal
    safe_hash = await services.passwords.hash(body.safe_pin)
    duress_hash = await services.passwords.hash(body.duress_pin)
    verdict = await judge_pin(
        services.pool,
        services.passwords,
        person_id=principal.person_id,
        pin=body.current_pin or "",
        now_ms=call.now_ms,
    )
    if verdict.kind is PinKind.DURESS:
        await raise_duress(call, None)
    if verdict.has_pins or verdict.is_locked:
        check_right(verdict, field="current_pin")
    async with services.pool.acquire() as conn, conn.transaction():
        if verdict.kind is PinKind.DURESS:
            await note_duress(conn, person_id=principal.person_id, now_ms=call.now_ms)
            return
        await save_pins(
            conn, person_id=principal.person_id, safe_hash=safe_hash, duress_hash=duress_hash, now_ms=call.now_ms
        )
        await append_audit(
            conn,
            org_id=principal.org_id,
            actor_id=principal.person_id,
            action="safety_pins.set",
            subject=f"person:{principal.person_id}",
            now_ms=call.now_ms,
        )


async def cancel_alarm(call: Call[Cancel, NoQuery]) -> Reply:
    """Answer "cancelled" to the safe and to the duress PIN alike."""
    fix = call.body.fix
    await cancel(
        call.services.pool,
        call.services.passwords,
        call.services.clock,
        person_id=call.principal.person_id,
        pin=call.body.pin,
        trigger_id=call.body.trigger_id,
        raise_duress=lambda: raise_duress(call, fix),
    )
    return Reply({"state": "cancelled"})


async def raise_duress(call: Call[Any, NoQuery], fix: TriggerFix | None) -> None:
    """Send the trigger through SafeTap's door: it is spooled there even when Postgres has just gone away."""
    trigger: dict[str, object] = {"trigger_id": str(uuid4()), "kind": IncidentKind.DURESS_PIN.value}
    if fix is not None:
        trigger["fix"] = fix.model_dump()
    headers = {name: call.request.headers[name] for name in FORWARDED_HEADERS if name in call.request.headers}
    answer = await call.services.safetap.forward(orjson.dumps(trigger), headers=headers)
    if answer.status not in {HTTPStatus.OK, HTTPStatus.ACCEPTED}:
        raise Unavailable


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="PUT",
        path="/v1/me/safety/pins",
        access=PROTECTED,
        handler=put_pins,
        summary="Set the safe and the duress PIN",
        uses=Uses.STANDING,
        body=SetPins,
        answer=PinsAnswer,
        errors=(InvalidInput, TooMany, NotAllowed, Unavailable),
    ),
    Route(
        method="POST",
        path="/v1/safetap/cancel",
        access=PROTECTED,
        handler=cancel_alarm,
        summary="Cancel one's alarm with a PIN",
        uses=Uses.STANDING,
        body=Cancel,
        answer=CancelAnswer,
        errors=(InvalidInput, TooMany, NotAllowed, Unavailable),
    ),
)
