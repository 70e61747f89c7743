"""Scoring one booking: the kernel beside the same cost in NumPy, columns as arrays, in the same run.

Both see the same workers and both must name the same ten: the row's gate. NumPy gets what it is good at, whole columns
and `argpartition`; the kernel gets the frame that a matcher keeps, static terms folded when a worker changed.
"""

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.report import Row, less_is_better
from engine.matcher import kernels as at
from engine.matcher.ask import Ask, Wants
from engine.matcher.cost_policy import DEFAULT_WEIGHTS as W
from engine.matcher.frame import (
    ALL_READY,
    KM_PER_DEG,
    M_PER_KM,
    MIN_PER_ROOT_KM,
    STARS_MAX,
    UNBLOCKED,
    Candidates,
    WorkFacts,
    build_frame,
    build_query,
    need_of,
)

SIZES: Final = {100: None, 1_000: 6.0, 10_000: None, 100_000: 120.0}
"""Workers, and the most microseconds that a question may take where there is a target."""
RATIOS: Final = {1_000: 15.0, 100_000: 20.0}
K: Final = 10
RADIUS_M: Final = 12_000.0
LAT_DEG, LNG_DEG = 41.15, -8.61
ASK: Final = Ask(LAT_DEG, LNG_DEG, 1, 0.4, Wants(certificates=1, level=0.5, parts=2, duration_min=60))
REPEATS: Final = 200
READY_SHARE: Final = 0.7


def scoring_rows(random: np.random.Generator) -> list[Row]:
    """Return a row for each number of workers."""
    at.warm_up()
    return [_row(random, n) for n in SIZES]


def _row(random: np.random.Generator, n: int) -> Row:
    candidates = _crowd(random, n)
    frame = build_frame(candidates, origin_lat_deg=LAT_DEG, origin_lng_deg=LNG_DEG)
    query = build_query(frame, ASK, radius_m=RADIUS_M, weights=W)
    rows, costs = np.empty(K, np.int32), np.empty(K, np.float32)
    buffer = np.empty(at.BLOCK, np.float32)

    def ours() -> NDArray[np.int32]:
        found = at.top_k(frame.matrix, frame.mask, query.need, query.numbers, rows, costs, buffer)
        return rows[:found]

    def numpy() -> NDArray[np.int64]:
        return _numpy_top_k(candidates)

    is_same = _costs(candidates, ours()).tolist() == _costs(candidates, numpy()).tolist()
    ours_us, numpy_us = _median_us(ours, REPEATS), _median_us(numpy, max(20, REPEATS // (1 + n // 5_000)))
    row = less_is_better(
        f"score {n:,} workers, top {K}",
        ours_us,
        numpy_us,
        anchor_name="NumPy, the same columns, same run",
        unit="us",
        most=SIZES[n],
        gate=is_same,
    )
    return row if n not in RATIOS else _with_ratio(row, RATIOS[n])


def _with_ratio(row: Row, ratio_min: float) -> Row:
    is_met = bool(row.met) and row.ratio is not None and row.ratio >= ratio_min
    return Row(
        row.row, row.ours, row.anchor, row.anchor_name, row.unit, row.ratio,
        f"{row.target}, >= {ratio_min:g}x", is_met, row.gate,
    )  # fmt: skip


def _crowd(random: np.random.Generator, n: int) -> Candidates:
    ready = np.where(random.random(n) < READY_SHARE, int(ALL_READY), 0)
    levels = random.random((24, n)).astype(np.float32)
    facts = WorkFacts(
        kit=(random.integers(0, 4, n) | UNBLOCKED).astype(np.int32),
        jobs_today=random.integers(0, 8, n).astype(np.float64),
        earned_minor=random.uniform(0, 30_000, n),
        acceptance_gap=random.uniform(0, 0.4, n),
        battery_pct=random.uniform(1, 100, n),
        shift_left_min=random.uniform(0, 480, n),
        work_left_min=random.uniform(30, 600, n),
        levels=levels,
    )
    return Candidates(
        slots=np.arange(n, dtype=np.int64),
        mask=(ready | random.integers(0, 4, n)).astype(np.int32),
        lat_deg=LAT_DEG + random.uniform(-0.12, 0.12, n),
        lng_deg=LNG_DEG + random.uniform(-0.16, 0.16, n),
        rating=random.uniform(3, 5, n),
        experience=random.uniform(0, 1, n),
        idle_s=random.uniform(0, 7_200, n),
        fix_age_s=random.uniform(0, 60, n),
        facts=facts,
    )


def _costs(c: Candidates, rows: NDArray[np.integer] | slice = slice(None)) -> NDArray[np.float64]:
    """Return each worker's cost, written as the documentation has it; to a ten-thousandth of a minute."""
    return np.round(_cost_min(c)[rows], 4)


def _cost_min(c: Candidates) -> NDArray[np.float64]:
    facts, wants = c.facts, ASK.wants
    assert facts is not None
    north_km = (c.lat_deg - LAT_DEG) * KM_PER_DEG
    east_km = (c.lng_deg - LNG_DEG) * KM_PER_DEG * np.cos(np.radians((c.lat_deg + LAT_DEG) / 2))
    km2 = north_km * north_km + east_km * east_km
    cost = MIN_PER_ROOT_KM * km2**0.25
    cost += W.rating_min_per_star * (STARS_MAX - c.rating)
    cost += W.fairness_min * (1 - np.clip(c.idle_s / W.fairness_idle_s, 0, 1))
    cost += W.workload_min * np.minimum(facts.jobs_today / W.workload_jobs_full, 1)
    cost += W.earnings_min * np.minimum(facts.earned_minor / W.earnings_full_minor, 1)
    cost += W.acceptance_min * facts.acceptance_gap
    cost += W.battery_min * np.maximum(W.battery_low_pct - facts.battery_pct, 0) / W.battery_low_pct
    cost += W.fix_age_min_per_s * np.maximum(c.fix_age_s - W.fix_fresh_s, 0)
    cost += W.risk_gap_min * np.maximum(ASK.risk - c.experience, 0) ** 2
    cost += W.level_gap_min * np.maximum(wants.level - facts.levels[ASK.skill_bit], 0)
    cost += W.parts_min * ((facts.kit & wants.parts) != wants.parts)
    cost += W.overtime_min_per_min * np.maximum(wants.duration_min - facts.shift_left_min, 0)
    need = need_of(ASK.skill_bit)
    counts = ((c.mask & need) == need) & ((facts.kit & wants.kit) == wants.kit)
    counts &= (km2 <= (RADIUS_M / M_PER_KM) ** 2) & (facts.work_left_min >= wants.duration_min)
    return np.where(counts, cost, np.inf)


def _numpy_top_k(c: Candidates) -> NDArray[np.int64]:
    cost = _cost_min(c)
    best = np.argpartition(cost, K)[:K] if len(cost) > K else np.arange(len(cost))
    best = best[np.argsort(cost[best], kind="stable")]
    return best[np.isfinite(cost[best])]


def _median_us(ask: Callable[[], object], repeats: int) -> float:
    took = []
    for _ in range(repeats):
        began_ns = time.perf_counter_ns()
        ask()
        took.append(time.perf_counter_ns() - began_ns)
    return float(np.median(took)) / 1_000
