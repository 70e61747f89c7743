"""What the workers of shortlists cost with their real travel times, and in which order they come. Pure.

All lists of a window are priced in one go; a booking that is alone is a window of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.jit import kernel
from engine.eta.source import EtaMatrix, EtaOutcome
from engine.matcher import kernels as at
from engine.matcher.frame import S_PER_MIN, DoubleArray, SlotArray, straight_eta_min
from engine.matcher.kernels import IntArray
from engine.matcher.shortlist import Shortlist, columns_of

BoolArray: TypeAlias = NDArray[np.bool_]
RowArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Choice:
    """A worker who may be asked."""

    slot: int
    cost_min: float
    eta_s: int


@dataclass(frozen=True, slots=True, eq=False)
class PriceList:
    """Several shortlists with travel times, one after the other: list i has the rows `first[i]:first[i + 1]`."""

    first: IntArray
    slots: SlotArray
    cost_min: DoubleArray
    eta_min: DoubleArray
    is_in_time: BoolArray
    order: IntArray
    """Each list's rows, counted from its first, that are in time, cheapest first; what is left of its place is -1."""
    in_time: IntArray
    """How many of each list are in time."""

    def __len__(self) -> int:
        """Return how many lists there are."""
        return len(self.in_time)

    def best(self, k: int | None = None) -> RowArray:
        """Return the rows of the `k` cheapest in time of each list, or of all in time; list by list."""
        counts = self.in_time if k is None else np.minimum(self.in_time, k)
        begin = np.repeat(self.first[:-1], counts)
        within = np.arange(len(begin)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows: RowArray = begin + self.order[begin + within]
        return rows

    def list_of(self, rows: RowArray) -> RowArray:
        """Return which list each row is of."""
        lists: RowArray = np.searchsorted(self.first, rows, side="right") - 1
        return lists

    def choices(self, rows: RowArray) -> tuple[Choice, ...]:
        """Return some rows as they may be asked."""
        eta_s = np.rint(self.eta_min[rows] * S_PER_MIN).astype(np.int64)
        return tuple(map(Choice, self.slots[rows].tolist(), self.cost_min[rows].tolist(), eta_s.tolist()))


def price_list(shortlists: Sequence[Shortlist], arrivals: Sequence[EtaMatrix | None]) -> PriceList:
    """Return the costs of these lists, each with its own travel times, by the straight line where nobody knows them."""
    columns = columns_of(shortlists)
    first, counts = columns.first, np.diff(columns.first)
    listed = np.repeat(np.arange(len(shortlists)), counts)
    pins = columns.numbers[:, : at.QUERY_MIN_PER_ROOT_KM].T.astype(np.float64)
    straight_min = straight_eta_min(columns.places_km, np.ascontiguousarray(pins)[:, listed])
    cost_min = columns.cost_min.astype(np.float64)
    eta_s, knows = _times(arrivals, counts)
    eta_min = np.where(knows, eta_s / S_PER_MIN, straight_min)
    cost_min += eta_min - straight_min
    cap_min = np.array([each.weights.eta_cap_min for each in shortlists])
    is_in_time = eta_min <= cap_min[listed]
    order, in_time = np.empty(len(cost_min), np.int32), np.empty(len(counts), np.int32)
    _order(first, cost_min, is_in_time, order, in_time)
    return PriceList(first, columns.slots, cost_min, eta_min, is_in_time, order, in_time)


def _times(arrivals: Sequence[EtaMatrix | None], counts: RowArray) -> tuple[DoubleArray, BoolArray]:
    """Return the seconds of each row, and whether the source knows them."""
    eta_s = [np.zeros(count) if each is None else each.eta_s for each, count in zip(arrivals, counts, strict=True)]
    outcomes = [
        np.zeros(count, np.uint8) if each is None else each.outcome
        for each, count in zip(arrivals, counts, strict=True)
    ]
    outcome = np.concatenate(outcomes)
    return np.concatenate(eta_s), (outcome == EtaOutcome.ROADS) | (outcome == EtaOutcome.ROUTER)


@kernel
def _order(first: IntArray, cost_min: DoubleArray, is_in_time: BoolArray, order: IntArray, in_time: IntArray) -> None:
    """Write each list's rows that are in time in the order of their costs, equals as they stand; -1 behind them."""
    for part in range(in_time.shape[0]):
        start, count = first[part], 0
        for row in range(first[part + 1] - start):
            if not is_in_time[start + row]:
                continue
            to = count
            while to > 0 and cost_min[start + order[start + to - 1]] > cost_min[start + row]:
                order[start + to] = order[start + to - 1]
                to -= 1
            order[start + to] = row
            count += 1
        order[start + count : first[part + 1]] = -1
        in_time[part] = count
