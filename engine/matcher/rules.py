"""Which hard rules a worker breaks for a booking, and what else speaks against them. Pure.

The kernel's masks (`engine.matcher.frame`) say the same of a whole frame, milliseconds old. This is the last word, said
of one pair by what the transaction sees: it stands between a ranking and an offer, an offer and a yes, and the desk's
wish and an assignment.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from config.limits import SEARCH_RADIUS_M_MAX, WORKER_SILENT_MS
from engine.core.vocabulary import MatchingRule, MatchingWarning
from engine.matcher.working_time import MS_PER_MIN, Period, WorkingTimeRule, work_until_ms


@dataclass(frozen=True, slots=True)
class Pair:
    """A worker and a booking as the rules see them. Times are Unix ms."""

    is_skilled: bool
    takes_part: bool
    """On duty, and their account is active."""
    is_busy: bool
    is_held: bool
    """A safety hold lies on the worker, the customer or the door."""
    is_blocked: bool
    missing_kinds: frozenset[str]
    """Kinds of kit of which the worker lacks an item that the service needs."""
    duration_min: int
    shift_from_ms: int | None
    """The planned shift that ends next; `None`: no more is planned."""
    shift_until_ms: int | None
    has_shifts: bool
    working_time: WorkingTimeRule
    duty: Sequence[Period]
    """On duty, ascending, of the last eight days."""
    is_in_area: bool = True
    is_on_crew: bool = False
    """They have another seat of the same crew."""


@dataclass(frozen=True, slots=True)
class Drawbacks:
    """What only the desk is told."""

    silent_ms: int | None
    """Since the newest fix; `None`: no place is known."""
    distance_m: float | None
    said_no: bool
    level: float
    level_wanted: float
    speaks: bool
    is_asked_elsewhere: bool


def broken_rules(pair: Pair, *, now_ms: int) -> tuple[MatchingRule, ...]:
    """Return every hard rule that forbids this pair, in the order of `MatchingRule`."""
    rule = MatchingRule
    broken = {
        rule.SKILL: not pair.is_skilled,
        rule.OFF_DUTY: not pair.takes_part,
        rule.BUSY: pair.is_busy,
        rule.SAFETY_HOLD: pair.is_held,
        rule.SHIFT: _is_out_of_shift(pair, now_ms),
        rule.WORKING_TIME: _is_worked_out(pair, now_ms),
        rule.BLOCKED: pair.is_blocked,
        rule.CERTIFICATE: "certificate" in pair.missing_kinds,
        rule.TOOL: "tool" in pair.missing_kinds,
        rule.VEHICLE: "vehicle" in pair.missing_kinds,
        rule.ZONE: not pair.is_in_area,
        rule.CREW: pair.is_on_crew,
    }
    return tuple(each for each in rule if broken[each])


def drawbacks_of(pair: Pair, more: Drawbacks, *, now_ms: int) -> tuple[MatchingWarning, ...]:
    """Return what the desk should know before it insists, in the order of `MatchingWarning`."""
    warning = MatchingWarning
    ends_ms = now_ms + pair.duration_min * MS_PER_MIN
    holds = {
        warning.SILENT: more.silent_ms is None or more.silent_ms > WORKER_SILENT_MS,
        warning.TOO_FAR: more.distance_m is not None and more.distance_m > SEARCH_RADIUS_M_MAX,
        warning.DECLINED_BEFORE: more.said_no,
        warning.OVERTIME: pair.shift_until_ms is not None and ends_ms > pair.shift_until_ms,
        warning.LEVEL: more.level < more.level_wanted,
        warning.PART: "part" in pair.missing_kinds,
        warning.LANGUAGE: not more.speaks,
        warning.ALREADY_ASKED: more.is_asked_elsewhere,
    }
    return tuple(each for each in warning if holds[each])


def _is_out_of_shift(pair: Pair, now_ms: int) -> bool:
    if pair.shift_from_ms is None:
        return pair.has_shifts
    return now_ms < pair.shift_from_ms


def _is_worked_out(pair: Pair, now_ms: int) -> bool:
    until_ms = work_until_ms(pair.duty, pair.working_time, now_ms=now_ms)
    return until_ms is not None and now_ms + pair.duration_min * MS_PER_MIN > until_ms
