"""Who is asked for a booking, and why: frame in, ranking out. Pure."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from config.limits import SEARCH_RADIUS_M_MAX, WHY_CANDIDATES_MAX
from engine.matcher.frame import (
    DEFAULT_WEIGHTS,
    S_PER_MIN,
    Candidates,
    CostWeights,
    build_frame,
    build_query,
    count_ruled_out,
    explain,
    least_cost_min,
    need_of,
)
from engine.matcher.kernels import BLOCK, top_k

SEARCH_RADII_M: Final = (1_500, 3_000, 6_000, SEARCH_RADIUS_M_MAX)
"""How far each step of a search surely looks. A step is the last when nobody beyond it could be cheaper."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What the ranking needs to know of a booking. The pin is WGS84 degrees, `risk` in [0, 1]."""

    lat_deg: float
    lng_deg: float
    skill_bit: int
    risk: float


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
) -> Ranking:
    """Return the `k` cheapest of `candidates` within `radius_m` of the pin; of equal costs the lower slot wins."""
    frame = build_frame(candidates, origin_lat_deg=ask.lat_deg, origin_lng_deg=ask.lng_deg, weights=weights)
    query = build_query(
        frame, lat_deg=ask.lat_deg, lng_deg=ask.lng_deg, risk=ask.risk, radius_m=radius_m, weights=weights
    )
    rows, costs = np.empty(k, np.int32), np.empty(k, np.float32)
    buffer = np.empty(BLOCK, np.float32)
    found = top_k(frame.matrix, frame.mask, need_of(ask.skill_bit), query, rows, costs, buffer)
    terms = explain(frame, rows[:found], query, weights)
    return Ranking(
        ranked=tuple(
            Ranked(
                slot=int(candidates.slots[rows[i]]),
                cost_min=float(costs[i]),
                eta_s=round(terms[i]["eta"] * S_PER_MIN),
                terms=terms[i],
            )
            for i in range(found)
        ),
        looked_at=len(candidates.slots),
        ruled_out=count_ruled_out(frame, skill_bit=ask.skill_bit, query=query),
    )


def is_surely_best(ranking: Ranking, *, searched_m: float) -> bool:
    """Whether nobody beyond `searched_m` can be cheaper than the first of this ranking."""
    return bool(ranking.ranked) and ranking.ranked[0].cost_min <= least_cost_min(searched_m)
