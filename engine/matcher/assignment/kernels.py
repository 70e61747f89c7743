"""The exact sparse assignment: shortest augmenting paths with prices. Leaves: arrays in, arrays out. Pure.

Every booking gets at most one worker and every worker at most one booking, at the least total cost, where a booking may
also stay without at its own cost. Prices of rows and workers are kept such that no entry is cheaper than the two
prices of its ends; a matching that only uses entries at exactly that price is then the cheapest of all.

A worker nobody has keeps the price 0, which is what makes more workers than bookings cost nothing: no filler rows, no
filler columns. Staying without is a private alternative of its row, so nobody competes for it and it needs no price.

Source: R. Jonker, A. Volgenant, A shortest augmenting path algorithm for dense and sparse linear assignment problems,
Computing 38 (1987); without their column reduction, which would give prices to workers nobody has.
"""

from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.jit import kernel

IntArray: TypeAlias = NDArray[np.int32]
DoubleArray: TypeAlias = NDArray[np.float64]

FREE: Final = -1
"""A row that has not been decided yet; a worker whom no row has."""
OUT: Final = -2
"""A row that stays without a worker."""
BID_ROUNDS: Final = 4
"""Rounds of bidding before the paths; each row that was outbid bids again in the next."""
BIDS_PER_ROW_MAX: Final = 4
"""Bids of a round for each of its rows: beyond it who was outbid waits for the next round or for a path."""


class Rows(NamedTuple):
    """Bookings by candidates: entries `start[i]:start[i + 1]` are row i's. Shapes: (m + 1), (e), (e), (m)."""

    start: IntArray
    worker: IntArray
    cost: DoubleArray
    unassigned: DoubleArray


class Matching(NamedTuple):
    """Who has whom, and the prices that prove it. Shapes: (m), (n), (m), (n)."""

    entry: IntArray
    """The entry that a row takes, or `OUT`."""
    owner: IntArray
    row_price: DoubleArray
    worker_price: DoubleArray
    """Never above 0."""


class _Search(NamedTuple):
    """One search for a path. `reached` are the workers with a distance, `heap_*` a binary heap of `size[0]`."""

    distance: DoubleArray
    via_row: IntArray
    via_entry: IntArray
    done: NDArray[np.bool_]
    reached: IntArray
    heap_key: DoubleArray
    heap_worker: IntArray
    size: NDArray[np.int64]
    """Elements: heap, reached workers, end of the best path (worker, or -1 - row for a row that goes without)."""
    best: DoubleArray
    """Element 0: length of the best path so far."""


@kernel
def match(rows: Rows, matching: Matching) -> None:
    """Write the cheapest matching of `rows`. Costs are finite; `matching` may hold anything before."""
    count = len(rows.unassigned)
    matching.entry[:] = FREE
    matching.owner[:] = FREE
    matching.worker_price[:] = 0.0
    free = np.arange(count).astype(np.int32)
    left = count
    for _ in range(BID_ROUNDS):
        left = _bid_round(rows, matching, free, left)
    if left == 0:
        return
    search = _new_search(len(matching.owner), len(rows.worker))
    for at in range(left):
        _augment(rows, matching, search, free[at])


@kernel
def _bid_round(rows: Rows, matching: Matching, free: IntArray, count: int) -> int:
    """Let the first `count` rows of `free` take their cheapest; leave the outbid at its head, return how many."""
    at, left = 0, 0
    bids = count * BIDS_PER_ROW_MAX
    while at < count:
        row = free[at]
        at += 1
        bids -= 1
        gain = _bid(rows, matching, row)
        if matching.entry[row] == OUT:
            continue
        worker = rows.worker[matching.entry[row]]
        outbid = matching.owner[worker]
        matching.owner[worker] = row
        if outbid < 0:
            continue
        matching.entry[outbid] = FREE
        if gain > 0 and bids > 0:
            at -= 1
            free[at] = outbid
        else:
            free[left] = outbid
            left += 1
    return left


@kernel
def _bid(rows: Rows, matching: Matching, row: int) -> float:
    """Choose the row's cheapest alternative and raise its price to that of the next; return by how much."""
    out = rows.unassigned[row]
    first, second = out, np.inf
    first_at, second_at = OUT, OUT
    for entry in range(rows.start[row], rows.start[row + 1]):
        price = rows.cost[entry] - matching.worker_price[rows.worker[entry]]
        if price < first:
            first, second, first_at, second_at = price, first, entry, first_at
        elif price < second:
            second, second_at = price, entry
    if first_at == OUT:
        matching.row_price[row] = out
        matching.entry[row] = OUT
        return 0.0
    gain = second - first
    worker = rows.worker[first_at]
    if gain > 0:
        matching.worker_price[worker] -= gain
    elif matching.owner[worker] >= 0:
        first_at = second_at
    matching.row_price[row] = second
    matching.entry[row] = first_at
    return float(gain)


@kernel
def _new_search(workers: int, entries: int) -> _Search:
    return _Search(
        np.full(workers, np.inf),
        np.empty(workers, np.int32),
        np.empty(workers, np.int32),
        np.zeros(workers, np.bool_),
        np.empty(workers, np.int32),
        np.empty(entries + 1),
        np.empty(entries + 1, np.int32),
        np.zeros(3, np.int64),
        np.zeros(1),
    )


@kernel
def _augment(rows: Rows, matching: Matching, search: _Search, source: int) -> None:
    """Find the cheapest change that decides row `source`, settle the prices, make it."""
    search.size[0] = 0
    search.size[1] = 0
    search.best[0] = np.inf
    matching.row_price[source] = _cheapest(rows, matching, source)
    row, length = source, 0.0
    while True:
        _scan(rows, matching, search, row, length)
        worker = _pop(search)
        if worker < 0 or search.distance[worker] >= search.best[0]:
            break
        search.done[worker] = True
        length = search.distance[worker]
        row = matching.owner[worker]
    _settle(matching, search, source)
    _flip(rows, matching, search, source)
    for i in range(search.size[1]):
        worker = search.reached[i]
        search.distance[worker] = np.inf
        search.done[worker] = False


@kernel
def _cheapest(rows: Rows, matching: Matching, row: int) -> float:
    least = rows.unassigned[row]
    for entry in range(rows.start[row], rows.start[row + 1]):
        least = min(least, rows.cost[entry] - matching.worker_price[rows.worker[entry]])
    return float(least)


@kernel
def _scan(rows: Rows, matching: Matching, search: _Search, row: int, length: float) -> None:
    """Go on from a row that is `length` away: to going without, and to every worker on its list."""
    price = matching.row_price[row]
    best = search.best[0]
    without = length + max(rows.unassigned[row] - price, 0.0)
    if without < best:
        best = without
        search.size[2] = -1 - row
    for entry in range(rows.start[row], rows.start[row + 1]):
        worker = rows.worker[entry]
        # Rounding may leave a step of -1e-16; a search that goes back on itself would never end.
        far = length + max(rows.cost[entry] - matching.worker_price[worker] - price, 0.0)
        if far >= best or far >= search.distance[worker] or search.done[worker]:
            continue
        if search.distance[worker] == np.inf:
            search.reached[search.size[1]] = worker
            search.size[1] += 1
        search.distance[worker] = far
        search.via_row[worker] = row
        search.via_entry[worker] = entry
        if matching.owner[worker] < 0:
            best = far
            search.size[2] = worker
        else:
            _push(search, far, worker)
    search.best[0] = best


@kernel
def _push(search: _Search, key: float, worker: int) -> None:
    at = search.size[0]
    search.size[0] += 1
    while at > 0:
        parent = (at - 1) >> 1
        if search.heap_key[parent] <= key:
            break
        search.heap_key[at] = search.heap_key[parent]
        search.heap_worker[at] = search.heap_worker[parent]
        at = parent
    search.heap_key[at] = key
    search.heap_worker[at] = worker


@kernel
def _pop(search: _Search) -> int:
    """Return the nearest worker who is not done, or -1. What a shorter way has overtaken is skipped."""
    while search.size[0] > 0:
        worker = search.heap_worker[0]
        search.size[0] -= 1
        last = search.size[0]
        if last > 0:
            _sink(search, last, search.heap_key[last], search.heap_worker[last])
        if not search.done[worker]:
            return int(worker)
    return -1


@kernel
def _sink(search: _Search, size: int, key: float, worker: int) -> None:
    """Put an element in the place of the heap's top."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and search.heap_key[child + 1] < search.heap_key[child]:
            child += 1
        if search.heap_key[child] >= key:
            break
        search.heap_key[at] = search.heap_key[child]
        search.heap_worker[at] = search.heap_worker[child]
        at = child
    search.heap_key[at] = key
    search.heap_worker[at] = worker


@kernel
def _settle(matching: Matching, search: _Search, source: int) -> None:
    """Move the prices along everything nearer than the end of the path, so that the path costs exactly its price."""
    best = search.best[0]
    matching.row_price[source] += best
    for i in range(search.size[1]):
        worker = search.reached[i]
        if search.done[worker]:
            rise = best - search.distance[worker]
            matching.worker_price[worker] -= rise
            matching.row_price[matching.owner[worker]] += rise


@kernel
def _flip(rows: Rows, matching: Matching, search: _Search, source: int) -> None:
    """Hand every worker along the best path to the row before."""
    end = search.size[2]
    if end < 0:
        row = -1 - end
        before = matching.entry[row]
        matching.entry[row] = OUT
        if row == source:
            return
        worker = rows.worker[before]
    else:
        worker = np.int32(end)
    while True:
        row = search.via_row[worker]
        before = matching.entry[row]
        matching.entry[row] = search.via_entry[worker]
        matching.owner[worker] = row
        if row == source:
            return
        worker = rows.worker[before]
