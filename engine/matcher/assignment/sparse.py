"""The cheapest way to give bookings to workers, exactly. Pure.

Costs are minutes. A booking's list holds the few workers who could go; staying without is always possible, at the
booking's own cost.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.matcher.assignment.kernels import DoubleArray, IntArray, Matching, Rows, match

UNASSIGNED: Final = -1


@dataclass(frozen=True, slots=True)
class CostRows:
    """Costs of bookings (rows) by workers (columns), as compressed sparse rows.

    Shapes: start (m + 1), worker and cost_min (e), unassigned_min (m). An infinite cost forbids its pair; of two
    entries of one pair the cheaper counts.

    Raises ValueError for arrays that do not fit together, a worker outside `workers`, a cost that is not a number or
    minus infinity, or a cost of staying without that is not finite.
    """

    start: IntArray
    worker: IntArray
    cost_min: DoubleArray
    unassigned_min: DoubleArray
    workers: int

    def __post_init__(self) -> None:
        """Refuse what would make the kernel read outside of its arrays or never end."""
        count, entries = len(self.unassigned_min), len(self.worker)
        if len(self.start) != count + 1 or self.start[0] != 0 or self.start[-1] != entries:
            raise ValueError("row starts do not cover the entries")
        if (np.diff(self.start) < 0).any():
            raise ValueError("row starts descend")
        if len(self.cost_min) != entries:
            raise ValueError("not one cost for each entry")
        if entries and not 0 <= self.worker.min() <= self.worker.max() < self.workers:
            raise ValueError("a worker outside of the columns")
        if np.isnan(self.cost_min).any() or np.isneginf(self.cost_min).any():
            raise ValueError("a cost that is not a number of minutes")
        if not np.isfinite(self.unassigned_min).all():
            raise ValueError("staying without has no finite cost")

    @property
    def row(self) -> IntArray:
        """The row of each entry."""
        return np.repeat(np.arange(len(self.unassigned_min), dtype=np.int32), np.diff(self.start))

    def where(self, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> "CostRows":
        """Return the same bookings with only the `kept` entries."""
        counts = np.bincount(self.row[kept], minlength=len(self.unassigned_min))
        start = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
        return CostRows(start, self.worker[kept], self.cost_min[kept], self.unassigned_min, self.workers)


@dataclass(frozen=True, slots=True)
class Assignment:
    """The cheapest assignment. Shapes: worker and entry (m), row_price (m), worker_price (n)."""

    worker: IntArray
    """Column of each booking, or `UNASSIGNED`."""
    entry: IntArray
    """Which entry of the rows that is, or a negative number."""
    total_min: float
    row_price: DoubleArray
    """What one more booking just like this one would cost at most; never above its cost of staying without."""
    worker_price: DoubleArray
    """How much cheaper all would be with one more worker just like this one, as a number <= 0."""


def assign(rows: CostRows) -> Assignment:
    """Return an assignment of the least total cost; the same rows give the same one each time."""
    finite = np.isfinite(rows.cost_min)
    if not finite.all():
        return _of_finite(rows, np.flatnonzero(finite).astype(np.int32))
    return _assign_finite(rows)


def warm_up() -> None:
    """Compile the kernels, or read them from their cache: once at process start, before readiness."""
    one = np.zeros(1, np.int32)
    two = CostRows(np.array([0, 1, 2], np.int32), np.zeros(2, np.int32), np.array([1.0, 2.0]), np.array([9.0, 9.0]), 1)
    _assign_finite(two)
    assign(CostRows(np.array([0, 1], np.int32), one, np.array([np.inf]), np.array([1.0]), 1))


def _of_finite(rows: CostRows, at: IntArray) -> Assignment:
    kept = np.zeros(len(rows.worker), np.bool_)
    kept[at] = True
    found = _assign_finite(rows.where(kept))
    entry = found.entry.copy()
    entry[entry >= 0] = at[entry[entry >= 0]]
    return Assignment(found.worker, entry, found.total_min, found.row_price, found.worker_price)


def _assign_finite(rows: CostRows) -> Assignment:
    count = len(rows.unassigned_min)
    matching = Matching(
        np.empty(count, np.int32), np.empty(rows.workers, np.int32), np.empty(count), np.empty(rows.workers)
    )
    # Another layout or type of array would be another signature: the kernel would be compiled in the middle of a tick.
    match(
        Rows(
            np.ascontiguousarray(rows.start, np.int32),
            np.ascontiguousarray(rows.worker, np.int32),
            np.ascontiguousarray(rows.cost_min, np.float64),
            np.ascontiguousarray(rows.unassigned_min, np.float64),
        ),
        matching,
    )
    got = matching.entry >= 0
    worker = np.full(count, UNASSIGNED, np.int32)
    worker[got] = rows.worker[matching.entry[got]]
    total_min = float(rows.cost_min[matching.entry[got]].sum() + rows.unassigned_min[~got].sum())
    return Assignment(worker, matching.entry, total_min, matching.row_price, matching.worker_price)
