"""What happens to an incident at a given moment. Pure: knows neither stores nor clocks.

The ladder: the policy's steps one after the other, then everybody over every channel, again and again until a human
acts. An acknowledgement that is not followed by a close lapses, and the ladder starts anew. So an incident that is not
closed always has a next step with a time: there is no way for one to end in silence.

An alarm that nothing vouches for climbs more softly: only people of the desk are told, by the steps whoever is on call,
by the broadcast all of them, until a human or a verified trigger says that it is real. It is dropped by nothing either.

Nor does it wait for nobody: a step that reached no human is followed by the next one at once, and while no desk is
armed so is every step before the first that tells whoever is on call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from engine.core.ids import IncidentId, OrgId, PersonId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Channel, IncidentState
from engine.safetap.policy import OF_THE_DESK, Policy, Route, Target
from engine.safetap.targets import Facts, Notice, Subject, resolve

NOTHING_KNOWN: Final = Facts()


class StepKind(StrEnum):
    """Which rung was taken; the kind of the incident's event."""

    STEP = "step"
    BROADCAST = "broadcast"
    """The ladder is exhausted: everybody over every channel."""
    LAPSED = "lapsed"
    """Acknowledged, but not closed in time: the ladder starts anew."""


class Haste(StrEnum):
    """Why the next step follows at once."""

    NO_ARMED_DESK = "no_armed_desk"
    """Nobody watches: whoever is on call must be told now."""
    NOBODY_TOLD = "nobody_told"
    """The step reached no human: nobody on call, nobody with an address."""


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
    is_drill: bool = False
    is_verified: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and the next timer. The incident is open afterwards."""

    kind: StepKind
    step: int
    loop: int
    notices: tuple[Notice, ...]
    next_timer: Timer
    is_desk_armed: bool
    haste: Haste | None
    waits_for_desk: bool
    """Only an armed desk justifies waiting for the next step: once none is, it is due."""


def decide(incident: Incident, policy: Policy, now_ms: int, *, facts: Facts = NOTHING_KNOWN) -> Decision:
    """Return the step to take for an incident whose timer is due at `now_ms`.

    A step that is late does not delay the ones after it: their times count from when it was due. Broadcasts are never
    made up for, because a burst of them says no more than one.
    """
    assert incident.state is not IncidentState.CLOSED, "a closed incident has no timer"
    assert incident.timer.due_at_ms <= now_ms, "nothing is due yet"
    timer = incident.timer
    last_step = len(policy.steps)
    is_broadcast = timer.step > last_step
    routes = _routes(incident, policy, is_broadcast=is_broadcast)
    notices = resolve(routes, _subject(incident, policy), facts)
    is_armed = not facts.armed <= incident.excluded
    haste = None if is_broadcast else _haste(timer.step, policy, routes, notices, is_armed=is_armed)
    next_timer = _next_timer(timer, policy, now_ms, haste)
    return Decision(
        kind=_kind(incident, is_broadcast=is_broadcast),
        step=min(timer.step, last_step + 1),
        loop=timer.loop,
        notices=notices,
        next_timer=next_timer,
        is_desk_armed=is_armed,
        haste=haste,
        waits_for_desk=is_armed and timer.step < policy.phone_step and next_timer.due_at_ms > now_ms,
    )


def _routes(incident: Incident, policy: Policy, *, is_broadcast: bool) -> tuple[Route, ...]:
    routes = policy.everybody if is_broadcast else policy.steps[incident.timer.step - 1].routes
    if incident.is_verified:
        return routes
    # Who has no schedule has written down their people instead.
    is_soft = not is_broadcast and policy.tells(Target.ON_CALL)
    allowed = frozenset({Target.DESK, Target.ON_CALL}) if is_soft else OF_THE_DESK
    return tuple(route for route in routes if route.target in allowed)


def _subject(incident: Incident, policy: Policy) -> Subject:
    return Subject(
        org_id=incident.org_id,
        excluded=incident.excluded,
        is_drill=incident.is_drill,
        webhook_url=policy.webhook_url,
        monitoring_centre=policy.monitoring_centre,
    )


def _haste(
    step: int, policy: Policy, routes: Sequence[Route], notices: Sequence[Notice], *, is_armed: bool
) -> Haste | None:
    if not is_armed and step < policy.phone_step:
        return Haste.NO_ARMED_DESK
    if not notices:
        return Haste.NOBODY_TOLD
    wants_humans = any(route.target is not Target.WEBHOOK for route in routes)
    has_humans = any(_reaches_a_human(notice, is_armed=is_armed) for notice in notices)
    return Haste.NOBODY_TOLD if wants_humans and not has_humans else None


def _reaches_a_human(notice: Notice, *, is_armed: bool) -> bool:
    match notice.channel:
        case Channel.DESK:
            return is_armed
        case Channel.WEBHOOK:
            return notice.target == Target.MONITORING_CENTRE
        case _:
            return True


def _next_timer(timer: Timer, policy: Policy, now_ms: int, haste: Haste | None) -> Timer:
    """Return when which step follows. A broadcast repeats at its own pace even when it reached nobody."""
    last_step = len(policy.steps)
    if timer.step > last_step:
        return Timer(timer.step, timer.loop + 1, now_ms + policy.repeat_s * MS_PER_S)
    if haste is not None:
        return Timer(timer.step + 1, timer.loop, now_ms)
    if timer.step == last_step:
        return Timer(last_step + 1, timer.loop, now_ms + policy.repeat_s * MS_PER_S)
    delay_ms = policy.steps[timer.step].delay_s * MS_PER_S
    return Timer(timer.step + 1, timer.loop, max(now_ms, timer.due_at_ms + delay_ms))


def _kind(incident: Incident, *, is_broadcast: bool) -> StepKind:
    if incident.state is IncidentState.ACKNOWLEDGED:
        return StepKind.LAPSED
    return StepKind.BROADCAST if is_broadcast else StepKind.STEP
