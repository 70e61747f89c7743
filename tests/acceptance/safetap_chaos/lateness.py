"""How late steps were taken, by what Postgres itself wrote down of every timer. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations, groupby
from operator import attrgetter
from uuid import UUID

from tests.acceptance.safetap_chaos.history import Kill

SETTLING_MS = 1_000
"""After something is back its effect may still be felt for so long: a lease of the dead runs out."""


class Reason(Enum):
    """What fell into the time between due and taken."""

    QUIET = "nothing killed"
    ESCALATOR = "an escalator killed"
    NO_ESCALATOR = "no escalator alive"
    POSTGRES = "Postgres restarted"


@dataclass(frozen=True, slots=True)
class TimerChange:
    """A timer was set or moved."""

    incident_id: UUID
    at_ms: int
    due_ms: int
    step: int
    loop: int


@dataclass(frozen=True, slots=True)
class Late:
    """One step. After a restart of Postgres its lateness counts from when Postgres was back."""

    ms: int
    reason: Reason


def lateness(changes: Iterable[TimerChange], kills: Sequence[Kill], *, last_step: int) -> list[Late]:
    """Return how late each step was; `changes` are ordered by incident, then as they happened."""
    found = []
    for _, moves in groupby(changes, key=attrgetter("incident_id")):
        before: TimerChange | None = None
        for move in moves:
            if before is not None and _is_step(before, move, last_step):
                found.append(_late(max(before.due_ms, before.at_ms), move.at_ms, kills))
            before = move
    return found


def _is_step(before: TimerChange, after: TimerChange, last_step: int) -> bool:
    """Whether a step was taken; else a press hastened it, or an acknowledgement put it off."""
    if before.step > last_step:
        return (after.step, after.loop) == (before.step, before.loop + 1)
    return (after.step, after.loop) == (before.step + 1, before.loop)


def _late(due_ms: int, taken_ms: int, kills: Sequence[Kill]) -> Late:
    about = [one for one in kills if one.at_ms <= taken_ms and one.back_ms + SETTLING_MS >= due_ms]
    backs = [one.back_ms for one in about if one.kind == "postgres"]
    if backs:
        return Late(max(0, taken_ms - max(due_ms, *backs)), Reason.POSTGRES)
    escalators = [one for one in about if one.kind == "door"]
    if any(_overlap(one, two) for one, two in combinations(escalators, 2)):
        return Late(max(0, taken_ms - due_ms), Reason.NO_ESCALATOR)
    return Late(max(0, taken_ms - due_ms), Reason.ESCALATOR if escalators else Reason.QUIET)


def _overlap(one: Kill, two: Kill) -> bool:
    """Whether two were dead at the same time."""
    return one.part != two.part and one.at_ms <= two.back_ms and two.at_ms <= one.back_ms


def percentile(values: Sequence[int], percent: float) -> int:
    """Return the value that `percent` of a hundred do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0
