"""The candidate frame: who could go, as columns that one kernel call scores. Pure.

Places become planar kilometres around an origin, and everything about a worker that does not depend on the booking is
folded into one `base` column of minutes. All terms of the cost are minutes and none is negative: a worker out of reach
of a search can never be cheaper than the drive from its edge.
"""

import math
from dataclasses import dataclass
from enum import IntFlag
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from config.limits import SEARCH_RADIUS_M_MAX
from engine.core.units import METRES_PER_DEG
from engine.eta.straight_line import FITTED_M_MAX, S_PER_ROOT_M
from engine.matcher.kernels import (
    BASE_MIN,
    EXPERIENCE,
    FRAME_ROWS,
    QUERY_KM2_MAX,
    QUERY_LENGTH,
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

DoubleArray: TypeAlias = NDArray[np.float64]
SlotArray: TypeAlias = NDArray[np.int64]

M_PER_KM: Final = 1000
S_PER_MIN: Final = 60
STARS_MAX: Final = 5.0
SKILL_BITS: Final = 24
"""Skills take the low bits of a mask, `service.skill_bit` each."""

MIN_PER_ROOT_KM: Final = S_PER_ROOT_M * math.sqrt(M_PER_KM) / S_PER_MIN
"""ETA in minutes of the square root of a kilometre: the constant of `engine.eta.straight_line`."""

# Beyond the fitted range that formula bends; the kernel knows its first branch only.
assert SEARCH_RADIUS_M_MAX <= FITTED_M_MAX


class Ready(IntFlag):
    """Status bits of a mask, above the skills; a candidate needs all of them."""

    ON_DUTY = 1 << SKILL_BITS
    FREE = 1 << (SKILL_BITS + 1)
    """Neither an active booking nor an open offer."""
    UNHELD = 1 << (SKILL_BITS + 2)
    """No safety hold."""
    UNASKED = 1 << (SKILL_BITS + 3)
    """Has not said no to this booking, nor let its offer expire."""
    HEARD = 1 << (SKILL_BITS + 4)
    """Has sent a fix within `limits.WORKER_SILENT_MS`."""


ALL_READY: Final = Ready.ON_DUTY | Ready.FREE | Ready.UNHELD | Ready.UNASKED | Ready.HEARD

WHY_NOT: Final[tuple[tuple[str, Ready], ...]] = (
    ("off_duty", Ready.ON_DUTY),
    ("busy", Ready.FREE),
    ("safety_hold", Ready.UNHELD),
    ("declined_before", Ready.UNASKED),
    ("silent", Ready.HEARD),
)
"""Why a candidate with the skill is ruled out, in the order in which the reasons are given."""


@dataclass(frozen=True, slots=True)
class CostWeights:
    """What counts how much. A term's weight says how many minutes of drive it is worth."""

    rating_min_per_star: float = 1.4
    """Minutes for each star below five."""
    fairness_min: float = 3.0
    """Minutes for who has just finished a job; falls to none for who has waited `fairness_idle_s`."""
    fairness_idle_s: float = 3600.0
    risk_gap_min: float = 18.0
    """Minutes at a risk of one and no experience; falls with the square of the gap between them."""
    fix_age_min_per_s: float = 0.02
    """Minutes for each second by which a fix is older than `fix_fresh_s`: the worker may be elsewhere by now."""
    fix_fresh_s: float = 10.0


DEFAULT_WEIGHTS: Final = CostWeights()


@dataclass(frozen=True, slots=True)
class Candidates:
    """What is known of each worker near a booking; every column has one element a worker.

    `slots` ascend and are distinct. `mask` holds skills and `Ready` bits.
    """

    slots: SlotArray
    mask: IntArray
    lat_deg: DoubleArray
    lng_deg: DoubleArray
    rating: DoubleArray
    experience: DoubleArray
    idle_s: DoubleArray
    fix_age_s: DoubleArray


@dataclass(frozen=True, slots=True)
class Frame:
    """Candidates as the kernel reads them. Shapes: matrix (FRAME_ROWS, n), mask (n); planar origin in degrees."""

    candidates: Candidates
    matrix: FloatArray
    mask: IntArray
    origin_lat_deg: float
    origin_lng_deg: float


def build_frame(
    candidates: Candidates,
    *,
    origin_lat_deg: float,
    origin_lng_deg: float,
    weights: CostWeights = DEFAULT_WEIGHTS,
) -> Frame:
    """Return the frame of `candidates` around an origin some kilometres away at most."""
    matrix = np.empty((FRAME_ROWS, len(candidates.slots)), np.float32)
    x_km, y_km = _planar_km(candidates.lat_deg, candidates.lng_deg, origin_lat_deg, origin_lng_deg)
    matrix[X_KM] = x_km
    matrix[Y_KM] = y_km
    matrix[BASE_MIN] = sum(static_terms(candidates, weights).values())
    matrix[EXPERIENCE] = candidates.experience
    return Frame(candidates, matrix, candidates.mask, origin_lat_deg, origin_lng_deg)


def build_query(
    frame: Frame,
    *,
    lat_deg: float,
    lng_deg: float,
    risk: float,
    radius_m: float,
    weights: CostWeights = DEFAULT_WEIGHTS,
) -> FloatArray:
    """Return the kernel's query for a booking at this pin; candidates beyond `radius_m` do not count."""
    assert 0 <= radius_m <= SEARCH_RADIUS_M_MAX
    x_km, y_km = _planar_km(np.array([lat_deg]), np.array([lng_deg]), frame.origin_lat_deg, frame.origin_lng_deg)
    query = np.empty(QUERY_LENGTH, np.float32)
    query[QUERY_X_KM] = x_km[0]
    query[QUERY_Y_KM] = y_km[0]
    query[QUERY_MIN_PER_ROOT_KM] = MIN_PER_ROOT_KM
    query[QUERY_KM2_MAX] = (radius_m / M_PER_KM) ** 2
    query[QUERY_RISK] = risk
    query[QUERY_RISK_GAP_MIN] = weights.risk_gap_min
    return query


def need_of(skill_bit: int) -> int:
    """Return the mask bits that a candidate for this skill must have."""
    assert 0 <= skill_bit < SKILL_BITS
    return int(ALL_READY) | 1 << skill_bit


def least_cost_min(distance_m: float) -> float:
    """Return what the best imaginable worker at this distance costs: the drive alone."""
    return MIN_PER_ROOT_KM * math.sqrt(distance_m / M_PER_KM)


def static_terms(candidates: Candidates, weights: CostWeights) -> dict[str, DoubleArray]:
    """Return the terms that do not depend on the booking, in minutes, one column each."""
    idle_share = np.clip(candidates.idle_s / weights.fairness_idle_s, 0, 1)
    return {
        "rating": weights.rating_min_per_star * (STARS_MAX - candidates.rating),
        "fairness": weights.fairness_min * (1 - idle_share),
        "fix_age": weights.fix_age_min_per_s * np.maximum(candidates.fix_age_s - weights.fix_fresh_s, 0),
    }


def explain(frame: Frame, rows: IntArray, query: FloatArray, weights: CostWeights) -> list[dict[str, float]]:
    """Return the terms of each row's cost in minutes; they add up to the kernel's cost within 1e-4."""
    part = _select(frame.candidates, rows)
    gap = np.maximum(float(query[QUERY_RISK]) - part.experience, 0)
    terms = {
        "eta": MIN_PER_ROOT_KM * np.sqrt(_distance_km(frame, rows, query)),
        **static_terms(part, weights),
        "risk": weights.risk_gap_min * gap**2,
    }
    return [{name: float(column[i]) for name, column in terms.items()} for i in range(len(rows))]


def count_ruled_out(frame: Frame, *, skill_bit: int, query: FloatArray) -> dict[str, int]:
    """Return how many candidates do not count, under the first reason that applies to each."""
    left = np.ones(len(frame.mask), np.bool_)
    counts = {}
    for reason, bit in (("skill", 1 << skill_bit), *WHY_NOT):
        out = left & ((frame.mask & int(bit)) == 0)
        counts[reason] = int(out.sum())
        left &= ~out
    far = left & (_distance_km(frame, np.arange(len(left), dtype=np.int32), query) ** 2 > query[QUERY_KM2_MAX])
    counts["too_far"] = int(far.sum())
    return {reason: count for reason, count in counts.items() if count}


def _planar_km(
    lat_deg: DoubleArray, lng_deg: DoubleArray, origin_lat_deg: float, origin_lng_deg: float
) -> tuple[DoubleArray, DoubleArray]:
    # As `straight_line.straight_m`: flat earth at the mean latitude, the shorter way round the 180th meridian.
    km_per_deg = METRES_PER_DEG / M_PER_KM
    east_deg = (lng_deg - origin_lng_deg + 180) % 360 - 180
    x_km = east_deg * km_per_deg * np.cos(np.radians((lat_deg + origin_lat_deg) / 2))
    return x_km, (lat_deg - origin_lat_deg) * km_per_deg


def _distance_km(frame: Frame, rows: IntArray, query: FloatArray) -> DoubleArray:
    dx_km = frame.matrix[X_KM][rows].astype(np.float64) - query[QUERY_X_KM]
    dy_km = frame.matrix[Y_KM][rows].astype(np.float64) - query[QUERY_Y_KM]
    distance_km: DoubleArray = np.hypot(dx_km, dy_km)
    return distance_km


def _select(candidates: Candidates, rows: IntArray) -> Candidates:
    return Candidates(
        candidates.slots[rows],
        candidates.mask[rows],
        candidates.lat_deg[rows],
        candidates.lng_deg[rows],
        candidates.rating[rows],
        candidates.experience[rows],
        candidates.idle_s[rows],
        candidates.fix_age_s[rows],
    )
