"""Whose fixes count here, and since when: on duty, or, on duty or not, while an alarm of theirs is open.

And who of them is out of their customer's sight, because either of the two has called for help.

The gateway learns of alarms where the desk does: SafeTap's incidents come by the topic of the organisation's desk, and
a session reads an open one with its state. SafeTap itself knows nothing of this. Nothing of it reaches a phone: the
fixes of somebody off duty are reported to it as `off_duty` whether they count or not.

Somebody off duty with an open alarm has a trail and a place on the desk's map, and gets no offer: duty is what the
matcher goes by.

Out of sight means what a lost GPS means: the customer hears no further position, and nothing else changes. An alarm
that comes over the worker's own socket counts before SafeTap has it: whoever flees must not be watched for the time
that a commit takes.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from uuid import UUID

from config.limits import SESSION_STATE_TIMEOUT_MS
from engine.core.clock import Clock
from engine.core.errors import NotFound, Unavailable
from engine.core.ids import OrgId, PersonId
from engine.core.units import ms_from_utc
from engine.core.vocabulary import Duty, FixFlag, IncidentState
from engine.geo.ingest import Ingest
from engine.geo.worker_table import WorkerTable
from engine.people.tracking import Tracking
from gateway_ws.engine_calls import EngineCalls
from gateway_ws.fan_out.message import Message
from gateway_ws.fan_out.subscriptions import FanOut
from gateway_ws.jobs import Jobs

_INCIDENT = b'"kind":"incident"'


class Counting:
    """The workers heard on this gateway. `set_duty` and `loaded` are told by their sessions and trackers."""

    def __init__(
        self,
        ingest: Ingest,
        table: WorkerTable,
        jobs: Jobs,
        fan_out: FanOut,
        calls: EngineCalls,
        *,
        fix_clock: Clock,
    ) -> None:
        self._ingest = ingest
        self._table = table
        self._jobs = jobs
        self._fan_out = fan_out
        self._calls = calls
        self._fix_clock = fix_clock
        self._slots: dict[PersonId, int] = {}
        self._people: dict[int, PersonId] = {}
        self._followers: Counter[PersonId] = Counter()
        self._news: Counter[PersonId] = Counter()
        """How often each one's incidents changed: what was read before the last change is not the last word."""
        self._unsure: set[PersonId] = set()
        """Of whom what Postgres says must be read again: news may have been missed, or an incident was closed."""
        self._raised: set[PersonId] = set()
        """Whose alarm went out from here and has not come back as an incident yet."""

    async def follow(self, slot: int, person_id: PersonId, org_id: OrgId) -> None:
        """Hear of this worker's alarms from now on."""
        self._slots[person_id] = slot
        self._people[slot] = person_id
        self._followers[person_id] += 1
        await self._fan_out.subscribe(f"desk:{org_id}", self._hear, timeout_ms=SESSION_STATE_TIMEOUT_MS)

    def let_go(self, person_id: PersonId) -> None:
        """The worker left. An open alarm is followed to its end, so that their place then goes from the map."""
        self._followers[person_id] -= 1
        self._forget_unless_needed(person_id)

    def news(self, person_id: PersonId) -> int:
        """Return what to hand to `loaded` after reading this worker's state."""
        return self._news[person_id]

    def loaded(self, person_id: PersonId, tracking: Tracking, news: int) -> None:
        """Take over what Postgres said; an alarm that changed while it was read stands as it was heard."""
        slot, since_ms = self._slots[person_id], tracking.duty_since_ms
        # Whatever makes the fixes count comes first: else a worker who counts all along would leave the cells.
        if since_ms is not None:
            self._ingest.set_duty(slot, on=True, since_ms=0 if not since_ms else self._fix_clock.at_ms(since_ms))
        if news == self._news[person_id]:
            self._set_alarm(slot, tracking.alarm_since_ms)
            self._set_in_sight(person_id, is_in_sight=tracking.is_in_sight)
        if since_ms is None:
            self._ingest.set_duty(slot, on=False)

    def raised(self, person_id: PersonId) -> None:
        """The worker calls for help: out of sight at once, until the incident has come and gone."""
        self._news[person_id] += 1
        self._raised.add(person_id)
        self._set_in_sight(person_id, is_in_sight=False)

    def not_raised(self, person_id: PersonId) -> None:
        """SafeTap refused that alarm: what Postgres says counts."""
        self._raised.discard(person_id)
        self._unsure.add(person_id)

    async def look(self, person_id: PersonId) -> None:
        """Learn whether the worker may be seen by the customer of a new job."""
        news = self._news[person_id]
        try:
            tracking = await self._calls.tracking(person_id)
        except (Unavailable, NotFound):
            self._unsure.add(person_id)
            return
        if news == self._news[person_id]:
            self._set_in_sight(person_id, is_in_sight=tracking.is_in_sight)

    def set_duty(self, slot: int, duty: Duty, *, since: str | None = None) -> None:
        """Take over what an event or an answer said. Without a `since`, a duty that is new here begins now."""
        if duty is Duty.OFF:
            self._ingest.set_duty(slot, on=False)
        elif since is not None:
            self._ingest.set_duty(slot, on=True, since_ms=self._fix_clock.at_ms(_ms(since)))
        elif not self._table.is_on_duty(slot):
            self._ingest.set_duty(slot, on=True, since_ms=self._fix_clock.now_ms())

    def believe_redis(self, slot: int) -> bool:
        """Without Postgres: who is in a cell is on duty, since their newest fix at least. Return whether that is so."""
        last = self._table.last[slot]
        if not last["cell"] or int(last["flags"]) & FixFlag.OFF_DUTY:
            return False
        if not self._table.is_on_duty(slot):
            self._ingest.set_duty(slot, on=True, since_ms=int(last["ts_ms"]))
        return True

    def interrupt(self) -> None:
        """News may have been missed: sessions read their state again, and `refresh` that of those who left."""
        self._unsure |= {person_id for person_id in self._slots if not self._followers[person_id]}

    async def refresh(self) -> None:
        """Read again what may have been missed, and whether somebody may be seen again."""
        for person_id in tuple(self._unsure):
            news = self._news[person_id]
            try:
                tracking = await self._calls.tracking(person_id)
            except Unavailable:
                return
            except NotFound:
                tracking = Tracking(None, None)
            self._unsure.discard(person_id)
            if news == self._news[person_id] and person_id in self._slots:
                self._set_alarm(self._slots[person_id], tracking.alarm_since_ms)
                self._set_in_sight(person_id, is_in_sight=tracking.is_in_sight)
                self._forget_unless_needed(person_id)

    def _hear(self, message: Message) -> None:
        if _INCIDENT not in message.payload:
            return
        event = message.json()
        if event["kind"] != "incident" or event["body"]["is_drill"]:
            return
        incident = event["body"]
        person_id = PersonId(UUID(incident["person"]["person_id"]))
        is_over = incident["state"] == IncidentState.CLOSED
        for worker_id in tuple(self._concerned(person_id)):
            self._news[worker_id] += 1
            if is_over:
                self._unsure.add(worker_id)  # a hold may outlive it, and then they stay out of sight
            else:
                self._set_in_sight(worker_id, is_in_sight=False)
        if person_id in self._slots:
            self._raised.discard(person_id)
            self._set_alarm(self._slots[person_id], None if is_over else _ms(incident["opened_at"]))
            self._forget_unless_needed(person_id)

    def _concerned(self, person_id: PersonId) -> Iterator[PersonId]:
        """Return the workers here who are a party to what happens to somebody: themself, who is on the way, a crew."""
        if person_id in self._slots:
            yield person_id
        for slot in chain(self._jobs.slots_of_customer(str(person_id)), self._jobs.slots_of_mate(str(person_id))):
            if slot in self._people:
                yield self._people[slot]

    def _set_in_sight(self, person_id: PersonId, *, is_in_sight: bool) -> None:
        if person_id in self._slots:
            is_seen = is_in_sight and person_id not in self._raised
            self._jobs.set_in_sight(self._slots[person_id], is_in_sight=is_seen)

    def _set_alarm(self, slot: int, since_ms: int | None) -> None:
        self._ingest.set_alarm(slot, None if since_ms is None else self._fix_clock.at_ms(since_ms))

    def _forget_unless_needed(self, person_id: PersonId) -> None:
        if not self._followers[person_id] and not self._table.has_alarm(self._slots[person_id]):
            self._people.pop(self._slots.pop(person_id), None)
            del self._followers[person_id], self._news[person_id]
            self._unsure.discard(person_id)
            self._raised.discard(person_id)


def _ms(text: str) -> int:
    return ms_from_utc(datetime.fromisoformat(text))
