"""The trigger: what a device sends when somebody is in danger. Pure: parses bytes, knows no store and no clock.

Only two things can refuse a trigger: an id that cannot be told apart from others, and a kind that nobody knows. What is
merely helpful (the fix, the booking) is left out when it cannot be read, and noted: an alarm without a position is
still an alarm.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import orjson

from config.limits import TRIGGER_BYTES_MAX
from engine.core.errors import InvalidInput
from engine.core.ids import BookingId, OrgId, PersonId, RegionId, TriggerId
from engine.core.vocabulary import Door, IncidentKind, Role

TS_MS_MAX: Final = 253_402_300_799_999
"""The last millisecond of the year 9999, where `timestamptz` in Python ends."""
ACCURACY_M_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class TriggerFix:
    """Where the device believed to be. Degrees WGS84, metres, Unix milliseconds of the device."""

    lat_deg: float
    lng_deg: float
    accuracy_m: float | None
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Trigger:
    """A parsed trigger; `ignored` names the optional fields that could not be used, with the rule they broke."""

    trigger_id: TriggerId
    kind: IncidentKind
    booking_id: BookingId | None = None
    fix: TriggerFix | None = None
    ignored: Mapping[str, str] | None = None

    @property
    def is_drill(self) -> bool:
        """Whether this is practice: the whole real path, but nobody is held back from work."""
        return self.kind is IncidentKind.DRILL

    @property
    def severity(self) -> int:
        """How an incident of this kind begins: somebody who is forced to give a PIN is in worse trouble."""
        return 2 if self.kind is IncidentKind.DURESS_PIN else 1


@dataclass(frozen=True, slots=True)
class ReceivedTrigger:
    """A trigger with who sent it, how it came in and when (Unix milliseconds of the door)."""

    trigger: Trigger
    person_id: PersonId
    role: Role
    org_id: OrgId
    region_id: RegionId
    door: Door
    is_token_expired: bool
    received_at_ms: int


def parse_trigger(body: bytes) -> Trigger:
    """Return the trigger that a request body holds.

    Raises:
        InvalidInput: with the field and the rule that it breaks.
    """
    if len(body) > TRIGGER_BYTES_MAX:
        raise InvalidInput(f"At most {TRIGGER_BYTES_MAX} bytes.")
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidInput("The body is a JSON object.") from None
    if not isinstance(fields, dict):
        raise InvalidInput("The body is a JSON object.")
    kind = fields.get("kind")
    if not isinstance(kind, str) or kind not in set(IncidentKind):
        raise InvalidInput(f"One of {', '.join(IncidentKind)}.", field="kind")
    ignored: dict[str, str] = {}
    return Trigger(
        trigger_id=TriggerId(_uuid(fields.get("trigger_id"), "trigger_id")),
        kind=IncidentKind(kind),
        booking_id=_booking_id(fields.get("booking_id"), ignored),
        fix=_fix(fields.get("fix"), ignored),
        ignored=ignored,
    )


def to_record(received: ReceivedTrigger) -> bytes:
    """Return the spool's form of a received trigger."""
    return orjson.dumps(received)


def from_record(record: bytes) -> ReceivedTrigger:
    """Return what `to_record` was given.

    Raises:
        ValueError, KeyError, TypeError: the record is not one of ours.
    """
    fields = orjson.loads(record)
    trigger = fields["trigger"]
    fix = trigger["fix"]
    booking_id = trigger["booking_id"]
    return ReceivedTrigger(
        trigger=Trigger(
            trigger_id=TriggerId(UUID(trigger["trigger_id"])),
            kind=IncidentKind(trigger["kind"]),
            booking_id=None if booking_id is None else BookingId(UUID(booking_id)),
            fix=None if fix is None else TriggerFix(**fix),
            ignored=trigger["ignored"],
        ),
        person_id=PersonId(UUID(fields["person_id"])),
        role=Role(fields["role"]),
        org_id=OrgId(UUID(fields["org_id"])),
        region_id=RegionId(UUID(fields["region_id"])),
        door=Door(fields["door"]),
        is_token_expired=fields["is_token_expired"],
        received_at_ms=fields["received_at_ms"],
    )


def _uuid(raw: object, field: str) -> UUID:
    try:
        if isinstance(raw, str):
            return UUID(raw)
    except ValueError:
        pass
    raise InvalidInput("A UUID.", field=field)


def _booking_id(raw: object, ignored: dict[str, str]) -> BookingId | None:
    if raw is None:
        return None
    try:
        return BookingId(_uuid(raw, "booking_id"))
    except InvalidInput as error:
        ignored["booking_id"] = error.detail
        return None


def _fix(raw: object, ignored: dict[str, str]) -> TriggerFix | None:
    if raw is None:
        return None
    fields = raw if isinstance(raw, dict) else {}
    lat_deg = _number(fields.get("lat"), -90, 90)
    lng_deg = _number(fields.get("lng"), -180, 180)
    ts_ms = fields.get("ts_ms")
    if lat_deg is None or lng_deg is None:
        ignored["fix"] = "lat from -90 to 90 and lng from -180 to 180."
        return None
    if lat_deg == 0 and lng_deg == 0:
        ignored["fix"] = "0/0 is what a receiver without a position says."
        return None
    if not isinstance(ts_ms, int) or isinstance(ts_ms, bool) or not 0 < ts_ms <= TS_MS_MAX:
        ignored["fix"] = "ts_ms is a positive number of Unix milliseconds."
        return None
    return TriggerFix(lat_deg, lng_deg, _number(fields.get("accuracy_m"), 0, ACCURACY_M_MAX), ts_ms)


def _number(raw: object, low: float, high: float) -> float | None:
    if not isinstance(raw, int | float) or isinstance(raw, bool) or not math.isfinite(raw):
        return None
    return float(raw) if low <= raw <= high else None
