"""The trigger id of an alarm whose sender cannot choose one: a sender and a minute make one trigger, for ever. Pure.

The same rule, in the same namespace, as for stock trackers (`gateway_ws.trackers.alarm`).
"""

from typing import Final
from uuid import UUID, uuid5

from config.limits import TRACKER_ALARM_MS
from engine.core.ids import PersonId, TriggerId

ALARMS: Final = UUID("5f0c0d1e-7b1f-4f0e-9f5b-6a0f6d1c2b47")


def alarm_id(sender: str, now_ms: int) -> TriggerId:
    """Return the id of the alarm that `sender` raises about now: repetitions within the minute are the same one."""
    return TriggerId(uuid5(ALARMS, f"{sender} around {now_ms // TRACKER_ALARM_MS}"))


def message_alarm_id(message_id: str, person_id: PersonId) -> TriggerId:
    """Return the id of the alarm that one text message raises for somebody, however often it is handed on."""
    return TriggerId(uuid5(ALARMS, f"message {message_id} of {person_id}"))
