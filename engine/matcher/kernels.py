"""The scoring kernel: the k cheapest candidates of a frame. A leaf: arrays in, arrays out.

`engine.matcher.reference` is its plain twin; property tests hold the two to the same ranking.

What makes it fast: one matrix and one mask (few arrays, so that the compiler can prove that they do not overlap and
vectorises), and whole blocks. A block of 256 is scored at once, rules and roots and all, in the registers' full width;
what comes of it stays in the first-level cache, and only who is cheaper than the k-th best so far goes to the heap.
Steps and their order are the reference's, so that the ranking is the reference's to the bit.
"""

from typing import Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from engine.core.jit import kernel

FloatArray: TypeAlias = NDArray[np.float32]
IntArray: TypeAlias = NDArray[np.int32]

X_KM: Final = 0
Y_KM: Final = 1
BASE_MIN: Final = 2
EXPERIENCE: Final = 3
SHIFT_END_MIN: Final = 4
WORK_END_MIN: Final = 5
LEVELS: Final = 6
FRAME_ROWS: Final = 7
"""Rows of a frame's matrix: place (east in kilometres at the equator's scale, north in kilometres), the static part of
the cost, experience in [0, 1], minutes of the frame's epoch at which shift and working time end (infinity: never), and
from `LEVELS` on one row of levels in [0, 1] for each skill that may be asked for, at least one."""

MASK_READY: Final = 0
MASK_KIT: Final = 1
MASK_ROWS: Final = 2
"""Rows of a frame's mask: skills and status, and what a worker has to show and carries."""

NEED_READY: Final = 0
NEED_KIT: Final = 1
WISH_PARTS: Final = 2
WISH_LANGUAGES: Final = 3
LEVEL_ROW: Final = 4
NEED_LENGTH: Final = 5
"""Elements of a need: bits that must be there, kit bits that must be there, parts that should all be there, languages
of which one should be (0: any will do), and the matrix row of the skill's levels."""

QUERY_X_KM: Final = 0
QUERY_Y_KM: Final = 1
QUERY_EAST_SCALE: Final = 2
QUERY_EAST_SLOPE: Final = 3
QUERY_MIN_PER_ROOT_KM: Final = 4
QUERY_KM2_MAX: Final = 5
QUERY_RISK: Final = 6
QUERY_RISK_GAP_MIN: Final = 7
QUERY_LEVEL: Final = 8
QUERY_LEVEL_GAP_MIN: Final = 9
QUERY_PARTS_MIN: Final = 10
QUERY_LANGUAGE_MIN: Final = 11
QUERY_END_MIN: Final = 12
QUERY_OVERTIME: Final = 13
QUERY_PREFERENCE_MIN: Final = 14
QUERY_LENGTH: Final = 15
"""Elements of a query: one array, because every argument of a compiled call costs time."""

BLOCK: Final = 256
"""Candidates of a block: their costs stay in the first-level cache."""

FIRST_BLOCK: Final = 32
"""Candidates of the first block, of which each goes to the heap; from there blocks double up to `BLOCK`."""

NEVER: Final = cast("float", np.float32(np.inf))

Single: TypeAlias = np.float32

Place: TypeAlias = tuple[Single, Single, Single, Single]
"""Where a booking is: east and north in kilometres, the scale of the east there, and how it falls to the north."""

Terms: TypeAlias = tuple[
    Single, Single, Single, Single, tuple[Single, Single, Single, Single], tuple[np.int32, np.int32]
]
"""What a booking's costs are made of, out of its query and its need: numbers, which stay in registers."""


@kernel
def top_k(
    matrix: FloatArray,
    mask: IntArray,
    need: IntArray,
    query: FloatArray,
    rows: IntArray,
    costs: FloatArray,
    buffer: FloatArray,
) -> int:
    """Write the cheapest candidates to `rows` and `costs`, cheapest first; return how many there are.

    cost = ETA + base + preference + risk gap + level gap + parts + language + overtime, in minutes, none negative but
    `base`, which may be as low as minus the preference; ETA = min_per_root_km * sqrt(distance), the form of
    `engine.eta.straight_line`. A candidate counts when its masks hold every bit of `need`, the square of its distance
    is within the query's limit and its working time lasts for the job. Of equal costs the lower row wins.

    Shapes: matrix (FRAME_ROWS or more, n), mask (MASK_ROWS, n), need (NEED_LENGTH), query (QUERY_LENGTH), rows and
    costs (k), buffer (BLOCK).
    """
    n = mask.shape[1]
    k = rows.shape[0]
    found = 0
    limit = np.float32(np.inf)
    start, stop = 0, 0
    while stop < n:
        start, stop = stop, min(n, stop + min(BLOCK, max(FIRST_BLOCK, stop)))
        if not _score(matrix, mask, start, stop, need, query, limit, buffer):
            continue
        for i in range(stop - start):
            cost = buffer[i]
            if not cost < limit:
                continue
            if found < k:
                sift_up(rows, costs, found, start + i, cost)
                found += 1
            else:
                sift_down(rows, costs, found, start + i, cost)
            if found == k:
                limit = costs[0]
    sort_costs(rows, costs, found)
    return found


@kernel
def _score(  # noqa: PLR0913, PLR0917 - as `top_k`
    matrix: FloatArray,
    mask: IntArray,
    start: int,
    stop: int,
    need: IntArray,
    query: FloatArray,
    limit: np.float32,
    buffer: FloatArray,
) -> np.int32:
    """Write the cost of each of a block, infinity for who does not count; return how many are below `limit`."""
    x_km, y_km = matrix[X_KM, start:stop], matrix[Y_KM, start:stop]
    base_min, experience = matrix[BASE_MIN, start:stop], matrix[EXPERIENCE, start:stop]
    shift_end_min, work_end_min = matrix[SHIFT_END_MIN, start:stop], matrix[WORK_END_MIN, start:stop]
    levels = matrix[need[LEVEL_ROW], start:stop]
    bits, kit = mask[MASK_READY, start:stop], mask[MASK_KIT, start:stop]
    need_bits, need_kit = np.int32(need[NEED_READY]), np.int32(need[NEED_KIT])
    place, terms, km2_max = place_of(query), terms_of(need, query), query[QUERY_KM2_MAX]
    end_min, overtime = query[QUERY_END_MIN], query[QUERY_OVERTIME]
    zero, never = np.float32(0), np.float32(np.inf)
    count = np.int32(0)
    for i in range(stop - start):
        km2 = km2_of(place, x_km[i], y_km[i])
        cost = cost_of(terms, km2, base_min[i], experience[i], levels[i], kit[i])
        cost += overtime * max(zero, end_min - shift_end_min[i])
        # np.int32: the bitwise operators of numba widen to 64 bits, which halves the lanes of every step.
        counts = (
            np.int32(km2 <= km2_max)
            & np.int32(end_min <= work_end_min[i])
            & np.int32(np.int32(bits[i] & need_bits) == need_bits)
            & np.int32(np.int32(kit[i] & need_kit) == need_kit)
        )
        buffer[i] = cost if counts else never
        count += np.int32(buffer[i] < limit)
    return count


@kernel
def place_of(query: FloatArray) -> Place:
    """Return where a query's booking is."""
    return query[QUERY_X_KM], query[QUERY_Y_KM], query[QUERY_EAST_SCALE], query[QUERY_EAST_SLOPE]


@kernel
def terms_of(need: IntArray, query: FloatArray) -> Terms:
    """Return what `cost_of` wants to know of a booking."""
    return (
        query[QUERY_MIN_PER_ROOT_KM],
        query[QUERY_RISK],
        query[QUERY_RISK_GAP_MIN],
        query[QUERY_PREFERENCE_MIN],
        (query[QUERY_LEVEL], query[QUERY_LEVEL_GAP_MIN], query[QUERY_PARTS_MIN], query[QUERY_LANGUAGE_MIN]),
        (np.int32(need[WISH_PARTS]), np.int32(need[WISH_LANGUAGES])),
    )


@kernel
def km2_of(place: Place, x_km: Single, y_km: Single) -> Single:
    """Return the square of the straight line: flat earth at the mean latitude of the two."""
    to_x_km, to_y_km, scale, slope = place
    dy_km = y_km - to_y_km
    dx_km = (x_km - to_x_km) * (scale - slope * dy_km)
    return dx_km * dx_km + dy_km * dy_km


@kernel
def cost_of(terms: Terms, km2: Single, base_min: Single, experience: Single, level: Single, kit: np.int32) -> Single:
    """Return a candidate's cost but for overtime, in minutes."""
    min_per_root_km, risk, risk_gap_min, preference_min, wishes, (parts, languages) = terms
    level_wanted, level_gap_min, parts_min, language_min = wishes
    zero = np.float32(0)
    gap = max(zero, risk - experience)
    cost: Single = (min_per_root_km * np.sqrt(np.sqrt(km2)) + base_min) + risk_gap_min * (gap * gap)
    cost += preference_min
    cost += level_gap_min * max(zero, level_wanted - level)
    cost += zero if np.int32(kit & parts) == parts else parts_min
    speaks = np.int32(languages == 0) | np.int32(np.int32(kit & languages) != 0)
    cost += zero if speaks else language_min
    return cost


@kernel
def overtime_of(matrix: FloatArray, row: int, query: FloatArray) -> float:
    """Return what the part of the job costs that lies beyond a candidate's shift."""
    cost: float = query[QUERY_OVERTIME] * max(np.float32(0), query[QUERY_END_MIN] - matrix[SHIFT_END_MIN, row])
    return cost


@kernel
def broken_rules(
    matrix: FloatArray, mask: IntArray, ready_rules: IntArray, kit_rules: IntArray, query: FloatArray, bits: IntArray
) -> None:
    """Set in `bits` of each candidate a bit for every rule that it breaks, from the second on.

    The rules: a bit of each of `ready_rules` that is missing, then of `kit_rules`, then too far, then working time
    that ends before the job.
    """
    a, b = len(ready_rules), len(kit_rules)
    for row in range(mask.shape[1]):
        ready, kit = mask[MASK_READY, row], mask[MASK_KIT, row]
        for rule in range(a):
            bits[row] |= np.int32((ready & ready_rules[rule]) != ready_rules[rule]) << (rule + 1)
        for rule in range(b):
            bits[row] |= np.int32((kit & kit_rules[rule]) != kit_rules[rule]) << (a + rule + 1)
        bits[row] |= np.int32(is_far(matrix, row, query)) << (a + b + 1)
        bits[row] |= np.int32(query[QUERY_END_MIN] > matrix[WORK_END_MIN, row]) << (a + b + 2)


def warm_up() -> None:
    """Compile the kernels, or read them from their cache: once at process start, before readiness."""
    matrix, mask = np.zeros((FRAME_ROWS, 1), np.float32), np.zeros((MASK_ROWS, 1), np.int32)
    query, one = np.zeros(QUERY_LENGTH, np.float32), np.zeros(1, np.int32)
    buffer = np.zeros(BLOCK, np.float32)
    top_k(matrix, mask, np.zeros(NEED_LENGTH, np.int32), query, one, np.zeros(1, np.float32), buffer)
    broken_rules(matrix, mask, one, one, query, one.copy())


@kernel
def is_far(matrix: FloatArray, row: int, query: FloatArray) -> bool:
    """Whether a candidate is further away than the query looks."""
    return bool(km2_of(place_of(query), matrix[X_KM, row], matrix[Y_KM, row]) > query[QUERY_KM2_MAX])


@kernel
def is_worse(cost: float, row: int, than_cost: float, than_row: int) -> bool:
    """Whether a candidate comes after another."""
    return cost > than_cost or (cost == than_cost and row > than_row)


@kernel
def sift_up(rows: IntArray, costs: FloatArray, at: int, row: int, cost: float) -> None:
    """Put a candidate into the heap (worst on top) whose free place is `at`."""
    while at > 0:
        parent = (at - 1) >> 1
        if not is_worse(cost, row, costs[parent], rows[parent]):
            break
        costs[at] = costs[parent]
        rows[at] = rows[parent]
        at = parent
    costs[at] = cost
    rows[at] = row


@kernel
def sift_down(rows: IntArray, costs: FloatArray, size: int, row: int, cost: float) -> None:
    """Replace the top of the heap."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and is_worse(costs[child + 1], rows[child + 1], costs[child], rows[child]):
            child += 1
        if not is_worse(costs[child], rows[child], cost, row):
            break
        costs[at] = costs[child]
        rows[at] = rows[child]
        at = child
    costs[at] = cost
    rows[at] = row


@kernel
def sort_costs(rows: IntArray, costs: FloatArray, size: int) -> None:
    """Turn the heap into ascending order in place."""
    for last in range(size - 1, 0, -1):
        row, cost = rows[last], costs[last]
        rows[last], costs[last] = rows[0], costs[0]
        sift_down(rows, costs, last, row, cost)
