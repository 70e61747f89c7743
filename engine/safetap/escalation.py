"""What happens to an incident at a given moment. Pure: knows neither stores nor clocks.

The ladder: the policy's steps one after the other, then everybody over every channel, again and again until a human
acts. An acknowledgement that is not followed by a close lapses, and the ladder starts anew. So an incident that is not
closed always has a next step with a time: there is no way for one to end in silence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from config.limits import RESPONDERS_MAX
from engine.core.ids import IncidentId, OrgId, PersonId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Channel, IncidentState, Role
from engine.safetap.policy import Policy, Route, Target


class StepKind(StrEnum):
    """Which rung was taken; the kind of the incident's event."""

    STEP = "step"
    BROADCAST = "broadcast"
    """The ladder is exhausted: everybody over every channel."""
    LAPSED = "lapsed"
    """Acknowledged, but not closed in time: the ladder starts anew."""


@dataclass(frozen=True, slots=True)
class Timer:
    """The step that is due, when (Unix ms), and how often the ladder was climbed before."""

    step: int
    """1 is the policy's first; one beyond its last is the broadcast."""
    loop: int
    due_at_ms: int


@dataclass(frozen=True, slots=True)
class Incident:
    """What a decision needs to know of an incident."""

    incident_id: IncidentId
    org_id: OrgId
    state: IncidentState
    timer: Timer
    excluded: frozenset[PersonId]
    """The person themself and the parties to the booking: never responders."""


@dataclass(frozen=True, slots=True)
class Responder:
    """Somebody of the organisation who can be told."""

    person_id: PersonId
    role: Role
    email: str | None


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to send: to whom, over what, to which address."""

    target: str
    channel: Channel
    address: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and the next timer. The incident is open afterwards."""

    kind: StepKind
    step: int
    loop: int
    notices: tuple[Notice, ...]
    next_timer: Timer


def decide(incident: Incident, policy: Policy, now_ms: int, *, responders: Sequence[Responder] = ()) -> Decision:
    """Return the step to take for an incident whose timer is due at `now_ms`.

    A step that is late does not delay the ones after it: their times count from when it was due. Broadcasts are never
    made up for, because a burst of them says no more than one.
    """
    assert incident.state is not IncidentState.CLOSED, "a closed incident has no timer"
    assert incident.timer.due_at_ms <= now_ms, "nothing is due yet"
    timer = incident.timer
    last_step = len(policy.steps)
    is_broadcast = timer.step > last_step
    routes = policy.everybody if is_broadcast else policy.steps[timer.step - 1].routes
    if is_broadcast:
        next_timer = Timer(timer.step, timer.loop + 1, now_ms + policy.repeat_s * MS_PER_S)
    elif timer.step == last_step:
        next_timer = Timer(last_step + 1, timer.loop, now_ms + policy.repeat_s * MS_PER_S)
    else:
        delay_ms = policy.steps[timer.step].delay_s * MS_PER_S
        next_timer = Timer(timer.step + 1, timer.loop, max(now_ms, timer.due_at_ms + delay_ms))
    return Decision(
        kind=_kind(incident, is_broadcast=is_broadcast),
        step=min(timer.step, last_step + 1),
        loop=timer.loop,
        notices=tuple(_notices(routes, incident, policy, responders)),
        next_timer=next_timer,
    )


def _kind(incident: Incident, *, is_broadcast: bool) -> StepKind:
    if incident.state is IncidentState.ACKNOWLEDGED:
        return StepKind.LAPSED
    return StepKind.BROADCAST if is_broadcast else StepKind.STEP


def _notices(
    routes: Sequence[Route], incident: Incident, policy: Policy, responders: Sequence[Responder]
) -> Iterator[Notice]:
    allowed = [one for one in responders if one.person_id not in incident.excluded][:RESPONDERS_MAX]
    for route in routes:
        match route.target:
            case Target.DESK:
                yield Notice(route.target, route.channel, f"desk:{incident.org_id}")
            case Target.WEBHOOK:
                if policy.webhook_url is not None:
                    yield Notice(route.target, route.channel, policy.webhook_url)
            case Target.DISPATCHERS:
                yield from _people(allowed, Role.DISPATCHER, route.channel)
            case Target.ADMINS:
                yield from _people(allowed, Role.ADMIN, route.channel)


def _people(responders: Sequence[Responder], role: Role, channel: Channel) -> Iterator[Notice]:
    for responder in responders:
        if responder.role is role and responder.email is not None:
            yield Notice(f"person:{responder.person_id}", channel, responder.email)
