"""Who is asked for a booking, and why: frame and travel times in, ranking out. Pure.

The kernel finds the cheapest by the straight line; the source of travel times then says how long these few really need,
and the list is put in order again. A `Decision` holds all of what it was made from: the same once more gives the same.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from config.limits import ETA_CANDIDATES_MAX, SEARCH_RADIUS_M_MAX, WHY_CANDIDATES_MAX
from engine.eta.source import EtaMatrix, EtaOutcome
from engine.matcher.ask import Ask
from engine.matcher.cost_policy import DEFAULT_WEIGHTS, CostWeights
from engine.matcher.frame import (
    S_PER_MIN,
    Apart,
    Candidates,
    DoubleArray,
    Frame,
    Query,
    build_frame,
    build_query,
    count_ruled_out,
    laid_over,
    least_cost_min,
    part_of,
    straight_eta_min,
    term_columns,
)
from engine.matcher.kernels import BLOCK, FloatArray, IntArray, top_k
from engine.matcher.plan import ALONE, Share

SEARCH_RADII_M: Final = (1_500, 3_000, 6_000, SEARCH_RADIUS_M_MAX)
"""How far each step of a search surely looks. A step is the last when nobody beyond it could be cheaper."""
BEYOND_CAP: Final = "eta_cap"
"""The rule that excludes who would need longer than the service lets anybody need."""


@dataclass(frozen=True, slots=True, eq=False)
class Shortlist:
    """The cheapest candidates by the straight line, cheapest first, as the kernel saw them."""

    ask: Ask
    weights: CostWeights
    now_ms: int
    frame: Frame
    """A copy, of those on the list alone."""
    query: Query
    apart: Apart
    """In rows of this frame."""
    cost_min: FloatArray
    looked_at: int
    ruled_out: dict[str, int]

    def __len__(self) -> int:
        """Return how many are on it."""
        return len(self.cost_min)


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """A shortlist with travel times; one element a row of it."""

    cost_min: DoubleArray
    eta_min: DoubleArray
    is_in_time: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """Whether the service lets anybody need that long."""
    order: IntArray
    """The rows that are in time, cheapest first; of equal costs the one that was first on the list."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with what asking them costs; `terms` are minutes and add up to `cost_min`."""

    slot: int
    cost_min: float
    eta_s: int
    terms: dict[str, float]
    eta_by: EtaOutcome = EtaOutcome.STRAIGHT_LINE


@dataclass(frozen=True, slots=True)
class Ranking:
    """The cheapest candidates, cheapest first, and how many of those looked at were ruled out and why."""

    ranked: tuple[Ranked, ...]
    looked_at: int
    ruled_out: dict[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What was decided about a booking, and everything it was decided from.

    `ranking_of(shortlist, arrivals)` gives `ranking` again, and `plan_window(*share.problem...)` the share.
    """

    shortlist: Shortlist
    arrivals: EtaMatrix | None
    """`None`: nobody was on the list, or the straight line is all that is wanted."""
    ranking: Ranking
    to_ask: tuple[Ranked, ...]
    """Whom to ask: the first who still can be; empty: nobody, for now."""
    share: Share = ALONE


def shortlist_of(
    frame: Frame,
    ask: Ask,
    apart: Apart,
    *,
    radius_m: float = SEARCH_RADIUS_M_MAX,
    weights: CostWeights = DEFAULT_WEIGHTS,
    k: int = ETA_CANDIDATES_MAX,
    now_ms: int = 0,
) -> Shortlist:
    """Return the `k` cheapest of a frame that was made with these weights; of equal costs the lower row wins."""
    query = build_query(frame, ask, radius_m=radius_m, weights=weights, now_ms=now_ms)
    looked_at = len(frame.slots)
    if not ask.wants.is_in_area:
        nobody = np.zeros(0, np.int32)
        ruled_out = {"zone": looked_at} if looked_at else {}
        part = part_of(frame, nobody)
        return Shortlist(
            ask, weights, now_ms, part, query, Apart.nobody(), np.zeros(0, np.float32), looked_at, ruled_out
        )
    rows, costs, buffer = np.empty(k, np.int32), np.empty(k, np.float32), np.empty(BLOCK, np.int32)
    with laid_over(frame, apart, query):
        found = top_k(frame.matrix, frame.mask, query.need, query.numbers, rows, costs, buffer)
        ruled_out = count_ruled_out(frame, ask, query)
    kept = rows[:found]
    return Shortlist(
        ask, weights, now_ms, part_of(frame, kept), query, _apart_in(kept, apart), costs[:found], looked_at, ruled_out
    )


def priced(shortlist: Shortlist, arrivals: EtaMatrix | None) -> Priced:
    """Return a shortlist's costs with the drive as the source has it, where it knows better than the straight line."""
    straight_min = straight_eta_min(shortlist.frame, shortlist.query)
    eta_min, cost_min = straight_min, shortlist.cost_min.astype(np.float64)
    if arrivals is not None:
        knows = (arrivals.outcome == EtaOutcome.ROADS) | (arrivals.outcome == EtaOutcome.ROUTER)
        eta_min = np.where(knows, arrivals.eta_s / S_PER_MIN, straight_min)
        cost_min += eta_min - straight_min
    is_in_time = eta_min <= shortlist.weights.eta_cap_min
    order = np.argsort(cost_min, kind="stable")
    return Priced(cost_min, eta_min, is_in_time, order[is_in_time[order]].astype(np.int32))


def ranking_of(
    shortlist: Shortlist, arrivals: EtaMatrix | None = None, *, k: int = WHY_CANDIDATES_MAX, of: Priced | None = None
) -> Ranking:
    """Return the `k` cheapest of a shortlist with the terms of their costs."""
    prices = of or priced(shortlist, arrivals)
    rows = prices.order[:k]
    columns = term_columns(shortlist.frame, rows, shortlist.query, shortlist.apart)
    columns["eta"] = prices.eta_min[rows]
    by = np.zeros(len(shortlist), np.uint8) if arrivals is None else arrivals.outcome
    late = int(np.count_nonzero(~prices.is_in_time))
    return Ranking(
        ranked=tuple(
            Ranked(
                slot=int(shortlist.frame.slots[row]),
                cost_min=float(prices.cost_min[row]),
                eta_s=round(float(prices.eta_min[row]) * S_PER_MIN),
                terms={name: float(minutes[i]) for name, minutes in columns.items()},
                eta_by=EtaOutcome(int(by[row])),
            )
            for i, row in enumerate(rows.tolist())
        ),
        looked_at=shortlist.looked_at,
        ruled_out=shortlist.ruled_out | ({BEYOND_CAP: late} if late else {}),
    )


def decide(shortlist: Shortlist, arrivals: EtaMatrix | None) -> Decision:
    """Return whom to ask for a booking that is alone: the cheapest, then the next."""
    ranking = ranking_of(shortlist, arrivals)
    return Decision(shortlist, arrivals, ranking, ranking.ranked)


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
    """Return the `k` cheapest of a frame that was made with these weights, by the straight line."""
    shortlist = shortlist_of(frame, ask, apart, radius_m=radius_m, weights=weights, k=k, now_ms=now_ms)
    return ranking_of(shortlist, k=k)


def is_surely_best(ranking: Ranking, *, searched_m: float) -> bool:
    """Whether nobody beyond `searched_m` can be cheaper than the first of this ranking, by the straight line."""
    return bool(ranking.ranked) and ranking.ranked[0].cost_min <= least_cost_min(searched_m)


def _apart_in(rows: IntArray, apart: Apart) -> Apart:
    """Return where in `rows` those stand who are apart; who is asked before, or blocked, is on no list."""
    none = np.zeros(0, np.int32)
    return Apart(none, none, np.flatnonzero(np.isin(rows, apart.preferred)).astype(np.int32))
