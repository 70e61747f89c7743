"""Calls whom the installation names, from the door itself, about alarms that only a door's disk has.

Without Postgres no ladder is climbed: desks that are open hear of such an alarm, and nobody else. So a webhook and
telephone numbers of the installation's settings are told, once a person, until Postgres has the alarm and its ladder
takes over. At least once: a door that is killed is followed by one that calls again, under the same id.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self
from uuid import uuid5

import structlog

from config.limits import (
    OUTAGE_CALL_AFTER_MS,
    OUTAGE_CALL_RETRY_MS,
    OUTAGE_CALL_TRIES_MAX,
    OUTAGE_CALLS_AT_ONCE,
    SPOOLED_SHOWN_MAX,
)
from engine.core.clock import Clock
from engine.core.ids import IncidentId, NoticeId, PersonId, TriggerId
from engine.safetap.channels.notifier import NoticeMessage, Notifier, NotSent
from engine.safetap.metrics import OUTAGE_CALLS
from engine.safetap.spooled_alarms import spooled_view
from engine.safetap.trigger import ReceivedTrigger

log = structlog.get_logger(__name__)

TARGET: Final = "outage"
ADVICE: Final = "The database is away: nobody else has been told. Do not ring them. Desk: {desk_url}/"


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody whom the settings name: an address and what reaches it."""

    notifier: Notifier
    address: str


@dataclass(slots=True)
class _Alarm:
    is_drill: bool
    calling: "asyncio.Task[None]"
    waiting: set[TriggerId] = field(default_factory=set)


class OutageCalls:
    """An `intake.SpooledWatch`; enter it before use."""

    def __init__(
        self, contacts: Sequence[Contact], *, clock: Clock, name_of: Callable[[PersonId], str | None], desk_url: str
    ) -> None:
        self._contacts = tuple(contacts)
        self._clock = clock
        self._name_of = name_of
        self._advice = ADVICE.format(desk_url=desk_url)
        self._alarms: dict[PersonId, _Alarm] = {}
        self._places = asyncio.Semaphore(OUTAGE_CALLS_AT_ONCE)

    async def __aenter__(self) -> Self:
        """Be ready."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what is under way: the next process reads the disk and calls again."""
        tasks = [alarm.calling for alarm in self._alarms.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def spooled(self, received: ReceivedTrigger) -> None:
        """Call about it in a moment, unless Postgres has it by then, or its person has been called about already."""
        if not self._contacts:
            return
        person_id, trigger = received.person_id, received.trigger
        alarm = self._alarms.get(person_id)
        if alarm is None and len(self._alarms) >= SPOOLED_SHOWN_MAX:
            OUTAGE_CALLS.labels("left_out").inc()
            return
        if alarm is None or (alarm.is_drill and not trigger.is_drill):
            calling = asyncio.get_running_loop().create_task(self._call(received))
            waiting: set[TriggerId] = set()
            if alarm is not None:  # practice has become real
                alarm.calling.cancel()
                waiting = alarm.waiting
            alarm = self._alarms[person_id] = _Alarm(trigger.is_drill, calling, waiting)
        alarm.waiting.add(trigger.trigger_id)

    def settled(self, received: ReceivedTrigger, incident_id: IncidentId | None) -> None:
        """Call no longer once Postgres has everything of a person: their ladder does."""
        del incident_id
        alarm = self._alarms.get(received.person_id)
        if alarm is None:
            return
        alarm.waiting.discard(received.trigger.trigger_id)
        if not alarm.waiting:
            alarm.calling.cancel()
            del self._alarms[received.person_id]

    async def _call(self, received: ReceivedTrigger) -> None:
        await self._clock.sleep_ms(OUTAGE_CALL_AFTER_MS)
        message = NoticeMessage(
            # The same at every attempt and every door: a phone tries several.
            notice_id=NoticeId(uuid5(received.person_id, str(received.trigger.trigger_id))),
            key=f"outage/{received.person_id}/{received.trigger.trigger_id}",
            incident_id=received.incident_id,
            org_id=received.org_id,
            target=TARGET,
            address="",
            step=0,
            sent_at_ms=0,
            incident=spooled_view(received, self._name_of(received.person_id)),
            advice=self._advice,
        )
        await asyncio.gather(*(self._see_through(message, contact) for contact in self._contacts))

    async def _see_through(self, message: NoticeMessage, contact: Contact) -> None:
        for _ in range(OUTAGE_CALL_TRIES_MAX):
            outcome = await self._try(message, contact)
            OUTAGE_CALLS.labels(outcome).inc()
            if outcome != "failed":
                return
            await self._clock.sleep_ms(OUTAGE_CALL_RETRY_MS)

    async def _try(self, message: NoticeMessage, contact: Contact) -> str:
        """Return `sent`, `failed`, or `refused` where another attempt would fare no better."""
        incident_id = str(message.incident_id)
        async with self._places:
            try:
                attempt = replace(message, address=contact.address, sent_at_ms=self._clock.now_ms())
                await contact.notifier.send(attempt)
            except NotSent as error:
                log.warning("outage_call.not_sent", incident_id=incident_id, reason=str(error))
                return "refused" if error.is_final else "failed"
            except Exception:
                # One contact must not cost the others their call.
                log.exception("outage_call.failed", incident_id=incident_id)
                return "failed"
        return "sent"
