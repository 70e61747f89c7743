"""The plain twin of the scoring kernel: what it means, one candidate after the other. For tests only.

Every step is rounded to float32 in the kernel's order of operations, so the two agree to the bit.
"""

import numpy as np

from engine.matcher.kernels import (
    BASE_MIN,
    EXPERIENCE,
    QUERY_KM2_MAX,
    QUERY_MIN_PER_ROOT_KM,
    QUERY_RISK,
    QUERY_RISK_GAP_MIN,
    QUERY_X_KM,
    QUERY_Y_KM,
    X_KM,
    Y_KM,
    FloatArray,
    IntArray,
)


def top_k(matrix: FloatArray, mask: IntArray, need: int, query: FloatArray, k: int) -> list[tuple[float, int]]:
    """Return `(cost, row)` of the k cheapest candidates that count, cheapest first, of equals the lower row first."""
    counting = [
        (cost_min(matrix[:, row], query), row)
        for row in range(len(mask))
        if (int(mask[row]) & need) == need and distance_km2(matrix[:, row], query) <= query[QUERY_KM2_MAX]
    ]
    return sorted((float(cost), row) for cost, row in counting if cost < np.inf)[:k]


def distance_km2(candidate: FloatArray, query: FloatArray) -> np.float32:
    """Return the square of the straight line to this candidate."""
    dx_km = candidate[X_KM] - query[QUERY_X_KM]
    dy_km = candidate[Y_KM] - query[QUERY_Y_KM]
    return np.float32(dx_km * dx_km + dy_km * dy_km)


def cost_min(candidate: FloatArray, query: FloatArray) -> np.float32:
    """Return what sending this candidate costs, in minutes."""
    eta_min = query[QUERY_MIN_PER_ROOT_KM] * np.sqrt(np.sqrt(distance_km2(candidate, query)))
    gap = max(query[QUERY_RISK] - candidate[EXPERIENCE], np.float32(0))
    return np.float32((eta_min + candidate[BASE_MIN]) + query[QUERY_RISK_GAP_MIN] * (gap * gap))
