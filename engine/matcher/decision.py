"""Who is asked for a booking, and why: frame and travel times in, ranking out. Pure.

The kernel finds the cheapest by the straight line; the source of travel times then says how long these few really need,
and the list is put in order again. A `Decision` holds all of what it was made from: the same once more gives the same.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from config.limits import SEARCH_RADIUS_M_MAX, WHY_CANDIDATES_MAX
from engine.eta.source import EtaMatrix, EtaOutcome
from engine.matcher import kernels
from engine.matcher.ask import Ask
from engine.matcher.cost_policy import DEFAULT_WEIGHTS, CostWeights
from engine.matcher.frame import Apart, Candidates, Frame, build_frame, least_cost_min, term_columns
from engine.matcher.plan import ALONE, Share
from engine.matcher.pricing import Choice, price_list
from engine.matcher.shortlist import Shortlist, shortlist_of
from engine.risk.score import Risk

SEARCH_RADII_M: Final = (1_500, 3_000, 6_000, SEARCH_RADIUS_M_MAX)
"""How far each step of a search surely looks. A step is the last when nobody beyond it could be cheaper."""
BEYOND_CAP: Final = "eta_cap"
"""The rule that excludes who would need longer than the service lets anybody need."""


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


def ranking_of(shortlist: Shortlist, arrivals: EtaMatrix | None = None, *, k: int = WHY_CANDIDATES_MAX) -> Ranking:
    """Return the `k` cheapest of a shortlist with the terms of their costs."""
    prices = price_list([shortlist], [arrivals])
    rows = prices.best(k)
    columns = term_columns(shortlist.frame, rows, shortlist.query, shortlist.apart)
    columns["eta"] = prices.eta_min[rows]
    by = np.zeros(len(shortlist), np.uint8) if arrivals is None else arrivals.outcome
    late = int(np.count_nonzero(~prices.is_in_time))
    named = zip(prices.choices(rows), by[rows].tolist(), *(each.tolist() for each in columns.values()), strict=True)
    return Ranking(
        ranked=tuple(
            Ranked(
                each.slot,
                each.cost_min,
                each.eta_s,
                dict(zip(columns, minutes, strict=True)),
                EtaOutcome(way),
            )
            for each, way, *minutes in named
        ),
        looked_at=shortlist.looked_at,
        ruled_out=shortlist.ruled_out | ({BEYOND_CAP: late} if late else {}),
    )


def decide(shortlist: Shortlist, arrivals: EtaMatrix | None, circumstances: Circumstances) -> Decision:
    """Return whom to ask for a booking that is alone: the cheapest, then the next."""
    prices = price_list([shortlist], [arrivals])
    return Decision(shortlist, arrivals, prices.choices(prices.best(WHY_CANDIDATES_MAX)), circumstances)


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


def warm_up() -> None:
    """Compile every kernel of a decision, or read it from its cache: once at process start, before readiness."""
    kernels.warm_up()
    one = np.zeros(1)
    rank(Candidates(np.zeros(1, np.int64), np.zeros(1, np.int32), one, one, one, one, one, one), Ask(0.0, 0.0, 0, 0.0))


def are_surely_best(ranking: Ranking, *, count: int, searched_m: float) -> bool:
    """Whether nobody beyond `searched_m` can be cheaper than any of the first `count`, by the straight line."""
    ranked = ranking.ranked
    return len(ranked) >= count and ranked[count - 1].cost_min <= least_cost_min(searched_m)
