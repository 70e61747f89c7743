"""The trigger id of an alarm whose sender cannot choose one: a sender and a minute make one trigger of a kind. Pure.

The same rule, in the same namespace, as for stock trackers (`gateway_ws.trackers.alarm`). Once its incident is closed
it names nothing any more: whoever presses again within the minute calls again.
"""

from typing import Final
from uuid import UUID, uuid5

from config.limits import TRACKER_ALARM_MS
from engine.core.ids import PersonId, TriggerId
from engine.core.vocabulary import IncidentKind

ALARMS: Final = UUID("5f0c0d1e-7b1f-4f0e-9f5b-6a0f6d1c2b47")


def alarm_id(sender: str, now_ms: int, kind: IncidentKind = IncidentKind.BUTTON) -> TriggerId:
    """Return the id of the alarm that `sender` raises about now: repetitions within the minute are the same one."""
    of_kind = sender if kind is IncidentKind.BUTTON else f"{sender} by {kind}"
    return TriggerId(uuid5(ALARMS, f"{of_kind} around {now_ms // TRACKER_ALARM_MS}"))


def alarm_id_after(closed: TriggerId) -> TriggerId:
    """Return the id of an alarm that would be called `closed`, had that one's incident not been closed."""
    return TriggerId(uuid5(ALARMS, f"after {closed}"))


def message_alarm_id(message_id: str, person_id: PersonId) -> TriggerId:
    """Return the id of the alarm that one text message raises for somebody, however often it is handed on."""
    return TriggerId(uuid5(ALARMS, f"message {message_id} of {person_id}"))
