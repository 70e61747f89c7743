"""GPSLogger for Android, whose custom URL is written by us: https://gpslogger.app/#usingthecustomurlfeature."""

from collections.abc import Mapping

from gateway_ws.trackers.reading import (
    Report,
    Skip,
    TrackedFix,
    fix_or_reason,
    form_of,
    gathered,
    is_yes,
    number,
    text,
    time_ms,
)


def read(query: Mapping[str, str], body: bytes) -> Report:
    """Return what the custom URL, or the same as a form, says; the query goes before the form."""
    said = {**form_of(body), **query}
    fixes, reasons = gathered([_fix(said)])
    return Report(fixes, reasons, credential=text(said.get("id")) or text(said.get("token")))


def _fix(said: Mapping[str, str]) -> TrackedFix | Skip:
    if not said:
        return Skip.EMPTY
    return fix_or_reason(
        ts_ms=time_ms(said.get("time")),
        lat_deg=number(said.get("lat")),
        lng_deg=number(said.get("lon")),
        accuracy_m=number(said.get("acc")),
        speed_mps=number(said.get("spd")),
        heading_deg=number(said.get("dir")),
        battery_pct=number(said.get("batt")),
        is_charging=is_yes(said.get("charging")),
    )
