"""The candidate frame: who could go, as columns that one kernel call scores. Pure.

Places become planar kilometres, and everything about a worker that does not depend on the booking is folded into one
`base` row of minutes. All terms of the cost are minutes and none is negative: a worker out of reach of a search can
never be cheaper than the drive from its edge. What rules out is a bit, never a weight.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntFlag
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from config.limits import KIT_BITS, SEARCH_RADIUS_M_MAX
from engine.core.units import METRES_PER_DEG
from engine.eta.straight_line import FITTED_M_MAX, S_PER_ROOT_M
from engine.matcher import kernels as at
from engine.matcher.ask import Ask
from engine.matcher.cost_policy import DEFAULT_WEIGHTS, CostWeights
from engine.matcher.kernels import FloatArray, IntArray

DoubleArray: TypeAlias = NDArray[np.float64]
SlotArray: TypeAlias = NDArray[np.int64]

M_PER_KM: Final = 1000
S_PER_MIN: Final = 60
MS_PER_MIN: Final = 60_000
KM_PER_DEG: Final = METRES_PER_DEG / M_PER_KM
RAD_PER_KM: Final = math.radians(1 / KM_PER_DEG)
STARS_MAX: Final = 5.0
FULL_BATTERY_PCT: Final = 100.0
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
    IN_SHIFT = 1 << (SKILL_BITS + 5)
    """Within a planned shift, or nobody has planned any."""
    RESTED = 1 << (SKILL_BITS + 6)
    """Below every limit of the organisation's working-time rules."""


ALL_READY: Final = (
    Ready.ON_DUTY | Ready.FREE | Ready.UNHELD | Ready.UNASKED | Ready.HEARD | Ready.IN_SHIFT | Ready.RESTED
)
UNBLOCKED: Final = 1 << KIT_BITS
"""The kit bit that everybody has but who was blocked by, or for, this customer."""

WHY_NOT: Final[tuple[tuple[str, Ready], ...]] = (
    ("off_duty", Ready.ON_DUTY),
    ("busy", Ready.FREE),
    ("safety_hold", Ready.UNHELD),
    ("declined_before", Ready.UNASKED),
    ("silent", Ready.HEARD),
    ("shift", Ready.IN_SHIFT),
    ("working_time", Ready.RESTED),
)
"""Why a candidate with the skill is ruled out by what everybody must be."""

REASONS: Final = (
    "skill", *(reason for reason, _ in WHY_NOT), "blocked", "certificate", "tool", "vehicle", "too_far", "working_time",
)  # fmt: skip
"""Why a candidate does not count, in the order in which the reasons are given; the last `working_time` is of whose time
ends before the job does."""

READY_RULES: Final = np.array([0, *(int(bit) for _, bit in WHY_NOT)], np.int32)

STATIC_TERMS: Final = ("rating", "fairness", "workload", "earnings", "acceptance", "battery", "fix_age")
"""The terms that do not depend on the booking, in the order of a frame's `fixed`."""


@dataclass(frozen=True, slots=True)
class WorkFacts:
    """What is known of each candidate's day and kit; a column has one element a worker. Minutes count from now."""

    kit: IntArray
    jobs_today: DoubleArray
    earned_minor: DoubleArray
    acceptance_gap: DoubleArray
    """By how much the likelihood of a yes lies below everybody's, in [0, 1]; 0 for who is above."""
    battery_pct: DoubleArray
    shift_left_min: DoubleArray
    """Infinity where no shift is planned."""
    work_left_min: DoubleArray
    levels: FloatArray
    """Shape (skills, n), each in [0, 1]."""

    @classmethod
    def unknown(cls, n: int) -> "WorkFacts":
        """Return the facts of workers of whom nothing is known: neutral in every term."""
        none, never = np.zeros(n), np.full(n, np.inf)
        return cls(
            kit=np.full(n, UNBLOCKED, np.int32),
            jobs_today=none,
            earned_minor=none,
            acceptance_gap=none,
            battery_pct=np.full(n, FULL_BATTERY_PCT),
            shift_left_min=never,
            work_left_min=never,
            levels=np.zeros((SKILL_BITS, n), np.float32),
        )


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
    facts: WorkFacts | None = None
    """`None`: nothing is known, as `WorkFacts.unknown`."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Candidates as the kernel reads them.

    Shapes: slots (n), matrix (LEVELS + SKILL_BITS, n), mask (MASK_ROWS, n), fixed (STATIC_TERMS, n); planar origin in
    degrees; the ends of shifts are minutes after `epoch_ms`.
    """

    slots: SlotArray
    matrix: FloatArray
    mask: IntArray
    fixed: FloatArray
    origin_lat_deg: float
    origin_lng_deg: float
    epoch_ms: int


@dataclass(frozen=True, slots=True)
class Query:
    """A booking as the kernel reads it: `numbers` (QUERY_LENGTH) and `need` (NEED_LENGTH)."""

    numbers: FloatArray
    need: IntArray


@dataclass(frozen=True, slots=True)
class Apart:
    """Rows of a frame that are something else to this booking than to others."""

    asked: IntArray
    blocked: IntArray
    preferred: IntArray

    @classmethod
    def nobody(cls) -> "Apart":
        """Return that nobody is."""
        none = np.zeros(0, np.int32)
        return cls(none, none, none)


def build_frame(
    candidates: Candidates,
    *,
    origin_lat_deg: float,
    origin_lng_deg: float,
    weights: CostWeights = DEFAULT_WEIGHTS,
    now_ms: int = 0,
    epoch_ms: int = 0,
) -> Frame:
    """Return the frame of `candidates`, whose columns are as of `now_ms`, around an origin anywhere near."""
    n = len(candidates.slots)
    facts = candidates.facts or WorkFacts.unknown(n)
    fixed = static_terms(candidates, facts, weights).astype(np.float32)
    matrix = np.empty((at.LEVELS + SKILL_BITS, n), np.float32)
    since_epoch_min = (now_ms - epoch_ms) / MS_PER_MIN
    matrix[at.X_KM] = _east_deg(candidates.lng_deg, origin_lng_deg) * KM_PER_DEG
    matrix[at.Y_KM] = (candidates.lat_deg - origin_lat_deg) * KM_PER_DEG
    matrix[at.BASE_MIN] = fixed.sum(axis=0)
    matrix[at.EXPERIENCE] = candidates.experience
    matrix[at.SHIFT_END_MIN] = facts.shift_left_min + since_epoch_min
    matrix[at.WORK_END_MIN] = facts.work_left_min + since_epoch_min
    matrix[at.LEVELS :] = facts.levels
    mask = np.stack([candidates.mask, facts.kit]).astype(np.int32)
    return Frame(candidates.slots, matrix, mask, fixed, origin_lat_deg, origin_lng_deg, epoch_ms)


def build_query(frame: Frame, ask: Ask, *, radius_m: float, weights: CostWeights, now_ms: int = 0) -> Query:
    """Return the kernel's query for a booking; candidates beyond `radius_m` do not count."""
    numbers = query_numbers(frame, ask, radius_m=radius_m, weights=weights, now_ms=now_ms)
    return Query(np.array(numbers, np.float32), np.array(needs_of(ask), np.int32))


def query_numbers(frame: Frame, ask: Ask, *, radius_m: float, weights: CostWeights, now_ms: int) -> tuple[float, ...]:
    """Return the numbers of a query in the order of `kernels.QUERY_LENGTH`."""
    assert 0 <= radius_m <= SEARCH_RADIUS_M_MAX
    wants, lat_rad = ask.wants, math.radians(ask.lat_deg)
    return (
        ((ask.lng_deg - frame.origin_lng_deg + 180) % 360 - 180) * KM_PER_DEG,
        (ask.lat_deg - frame.origin_lat_deg) * KM_PER_DEG,
        # cos of the mean latitude of pin and candidate, to the first order of half of what lies between them.
        math.cos(lat_rad),
        math.sin(lat_rad) * RAD_PER_KM / 2,
        MIN_PER_ROOT_KM,
        (radius_m / M_PER_KM) ** 2,
        ask.risk,
        weights.risk_gap_min,
        wants.level,
        weights.level_gap_min,
        weights.parts_min,
        weights.language_min,
        (now_ms - frame.epoch_ms) / MS_PER_MIN + wants.duration_min,
        weights.overtime_min_per_min,
        weights.preference_min if wants.preferred else 0.0,
    )


def needs_of(ask: Ask) -> tuple[int, ...]:
    """Return a query's need in the order of `kernels.NEED_LENGTH`."""
    wants = ask.wants
    ready = need_of(ask.skill_bit)
    return ready, UNBLOCKED | wants.kit, wants.parts, wants.languages, at.LEVELS + ask.skill_bit


def need_of(skill_bit: int) -> int:
    """Return the mask bits that a candidate for this skill must have."""
    assert 0 <= skill_bit < SKILL_BITS
    return int(ALL_READY) | 1 << skill_bit


def least_cost_min(distance_m: float) -> float:
    """Return what the best imaginable worker at this distance costs: the drive alone."""
    return MIN_PER_ROOT_KM * math.sqrt(distance_m / M_PER_KM)


def static_terms(candidates: Candidates, facts: WorkFacts, weights: CostWeights) -> DoubleArray:
    """Return the terms that do not depend on the booking, in minutes: shape (STATIC_TERMS, n)."""
    w, n = weights, len(candidates.slots)
    low_pct = w.battery_low_pct
    return np.array(
        [
            w.rating_min_per_star * (STARS_MAX - candidates.rating),
            w.fairness_min * (1 - np.clip(candidates.idle_s / w.fairness_idle_s, 0, 1)),
            w.workload_min * np.minimum(facts.jobs_today / w.workload_jobs_full, 1),
            w.earnings_min * np.minimum(facts.earned_minor / w.earnings_full_minor, 1),
            w.acceptance_min * facts.acceptance_gap,
            w.battery_min * np.maximum(low_pct - facts.battery_pct, 0) / low_pct,
            w.fix_age_min_per_s * np.maximum(candidates.fix_age_s - w.fix_fresh_s, 0),
        ]
    ).reshape(len(STATIC_TERMS), n)


@contextmanager
def laid_over(frame: Frame, apart: Apart, query: Query) -> Iterator[None]:
    """Lay what is special to a booking over the few columns that it is about; they are restored afterwards."""
    if not (len(apart.asked) or len(apart.blocked) or len(apart.preferred)):
        yield
        return
    ready, kit = frame.mask
    base = frame.matrix[at.BASE_MIN]
    was = ready[apart.asked], kit[apart.blocked], base[apart.preferred]
    ready[apart.asked] &= ~int(Ready.UNASKED)
    kit[apart.blocked] &= ~UNBLOCKED
    base[apart.preferred] -= query.numbers[at.QUERY_PREFERENCE_MIN]
    try:
        yield
    finally:
        ready[apart.asked], kit[apart.blocked], base[apart.preferred] = was


def term_columns(frame: Frame, rows: IntArray | SlotArray, query: Query, apart: Apart) -> dict[str, DoubleArray]:
    """Return the terms of each row's cost in minutes; they add up to the kernel's cost within 1e-3."""
    q, need = query.numbers.astype(np.float64), query.need
    columns, kit = frame.matrix[:, rows].astype(np.float64), frame.mask[at.MASK_KIT, rows]
    speaks = (need[at.WISH_LANGUAGES] == 0) | ((kit & need[at.WISH_LANGUAGES]) != 0)
    return {
        "eta": straight_eta_min(columns, q),
        **dict(zip(STATIC_TERMS, frame.fixed[:, rows].astype(np.float64), strict=True)),
        "risk": q[at.QUERY_RISK_GAP_MIN] * np.maximum(q[at.QUERY_RISK] - columns[at.EXPERIENCE], 0) ** 2,
        "level": q[at.QUERY_LEVEL_GAP_MIN] * np.maximum(q[at.QUERY_LEVEL] - columns[need[at.LEVEL_ROW]], 0),
        "parts": q[at.QUERY_PARTS_MIN] * ((kit & need[at.WISH_PARTS]) != need[at.WISH_PARTS]),
        "language": q[at.QUERY_LANGUAGE_MIN] * ~speaks,
        "overtime": q[at.QUERY_OVERTIME] * np.maximum(q[at.QUERY_END_MIN] - columns[at.SHIFT_END_MIN], 0),
        "preference": q[at.QUERY_PREFERENCE_MIN] * ~np.isin(rows, apart.preferred),
    }


def straight_eta_min(columns: NDArray[np.floating], numbers: DoubleArray) -> DoubleArray:
    """Return the minutes from each column's place to its pin by the law that the kernel has.

    Shapes: columns as a frame's matrix, at least the two rows of places; numbers as a query's, at least those of the
    pin, for all columns the same or (numbers, n).
    """
    return MIN_PER_ROOT_KM * np.sqrt(_distance_km(columns, numbers))


def degrees_of(places_km: FloatArray, origin_deg: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Return latitudes and longitudes of places on a plane, to some millimetres.

    Shapes: places (2, n), east and north; the plane's origin (2, n) or, of all, (2, 1): longitude, latitude.
    """
    lng_deg, lat_deg = places_km.astype(np.float64) / KM_PER_DEG + origin_deg
    lng_deg += 180
    lng_deg %= 360
    lng_deg -= 180
    return lat_deg, lng_deg


def part_of(frame: Frame, rows: IntArray) -> Frame:
    """Return a frame of these rows alone, in their order: a copy."""
    f = frame
    return Frame(
        f.slots[rows],
        f.matrix.take(rows, axis=1),
        f.mask.take(rows, axis=1),
        f.fixed.take(rows, axis=1),
        f.origin_lat_deg,
        f.origin_lng_deg,
        f.epoch_ms,
    )


def run_of(frame: Frame, run: slice) -> Frame:
    """Return a frame of a run of rows: no copy."""
    f = frame
    place = f.origin_lat_deg, f.origin_lng_deg, f.epoch_ms
    return Frame(f.slots[run], f.matrix[:, run], f.mask[:, run], f.fixed[:, run], *place)


def ready_rules(ask: Ask) -> IntArray:
    """Return the bits that each of the first `REASONS` asks for, in their order."""
    rules = READY_RULES.copy()
    rules[0] = 1 << ask.skill_bit
    return rules


def kit_rules(ask: Ask) -> tuple[int, int, int, int]:
    """Return the bits of the kit that each of the next `REASONS` asks for."""
    wants = ask.wants
    return UNBLOCKED, wants.certificates, wants.tools, wants.vehicles


def _east_deg(lng_deg: DoubleArray, origin_lng_deg: float) -> DoubleArray:
    # The shorter way round the 180th meridian, as `straight_line.straight_m`.
    return (lng_deg - origin_lng_deg + 180) % 360 - 180


def _distance_km(columns: NDArray[np.floating], q: DoubleArray) -> DoubleArray:
    dy_km = columns[at.Y_KM].astype(np.float64) - q[at.QUERY_Y_KM]
    scale = q[at.QUERY_EAST_SCALE] - q[at.QUERY_EAST_SLOPE] * dy_km
    distance_km: DoubleArray = np.hypot((columns[at.X_KM] - q[at.QUERY_X_KM]) * scale, dy_km)
    return distance_km
