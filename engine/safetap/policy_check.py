"""Looks at a policy as if it had to serve tonight: who would be told when, and what is missing. Pure.

What is wrong is refused; what is only unwise is a warning, because a ladder that reaches few is better than none.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final
from uuid import UUID

from config.limits import DRY_RUN_ENTRIES_MAX, ON_CALL_LOOK_AHEAD_MS, WARNINGS_MAX
from engine.core.errors import InvalidInput
from engine.core.ids import IncidentId, OrgId, PersonId, ScheduleId
from engine.core.units import rfc3339, utc_from_ms
from engine.core.vocabulary import Channel, IncidentState
from engine.safetap.escalation import Decision, Incident, Timer, decide
from engine.safetap.on_call import Schedule, gaps, on_call, shifts
from engine.safetap.policy import CHANNELS_OF, Policy, Route, Target
from engine.safetap.targets import Facts, Responder

BROADCASTS_SHOWN: Final = 2
"""An exhausted ladder repeats itself: the second time shows when."""


PEOPLE_TO_CLOSE: Final = 2
"""How many must agree where a policy says so."""


@dataclass(frozen=True, slots=True)
class Warn:
    """What is unwise, and where."""

    field: str
    text: str


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """A step of a dry run: what would happen, and when (Unix ms)."""

    at_ms: int
    decision: Decision


def rehearse(
    policy: Policy,
    facts_at: Callable[[int], Facts],
    *,
    org_id: OrgId,
    excluded: frozenset[PersonId],
    start_ms: int,
    is_drill: bool = False,
) -> list[Rehearsed]:
    """Climb the ladder from a trigger at `start_ms` on by the very rules of the escalators; nobody acts.

    `facts_at` tells what is known at a moment. Ends with the second broadcast.
    """
    timer = Timer(1, 0, start_ms)
    taken: list[Rehearsed] = []
    broadcasts = 0
    while broadcasts < BROADCASTS_SHOWN and len(taken) < DRY_RUN_ENTRIES_MAX:
        incident = Incident(IncidentId(UUID(int=0)), org_id, IncidentState.OPEN, timer, excluded, is_drill)
        at_ms = timer.due_at_ms
        decision = decide(incident, policy, at_ms, facts=facts_at(at_ms))
        taken.append(Rehearsed(at_ms, decision))
        broadcasts += timer.step > len(policy.steps)
        timer = decision.next_timer
    return taken


def check_references(policy: Policy, *, staff: frozenset[PersonId], schedule_ids: frozenset[ScheduleId]) -> None:
    """Refuse a policy that names a person who is not of the desk, or a schedule that is not there.

    Raises:
        InvalidInput: with the field.
    """
    for number, step in enumerate(policy.steps):
        for route in step.routes:
            if route.person_id is not None and route.person_id not in staff:
                raise InvalidInput("A dispatcher or admin of the organisation.", field=f"steps[{number}].notify")
            if route.schedule_id is not None and route.schedule_id not in schedule_ids:
                raise InvalidInput("A schedule of the organisation.", field=f"steps[{number}].notify")


def warnings(
    policy: Policy, responders: Sequence[Responder], schedules: Mapping[ScheduleId, Schedule], *, now_ms: int
) -> list[Warn]:
    """Return what is unwise, at most `limits.WARNINGS_MAX`, the first ones."""
    by_id = {one.person_id: one for one in responders}
    found = (
        warning
        for several in (
            _steps_without_anybody(policy, responders, schedules, now_ms),
            _gaps(policy, schedules, now_ms),
            _unreachable(policy, by_id, schedules, now_ms),
            _nobody_at_all(policy, responders),
            _nobody_to_agree(policy, responders),
        )
        for warning in several
    )
    return list(islice(found, WARNINGS_MAX))


def _steps_without_anybody(
    policy: Policy, responders: Sequence[Responder], schedules: Mapping[ScheduleId, Schedule], now_ms: int
) -> Iterator[Warn]:
    by_id = {one.person_id: one for one in responders}
    for number, step in enumerate(policy.steps):
        staff = [route for route in step.routes if CHANNELS_OF[route.target] >= {Channel.PUSH}]
        staff = [route for route in staff if route.target is not Target.VOLUNTEERS]
        if not staff or len(staff) < len(step.routes):
            continue
        if not any(_reached(route, responders, by_id, schedules, now_ms) for route in staff):
            yield Warn(f"steps[{number}]", "Reaches nobody at the moment: the next step follows at once.")


def _reached(
    route: Route,
    responders: Sequence[Responder],
    by_id: Mapping[PersonId, Responder],
    schedules: Mapping[ScheduleId, Schedule],
    now_ms: int,
) -> bool:
    match route.target:
        case Target.ON_CALL:
            assert route.schedule_id is not None
            people = [by_id[one] for one in on_call(schedules[route.schedule_id], now_ms) if one in by_id]
        case Target.PERSON:
            people = [one for one in responders if one.person_id == route.person_id]
        case Target.DISPATCHERS | Target.ADMINS:
            people = [one for one in responders if f"{one.role}s" == route.target.value]
        case _:
            people = []
    return any(one.addresses.get(route.channel) for one in people)


def _gaps(policy: Policy, schedules: Mapping[ScheduleId, Schedule], now_ms: int) -> Iterator[Warn]:
    for number, step in enumerate(policy.steps):
        for schedule_id in dict.fromkeys(route.schedule_id for route in step.routes if route.schedule_id is not None):
            for gap in gaps(schedules[schedule_id], now_ms):
                span = f"{rfc3339(utc_from_ms(gap.starts_at_ms))} to {rfc3339(utc_from_ms(gap.ends_at_ms))}"
                yield Warn(f"steps[{number}]", f"Nobody is on call from {span}: the next step follows at once then.")


def _unreachable(
    policy: Policy, by_id: Mapping[PersonId, Responder], schedules: Mapping[ScheduleId, Schedule], now_ms: int
) -> Iterator[Warn]:
    """Yield a warning for everybody on call soon whom none of their step's channels reaches."""
    for number, step in enumerate(policy.steps):
        for schedule_id in dict.fromkeys(route.schedule_id for route in step.routes if route.schedule_id is not None):
            channels = [route.channel for route in step.routes if route.schedule_id == schedule_id]
            for person_id in people_soon(schedules[schedule_id], now_ms):
                one = by_id.get(person_id)
                if one is None:
                    yield Warn(f"steps[{number}]", f"Person {person_id} is on call and no longer of the desk.")
                elif not any(one.addresses.get(channel) for channel in channels):
                    listed = ", ".join(channels)
                    yield Warn(f"steps[{number}]", f"Person {person_id} is on call and has no address for {listed}.")


def people_soon(schedule: Schedule, now_ms: int) -> list[PersonId]:
    """Return everybody of a schedule who is on call within `limits.ON_CALL_LOOK_AHEAD_MS`, each once."""
    coming = shifts(schedule, now_ms, now_ms + ON_CALL_LOOK_AHEAD_MS)
    return list(dict.fromkeys(person for shift in coming for person in shift.people))


def _nobody_at_all(policy: Policy, responders: Sequence[Responder]) -> Iterator[Warn]:
    if not any(addresses for one in responders for addresses in one.addresses.values()):
        yield Warn("steps", "Nobody at the desk has an address: with no armed desk an alarm reaches nobody.")
    if policy.phone_step > len(policy.steps):
        yield Warn("steps", "No step goes beyond the desk: with no armed desk the broadcast follows at once.")


def _nobody_to_agree(policy: Policy, responders: Sequence[Responder]) -> Iterator[Warn]:
    if policy.two_person_close and len(responders) < PEOPLE_TO_CLOSE:
        yield Warn("two_person_close", "There are not two people at the desk: nobody could close an incident.")
