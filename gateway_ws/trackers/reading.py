"""What the readers of all apps share: the fix, the report, and numbers and times as strangers write them.

Nothing here raises: a phone that is refused keeps what it has and sends nothing newer, so whatever cannot be read is
left out and named.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qsl

import numpy as np
import orjson

from config.limits import TRACKER_FIXES_MAX, TRACKER_PARAMETERS_MAX
from engine.core.units import MS_PER_S, ms_from_utc
from engine.core.vocabulary import FixFlag
from engine.geo.fixes import FIX, payload_of_objects

MPS_PER_KNOT: Final = 1852 / 3600
"""A knot is a nautical mile (1,852 m) an hour."""
MPS_PER_KMH: Final = 1000 / 3600
_SECONDS_END: Final = 100_000_000_000
"""A larger number counts milliseconds: as seconds it would lie beyond the year 5000."""


class Skip(StrEnum):
    """Why a part of a request brought no fix. Fixes that came through are judged like everybody's."""

    EMPTY = "empty"
    MALFORMED = "malformed"
    NOT_A_FIX = "not_a_fix"
    ENCRYPTED = "encrypted"
    NO_PLACE = "no_place"
    NO_TIME = "no_time"
    TOO_MANY = "too_many"


@dataclass(frozen=True, slots=True)
class TrackedFix:
    """A fix in the units of the protocol; what is `None` the app did not tell."""

    ts_ms: int
    lat_deg: float
    lng_deg: float
    accuracy_m: float | None = None
    speed_mps: float | None = None
    heading_deg: float | None = None
    battery_pct: float | None = None
    is_charging: bool = False
    is_mocked: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What one request said."""

    fixes: tuple[TrackedFix, ...] = ()
    skipped: Counter[Skip] = field(default_factory=Counter)
    credential: str | None = None
    """The device's token, where the app has no other place for it than its own id."""
    is_sos: bool = False
    sos_at_ms: int | None = None
    """The time of the alarm by the phone's clock; `None` where it told none."""


def skipped(reason: Skip, *, credential: str | None = None) -> Report:
    """Return a report of nothing but a reason."""
    return Report(skipped=Counter({reason: 1}), credential=credential)


def gathered(read: Sequence[TrackedFix | Skip]) -> tuple[tuple[TrackedFix, ...], Counter[Skip]]:
    """Return the fixes of a batch and why the others are none; beyond the limit the oldest are left out."""
    fixes = [each for each in read if isinstance(each, TrackedFix)]
    reasons = Counter(each for each in read if isinstance(each, Skip))
    if surplus := max(0, len(fixes) - TRACKER_FIXES_MAX):
        reasons[Skip.TOO_MANY] = surplus
        fixes = sorted(fixes, key=lambda fix: fix.ts_ms)[surplus:]
    return tuple(fixes), reasons


def fix_or_reason(  # noqa: PLR0913 - the columns of a fix
    *,
    ts_ms: int | None,
    lat_deg: float | None,
    lng_deg: float | None,
    accuracy_m: float | None = None,
    speed_mps: float | None = None,
    heading_deg: float | None = None,
    battery_pct: float | None = None,
    is_charging: bool = False,
    is_mocked: bool = False,
) -> TrackedFix | Skip:
    """Return the fix, or what it lacks. Ranges are the acceptance's business."""
    if lat_deg is None or lng_deg is None:
        return Skip.NO_PLACE
    if ts_ms is None:
        return Skip.NO_TIME
    return TrackedFix(
        ts_ms,
        lat_deg,
        lng_deg,
        accuracy_m=positive(accuracy_m),
        speed_mps=positive(speed_mps),
        heading_deg=positive(heading_deg),
        battery_pct=positive(battery_pct),
        is_charging=is_charging,
        is_mocked=is_mocked,
    )


def payload_of(fixes: Sequence[TrackedFix]) -> bytes:
    """Return the wire's bytes of at least one fix, oldest first: what comes after a newer one is stale."""
    ordered = sorted(fixes, key=lambda fix: fix.ts_ms)
    rows = np.frombuffer(payload_of_objects([_as_object(fix) for fix in ordered]), FIX).copy()
    rows["flags"] = [fix.is_charging * FixFlag.CHARGING | fix.is_mocked * FixFlag.MOCKED for fix in ordered]
    return rows.tobytes()


def object_of(body: bytes) -> dict[str, Any] | Skip:
    """Return the JSON object that a body is, or why it says nothing."""
    if not body.strip():
        return Skip.EMPTY
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Skip.MALFORMED
    return said if isinstance(said, dict) else Skip.MALFORMED


def form_of(body: bytes) -> dict[str, str]:
    """Return the fields of a form; the first of each name. A body that is no form has none."""
    try:
        pairs = parse_qsl(body.decode(), max_num_fields=TRACKER_PARAMETERS_MAX)
    except ValueError:
        return {}
    return dict(reversed(pairs))


def number(raw: object) -> float | None:
    """Return a finite number, also one written as text."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    try:
        value = float(raw)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def positive(value: float | None) -> float | None:
    """Return `value` unless it is negative, which is how phones write that they do not know."""
    return None if value is None or value < 0 else value


def scaled(value: float | None, factor: float) -> float | None:
    """Return `value` in another unit."""
    return None if value is None else value * factor


def time_ms(raw: object) -> int | None:
    """Return Unix milliseconds of a time in seconds, in milliseconds or as ISO 8601 (without a zone: UTC)."""
    value = number(raw)
    if value is not None:
        if not 0 < value < _SECONDS_END * MS_PER_S:
            return None
        return round(value * MS_PER_S) if value < _SECONDS_END else round(value)
    if not isinstance(raw, str):
        return None
    try:
        at = datetime.fromisoformat(raw.strip())
        return ms_from_utc(at if at.tzinfo else at.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None


def text(raw: object) -> str | None:
    """Return a text that says something."""
    return raw if isinstance(raw, str) and raw else None


def part(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object inside of an object; where there is none, an empty one."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def is_yes(raw: object) -> bool:
    """Return whether an app says yes, in any of their ways."""
    return raw is True or (isinstance(raw, str) and raw.lower() in {"true", "1"})


def _as_object(fix: TrackedFix) -> dict[str, float | None]:
    return {
        "ts_ms": fix.ts_ms,
        "lat": fix.lat_deg,
        "lng": fix.lng_deg,
        "accuracy_m": fix.accuracy_m,
        "speed_mps": fix.speed_mps,
        "heading_deg": fix.heading_deg,
        "battery_pct": fix.battery_pct,
    }
