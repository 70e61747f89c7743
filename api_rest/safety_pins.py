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
from config.limits import DURESS_FORWARD_MS, PIN_DIGITS_MAX, PIN_DIGITS_MIN
from engine.core.errors import InvalidInput, NotAllowed, TooMany, Unavailable
from engine.core.vocabulary import Acknowledgement, IncidentKind
from engine.people.audit import append_audit
from engine.safetap.forwarding import DoorAnswer
from engine.safetap.pin_cancel import Given, cancel, note_duress, raise_if_forced
from engine.safetap.pins import PinKind, check_pins, check_right, even_timing, judge_pin, save_pins
from engine.safetap.trigger import TS_MS_MAX

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
        is_raised = await raise_if_forced(verdict, lambda: raise_duress(call, None))
        async with services.pool.acquire() as conn, conn.transaction():
            await note_duress(
                conn, person_id=principal.person_id, is_raised=is_raised, new_id=uuid4, now_ms=call.now_ms
            )
    if verdict.has_pins or verdict.is_locked:
        check_right(verdict, field="current_pin")
    if verdict.kind is PinKind.DURESS:
        return
    async with services.pool.acquire() as conn, conn.transaction():
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
        Given(call.principal.person_id, call.body.pin, call.body.trigger_id),
        raise_duress=lambda: raise_duress(call, fix),
        new_id=uuid4,
    )
    return Reply({"state": "cancelled"})


async def raise_duress(call: Call[Any, NoQuery], fix: TriggerFix | None) -> None:
    """Send the trigger through SafeTap's door: it is spooled there even when Postgres has just gone away.

    It is not waited for longer than the answer may take: who watches the screen must not see a door that hangs.

    Raises:
        Unavailable: no door makes it durable as theirs in time.
    """
    trigger: dict[str, object] = {"trigger_id": str(uuid4()), "kind": IncidentKind.DURESS_PIN.value}
    if fix is not None and 0 < fix.ts_ms <= TS_MS_MAX:  # no other is of use, and not every one can be written
        trigger["fix"] = fix.model_dump()
    headers = {name: call.request.headers[name] for name in FORWARDED_HEADERS if name in call.request.headers}
    answer = await call.services.safetap.forward(orjson.dumps(trigger), headers=headers, within_ms=DURESS_FORWARD_MS)
    if answer.status not in {HTTPStatus.OK, HTTPStatus.ACCEPTED} or _is_strangers(answer):
        raise Unavailable


def _is_strangers(answer: DoorAnswer) -> bool:
    """Return whether the door has it, but vouches for nobody: too many tokens came at once to look at this one."""
    fields = orjson.loads(answer.body)
    return not isinstance(fields, dict) or fields.get("state") == Acknowledgement.RECEIVED


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
