"""The trigger: what a device sends when somebody is in danger. Pure: parses bytes, knows no store and no clock.

Only two things can refuse a trigger: an id that cannot be told apart from others, and a kind that nobody knows. What is
merely helpful (the fix, the booking) is left out when it cannot be read, and noted: an alarm without a position is
still an alarm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import orjson

from config.limits import TRIGGER_BYTES_MAX
from engine.core.errors import InvalidInput
from engine.core.ids import BookingId, IncidentId, OrgId, PersonId, RegionId, TriggerId
from engine.core.vocabulary import SENT_KINDS, SEVERITY_AT_FIRST, Door, IncidentKind, Role

TS_MS_MAX: Final = 253_402_300_799_999
"""The last millisecond of the year 9999, where `timestamptz` in Python ends."""
ACCURACY_M_MAX: Final = 100_000


class TokenState(StrEnum):
    """How a trigger's sender stood when it came."""

    VALID = "valid"
    EXPIRED = "expired"
    """An authentic access token that has run out: whoever was signed in once may call for help for ever."""
    KEY = "key"
    """A trigger key."""
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    """A key or a tracker that nobody has heard of."""
    FORGED = "forged"
    """No token of ours, or one that somebody has changed."""
    UNCHECKED = "unchecked"
    """Its source brings more than is checked; the device sends again."""


class Trust(StrEnum):
    """Whether somebody can vouch for who sent a trigger."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"


TRUSTED: Final = frozenset({TokenState.VALID, TokenState.EXPIRED, TokenState.KEY})


def trust_of(token_state: TokenState) -> Trust:
    """Return what the door knows by a token; Postgres may know of a revocation."""
    return Trust.VERIFIED if token_state in TRUSTED else Trust.UNVERIFIED


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
        """How an incident of this kind begins."""
        return SEVERITY_AT_FIRST[self.kind]


@dataclass(frozen=True, slots=True)
class ReceivedTrigger:
    """A trigger with who sent it, how it came in and when (Unix milliseconds of the door)."""

    trigger: Trigger
    person_id: PersonId
    role: Role
    org_id: OrgId
    region_id: RegionId
    door: Door
    token_state: TokenState
    received_at_ms: int
    incident_id: IncidentId
    """What the incident is called where this trigger opens one: the door shows it before Postgres has it."""
    issued_at_ms: int | None = None
    """When the access token was issued: Postgres knows whether it was revoked since. A key has none."""

    @property
    def trust(self) -> Trust:
        """What the door knows."""
        return trust_of(self.token_state)


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
    if not isinstance(kind, str) or kind not in SENT_KINDS:
        raise InvalidInput(f"One of {', '.join(SENT_KINDS)}.", field="kind")
    ignored: dict[str, str] = {}
    return Trigger(
        trigger_id=TriggerId(_uuid(fields.get("trigger_id"), "trigger_id")),
        kind=IncidentKind(kind),
        booking_id=_booking_id(fields.get("booking_id"), ignored),
        fix=_fix(fields.get("fix"), ignored),
        ignored=ignored,
    )


def duress_trigger(trigger_id: TriggerId, fix: object) -> Trigger:
    """Return the trigger of a duress PIN; a `fix` of decoded JSON that cannot be used is left out, whatever it is."""
    ignored: dict[str, str] = {}
    return Trigger(trigger_id, IncidentKind.DURESS_PIN, fix=_fix(fix, ignored), ignored=ignored)


def to_record(received: ReceivedTrigger) -> bytes:
    """Return the spool's form of a received trigger."""
    return orjson.dumps(received, default=str)


def from_record(record: bytes) -> ReceivedTrigger:
    """Return what `to_record` was given.

    Raises:
        ValueError, KeyError, TypeError: the record is not one of ours.
    """
    fields = orjson.loads(record)
    return ReceivedTrigger(
        trigger=trigger_of(fields["trigger"]),
        person_id=PersonId(UUID(fields["person_id"])),
        role=Role(fields["role"]),
        org_id=OrgId(UUID(fields["org_id"])),
        region_id=RegionId(UUID(fields["region_id"])),
        door=Door(fields["door"]),
        token_state=TokenState(fields["token_state"]),
        received_at_ms=fields["received_at_ms"],
        incident_id=IncidentId(UUID(fields["incident_id"])),
        issued_at_ms=fields["issued_at_ms"],
    )


def trigger_of(fields: Mapping[str, Any]) -> Trigger:
    """Return the trigger in a record of the spool.

    Raises:
        ValueError, KeyError, TypeError: it is not one of ours.
    """
    fix, booking_id = fields["fix"], fields["booking_id"]
    return Trigger(
        trigger_id=TriggerId(UUID(fields["trigger_id"])),
        kind=IncidentKind(fields["kind"]),
        booking_id=None if booking_id is None else BookingId(UUID(booking_id)),
        fix=None if fix is None else TriggerFix(**fix),
        ignored=fields["ignored"],
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
    if not isinstance(raw, int | float) or isinstance(raw, bool):
        return None
    return float(raw) if low <= raw <= high else None  # what is no number is within no bounds
