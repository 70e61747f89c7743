"""Whether a job on the way goes to another worker, and to whom it is offered. Pure.

The one who has it keeps it until the other has said yes. So all is reckoned as if that yes came at the last moment:
what is gained by then, and how near the first one is by then. Of an alarm nothing enters but its hold, and that
forbids it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from config.limits import REMATCH_NEARER_S
from engine.core.units import MS_PER_MIN, MS_PER_S
from engine.matcher.pricing import Choice
from engine.matcher.rematch_policy import RematchPolicy

S_PER_MIN: Final = 60


class Cause(StrEnum):
    """Why somebody else is looked for."""

    LATE = "late"
    """By the present ETA they come well after what was promised."""
    STUCK = "stuck"
    """They have come no nearer for long."""
    BETTER = "better"
    """Nothing is wrong; somebody may be there much sooner all the same."""


class Stay(StrEnum):
    """Why nobody else is."""

    OFF = "off"
    LEFT_ALONE = "left_alone"
    """By the desk's pin, or by a hold on the worker, the customer or the door: which of these is told to nobody."""
    OFTEN = "often"
    """It has changed hands as often as it may."""
    UNHEARD = "unheard"
    """Nobody knows where they are: that says nothing about when they come."""
    NEAR = "near"
    ASKED = "asked"
    """Somebody is being asked already."""
    ON_TIME = "on_time"
    NOBODY_SOONER = "nobody_sooner"


Verdict: TypeAlias = Cause | Stay


@dataclass(frozen=True, slots=True)
class Nearness:
    """The least that was left of a way, and since when (Unix ms)."""

    least_eta_s: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class Way:
    """A job whose worker is to come. Times are Unix ms."""

    promised_at_ms: int | None
    """`None`: the desk gave it out without an estimate."""
    eta_s: int | None
    """Left of the way, by the newest fix; `None`: there is none that is fresh."""
    nearness: Nearness | None
    rematches: int
    """How often it has changed hands on the way."""
    is_left_alone: bool
    is_asked: bool


def nearness_of(before: Nearness | None, eta_s: int, *, now_ms: int) -> Nearness:
    """Return how near they have come; less than `limits.REMATCH_NEARER_S` is the trembling of an estimate."""
    if before is None or eta_s <= before.least_eta_s - REMATCH_NEARER_S:
        return Nearness(eta_s, now_ms)
    return before


def verdict_of(policy: RematchPolicy, way: Way, *, answer_s: int, now_ms: int) -> Verdict:
    """Return whether somebody else is looked for; an offer is unanswered for `answer_s` at most."""
    if policy.times_max == 0:
        return Stay.OFF
    if way.is_left_alone:
        return Stay.LEFT_ALONE
    if way.rematches >= policy.times_max:
        return Stay.OFTEN
    if way.eta_s is None:
        return Stay.UNHEARD
    if way.eta_s - answer_s < policy.near_min * S_PER_MIN:
        return Stay.NEAR
    return Stay.ASKED if way.is_asked else _cause(policy, way, way.eta_s, now_ms)


def sooner(policy: RematchPolicy, way: Way, cause: Cause, rivals: Sequence[Choice], *, answer_s: int) -> list[Choice]:
    """Return those who gain enough, in the order given."""
    assert way.eta_s is not None, "who is not heard of is left alone"
    gain_min = policy.better_min if cause is Cause.BETTER else policy.gain_min
    return [each for each in rivals if way.eta_s - answer_s - each.eta_s >= gain_min * S_PER_MIN]


def _cause(policy: RematchPolicy, way: Way, eta_s: int, now_ms: int) -> Verdict:
    promised_ms = way.promised_at_ms
    if promised_ms is not None and now_ms + eta_s * MS_PER_S > promised_ms + policy.late_min * MS_PER_MIN:
        return Cause.LATE
    stood_ms = 0 if way.nearness is None else now_ms - way.nearness.since_ms
    if policy.stuck_min and stood_ms >= policy.stuck_min * MS_PER_MIN:
        return Cause.STUCK
    return Cause.BETTER if policy.better_min else Stay.ON_TIME
