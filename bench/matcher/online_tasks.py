"""Online tasks (gMission): workers and tasks come one by one, in the order of a file; what is decided stays decided.

A worker reaches tasks within a radius, does one, and succeeds with a known share; a pair is worth the task's pay times
that share. Both stay for a number of arrivals and are then gone.

Greedy gives whoever comes the best partner there is. The window waits as long as nothing is lost by it: when somebody
is about to go, the best assignment of all who are there says with whom, and only that pair is decided.

Data: Y. Tong et al., Online mobile micro-task allocation in spatial crowdsourcing, ICDE 2016; the file format of GOMA.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.matcher.assignment.sparse import CostRows, assign

Values = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A worker or a task; its time is its place in the order."""

    is_worker: bool
    x: float
    y: float
    stays: int
    """Arrivals after its own during which it may be matched."""
    value: float
    """A task's pay, a worker's share of success."""
    radius: float = 0.0
    """How far a worker goes."""


def read_order(path: Path) -> list[Arrival]:
    """Return the arrivals of a file, in its order."""
    _, *lines = path.read_text().splitlines()
    return [_arrival(line.split()) for line in lines]


def greedy(order: Sequence[Arrival]) -> float:
    """Return the utility when whoever comes takes the best partner there is."""
    value = worth(order)
    last = np.arange(len(order)) + np.array([each.stays for each in order])
    taken = np.zeros(len(order), np.bool_)
    utility = 0.0
    for now in range(len(order)):
        left = np.where(taken[:now] | (last[:now] < now), 0.0, value[now, :now])
        best = int(np.argmax(left)) if now else 0
        if now and left[best] > 0:
            taken[[best, now]] = True
            utility += float(left[best])
    return utility


def window(order: Sequence[Arrival]) -> float:
    """Return the utility when each pair is decided as late as it can be, by the best assignment at that moment."""
    value = worth(order)
    last = np.minimum(np.arange(len(order)) + np.array([each.stays for each in order]), len(order) - 1)
    is_worker = np.array([each.is_worker for each in order])
    taken = np.zeros(len(order), np.bool_)
    utility = 0.0
    for now in range(len(order)):
        there = (np.arange(len(order)) <= now) & (last >= now) & ~taken
        if not (last[there] == now).any():
            continue
        for task, worker in best_pairs(value, np.flatnonzero(there & ~is_worker), np.flatnonzero(there & is_worker)):
            if now in {last[task], last[worker]}:
                taken[[task, worker]] = True
                utility += float(value[task, worker])
    return utility


def best_pairs(value: Values, tasks: Places, workers: Places) -> list[tuple[int, int]]:
    """Return the pairs of the most valuable assignment of those who are there."""
    task, worker = np.nonzero(value[np.ix_(tasks, workers)])
    start = np.concatenate(([0], np.cumsum(np.bincount(task, minlength=len(tasks))))).astype(np.int32)
    costs = -value[tasks[task], workers[worker]]
    found = assign(CostRows(start, worker.astype(np.int32), costs, np.zeros(len(tasks)), len(workers))).worker
    return [(int(tasks[i]), int(workers[w])) for i, w in enumerate(found) if w >= 0]


def worth(order: Sequence[Arrival]) -> Values:
    """Return what each two are worth together; 0: they do not go together."""
    x, y, value = (np.array([getattr(each, name) for each in order]) for name in ("x", "y", "value"))
    is_worker = np.array([each.is_worker for each in order])
    radius = np.where(is_worker, [each.radius for each in order], np.inf)
    near = np.hypot(x[:, None] - x, y[:, None] - y) <= np.minimum(radius[:, None], radius)
    return np.where(near & (is_worker[:, None] != is_worker), value[:, None] * value, 0.0)


def _arrival(words: list[str]) -> Arrival:
    x, y = float(words[2]), float(words[3])
    if words[1] == "t":
        return Arrival(False, x, y, int(words[4]), float(words[5]))  # noqa: FBT003 - the first column
    return Arrival(True, x, y, int(words[6]), float(words[7]), radius=float(words[4]))  # noqa: FBT003 - as above
