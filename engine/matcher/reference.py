"""The plain twin of the scoring kernel: what it means, one candidate after the other. For tests only.

Every step is rounded to float32 in the kernel's order of operations, so the two agree to the bit.
"""

import numpy as np

from engine.matcher import kernels as k
from engine.matcher.kernels import FloatArray, IntArray


def top_k(matrix: FloatArray, mask: IntArray, need: IntArray, query: FloatArray, count: int) -> list[tuple[float, int]]:
    """Return `(cost, row)` of the cheapest candidates that count, cheapest first, of equals the lower row first."""
    counting = [
        (cost_min(matrix[:, row], int(mask[k.MASK_KIT, row]), need, query), row)
        for row in range(mask.shape[1])
        if has_all(int(mask[k.MASK_READY, row]), int(need[k.NEED_READY]))
        and has_all(int(mask[k.MASK_KIT, row]), int(need[k.NEED_KIT]))
        and distance_km2(matrix[:, row], query) <= query[k.QUERY_KM2_MAX]
        and query[k.QUERY_END_MIN] <= matrix[k.WORK_END_MIN, row]
    ]
    return sorted((float(cost), row) for cost, row in counting if cost < np.inf)[:count]


def reason(
    candidate: FloatArray, mask: IntArray, ready_rules: IntArray, kit_rules: IntArray, query: FloatArray
) -> int | None:
    """Return the number of the first reason why a candidate does not count, as `shortlist_kernel` counts them."""
    rules = [(int(mask[k.MASK_READY]), int(bits)) for bits in ready_rules]
    rules += [(int(mask[k.MASK_KIT]), int(bits)) for bits in kit_rules]
    kept = [has_all(*rule) for rule in rules]
    kept += [
        bool(distance_km2(candidate, query) <= query[k.QUERY_KM2_MAX]),
        bool(query[k.QUERY_END_MIN] <= candidate[k.WORK_END_MIN]),
    ]
    return kept.index(False) if not all(kept) else None


def has_all(bits: int, need: int) -> bool:
    """Whether every bit of `need` is set."""
    return bits & need == need


def distance_km2(candidate: FloatArray, query: FloatArray) -> np.float32:
    """Return the square of the straight line to this candidate: flat earth at the mean latitude of the two."""
    dy_km = candidate[k.Y_KM] - query[k.QUERY_Y_KM]
    dx_km = (candidate[k.X_KM] - query[k.QUERY_X_KM]) * (query[k.QUERY_EAST_SCALE] - query[k.QUERY_EAST_SLOPE] * dy_km)
    return np.float32(dx_km * dx_km + dy_km * dy_km)


def cost_min(candidate: FloatArray, kit: int, need: IntArray, query: FloatArray) -> np.float32:
    """Return what sending this candidate costs, in minutes."""
    none = np.float32(0)
    eta_min = query[k.QUERY_MIN_PER_ROOT_KM] * np.sqrt(np.sqrt(distance_km2(candidate, query)))
    gap = max(query[k.QUERY_RISK] - candidate[k.EXPERIENCE], none)
    cost = (eta_min + candidate[k.BASE_MIN]) + query[k.QUERY_RISK_GAP_MIN] * (gap * gap)
    cost += query[k.QUERY_PREFERENCE_MIN]
    cost += query[k.QUERY_LEVEL_GAP_MIN] * max(query[k.QUERY_LEVEL] - candidate[need[k.LEVEL_ROW]], none)
    if not has_all(kit, int(need[k.WISH_PARTS])):
        cost += query[k.QUERY_PARTS_MIN]
    if need[k.WISH_LANGUAGES] and not kit & int(need[k.WISH_LANGUAGES]):
        cost += query[k.QUERY_LANGUAGE_MIN]
    cost += query[k.QUERY_OVERTIME] * max(query[k.QUERY_END_MIN] - candidate[k.SHIFT_END_MIN], none)
    return np.float32(cost)
