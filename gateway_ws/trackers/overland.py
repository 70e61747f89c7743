"""Overland: batches of GeoJSON points. https://github.com/aaronpk/Overland-iOS."""

from collections.abc import Mapping
from typing import Any, Final

from gateway_ws.trackers.reading import (
    Report,
    Skip,
    TrackedFix,
    fix_or_reason,
    gathered,
    number,
    object_of,
    part,
    scaled,
    skipped,
    time_ms,
)

ACCEPTED: Final = b'{"result":"ok"}'
"""The only answer for which the app lets go of a batch."""
PERCENT: Final = 100
_CHARGING: Final = ("charging", "full")


def read(body: bytes) -> Report:
    """Return what a POST says. A negative speed, course or accuracy is how iOS writes that it does not know."""
    said = object_of(body)
    if isinstance(said, Skip):
        return skipped(said)
    features = said.get("locations")
    if not isinstance(features, list):
        return skipped(Skip.MALFORMED)
    if not features:
        return skipped(Skip.EMPTY)
    fixes, reasons = gathered([_fix(each) for each in features])
    return Report(fixes, reasons)


def _fix(feature: object) -> TrackedFix | Skip:
    if not isinstance(feature, dict):
        return Skip.MALFORMED
    properties = part(feature, "properties")
    lng_deg, lat_deg = _point(part(feature, "geometry"))
    return fix_or_reason(
        ts_ms=time_ms(properties.get("timestamp")),
        lat_deg=lat_deg,
        lng_deg=lng_deg,
        accuracy_m=number(properties.get("horizontal_accuracy")),
        speed_mps=number(properties.get("speed")),
        heading_deg=number(properties.get("course")),
        battery_pct=scaled(number(properties.get("battery_level")), PERCENT),
        is_charging=properties.get("battery_state") in _CHARGING,
    )


def _point(geometry: Mapping[str, Any]) -> tuple[float | None, float | None]:
    match geometry.get("coordinates"):
        case [lng, lat, *_]:
            return number(lng), number(lat)
        case _:
            return None, None
