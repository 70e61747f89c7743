"""Alarms that only this machine's disk has, as desks see them from the door's memory. Pure: one row for each person.

A row is an incident like any other with `spooled` set. It is called what its incident will be called, so that the
committed one takes its place; where the person turns out to have an open incident already, `settled` names that one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from config.limits import SEVERITY_MAX, SPOOLED_SHOWN_MAX
from engine.core.ids import IncidentId, OrgId, PersonId, TriggerId
from engine.core.units import rfc3339, utc_from_ms
from engine.core.vocabulary import IncidentKind
from engine.safetap.trigger import ReceivedTrigger


@dataclass(frozen=True, slots=True)
class Replaced:
    """A row of memory that ends: `by` is the incident that it is part of, `None` where there will be none."""

    org_id: OrgId
    incident_id: IncidentId
    by: IncidentId | None


@dataclass(slots=True)
class _Row:
    org_id: OrgId
    view: dict[str, object]
    waiting: set[TriggerId] = field(default_factory=set)


class SpooledAlarms:
    """The rows. `name_of` tells what is known of a person's name without a store."""

    def __init__(self, name_of: Callable[[PersonId], str | None]) -> None:
        self._name_of = name_of
        self._rows: dict[PersonId, _Row] = {}

    def of(self, org_id: OrgId) -> Iterator[Mapping[str, object]]:
        """Yield an organisation's rows, the oldest first."""
        return (row.view for row in self._rows.values() if row.org_id == org_id)

    def add(self, received: ReceivedTrigger) -> Mapping[str, object] | None:
        """Take an alarm in and return its person's row; `None`: there is nothing new to show."""
        row = self._rows.get(received.person_id)
        trigger_id = received.trigger.trigger_id
        if row is not None:
            if trigger_id in row.waiting:
                return None
            row.waiting.add(trigger_id)
            row.view = {**row.view, **_raised(row.view, received)}
            return row.view
        if len(self._rows) >= SPOOLED_SHOWN_MAX:
            return None
        name = self._name_of(received.person_id)
        row = self._rows[received.person_id] = _Row(received.org_id, spooled_view(received, name), {trigger_id})
        return row.view

    def settle(self, received: ReceivedTrigger, incident_id: IncidentId | None) -> Replaced | None:
        """Take note of a commit; return what a row gives way to once nothing of its person waits any more."""
        row = self._rows.get(received.person_id)
        if row is None:
            return None
        row.waiting.discard(received.trigger.trigger_id)
        if row.waiting:
            return None
        del self._rows[received.person_id]
        shown_id = row.view["incident_id"]
        assert isinstance(shown_id, str)
        if incident_id is not None and shown_id == str(incident_id):
            return None
        return Replaced(row.org_id, IncidentId(UUID(shown_id)), incident_id)


def spooled_view(received: ReceivedTrigger, name: str | None) -> dict[str, object]:
    """Return the protocol's incident as far as a door knows it; `name` is the person's, where it is known."""
    at = rfc3339(utc_from_ms(received.received_at_ms))
    return {
        "incident_id": str(received.incident_id),
        "person": {
            "person_id": str(received.person_id),
            "name": name or str(received.person_id),
            "role": received.role.value,
        },
        "booking_id": None,
        "kind": received.trigger.kind.value,
        "is_drill": received.trigger.is_drill,
        "trust": received.trust.value,
        "state": "open",
        "version": 0,
        "severity": received.trigger.severity,
        "step": 0,
        "next_step_at": None,
        "fix": _fix(received),
        "address": None,
        "opened_at": at,
        "acknowledged_at": None,
        "acknowledged_by": None,
        "closed_at": None,
        "close_reason": None,
        "close_asked": None,
        "spooled": True,
    }


def _raised(view: Mapping[str, object], received: ReceivedTrigger) -> dict[str, object]:
    severity = view["severity"]
    assert isinstance(severity, int)
    kind, is_drill = received.trigger.kind, bool(view["is_drill"]) and received.trigger.is_drill
    is_duress = kind is IncidentKind.DURESS_PIN
    return {
        "is_drill": is_drill,
        "kind": kind.value if is_duress or (view["is_drill"] and not is_drill) else view["kind"],
        "severity": min(severity + 1, SEVERITY_MAX),
        "fix": _fix(received) or view["fix"],
    }


def _fix(received: ReceivedTrigger) -> dict[str, object] | None:
    fix = received.trigger.fix
    if fix is None:
        return None
    return {"lat": fix.lat_deg, "lng": fix.lng_deg, "accuracy_m": fix.accuracy_m, "ts_ms": fix.ts_ms}
