"""Who is asked for a booking, and why: frame in, ranking out. Pure."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from config.limits import SEARCH_RADIUS_M_MAX, WHY_CANDIDATES_MAX
from engine.matcher.ask import Ask
from engine.matcher.cost_policy import DEFAULT_WEIGHTS, CostWeights
from engine.matcher.frame import (
    S_PER_MIN,
    Apart,
    Candidates,
    Frame,
    build_frame,
    build_query,
    count_ruled_out,
    explain,
    laid_over,
    least_cost_min,
)
from engine.matcher.kernels import BLOCK, top_k

SEARCH_RADII_M: Final = (1_500, 3_000, 6_000, SEARCH_RADIUS_M_MAX)
"""How far each step of a search surely looks. A step is the last when nobody beyond it could be cheaper."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with what asking them costs; `terms` are minutes and add up to `cost_min`."""

    slot: int
    cost_min: float
    eta_s: int
    terms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The cheapest candidates, cheapest first, and how many of those looked at were ruled out and why."""

    ranked: tuple[Ranked, ...]
    looked_at: int
    ruled_out: dict[str, int]


def rank(
    candidates: Candidates,
    ask: Ask,
    *,
    radius_m: float = SEARCH_RADIUS_M_MAX,
    weights: CostWeights = DEFAULT_WEIGHTS,
    k: int = WHY_CANDIDATES_MAX,
    apart: Apart | None = None,
) -> Ranking:
    """Return the `k` cheapest of `candidates` within `radius_m` of the pin; of equal costs the lower slot wins."""
    frame = build_frame(candidates, origin_lat_deg=ask.lat_deg, origin_lng_deg=ask.lng_deg, weights=weights)
    return rank_frame(frame, ask, apart or Apart.nobody(), radius_m=radius_m, weights=weights, k=k)


def rank_frame(
    frame: Frame,
    ask: Ask,
    apart: Apart,
    *,
    radius_m: float = SEARCH_RADIUS_M_MAX,
    weights: CostWeights = DEFAULT_WEIGHTS,
    k: int = WHY_CANDIDATES_MAX,
    now_ms: int = 0,
) -> Ranking:
    """Return the `k` cheapest of a frame that was made with these weights; of equal costs the lower row wins."""
    if not ask.wants.is_in_area:
        looked_at = len(frame.slots)
        return Ranking((), looked_at, {"zone": looked_at} if looked_at else {})
    query = build_query(frame, ask, radius_m=radius_m, weights=weights, now_ms=now_ms)
    rows, costs = np.empty(k, np.int32), np.empty(k, np.float32)
    buffer = np.empty(BLOCK, np.int32)
    with laid_over(frame, apart, query):
        found = top_k(frame.matrix, frame.mask, query.need, query.numbers, rows, costs, buffer)
        ruled_out = count_ruled_out(frame, ask, query)
    terms = explain(frame, rows[:found], query, apart)
    return Ranking(
        ranked=tuple(
            Ranked(
                slot=int(frame.slots[rows[i]]),
                cost_min=float(costs[i]),
                eta_s=round(terms[i]["eta"] * S_PER_MIN),
                terms=terms[i],
            )
            for i in range(found)
        ),
        looked_at=len(frame.slots),
        ruled_out=ruled_out,
    )


def is_surely_best(ranking: Ranking, *, searched_m: float) -> bool:
    """Whether nobody beyond `searched_m` can be cheaper than the first of this ranking."""
    return bool(ranking.ranked) and ranking.ranked[0].cost_min <= least_cost_min(searched_m)
