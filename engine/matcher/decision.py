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
from engine.matcher.excluded import OUT_OF_AREA, Excluded, excluded_of, near_excluded, rows_in
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
from engine.risk.score import Risk

SEARCH_RADII_M: Final = (1_500, 3_000, 6_000, SEARCH_RADIUS_M_MAX)
"""How far each step of a search surely looks. A step is the last when nobody beyond it could be cheaper."""
BEYOND_CAP: Final = "eta_cap"
"""The rule that excludes who would need longer than the service lets anybody need."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
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
    excluded: Excluded
    """The near losers, for the record."""
    radius_m: float
    k: int
    """How far was looked, and how many fitted on the list."""

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


@dataclass(frozen=True, slots=True)
class Choice:
    """A worker who may be asked."""

    slot: int
    cost_min: float
    eta_s: int


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision names but is not made from."""

    policy: str
    risk: Risk
    searched_m: int
    asks_again: bool
    """Nobody else was left: who had said no long ago could be asked again."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Decision:
    """What was decided about a booking, and everything it was decided from.

    The same shortlist and arrivals give the same ranking, `share.problem.solve()` the same plan.
    """

    shortlist: Shortlist
    arrivals: EtaMatrix | None
    """`None`: nobody was on the list."""
    to_ask: tuple[Choice, ...]
    """Whom to ask: the first, and for whom of these cannot be asked any more the next. Empty: nobody, for now."""
    circumstances: Circumstances
    share: Share = ALONE

    @property
    def ranking(self) -> Ranking:
        """The cheapest of the shortlist with their terms, and why others were ruled out."""
        return ranking_of(self.shortlist, self.arrivals)


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
    rows, costs, buffer = np.empty(k, np.int32), np.empty(k, np.float32), np.empty(BLOCK, np.int32)
    with laid_over(frame, apart, query):
        found, ruled_out = 0, {OUT_OF_AREA: len(frame.slots)} if len(frame.slots) else {}
        if ask.wants.is_in_area:
            found = top_k(frame.matrix, frame.mask, query.need, query.numbers, rows, costs, buffer)
            ruled_out = count_ruled_out(frame, ask, query)
        near = near_excluded(frame, ask, query, k=k)
    kept = rows[:found]
    return Shortlist(
        ask=ask,
        weights=weights,
        now_ms=now_ms,
        frame=part_of(frame, kept),
        query=query,
        apart=rows_in(kept, apart),
        cost_min=costs[:found],
        looked_at=len(frame.slots),
        ruled_out=ruled_out,
        excluded=excluded_of(frame, near, apart),
        radius_m=radius_m,
        k=k,
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


def choices_of(shortlist: Shortlist, prices: Priced, *, k: int = WHY_CANDIDATES_MAX) -> tuple[Choice, ...]:
    """Return the `k` cheapest as they may be asked."""
    rows = prices.order[:k]
    slots, eta_s = shortlist.frame.slots[rows], np.rint(prices.eta_min[rows] * S_PER_MIN).astype(np.int64)
    return tuple(map(Choice, slots.tolist(), prices.cost_min[rows].tolist(), eta_s.tolist()))


def choice_at(shortlist: Shortlist, prices: Priced, row: int) -> Choice:
    """Return one row of a shortlist as a choice."""
    eta_s = round(float(prices.eta_min[row]) * S_PER_MIN)
    return Choice(int(shortlist.frame.slots[row]), float(prices.cost_min[row]), eta_s)


def decide(shortlist: Shortlist, arrivals: EtaMatrix | None, circumstances: Circumstances) -> Decision:
    """Return whom to ask for a booking that is alone: the cheapest, then the next."""
    return Decision(shortlist, arrivals, choices_of(shortlist, priced(shortlist, arrivals)), circumstances)


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
