"""What things that are no app of ours post: anything, or nothing. Pure. Whatever it is, it is an alarm."""

from typing import Final

import orjson

from engine.core.errors import InvalidInput
from engine.core.ids import TriggerId
from engine.core.vocabulary import IncidentKind
from engine.safetap.trigger import Trigger, parse_trigger

NUMBERS: Final = ("lat", "lng", "accuracy_m", "ts_ms")


def bare_trigger(body: bytes, *, trigger_id: TriggerId, now_ms: int) -> Trigger:
    """Return the trigger in a body that need not hold any; `trigger_id` where it names none of its own.

    Numbers may be texts, as Shortcuts send them, and a place without a time is one of now. What cannot be used is noted
    in `ignored`, never refused.
    """
    nothing = Trigger(trigger_id, IncidentKind.BUTTON)
    if not body.strip():
        return nothing
    unreadable = Trigger(trigger_id, IncidentKind.BUTTON, ignored={"body": "A JSON object of a trigger, or nothing."})
    try:
        fields = orjson.loads(body)
        if not isinstance(fields, dict):
            return unreadable
        fields = {"trigger_id": str(trigger_id), "kind": IncidentKind.BUTTON.value, **fields}
        if isinstance(fields.get("fix"), dict):
            given = {name: _number(name, value) for name, value in fields["fix"].items()}
            fields["fix"] = {"ts_ms": now_ms, **given}
        return parse_trigger(orjson.dumps(fields))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, InvalidInput):
        return unreadable


def _number(name: str, value: object) -> object:
    if name not in NUMBERS or not isinstance(value, str):
        return value
    try:
        number = float(value.replace(",", "."))
        return int(number) if name == "ts_ms" else number
    except (ValueError, OverflowError):
        return value
