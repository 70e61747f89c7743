"""The scoring kernel: the k cheapest candidates of a frame. A leaf: arrays in, arrays out.

`engine.matcher.reference` is its plain twin; property tests hold the two to the same ranking.

What makes it fast: one matrix and one mask (few arrays, so that the compiler can prove that they do not overlap and
vectorises), nothing but adds, multiplies and one square root a candidate, and blocks: a block whose every cost is at
or above the k-th best so far never reaches the heap. Blocks are compared by counting, because an integer sum vectorises
with exact arithmetic where a float minimum does not.
"""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.jit import kernel

FloatArray: TypeAlias = NDArray[np.float32]
IntArray: TypeAlias = NDArray[np.int32]

X_KM: Final = 0
Y_KM: Final = 1
BASE_MIN: Final = 2
EXPERIENCE: Final = 3
FRAME_ROWS: Final = 4
"""Rows of a frame's matrix: place, the static part of the cost, experience in [0, 1]."""

QUERY_X_KM: Final = 0
QUERY_Y_KM: Final = 1
QUERY_MIN_PER_ROOT_KM: Final = 2
QUERY_KM2_MAX: Final = 3
QUERY_RISK: Final = 4
QUERY_RISK_GAP_MIN: Final = 5
QUERY_LENGTH: Final = 6
"""Elements of a query: one array, because every argument of a compiled call costs time."""

BLOCK: Final = 256
"""Candidates of a block: their costs stay in the first-level cache."""


@kernel
def top_k(
    matrix: FloatArray,
    mask: IntArray,
    need: int,
    query: FloatArray,
    rows: IntArray,
    costs: FloatArray,
    buffer: FloatArray,
) -> int:
    """Write the cheapest candidates to `rows` and `costs`, cheapest first; return how many there are.

    cost = ETA + base + risk_gap * max(0, risk - experience)^2, in minutes; ETA = min_per_root_km * sqrt(distance), the
    form of `engine.eta.straight_line`. A candidate counts when its mask holds every bit of `need` and the square of
    its distance is within the query's limit. Of equal costs the lower row wins.

    Shapes: matrix (FRAME_ROWS, n), mask (n), query (QUERY_LENGTH), rows and costs (k), buffer (BLOCK).
    """
    n = mask.shape[0]
    k = rows.shape[0]
    found = 0
    limit = np.float32(np.inf)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        if not _score_block(matrix, mask, start, stop, np.int32(need), query, limit, buffer):
            continue
        for i in range(stop - start):
            cost = buffer[i]
            if not cost < limit:
                continue
            if found < k:
                _sift_up(rows, costs, found, start + i, cost)
                found += 1
            else:
                _sift_down(rows, costs, found, start + i, cost)
            if found == k:
                limit = costs[0]
    _sort(rows, costs, found)
    return found


def warm_up() -> None:
    """Compile the kernel, or read it from its cache: once at process start, before readiness."""
    top_k(
        np.zeros((FRAME_ROWS, 1), np.float32),
        np.zeros(1, np.int32),
        0,
        np.zeros(QUERY_LENGTH, np.float32),
        np.zeros(1, np.int32),
        np.zeros(1, np.float32),
        np.zeros(BLOCK, np.float32),
    )


@kernel
def _score_block(  # noqa: PLR0913, PLR0917 - as `top_k`
    matrix: FloatArray,
    mask: IntArray,
    start: int,
    stop: int,
    need: np.int32,
    query: FloatArray,
    limit: np.float32,
    buffer: FloatArray,
) -> np.int32:
    """Write each candidate's cost, infinity for who does not count; return how many lie below `limit`."""
    x_km, y_km = matrix[X_KM, start:stop], matrix[Y_KM, start:stop]
    base_min, experience = matrix[BASE_MIN, start:stop], matrix[EXPERIENCE, start:stop]
    bits = mask[start:stop]
    to_x_km, to_y_km, min_per_root_km = query[QUERY_X_KM], query[QUERY_Y_KM], query[QUERY_MIN_PER_ROOT_KM]
    km2_max, risk, gap_min = query[QUERY_KM2_MAX], query[QUERY_RISK], query[QUERY_RISK_GAP_MIN]
    never = np.float32(np.inf)
    below = np.int32(0)
    for i in range(stop - start):
        dx_km = x_km[i] - to_x_km
        dy_km = y_km[i] - to_y_km
        km2 = dx_km * dx_km + dy_km * dy_km
        gap = risk - experience[i]
        gap = max(np.float32(0), gap)
        cost = (min_per_root_km * np.sqrt(np.sqrt(km2)) + base_min[i]) + gap_min * (gap * gap)
        cost = cost if km2 <= km2_max else never
        # np.int32: the bitwise operators of numba widen to 64 bits, which halves the lanes of every step.
        cost = cost if np.int32(bits[i] & need) == need else never
        buffer[i] = cost
        below += np.int32(cost < limit)
    return below


@kernel
def _is_worse(cost: float, row: int, than_cost: float, than_row: int) -> bool:
    return cost > than_cost or (cost == than_cost and row > than_row)


@kernel
def _sift_up(rows: IntArray, costs: FloatArray, at: int, row: int, cost: float) -> None:
    """Put a candidate into the heap (worst on top) whose free place is `at`."""
    while at > 0:
        parent = (at - 1) >> 1
        if not _is_worse(cost, row, costs[parent], rows[parent]):
            break
        costs[at] = costs[parent]
        rows[at] = rows[parent]
        at = parent
    costs[at] = cost
    rows[at] = row


@kernel
def _sift_down(rows: IntArray, costs: FloatArray, size: int, row: int, cost: float) -> None:
    """Replace the top of the heap."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _is_worse(costs[child + 1], rows[child + 1], costs[child], rows[child]):
            child += 1
        if not _is_worse(costs[child], rows[child], cost, row):
            break
        costs[at] = costs[child]
        rows[at] = rows[child]
        at = child
    costs[at] = cost
    rows[at] = row


@kernel
def _sort(rows: IntArray, costs: FloatArray, size: int) -> None:
    """Turn the heap into ascending order in place."""
    for last in range(size - 1, 0, -1):
        row, cost = rows[last], costs[last]
        rows[last], costs[last] = rows[0], costs[0]
        _sift_down(rows, costs, last, row, cost)
