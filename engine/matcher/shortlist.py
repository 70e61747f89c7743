"""Who could be asked for a booking: the cheapest of a frame, and who would have been but for a rule. Pure.

Many bookings of one frame are looked for in one call of the kernel; one booking is the same with a list of one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

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
    Frame,
    Query,
    Ready,
    kit_rules,
    needs_of,
    parts_of,
    query_numbers,
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
    listed = zip(wanted, numbers, need, _parts(frame, wanted, found), _ruled_out(frame, wanted, found), strict=True)
    return [
        Shortlist(
            ask=each.ask,
            weights=weights,
            now_ms=now_ms,
            frame=part.frame,
            query=Query(own_numbers, own_need),
            apart=part.apart,
            cost_min=part.cost_min,
            looked_at=len(frame.slots),
            ruled_out=ruled_out,
            excluded=part.excluded,
            radius_m=each.radius_m,
            k=k,
        )
        for each, own_numbers, own_need, part, ruled_out in listed
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What the kernel wrote: `shortlist_kernel.shortlists`."""

    rows: IntArray
    costs: FloatArray
    count: IntArray
    near_rows: IntArray
    near_count: IntArray
    ruled_out: CountArray


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A booking's share of the frame."""

    frame: Frame
    apart: Apart
    cost_min: FloatArray
    excluded: Excluded


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


def _parts(frame: Frame, wanted: Sequence[InFrame], found: _Found) -> Iterable[_Part]:
    k, near = found.rows.shape[1], found.near_rows.shape[1]
    is_listed = np.arange(k) < found.count[:, None]
    is_near = np.arange(near) < found.near_count[:, None]
    rows, near_rows = found.rows[is_listed], found.near_rows[is_near]
    costs = found.costs[is_listed]
    ends, near_ends = _ends(found.count), _ends(found.near_count)
    whole = zip(
        wanted,
        parts_of(frame, rows, ends),
        parts_of(frame, near_rows, near_ends),
        pairwise(ends),
        pairwise(near_ends),
        strict=True,
    )
    for each, part, near_part, (a, b), (c, d) in whole:
        apart, near_apart = each.apart, each.apart
        if apart is not NOBODY_APART:
            apart, near_apart = rows_in(rows[a:b], apart), rows_in(near_rows[c:d], apart)
        yield _Part(part, apart, costs[a:b], Excluded(near_part, near_apart))


def _ends(counts: IntArray) -> list[int]:
    return [0, *np.cumsum(counts).tolist()]


def _ruled_out(frame: Frame, wanted: Sequence[InFrame], found: _Found) -> list[dict[str, int]]:
    """Return of each booking how many candidates do not count, under the first reason that applies to each."""
    ruled_out: list[dict[str, int]] = [{} for _ in wanted]
    booking, reason = np.nonzero(found.ruled_out)
    counts = found.ruled_out[booking, reason]
    for i, which, count in zip(booking.tolist(), reason.tolist(), counts.tolist(), strict=True):
        name = REASONS[which]
        ruled_out[i][name] = ruled_out[i].get(name, 0) + count
    outside = {OUT_OF_AREA: len(frame.slots)} if len(frame.slots) else {}
    return [each if one.ask.wants.is_in_area else dict(outside) for one, each in zip(wanted, ruled_out, strict=True)]
