"""What phones, responders and receivers saw, beside what Postgres says, and the checker that compares them. Pure.

The promises: what was acknowledged as `committed` is there, once; what was only `spooled` lands all the same; an
incident that is not closed has a time at which something happens; no rung of a ladder is left out; what a rung decided
to send is sent, at most once more for each kill that fell between two deliveries; what a human was told is done stays.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

STEP_KINDS = frozenset({"step", "broadcast", "lapsed"})
PRESS_KINDS = frozenset({"triggered", "retriggered"})
DESK = "desk"
RESENDING = frozenset({"notify", "postgres"})
"""Whose death leaves a notice sent and not recorded."""


@dataclass(slots=True)
class Press:
    """One trigger as its phone knows it: what each door answered, in order."""

    person_id: UUID
    told: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing that a receiver took, under the key by which it could tell a repetition."""

    key: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Kill:
    """A process or a store that ended in the middle of whatever it did, and when it could work again."""

    part: str
    kind: str
    """`door`, `notify`, `postgres`, or another's own name."""
    at_ms: int
    back_ms: int
    where: str | None = None
    """The crash point; `None`: at any moment."""


@dataclass(frozen=True, slots=True)
class Incident:
    incident_id: UUID
    person_id: UUID
    state: str
    version: int


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of an incident's history; `step`, `loop` and `told` only where a rung was taken."""

    version: int
    kind: str
    trigger_id: UUID | None = None
    step: int = 0
    loop: int = 0
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    notice_id: UUID
    key: str
    incident_id: UUID
    step: int
    loop: int
    target: str
    channel: str
    state: str

    @property
    def names(self) -> tuple[str, str]:
        """What a receiver may know it by."""
        return str(self.notice_id), self.key


@dataclass(slots=True)
class History:
    """Both sides of the story."""

    presses: dict[UUID, Press] = field(default_factory=dict)
    """By trigger id."""
    closed: set[UUID] = field(default_factory=set)
    """Incidents whose closing was acknowledged to a responder."""
    deliveries: list[Delivery] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rows:
    """What Postgres says at the end."""

    steps: int
    """Rungs of the policy; one beyond is the broadcast."""
    triggers: Sequence[tuple[UUID, UUID, UUID]]
    """Trigger, person, incident."""
    incidents: Sequence[Incident]
    timers: frozenset[UUID]
    """Incidents for which something is due."""
    events: Mapping[UUID, Sequence[Event]]
    """By incident, in order of version."""
    notices: Sequence[Notice]


def check(history: History, rows: Rows) -> list[str]:
    """Return every broken promise, in words."""
    return [
        *_presses(history, rows),
        *_ends(history, rows),
        *_ladders(rows),
        *_told_by_steps(rows),
        *_deliveries(history, rows),
    ]


def _presses(history: History, rows: Rows) -> list[str]:
    """Hold the phones' ledger against the rows: nothing lost, nothing doubled, nothing invented."""
    found: defaultdict[UUID, list[tuple[UUID, UUID]]] = defaultdict(list)
    for trigger_id, person_id, incident_id in rows.triggers:
        found[trigger_id].append((person_id, incident_id))
    noted = Counter(
        (incident_id, event.trigger_id)
        for incident_id, events in rows.events.items()
        for event in events
        if event.kind in PRESS_KINDS
    )
    wrong = [f"trigger {one}: nobody pressed it" for one in found.keys() - history.presses.keys()]
    for trigger_id, press in history.presses.items():
        there = found[trigger_id]
        if "committed" not in press.told:
            wrong.append(f"trigger {trigger_id}: its phone was never told `committed` ({press.told[-3:]})")
        if len(there) != 1:
            wrong.append(f"trigger {trigger_id}: acknowledged {sorted(set(press.told))}, {len(there)} rows")
            continue
        ((person_id, incident_id),) = there
        if person_id != press.person_id:
            wrong.append(f"trigger {trigger_id}: another person's")
        if noted[incident_id, trigger_id] != 1:
            wrong.append(f"trigger {trigger_id}: {noted[incident_id, trigger_id]} times in its incident's history")
    return wrong + [
        f"the history tells {times} times of trigger {one}" for (_, one), times in noted.items() if times > 1
    ]


def _ends(history: History, rows: Rows) -> list[str]:
    """Something is due for whatever is not closed, and what a human closed stays so."""
    wrong = []
    alive: Counter[UUID] = Counter()
    states = {one.incident_id: one.state for one in rows.incidents}
    for one in rows.incidents:
        alive[one.person_id] += one.state != "closed"
        if one.state != "closed" and one.incident_id not in rows.timers:
            wrong.append(f"incident {one.incident_id}: {one.state} and nothing is due: it would end in silence")
        if one.state == "closed" and one.incident_id in rows.timers:
            wrong.append(f"incident {one.incident_id}: closed, and its ladder goes on")
    wrong += [f"person {one} has {count} open incidents" for one, count in alive.items() if count > 1]
    wrong += [
        f"incident {one}: its closing was acknowledged and is lost"
        for one in history.closed
        if states.get(one) != "closed"
    ]
    return wrong


def _ladders(rows: Rows) -> list[str]:
    """Each history is whole, begins with one trigger, and takes every rung in its turn."""
    wrong = []
    for one in rows.incidents:
        events = rows.events.get(one.incident_id, ())
        if [event.version for event in events] != list(range(1, one.version + 1)):
            wrong.append(f"incident {one.incident_id}: its history has a gap")
        if [event.kind for event in events].count("triggered") != 1 or events[0].kind != "triggered":
            wrong.append(f"incident {one.incident_id}: its history does not begin with one trigger")
        if one.state != "closed" and not any(event.kind in STEP_KINDS for event in events):
            wrong.append(f"incident {one.incident_id}: no step was ever taken")
        wrong += [f"incident {one.incident_id}: {fault}" for fault in _rungs(events, rows.steps)]
    return wrong


def _rungs(events: Sequence[Event], last_step: int) -> list[str]:
    step, loop = 1, 0
    wrong = []
    for event in events:
        if event.kind == "acknowledged":
            step, loop = 1, loop + 1
        elif event.kind in STEP_KINDS:
            if (event.step, event.loop) != (step, loop):
                wrong.append(f"step {event.step} of loop {event.loop} was taken where {step} of {loop} was due")
            is_broadcast = event.step > last_step
            step, loop = (event.step, event.loop + 1) if is_broadcast else (event.step + 1, event.loop)
    return wrong


def _told_by_steps(rows: Rows) -> list[str]:
    """What the steps decided to send is there as notices, each once."""
    decided = Counter(
        (incident_id, event.step, event.loop, told)
        for incident_id, events in rows.events.items()
        for event in events
        if event.kind in STEP_KINDS
        for told in event.told
    )
    there = Counter((one.incident_id, one.step, one.loop, f"{one.channel}:{one.target}") for one in rows.notices)
    wrong = [
        f"notice {one}: decided {times}, there {there[one]} times" for one, times in decided.items() if there[one] != 1
    ]
    return wrong + [f"notice {one}: no step decided it" for one in there.keys() - decided.keys()]


def _deliveries(history: History, rows: Rows) -> list[str]:
    """Everybody was told; a repetition needs a kill between it and the one before."""
    arrived: defaultdict[str, list[int]] = defaultdict(list)
    for delivery in history.deliveries:
        arrived[delivery.key].append(delivery.at_ms)
    closed = {one.incident_id for one in rows.incidents if one.state == "closed"}
    told = Counter(
        incident_id for incident_id, events in rows.events.items() for one in events if one.kind == "notified"
    )
    sent: Counter[UUID] = Counter()
    wrong, known = [], set()
    for notice in rows.notices:
        known.update(notice.names)
        if notice.channel == DESK:
            continue
        sent[notice.incident_id] += notice.state == "sent"
        times = sorted(at for name in notice.names for at in arrived.get(name, ()))
        if notice.state == "sent" and not times:
            wrong.append(f"notice {notice.key}: sent, and nobody got it")
        if notice.state != "sent" and notice.incident_id not in closed:
            wrong.append(f"notice {notice.key}: {notice.state}, and its incident is open")
        extra = len(times) - 1
        if extra > 0 and extra > (kills := _kills_between(history.kills, times[0], times[-1])):
            wrong.append(f"notice {notice.key}: {extra} too many, with {kills} kills between them")
    wrong += [
        f"incident {one}: {sent[one]} notices sent, {told[one]} in its history"
        for one in told.keys() | sent.keys()
        if told[one] != sent[one]
    ]
    wrong += [f"a receiver got {key}, which nobody decided" for key in arrived.keys() - known]
    return wrong


def _kills_between(kills: Sequence[Kill], first_ms: int, last_ms: int) -> int:
    """Return how many kills could leave a notice delivered and not recorded in that time.

    A store that is coming back is a kill that goes on: what was sent while it was away cannot be recorded.
    """
    return sum(one.kind in RESENDING and one.at_ms <= last_ms and one.back_ms >= first_ms for one in kills)


def extra_deliveries(history: History) -> int:
    """Return how many deliveries repeated another."""
    keys = Counter(delivery.key for delivery in history.deliveries)
    return sum(times - 1 for times in keys.values())
