"""Window mode: everything that is open is given out together, at the least cost for all. Pure.

What makes it better than one after the other is less the window than whom it may consider: workers who are about to
finish (look-ahead), and workers who have just set out (re-matching, within narrow limits, because people have been told
who comes). All costs are minutes; a seat is a booking, or one of the places of a booking that takes a crew.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from config.limits import (
    CREW_STEPS_MAX,
    FINISH_MARGIN_SD,
    FINISH_WAIT_WEIGHT,
    LATE_SPREAD_MS,
    LATE_SPREAD_SD,
    LOOK_AHEAD_MS,
    REMATCH_GAIN_MS,
    REMATCH_LATER_MS,
    REMATCH_NEAR_MS,
    REMATCH_WITHIN_MS,
    REMATCHES_MAX,
)
from engine.core.units import MS_PER_MIN
from engine.matcher.assignment.crews import MUST_MIN, JobAssignment, Mask, Resource, assign_jobs
from engine.matcher.assignment.kernels import DoubleArray, IntArray
from engine.matcher.assignment.sparse import UNASSIGNED, CostRows
from engine.matcher.assignment.window_seats import Candidates, Seats, Workers

PROMISED_MIN: Final = 10_000.0
"""Cost of leaving a customer without the worker who was promised; less than a pin, more than all drives."""

SURE: Final = 30.0
"""Spreads beyond which the logistic curve is flat: exp(-30) of a cost is nothing, and nothing overflows."""

assert PROMISED_MIN < MUST_MIN


class Outcome(StrEnum):
    """What became of a seat."""

    SENT = "sent"
    """A free worker goes."""
    RESERVED = "reserved"
    """A worker goes on to it from the present job."""
    KEPT = "kept"
    """The worker it had."""
    REMATCHED = "rematched"
    """Another worker than before, by the limits of re-matching."""
    NOBODY = "nobody"
    """No candidate was found at all."""
    TOO_LATE = "too_late"
    """Every candidate would come after the service's longest ETA, or finishes beyond the look-ahead."""
    CHEAPER_TO_WAIT = "cheaper_to_wait"
    """Every candidate costs more than waiting."""
    OUTBID = "outbid"
    """The candidates are of more use elsewhere."""
    CREW_INCOMPLETE = "crew_incomplete"
    """Not enough workers for all seats of the job."""
    CREW_WAITS = "crew_waits"
    """There is a free worker, but another seat's of the job is still at another one: all go, or nobody yet."""
    RESOURCE_SHORT = "resource_short"
    """Something that the job needs is in use; `WindowPlan.short` names it."""
    PIN_TAKEN = "pin_taken"
    """The worker it is pinned to, or had, is pinned to another seat."""
    PIN_UNREACHABLE = "pin_unreachable"
    """Its pinned worker is not among its candidates."""


@dataclass(frozen=True, slots=True)
class WindowRules:
    """The limits of a window, in minutes; the defaults are those of the product."""

    look_ahead_min: float = LOOK_AHEAD_MS / MS_PER_MIN
    finish_margin_sd: float = FINISH_MARGIN_SD
    finish_wait_weight: float = FINISH_WAIT_WEIGHT
    late_spread_min: float = LATE_SPREAD_MS / MS_PER_MIN
    late_spread_sd: float = LATE_SPREAD_SD
    rematch_within_min: float = REMATCH_WITHIN_MS / MS_PER_MIN
    rematch_near_min: float = REMATCH_NEAR_MS / MS_PER_MIN
    rematch_gain_min: float = REMATCH_GAIN_MS / MS_PER_MIN
    rematch_later_min: float = REMATCH_LATER_MS / MS_PER_MIN
    rematches_max: int = REMATCHES_MAX
    crew_steps_max: int = CREW_STEPS_MAX


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """The choice. Shapes: one element a seat."""

    worker: IntArray
    """Column of `Workers`, or `UNASSIGNED`."""
    arrival_min: DoubleArray
    """Minutes from now until the worker is there; infinity without one."""
    outcome: tuple[Outcome, ...]
    short: dict[int, str]
    """Which resource was short, by seat."""
    total_min: float
    bound_min: float
    """No choice under the same rules costs less; equal to `total_min` but for hard crews."""


DEFAULT_RULES: Final = WindowRules()


@dataclass(frozen=True, slots=True)
class _Entries:
    """Seat by worker, one element a pair, by seat."""

    seat: IntArray
    worker: IntArray
    cost_min: DoubleArray
    arrival_min: DoubleArray

    def where(self, kept: Mask) -> "_Entries":
        return _Entries(self.seat[kept], self.worker[kept], self.cost_min[kept], self.arrival_min[kept])


def plan_window(
    seats: Seats,
    candidates: Candidates,
    workers: Workers,
    *,
    now_ms: int,
    rules: WindowRules = DEFAULT_RULES,
    resources: tuple[Resource, ...] = (),
) -> WindowPlan:
    """Return who goes where. Nobody gets two seats, no rule of `rules` is broken, nothing is random."""
    entries = _with_finish(_listed(seats, candidates), workers, rules, now_ms=now_ms)
    entries = _with_lateness(entries, seats, workers, rules, now_ms=now_ms)
    listed = _count(entries, len(seats.job))
    fixed = _fixed(seats, rules, now_ms=now_ms)
    pin_out = _pins_out(seats, entries)
    own = entries.worker == np.where(fixed, seats.held_by, UNASSIGNED)[entries.seat]
    usable = entries.where(_is_usable(seats, entries, rules) & _is_open(seats, entries, fixed, pin_out) | own)
    found = _solve(seats, usable, workers.count, resources, rules)
    arrival_min = np.full(len(seats.job), np.inf)
    got = found.worker != UNASSIGNED
    arrival_min[got] = usable.arrival_min[found.entry[got]]
    free_in_min = (workers.free_at_ms - now_ms) / MS_PER_MIN
    short = _short(seats, found, resources)
    waits = set(seats.job[got][free_in_min[found.worker[got]] > 0].tolist())
    outcome = []
    for seat in range(len(seats.job)):
        if got[seat]:
            outcome.append(_outcome_with(seats, found, free_in_min, waits, seat))
        elif seat in pin_out:
            outcome.append(pin_out[seat])
        elif seat in short:
            outcome.append(Outcome.RESOURCE_SHORT)
        else:
            outcome.append(_outcome_without(seats, usable, listed, seat))
    return WindowPlan(found.worker, arrival_min, tuple(outcome), short, found.total_min, found.bound_min)


def _listed(seats: Seats, candidates: Candidates) -> _Entries:
    """Return all pairs, with the worker that a seat has, should the search not have found that one again."""
    seat = np.repeat(np.arange(len(seats.job), dtype=np.int32), np.diff(candidates.start))
    listed = _Entries(seat, candidates.worker, candidates.cost_min, candidates.drive_min)
    found = np.zeros(len(seats.job), np.bool_)
    found[seat[candidates.worker == seats.held_by[seat]]] = True
    lost = np.flatnonzero((seats.held_by != UNASSIGNED) & ~found).astype(np.int32)
    if not len(lost):
        return listed
    all_of = _Entries(
        np.concatenate((seat, lost)),
        np.concatenate((listed.worker, seats.held_by[lost])),
        np.concatenate((listed.cost_min, seats.held_arrival_min[lost])),
        np.concatenate((listed.arrival_min, seats.held_arrival_min[lost])),
    )
    order = np.argsort(all_of.seat, kind="stable")
    return _Entries(all_of.seat[order], all_of.worker[order], all_of.cost_min[order], all_of.arrival_min[order])


def _with_finish(entries: _Entries, workers: Workers, rules: WindowRules, *, now_ms: int) -> _Entries:
    """Add the wait for the end of the present job, somewhat longer than estimated, to cost and arrival."""
    free_in_min = np.maximum((workers.free_at_ms - now_ms) / MS_PER_MIN, 0.0)
    until_min = free_in_min + rules.finish_margin_sd * workers.free_sd_min
    until_min[free_in_min > rules.look_ahead_min] = np.inf
    wait_min = until_min[entries.worker]
    cost_min = entries.cost_min + rules.finish_wait_weight * wait_min
    return _Entries(entries.seat, entries.worker, cost_min, entries.arrival_min + wait_min)


def _with_lateness(entries: _Entries, seats: Seats, workers: Workers, rules: WindowRules, *, now_ms: int) -> _Entries:
    """Add what being late costs, by how likely it is: a logistic curve over the minutes to spare."""
    if not seats.late_min.any():
        return entries
    free_in_min = np.maximum((workers.free_at_ms - now_ms) / MS_PER_MIN, 0.0)
    likely_in_min = np.maximum((workers.likely_at_ms - now_ms) / MS_PER_MIN, 0.0)
    hoped_min = free_in_min + rules.finish_margin_sd * workers.free_sd_min
    spread_min = rules.late_spread_min + rules.late_spread_sd * np.minimum(workers.free_sd_min, likely_in_min)
    over_min = entries.arrival_min + (likely_in_min - hoped_min)[entries.worker] - seats.late_after_min[entries.seat]
    chance = late_chance(over_min, spread_min[entries.worker])
    cost_min = entries.cost_min + seats.late_min[entries.seat] * chance
    return _Entries(entries.seat, entries.worker, cost_min, entries.arrival_min)


def late_chance(over_min: DoubleArray | float, spread_min: DoubleArray | float) -> DoubleArray:
    """Return how likely it is to be late for who is expected `over_min` after the last good minute."""
    chance: DoubleArray = 1.0 / (1.0 + np.exp(np.clip(-over_min / spread_min, -SURE, SURE)))
    return chance


def _fixed(seats: Seats, rules: WindowRules, *, now_ms: int) -> Mask:
    """Return which seats keep the worker they have."""
    under_way = seats.set_out_at_ms >= 0
    long_ago = now_ms - seats.set_out_at_ms > rules.rematch_within_min * MS_PER_MIN
    near = seats.held_arrival_min <= rules.rematch_near_min
    often = seats.rematches >= rules.rematches_max
    pinned_elsewhere = np.isin(seats.held_by, seats.pinned[seats.pinned != UNASSIGNED])
    fixed: Mask = (seats.held_by != UNASSIGNED) & under_way & (long_ago | near | often) & ~pinned_elsewhere
    return fixed


def _pins_out(seats: Seats, entries: _Entries) -> dict[int, Outcome]:
    """Return the pinned seats that cannot have their worker."""
    out: dict[int, Outcome] = {}
    taken: set[int] = set()
    for seat in np.flatnonzero(seats.pinned != UNASSIGNED).tolist():
        worker = int(seats.pinned[seat])
        if worker in taken:
            out[seat] = Outcome.PIN_TAKEN
        elif not ((entries.seat == seat) & (entries.worker == worker)).any():
            out[seat] = Outcome.PIN_UNREACHABLE
        else:
            taken.add(worker)
    return out


def _is_usable(seats: Seats, entries: _Entries, rules: WindowRules) -> Mask:
    """Return which pairs arrive in time: within the service's cap, and not much later than was promised."""
    held_by = seats.held_by[entries.seat]
    promised_min = seats.held_arrival_min[entries.seat] + rules.rematch_later_min
    limit_min = seats.eta_cap_min[entries.seat]
    limit_min = np.where(held_by == UNASSIGNED, limit_min, np.minimum(limit_min, promised_min))
    is_own = (entries.worker == held_by) | (entries.worker == seats.pinned[entries.seat])
    usable: Mask = np.isfinite(entries.arrival_min) & (is_own | (entries.arrival_min <= limit_min))
    return usable


def _is_open(seats: Seats, entries: _Entries, fixed: Mask, pin_out: dict[int, Outcome]) -> Mask:
    """Return which pairs are free to choose: pinned and fixed workers are for their seats only, and the other way."""
    pinned = seats.pinned.copy()
    closed = fixed.copy()
    closed[list(pin_out)] = True
    pinned[closed] = UNASSIGNED
    reserved = np.concatenate((seats.held_by[fixed], pinned[pinned != UNASSIGNED]))
    to_pin = entries.worker == pinned[entries.seat]
    others = ~np.isin(entries.worker, reserved) & (pinned[entries.seat] == UNASSIGNED)
    is_open: Mask = ~closed[entries.seat] & (to_pin | others)
    return is_open


def _solve(
    seats: Seats, entries: _Entries, workers: int, resources: tuple[Resource, ...], rules: WindowRules
) -> JobAssignment:
    start = np.concatenate(([0], np.cumsum(_count(entries, len(seats.job))))).astype(np.int32)
    held_by = seats.held_by[entries.seat]
    changes = (held_by != UNASSIGNED) & (entries.worker != held_by)
    cost_min = entries.cost_min + np.where(changes, rules.rematch_gain_min, 0.0)
    unassigned_min = np.where(seats.held_by != UNASSIGNED, PROMISED_MIN, seats.unassigned_min)
    unassigned_min = np.where(seats.pinned != UNASSIGNED, MUST_MIN / 2, unassigned_min)
    rows = CostRows(start, entries.worker, cost_min, unassigned_min, workers)
    return assign_jobs(rows, seats.job, resources, nodes_max=rules.crew_steps_max)


def _count(entries: _Entries, seats: int) -> IntArray:
    return np.bincount(entries.seat, minlength=seats).astype(np.int32)


def _short(seats: Seats, found: JobAssignment, resources: tuple[Resource, ...]) -> dict[int, str]:
    """Return the seats without a worker whose job needs something that is used up."""
    short: dict[int, str] = {}
    served = set(seats.job[found.worker != UNASSIGNED].tolist())
    for resource in resources:
        if len(served.intersection(resource.jobs)) < resource.capacity:
            continue
        for seat in np.flatnonzero(np.isin(seats.job, resource.jobs) & (found.worker == UNASSIGNED)).tolist():
            short.setdefault(seat, resource.name)
    return short


def _outcome_with(seats: Seats, found: JobAssignment, free_in_min: DoubleArray, waits: set[int], seat: int) -> Outcome:
    """Return what becomes of a seat that has a worker; `waits`: the jobs some of whose workers are not free yet."""
    worker = found.worker[seat]
    if seats.held_by[seat] == worker:
        return Outcome.KEPT
    if seats.held_by[seat] != UNASSIGNED:
        return Outcome.REMATCHED
    if free_in_min[worker] > 0:
        return Outcome.RESERVED
    return Outcome.CREW_WAITS if seats.job[seat] in waits else Outcome.SENT


def _outcome_without(seats: Seats, usable: _Entries, listed: IntArray, seat: int) -> Outcome:
    if seats.held_by[seat] != UNASSIGNED and seats.held_by[seat] in seats.pinned:
        return Outcome.PIN_TAKEN
    if listed[seat] == 0:
        return Outcome.NOBODY
    cost_min = usable.cost_min[usable.seat == seat]
    if len(cost_min) == 0:
        return Outcome.TOO_LATE
    if (seats.job == seats.job[seat]).sum() > 1:
        return Outcome.CREW_INCOMPLETE
    return Outcome.CHEAPER_TO_WAIT if cost_min.min() >= seats.unassigned_min[seat] else Outcome.OUTBID
