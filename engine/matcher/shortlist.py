"""Who could be asked for a booking: the cheapest of a frame, and who would have been but for a rule. Pure.

Many bookings of one frame are looked for in one call of the kernel; one booking is the same with a list of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from config.limits import ETA_CANDIDATES_MAX, NEAR_LOSERS_MAX, SEARCH_RADIUS_M_MAX
from engine.matcher import kernels as at
from engine.matcher import shortlist_kernel
from engine.matcher.ask import Ask
from engine.matcher.cost_policy import DEFAULT_WEIGHTS, CostWeights
from engine.matcher.excluded import OUT_OF_AREA, Excluded, rows_in
from engine.matcher.frame import (
    READY_RULES,
    REASONS,
    UNBLOCKED,
    Apart,
    DoubleArray,
    Frame,
    Query,
    Ready,
    SlotArray,
    kit_rules,
    needs_of,
    part_of,
    query_numbers,
    run_of,
)
from engine.matcher.kernels import FloatArray, IntArray
from engine.matcher.shortlist_kernel import APART_KINDS, CountArray

NOBODY_APART: Final = Apart.nobody()
COLUMNS: Final = 16.0
"""Bookings are looked at up and down so many strips of their region, so that one's list is near the next one's."""
FLAT_KM: Final = 1e-3


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class InFrame:
    """A booking, who is apart to it in rows of the frame, and how far it looks."""

    ask: Ask
    apart: Apart
    radius_m: float = SEARCH_RADIUS_M_MAX


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ShortlistColumns:
    """What was found for all bookings of one call, as columns: their lists one after the other."""

    weights: CostWeights
    now_ms: int
    looked_at: int
    k: int
    """How many fit on a list."""
    numbers: FloatArray
    need: IntArray
    """Shapes (m, QUERY_LENGTH) and (m, NEED_LENGTH)."""
    frame: Frame
    """A copy, of those on a list alone, as often as they are on one."""
    rows: IntArray
    """Where they stood in the frame that was looked through."""
    cost_min: FloatArray
    first: IntArray
    """List i has the rows `first[i]:first[i + 1]`."""
    near: Frame
    """The same of near losers."""
    near_rows: IntArray
    near_first: IntArray
    ruled_out: CountArray
    """Shape (m, REASONS)."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Shortlist:
    """The cheapest candidates by the straight line, cheapest first, as the kernel saw them: a booking's share."""

    sought: InFrame
    of: ShortlistColumns
    number: int

    def __len__(self) -> int:
        """Return how many are on it."""
        return int(self.of.first[self.number + 1] - self.of.first[self.number])

    @property
    def ask(self) -> Ask:
        """The booking."""
        return self.sought.ask

    @property
    def weights(self) -> CostWeights:
        """The weights that the frame was made with."""
        return self.of.weights

    @property
    def now_ms(self) -> int:
        """When it was made."""
        return self.of.now_ms

    @property
    def frame(self) -> Frame:
        """Those on the list alone."""
        return run_of(self.of.frame, self._run)

    @property
    def query(self) -> Query:
        """The booking as the kernel read it."""
        return Query(self.of.numbers[self.number], self.of.need[self.number])

    @property
    def apart(self) -> Apart:
        """Who is apart, in rows of `frame`."""
        return self._apart(self.of.rows[self._run])

    @property
    def cost_min(self) -> FloatArray:
        """What each on the list costs."""
        return self.of.cost_min[self._run]

    @property
    def looked_at(self) -> int:
        """How many were looked at."""
        return self.of.looked_at

    @property
    def ruled_out(self) -> dict[str, int]:
        """How many candidates do not count, under the first reason that applies to each."""
        if not self.ask.wants.is_in_area:
            return {OUT_OF_AREA: self.looked_at} if self.looked_at else {}
        counts = self.of.ruled_out[self.number]
        found: dict[str, int] = {}
        for reason in np.flatnonzero(counts).tolist():
            found[REASONS[reason]] = found.get(REASONS[reason], 0) + int(counts[reason])
        return found

    @property
    def excluded(self) -> Excluded:
        """The near losers, for the record."""
        run = slice(self.of.near_first[self.number], self.of.near_first[self.number + 1])
        return Excluded(run_of(self.of.near, run), self._apart(self.of.near_rows[run]))

    @property
    def radius_m(self) -> float:
        """How far was looked."""
        return self.sought.radius_m

    @property
    def k(self) -> int:
        """How many fitted on the list."""
        return self.of.k

    @property
    def _run(self) -> slice:
        return slice(self.of.first[self.number], self.of.first[self.number + 1])

    def _apart(self, rows: IntArray) -> Apart:
        apart = self.sought.apart
        return apart if apart is NOBODY_APART else rows_in(rows, apart)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Several shortlists, one after the other: list i has the rows `first[i]:first[i + 1]`."""

    first: IntArray
    slots: SlotArray
    places_km: FloatArray
    """Shape (2, n): east and north."""
    origin_deg: DoubleArray
    """Shape (2, n), or (2, 1) where all have the same: longitude, latitude."""
    cost_min: FloatArray
    numbers: FloatArray
    """Shape (m, QUERY_LENGTH)."""


def columns_of(shortlists: Sequence[Shortlist]) -> Columns:
    """Return these lists as columns: no copy where they are those of one call in their order, as a window's are."""
    of = shortlists[0].of
    is_whole = len(shortlists) == len(of.numbers)
    if is_whole and all(each.of is of and each.number == i for i, each in enumerate(shortlists)):
        return Columns(of.first, of.frame.slots, _places_km(of.frame), _origin_deg(of.frame), of.cost_min, of.numbers)
    calls = {id(each.of): each.of for each in shortlists}
    before = dict(zip(calls, accumulate((len(call.rows) for call in calls.values()), initial=0), strict=False))
    begin = np.array([before[id(each.of)] + each.of.first[each.number] for each in shortlists])
    counts = np.array([len(each) for each in shortlists])
    first = _first(counts)
    rows = np.repeat(begin - first[:-1], counts) + np.arange(first[-1])
    origins = np.concatenate([_origin_deg(each.of.frame) for each in shortlists], axis=1)
    return Columns(
        first=first,
        slots=np.concatenate([call.frame.slots for call in calls.values()])[rows],
        places_km=np.concatenate([_places_km(call.frame) for call in calls.values()], axis=1)[:, rows],
        origin_deg=np.repeat(origins, counts, axis=1),
        cost_min=np.concatenate([call.cost_min for call in calls.values()])[rows],
        numbers=np.stack([each.of.numbers[each.number] for each in shortlists]),
    )


def _places_km(frame: Frame) -> FloatArray:
    return frame.matrix[: at.BASE_MIN]


def _origin_deg(frame: Frame) -> DoubleArray:
    return np.array([[frame.origin_lng_deg], [frame.origin_lat_deg]])


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
    (found,) = shortlists_of(frame, [InFrame(ask, apart, radius_m)], weights=weights, k=k, now_ms=now_ms)
    return found


def shortlists_of(
    frame: Frame,
    wanted: Sequence[InFrame],
    *,
    weights: CostWeights = DEFAULT_WEIGHTS,
    k: int = ETA_CANDIDATES_MAX,
    now_ms: int = 0,
) -> list[Shortlist]:
    """Return `shortlist_of` each of these bookings: none of them knows of the others."""
    if not wanted:
        return []
    numbers, need = _queries(frame, wanted, weights, now_ms)
    found = _found(frame, wanted, numbers, need, k)
    is_listed, is_near = _filled(found.rows, found.count), _filled(found.near_rows, found.near_count)
    rows, near_rows = found.rows[is_listed], found.near_rows[is_near]
    listed = ShortlistColumns(
        weights=weights,
        now_ms=now_ms,
        looked_at=len(frame.slots),
        k=k,
        numbers=numbers,
        need=need,
        frame=part_of(frame, rows),
        rows=rows,
        cost_min=found.costs[is_listed],
        first=_first(found.count),
        near=part_of(frame, near_rows),
        near_rows=near_rows,
        near_first=_first(found.near_count),
        ruled_out=found.ruled_out,
    )
    return [Shortlist(each, listed, number) for number, each in enumerate(wanted)]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What the kernel wrote: `shortlist_kernel.shortlists`."""

    rows: IntArray
    costs: FloatArray
    count: IntArray
    near_rows: IntArray
    near_count: IntArray
    ruled_out: CountArray


def _queries(frame: Frame, wanted: Sequence[InFrame], weights: CostWeights, now_ms: int) -> tuple[FloatArray, IntArray]:
    numbers = [
        query_numbers(frame, each.ask, radius_m=each.radius_m, weights=weights, now_ms=now_ms) for each in wanted
    ]
    return np.array(numbers, np.float32), np.array([needs_of(each.ask) for each in wanted], np.int32)


def _found(frame: Frame, wanted: Sequence[InFrame], numbers: FloatArray, need: IntArray, k: int) -> _Found:
    m, near = len(wanted), NEAR_LOSERS_MAX
    rules = np.array([(1 << each.ask.skill_bit, *kit_rules(each.ask)) for each in wanted], np.int32)
    is_in_area = np.array([each.ask.wants.is_in_area for each in wanted], np.int32)
    found = _Found(
        rows=np.empty((m, k), np.int32),
        costs=np.empty((m, k), np.float32),
        count=np.empty(m, np.int32),
        near_rows=np.empty((m, near), np.int32),
        near_count=np.empty(m, np.int32),
        ruled_out=np.empty((m, len(REASONS)), np.int64),
    )
    shortlist_kernel.shortlists(
        frame.matrix,
        frame.mask,
        (numbers, need, rules, is_in_area, _order(numbers, rules), READY_RULES[1:]),
        (*_apart_rows(wanted), int(Ready.UNASKED), UNBLOCKED),
        (found.rows, found.costs, found.count, found.near_rows, found.near_count, found.ruled_out),
    )
    return found


def _order(numbers: FloatArray, rules: IntArray) -> IntArray:
    """Return the bookings so that those of equal rules, and then neighbours, follow each other."""
    if len(numbers) == 1:
        return np.zeros(1, np.int32)
    x, y = numbers[:, at.QUERY_X_KM], numbers[:, at.QUERY_Y_KM]
    column = np.floor((x - x.min()) * (COLUMNS / max(float(np.ptp(x)), FLAT_KM)))
    up_and_down = np.where(column % 2 == 0, y, -y)
    return np.lexsort((up_and_down, column, *rules.T)).astype(np.int32)


def _apart_rows(wanted: Sequence[InFrame]) -> tuple[IntArray, IntArray]:
    """Return all rows that are apart, booking by booking and kind by kind, and where each of these begins."""
    first = np.zeros(APART_KINDS * len(wanted) + 1, np.int32)
    if all(each.apart is NOBODY_APART for each in wanted):
        return np.zeros(0, np.int32), first
    kinds = [rows for each in wanted for rows in (each.apart.asked, each.apart.blocked, each.apart.preferred)]
    np.cumsum([len(rows) for rows in kinds], out=first[1:])
    return np.concatenate(kinds).astype(np.int32), first


def _filled(lists: IntArray, counts: IntArray) -> NDArray[np.bool_]:
    """Return which places of the lists, as long as they may be, have a row."""
    filled: NDArray[np.bool_] = np.arange(lists.shape[1]) < counts[:, None]
    return filled


def _first(counts: IntArray) -> IntArray:
    first = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=first[1:])
    return first
