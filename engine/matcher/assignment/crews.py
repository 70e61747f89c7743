"""Jobs that take several workers, and things of which there are only so many: all of it or none. Pure.

A crew is several rows (seats) of one job; a job is served when each of its seats has a worker. A resource is anything
else a job uses up while it lasts: a bay, a tool, a key. With crews of three or more, or with resources, finding the
cheapest is NP-hard, so the exact solver is used as a bound in a branch and bound:

- left to itself, each seat may stay empty at its share of the job's cost of waiting: no crew does better than that;
- if a resource is asked for more often than there is, some of its jobs must go, and the prices of the solver say how
  much that costs at least: letting a job wait costs at least the sum of its seats' costs of waiting less their prices.
  The cheapest of these, as many as must go, are added to the bound;
- a job that is broken (some seats empty, or one user too many) is decided both ways: it waits, or has all its seats.

The search ends with the optimum, or after `nodes_max` steps with the best found and how far off it may be.
"""

import heapq
from dataclasses import dataclass
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.matcher.assignment.kernels import IntArray
from engine.matcher.assignment.sparse import UNASSIGNED, Assignment, CostRows, assign

MUST_MIN: Final = 1e6
"""Cost of leaving a seat empty that must be filled: more than everything else together."""
EQUAL_MIN: Final = 1e-7
"""Bounds this near are equal."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Resource:
    """Something of which there is only so much. `jobs` are the jobs that use one each; there are `capacity` of it."""

    name: str
    jobs: tuple[int, ...]
    capacity: int


@dataclass(frozen=True, slots=True)
class JobAssignment:
    """What was found: a worker or `UNASSIGNED` for each seat, and how good it is at least."""

    worker: IntArray
    entry: IntArray
    total_min: float
    bound_min: float
    """No assignment costs less."""
    steps: int

    @property
    def is_exact(self) -> bool:
        """Whether this is the cheapest of all."""
        return self.total_min - self.bound_min <= EQUAL_MIN * max(1.0, abs(self.total_min))


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of the search: these jobs wait, these have all their seats, the others are open."""

    waits: frozenset[int]
    full: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Jobs:
    """The question: rows by seat, the job of each seat, resources."""

    rows: CostRows
    job: IntArray
    resources: tuple[Resource, ...]

    def broken(self, found: Assignment) -> Mask:
        """Which jobs have some seats filled and some not."""
        size = int(self.job.max(initial=-1)) + 1
        seats = np.bincount(self.job, minlength=size)
        filled = np.bincount(self.job[found.worker != UNASSIGNED], minlength=size)
        broken: Mask = (filled > 0) & (filled < seats)
        return broken

    def served(self, found: Assignment) -> set[int]:
        """Which jobs have a worker on each seat, or on some."""
        return set(self.job[found.worker != UNASSIGNED].tolist())


def assign_jobs(
    rows: CostRows, job: IntArray, resources: tuple[Resource, ...] = (), *, nodes_max: int
) -> JobAssignment:
    """Return the cheapest assignment in which each job has all its seats or none and no resource is overdrawn.

    `job` names the job of each row, from 0. The seats of a job share its cost of waiting in any way; their sum counts.
    """
    jobs = _Jobs(rows, job, resources)
    found = _solve(jobs, _Node(frozenset(), frozenset()))
    if not jobs.broken(found).any() and not _overdrawn(jobs, found):
        return JobAssignment(found.worker, found.entry, found.total_min, found.total_min, 1)
    return _search(jobs, nodes_max)


def _search(jobs: _Jobs, nodes_max: int) -> JobAssignment:
    order = count()
    best = _solve(jobs, _Node(frozenset(jobs.job.tolist()), frozenset()))
    root = _Node(frozenset(), frozenset())
    open_nodes = [(-np.inf, next(order), root)]
    steps, bound_min = 0, -np.inf
    while open_nodes and steps < nodes_max:
        bound_min, _, node = heapq.heappop(open_nodes)
        if bound_min >= best.total_min - EQUAL_MIN:
            return _answer(best, best.total_min, steps)
        steps += 1
        found = _solve(jobs, node)
        if _is_impossible(jobs, node, found):
            continue
        best = min(best, _mended(jobs, node, found), key=lambda each: each.total_min)
        doubtful = _doubtful(jobs, node, found)
        if doubtful is None:
            continue
        least = max(bound_min, _bound(jobs, node, found))
        for child in (
            _Node(node.waits | {doubtful}, node.full),
            _Node(node.waits, node.full | {doubtful}),
        ):
            if least < best.total_min - EQUAL_MIN:
                heapq.heappush(open_nodes, (least, next(order), child))
    least_open = min((bound for bound, *_ in open_nodes), default=best.total_min)
    return _answer(best, min(least_open, best.total_min), steps)


def _answer(found: Assignment, bound_min: float, steps: int) -> JobAssignment:
    return JobAssignment(found.worker, found.entry, found.total_min, bound_min, steps)


def _solve(jobs: _Jobs, node: _Node) -> Assignment:
    """Return the cheapest assignment of single seats under what the node has decided, at the costs of the question."""
    rows = jobs.rows
    kept = ~np.isin(jobs.job, list(node.waits))
    open_rows = rows.where(kept[rows.row]) if node.waits else rows
    must = np.isin(jobs.job, list(node.full))
    unassigned_min = np.where(must, MUST_MIN, rows.unassigned_min)
    found = assign(CostRows(open_rows.start, open_rows.worker, open_rows.cost_min, unassigned_min, rows.workers))
    entry = found.entry.copy()
    if node.waits:
        at = np.flatnonzero(kept[rows.row])
        entry[entry >= 0] = at[entry[entry >= 0]]
    return Assignment(found.worker, entry, found.total_min, found.row_price, found.worker_price)


def _is_impossible(jobs: _Jobs, node: _Node, found: Assignment) -> bool:
    empty = found.worker == UNASSIGNED
    if bool(empty[np.isin(jobs.job, list(node.full))].any()):
        return True
    return any(len(node.full.intersection(each.jobs)) > each.capacity for each in jobs.resources)


def _overdrawn(jobs: _Jobs, found: Assignment) -> list[tuple[Resource, int]]:
    served = jobs.served(found)
    excess = [(each, len(served.intersection(each.jobs)) - each.capacity) for each in jobs.resources]
    return [(each, over) for each, over in excess if over > 0]


def _regret_min(jobs: _Jobs, found: Assignment) -> dict[int, float]:
    """Return what letting each served job wait costs at least."""
    less = jobs.rows.unassigned_min - found.row_price
    regret = np.bincount(jobs.job, weights=less)
    return {each: float(regret[each]) for each in jobs.served(found)}


def _bound(jobs: _Jobs, node: _Node, found: Assignment) -> float:
    """Return the least that any assignment below this node costs."""
    regret = _regret_min(jobs, found)
    more = 0.0
    for resource, over in _overdrawn(jobs, found):
        users = sorted(regret[each] for each in resource.jobs if each in regret and each not in node.full)
        more = max(more, sum(users[:over]))
    return found.total_min + more


def _doubtful(jobs: _Jobs, node: _Node, found: Assignment) -> int | None:
    """Return the job to decide next: the one that is cheapest to let wait, of those that cannot stay as they are."""
    suspects = set(np.flatnonzero(jobs.broken(found)).tolist())
    if not suspects:
        for resource, _ in _overdrawn(jobs, found):
            suspects |= jobs.served(found).intersection(resource.jobs)
    regret = _regret_min(jobs, found)
    left = suspects - node.full
    return min(left, key=lambda each: (regret.get(each, 0.0), each), default=None)


def _mended(jobs: _Jobs, node: _Node, found: Assignment) -> Assignment:
    """Return an assignment that keeps every rule: whoever breaks one waits, and the rest is solved again."""
    waits = set(node.waits)
    while True:
        regret = _regret_min(jobs, found)
        out = set(np.flatnonzero(jobs.broken(found)).tolist())
        for resource, over in _overdrawn(jobs, found):
            users = sorted((each for each in resource.jobs if each in regret), key=lambda each: (regret[each], each))
            out.update(users[:over])
        if not out:
            return found
        waits |= out
        found = _solve(jobs, _Node(frozenset(waits), frozenset()))
