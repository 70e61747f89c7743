"""OwnTracks in HTTP mode: https://owntracks.org/booklet/tech/json/."""

from typing import Any, Final

from gateway_ws.trackers.reading import (
    MPS_PER_KMH,
    Report,
    Skip,
    TrackedFix,
    fix_or_reason,
    gathered,
    number,
    object_of,
    scaled,
    skipped,
    time_ms,
)

_CHARGING: Final = (2, 3)
"""`bs`: 2 charging, 3 full on its charger."""


def read(body: bytes) -> Report:
    """Return what a POST says. Only `location` is a fix; farewells, transitions, waypoints and the like come too."""
    said = object_of(body)
    if isinstance(said, Skip):
        return skipped(said)
    if said.get("_type") == "encrypted":
        return skipped(Skip.ENCRYPTED)
    if said.get("_type") != "location":
        return skipped(Skip.NOT_A_FIX)
    fixes, reasons = gathered([_fix(said)])
    return Report(fixes, reasons)


def _fix(said: dict[str, Any]) -> TrackedFix | Skip:
    return fix_or_reason(
        ts_ms=time_ms(said.get("tst")),
        lat_deg=number(said.get("lat")),
        lng_deg=number(said.get("lon")),
        accuracy_m=number(said.get("acc")),
        speed_mps=scaled(number(said.get("vel")), MPS_PER_KMH),
        heading_deg=number(said.get("cog")),
        battery_pct=number(said.get("batt")),
        is_charging=said.get("bs") in _CHARGING,
    )
