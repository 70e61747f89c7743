"""An incident as monitoring centres take it in: who, where, how to get in, and that nobody rings the person. Pure.

The shape follows Noonlight's Dispatch API (https://docs.noonlight.com), which several centres accept: `name`,
`location.address` or `location.coordinates`, `services`, `instructions`. Its `phone` and `pin` are for a call back
to the person; a silent alarm is not rung back, so that both are left out and `instructions.contact` says so.
"""

from collections.abc import Mapping
from typing import Final

from engine.safetap.channels.notifier import NoticeMessage

MONITORING_TARGET: Final = "monitoring_centre"
CENTRE_SCHEME: Final = "centre:"
"""What an address of the connector begins with; the rest is the desk's number."""
DO_NOT_RING: Final = "Silent alarm: do not ring the person or the door bell. Call the organisation's desk."


def alarm_export(message: NoticeMessage) -> dict[str, object]:
    """Return the alarm; `reference` is the same at every attempt, `test` says that nobody is to be sent."""
    incident = message.incident
    person, address, fix = (_mapping(incident[part]) for part in ("person", "address", "fix"))
    location: dict[str, object] = {}
    instructions = {"contact": DO_NOT_RING}
    if address:
        location["address"] = {"line1": address["line"], "line2": address["floor"]}
        if address["entry_notes"]:
            instructions["entry"] = str(address["entry_notes"])
    if fix:
        location["coordinates"] = {"lat": fix["lat"], "lng": fix["lng"], "accuracy": fix["accuracy_m"]}
    return {
        "reference": str(message.incident_id),
        "notice_id": str(message.notice_id),
        "test": incident["is_drill"],
        "name": person["name"],
        "role": person["role"],
        "kind": incident["kind"],
        "severity": incident["severity"],
        "opened_at": incident["opened_at"],
        "position_ts_ms": fix.get("ts_ms"),
        "location": location,
        "services": {"police": True, "fire": False, "medical": False},
        "instructions": instructions,
    }


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
