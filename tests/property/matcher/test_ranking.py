"""The kernel ranks as its plain twin does; the terms of a cost add up to it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from config.limits import SEARCH_RADIUS_M_MAX
from engine.eta.straight_line import estimate
from engine.matcher import kernels, reference
from engine.matcher.ask import Ask
from engine.matcher.decision import are_surely_best, rank
from engine.matcher.frame import ALL_READY, Candidates, Ready, least_cost_min, need_of

LAT_DEG, LNG_DEG = 41.15, -8.61


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    kernels.warm_up()


@st.composite
def frames(draw: st.DrawFn):
    """Frames with many equal costs and places, around the sizes at which blocks begin and end; some of them extreme."""
    n = draw(st.sampled_from([0, 1, 5, 31, 32, 33, 255, 256, 257, 600]))
    seed = draw(st.integers(0, 2**32 - 1))
    steps = draw(st.sampled_from([1, 2, 5, 1000]))
    scale = draw(st.sampled_from([1e-20, 12, 12, 2e4, 1e6]))
    random = np.random.default_rng(seed)
    matrix = (random.integers(0, steps, (kernels.FRAME_ROWS, n)) / steps * 12).astype(np.float32)
    matrix[: kernels.Y_KM + 1] *= np.float32(scale / 12)
    matrix[kernels.EXPERIENCE] /= 12
    matrix[kernels.LEVELS] /= 12
    ends = random.choice([np.inf, np.inf, 30.0, 90.0], (2, n))
    matrix[kernels.SHIFT_END_MIN], matrix[kernels.WORK_END_MIN] = ends
    mask = random.integers(0, 8, (kernels.MASK_ROWS, n)).astype(np.int32)
    if draw(st.booleans()):
        mask[kernels.MASK_READY] = 0
    query = draw(arrays(np.float32, kernels.QUERY_LENGTH, elements=st.floats(0, 64, width=32)))
    query[kernels.QUERY_EAST_SCALE] /= 64
    query[kernels.QUERY_EAST_SLOPE] /= 64_000
    query[[kernels.QUERY_RISK, kernels.QUERY_LEVEL]] /= 64
    query[kernels.QUERY_KM2_MAX] = draw(st.sampled_from([0, 144, np.inf]))
    preferred = random.random(n) < 0.1
    matrix[kernels.BASE_MIN, preferred] -= query[kernels.QUERY_PREFERENCE_MIN]
    bits = st.sampled_from([0, 0, 1, 2, 7])
    need = np.array([draw(bits) for _ in range(kernels.LEVEL_ROW)] + [kernels.LEVELS], np.int32)
    return matrix, mask, need, query, draw(st.sampled_from([1, 2, 10, 20, 700]))


@given(frames())
def test_kernel_ranks_as_the_reference(frame):
    matrix, mask, need, query, k = frame
    rows, costs = np.empty(k, np.int32), np.empty(k, np.float32)
    found = kernels.top_k(matrix, mask, need, query, rows, costs, np.empty(kernels.BLOCK, np.float32))
    ours = list(zip(costs[:found].tolist(), rows[:found].tolist(), strict=True))
    assert ours == reference.top_k(matrix, mask, need, query, k)


@st.composite
def crowds(draw: st.DrawFn) -> Candidates:
    n = draw(st.integers(0, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ready = np.where(random.random(n) < 0.7, int(ALL_READY), int(ALL_READY) & ~int(Ready.FREE))
    spread_deg = draw(st.sampled_from([0.0, 0.01, 0.2]))
    return Candidates(
        slots=np.sort(random.choice(10_000, n, replace=False)).astype(np.int64),
        mask=(ready | random.integers(0, 4, n)).astype(np.int32),
        lat_deg=LAT_DEG + random.normal(0, spread_deg, n),
        lng_deg=LNG_DEG + random.normal(0, spread_deg, n),
        rating=random.uniform(0, 5, n),
        experience=random.uniform(0, 1, n),
        idle_s=random.uniform(0, 7200, n),
        fix_age_s=random.uniform(0, 60, n),
    )


@given(crowds(), st.floats(0, 1))
def test_terms_add_up_and_nobody_is_lost(candidates: Candidates, risk: float):
    ask = Ask(LAT_DEG, LNG_DEG, skill_bit=1, risk=risk)
    ranking = rank(candidates, ask, k=100)
    for each in ranking.ranked:
        assert sum(each.terms.values()) == pytest.approx(each.cost_min, abs=1e-3)
        assert min(each.terms.values()) >= 0, "or `least_cost_min` would not be the least"
    assert len(ranking.ranked) + sum(ranking.ruled_out.values()) == ranking.looked_at == len(candidates.slots)
    assert [each.cost_min for each in ranking.ranked] == sorted(each.cost_min for each in ranking.ranked)


@given(crowds())
def test_eta_is_the_one_that_customers_are_told(candidates: Candidates):
    for each in rank(candidates, Ask(LAT_DEG, LNG_DEG, skill_bit=0, risk=0), k=100).ranked:
        row = int(np.flatnonzero(candidates.slots == each.slot)[0])
        told = estimate(float(candidates.lat_deg[row]), float(candidates.lng_deg[row]), LAT_DEG, LNG_DEG)
        assert abs(each.eta_s - told.eta_s) <= 1


@given(crowds(), st.sampled_from([500, 1_500, 3_000]), st.integers(1, 4))
def test_a_search_may_stop_where_it_says_so(candidates: Candidates, searched_m: int, count: int):
    """Those who are best among the near ones, and surely so, are best among all."""
    ask = Ask(LAT_DEG, LNG_DEG, skill_bit=0, risk=0.5)
    every = rank(candidates, ask)
    near = rank(candidates, ask, radius_m=searched_m)
    if are_surely_best(near, count=count, searched_m=searched_m):
        assert [each.cost_min for each in near.ranked[:count]] == [each.cost_min for each in every.ranked[:count]]


def test_equal_costs_rank_by_slot():
    same = np.zeros(30)
    candidates = Candidates(
        slots=np.arange(30, dtype=np.int64) * 3,
        mask=np.full(30, need_of(0), np.int32),
        lat_deg=same + LAT_DEG,
        lng_deg=same + LNG_DEG,
        rating=same,
        experience=same,
        idle_s=same,
        fix_age_s=same,
    )
    ranking = rank(candidates, Ask(LAT_DEG, LNG_DEG, skill_bit=0, risk=0), k=10)
    assert [each.slot for each in ranking.ranked] == [slot * 3 for slot in range(10)]


def test_risk_weighs_experience_only():
    columns = {name: np.zeros(2) for name in ("rating", "idle_s", "fix_age_s")}
    candidates = Candidates(
        slots=np.array([1, 2]),
        mask=np.full(2, need_of(0), np.int32),
        lat_deg=np.array([LAT_DEG, LAT_DEG + 0.01]),
        lng_deg=np.full(2, LNG_DEG),
        experience=np.array([0.0, 1.0]),
        **columns,
    )
    calm, risky = (rank(candidates, Ask(LAT_DEG, LNG_DEG, skill_bit=0, risk=risk)) for risk in (0.0, 1.0))
    assert [each.slot for each in calm.ranked] == [1, 2], "the near one"
    assert [each.slot for each in risky.ranked] == [2, 1], "the experienced one; nobody is refused"


def test_least_cost_is_the_bare_drive():
    assert math.isclose(least_cost_min(SEARCH_RADIUS_M_MAX) * 60, 10.66 * math.sqrt(SEARCH_RADIUS_M_MAX))
