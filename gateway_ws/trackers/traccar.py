"""Traccar Client 9 and later: one location as JSON. https://github.com/traccar/traccar-client."""

from collections.abc import Mapping
from typing import Any, Final

from gateway_ws.trackers.reading import (
    Report,
    Skip,
    TrackedFix,
    fix_or_reason,
    gathered,
    is_yes,
    number,
    object_of,
    part,
    scaled,
    skipped,
    text,
    time_ms,
)

PERCENT: Final = 100


def read(body: bytes) -> Report:
    """Return what a POST says; the app's SOS shortcut sends a location with `extras: {"alarm": "sos"}`."""
    said = object_of(body)
    if isinstance(said, Skip):
        return skipped(said)
    credential = text(said.get("device_id"))
    locations = said.get("location")
    every = locations if isinstance(locations, list) else [locations]
    places = [each for each in every if isinstance(each, dict)]
    if not places:
        return skipped(Skip.NO_PLACE, credential=credential)
    fixes, reasons = gathered([_fix(each) for each in places])
    alarms = [each for each in places if part(each, "extras").get("alarm") == "sos"]
    return Report(
        fixes,
        reasons,
        credential=credential,
        is_sos=bool(alarms),
        sos_at_ms=time_ms(alarms[-1].get("timestamp")) if alarms else None,
    )


def _fix(location: Mapping[str, Any]) -> TrackedFix | Skip:
    coords, battery = part(location, "coords"), part(location, "battery")
    return fix_or_reason(
        ts_ms=time_ms(location.get("timestamp")),
        lat_deg=number(coords.get("latitude")),
        lng_deg=number(coords.get("longitude")),
        accuracy_m=number(coords.get("accuracy")),
        speed_mps=number(coords.get("speed")),
        heading_deg=number(coords.get("heading")),
        battery_pct=scaled(number(battery.get("level")), PERCENT),
        is_charging=is_yes(battery.get("is_charging")),
        is_mocked=is_yes(location.get("mock")),
    )
