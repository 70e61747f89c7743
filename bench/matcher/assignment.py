"""Rows of the assignment: our exact solver beside scipy's, OR-Tools' flow and first come, first served."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from bench.report import Row, less_is_better, more_is_better
from engine.matcher.assignment import sparse
from engine.matcher.assignment.sparse import CostRows, assign

UNASSIGNED_MIN: Final = 120.0
KMH: Final = 25.0
DETOUR: Final = 1.3
EXACT_MIN: Final = 1e-6
TO_INTEGERS: Final = 10_000
"""OR-Tools counts in whole numbers; the costs have four decimals, so nothing is rounded away."""
DENSE_BOOKINGS_MAX: Final = 1_000
SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Size:
    """An instance, and how many times as fast as its anchors ours is to be."""

    bookings: int
    workers: int
    each: int
    scipy_times: float | None = None
    flow_times: float | None = None


SIZES: Final = (Size(100, 300, 20), Size(1_000, 3_000, 30, 3.0), Size(5_000, 15_000, 30, 15.0, 10.0))


def instance(size: Size, random: np.random.Generator) -> CostRows:
    """Return bookings in clusters, workers anywhere, each booking with its nearest workers."""
    side_km = 20 * np.sqrt(size.workers / 3_000)
    homes = random.random((size.workers, 2)) * side_km
    spots = random.random((max(4, size.bookings // 100), 2)) * side_km
    pins = spots[random.integers(0, len(spots), size.bookings)] + random.normal(0, side_km / 15, (size.bookings, 2))
    km, worker = cKDTree(homes).query(np.clip(pins, 0, side_km), k=size.each)
    cost_min = np.round(km * DETOUR / KMH * 60 + random.random(km.shape) * 4, 4)
    start = np.arange(0, km.size + 1, size.each, dtype=np.int32)
    unassigned_min = np.full(size.bookings, UNASSIGNED_MIN)
    return CostRows(start, worker.ravel().astype(np.int32), cost_min.ravel(), unassigned_min, size.workers)


def assignment_rows(random: np.random.Generator) -> list[Row]:
    """Return the rows of every size; an answer that is not the cheapest fails its row."""
    sparse.warm_up()
    return [row for size in SIZES for row in _rows(size, instance(size, random))]


def _rows(size: Size, rows: CostRows) -> list[Row]:
    name = f"assign {size.bookings:,} x {size.workers:,}"
    ours_ms, ours_min = _timed(lambda: assign(rows).total_min)
    found = [_against(f"{name}, exact", ours_ms, ours_min, "scipy sparse", _scipy_sparse(rows), size.scipy_times)]
    if size.bookings <= DENSE_BOOKINGS_MAX:
        found.append(_against(f"{name}, exact", ours_ms, ours_min, "scipy dense", _scipy_dense(rows), None))
    flow = _flow(rows)
    if flow is not None:
        found.append(_against(f"{name}, exact", ours_ms, ours_min, "OR-Tools flow", flow, size.flow_times))
    _, greedy_min = _timed(lambda: first_come(rows))
    anchor = "first come, first served"
    found.append(less_is_better(f"{name}, total cost", ours_min, greedy_min, anchor_name=anchor, unit="min"))
    return found


def _against(
    name: str, ours_ms: float, ours_min: float, anchor: str, solve: Callable[[], float], times: float | None
) -> Row:
    anchor_ms, anchor_min = _timed(solve)
    right = abs(ours_min - anchor_min) <= EXACT_MIN * max(1.0, abs(anchor_min))
    return more_is_better(
        name, 1_000 / ours_ms, 1_000 / anchor_ms, anchor_name=anchor, unit="a second", ratio_min=times, gate=right
    )


def _timed(run: Callable[[], float]) -> tuple[float, float]:
    """Return the median milliseconds of about a second of runs, three at least, and what they returned."""
    answer = run()
    taken: list[float] = []
    while len(taken) < 3 or (sum(taken) < SECONDS and len(taken) < 200):  # noqa: PLR2004 - a median needs three
        begun = perf_counter()
        answer = run()
        taken.append(perf_counter() - begun)
    return float(np.median(taken)) * 1_000, answer


def _scipy_sparse(rows: CostRows) -> Callable[[], float]:
    count = len(rows.unassigned_min)
    values = np.concatenate((rows.cost_min, rows.unassigned_min))
    at = (np.concatenate((rows.row, np.arange(count))), np.concatenate((rows.worker, rows.workers + np.arange(count))))
    matrix = csr_matrix((values, at), shape=(count, rows.workers + count))

    def solve() -> float:
        row, column = min_weight_full_bipartite_matching(matrix)
        return float(matrix[row, column].sum())

    return solve


def _scipy_dense(rows: CostRows) -> Callable[[], float]:
    """A pair that is not listed costs what staying without costs: no column of its own is needed for that."""
    dense = np.full((len(rows.unassigned_min), rows.workers), UNASSIGNED_MIN)
    dense[rows.row, rows.worker] = np.minimum(rows.cost_min, UNASSIGNED_MIN)
    return lambda: float(dense[linear_sum_assignment(dense)].sum())


def _flow(rows: CostRows) -> Callable[[], float] | None:
    """Return OR-Tools' min-cost flow of the same instance; `None` where it is not installed."""
    try:
        from ortools.graph.python import min_cost_flow  # noqa: PLC0415 - may be missing
    except ImportError:
        return None
    count, workers = len(rows.unassigned_min), rows.workers
    booking, sink = 1 + np.arange(count), 1 + count + workers
    tail = np.concatenate((np.zeros(count), 1 + rows.row, booking, 1 + count + np.arange(workers))).astype(np.int32)
    ends = (booking, 1 + count + rows.worker, np.full(count, sink), np.full(workers, sink))
    head = np.concatenate(ends).astype(np.int32)
    costs = (np.zeros(count), rows.cost_min, rows.unassigned_min, np.zeros(workers))
    cost = np.round(np.concatenate(costs) * TO_INTEGERS).astype(np.int64)
    supply = np.zeros(sink + 1, np.int64)
    supply[0], supply[-1] = count, -count

    def solve() -> float:
        flow = min_cost_flow.SimpleMinCostFlow()
        flow.add_arcs_with_capacity_and_unit_cost(tail, head, np.ones(len(tail), np.int64), cost)
        flow.set_nodes_supplies(np.arange(sink + 1, dtype=np.int32), supply)
        assert flow.solve() == flow.OPTIMAL
        return float(flow.optimal_cost()) / TO_INTEGERS

    return solve


def first_come(rows: CostRows) -> float:
    """Return the total cost when each booking in turn takes its cheapest worker who is left."""
    taken = np.zeros(rows.workers, np.bool_)
    total_min = 0.0
    for i, without_min in enumerate(rows.unassigned_min):
        own = slice(rows.start[i], rows.start[i + 1])
        cost_min = np.where(taken[rows.worker[own]], np.inf, rows.cost_min[own])
        best = int(np.argmin(cost_min)) if len(cost_min) else -1
        if best < 0 or cost_min[best] >= without_min:
            total_min += float(without_min)
            continue
        taken[rows.worker[own][best]] = True
        total_min += float(cost_min[best])
    return total_min
