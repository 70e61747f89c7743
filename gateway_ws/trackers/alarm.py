"""A stock tracker's call for help as SafeTap's trigger. Pure: a phone that sends it again makes the same trigger."""

from typing import Any, Final
from uuid import UUID, uuid5

from config.limits import TRACKER_ALARM_MS
from engine.core.ids import DeviceId
from engine.core.vocabulary import IncidentKind
from gateway_ws.trackers.reading import Report

ALARMS: Final = UUID("5f0c0d1e-7b1f-4f0e-9f5b-6a0f6d1c2b47")
"""The namespace of the ids: a device and a time make one trigger, for ever."""


def trigger_body(report: Report, device_id: DeviceId, *, now_ms: int) -> dict[str, Any]:
    """Return the body of `POST /v1/safetap`; the fix goes with it also off duty."""
    at_ms = report.sos_at_ms
    moment = f"at {at_ms}" if at_ms is not None else f"around {now_ms // TRACKER_ALARM_MS}"
    body: dict[str, Any] = {
        "trigger_id": str(uuid5(ALARMS, f"{device_id} {moment}")),
        "kind": IncidentKind.BUTTON.value,
    }
    if report.fixes:
        fix = max(report.fixes, key=lambda each: each.ts_ms)
        body["fix"] = {"lat": fix.lat_deg, "lng": fix.lng_deg, "ts_ms": fix.ts_ms}
        if fix.accuracy_m is not None:
            body["fix"]["accuracy_m"] = fix.accuracy_m
    return body
