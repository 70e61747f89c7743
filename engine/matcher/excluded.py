"""Who would have been among the cheapest but for a rule: the near losers of a ranking, for its record. Pure.

Only those with the skill are looked for: of the others a count is enough, or one skill of twenty would leave room for
nobody else.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.matcher import kernels as at
from engine.matcher.ask import Ask
from engine.matcher.frame import REASONS, Apart, Frame, Query, kit_rules, ready_rules
from engine.matcher.kernels import BLOCK, FloatArray, IntArray, top_k

OUT_OF_AREA: Final = "zone"
RULES: Final = (OUT_OF_AREA, *REASONS)
"""Every rule that a worker of a frame can break, in the order in which they are given as reasons."""


@dataclass(frozen=True, slots=True, eq=False)
class Excluded:
    """The near losers of a ranking."""

    frame: Frame
    """A copy, of their rows alone, ascending; nothing is laid over it."""
    apart: Apart
    """In rows of this frame."""


def broken_rules(frame: Frame, ask: Ask, query: Query) -> IntArray:
    """Return for each row the bits of the `RULES` that it breaks, with `apart` laid over."""
    bits = np.full(frame.mask.shape[1], int(not ask.wants.is_in_area), np.int32)
    at.broken_rules(frame.matrix, frame.mask, ready_rules(ask), np.array(kit_rules(ask), np.int32), query.numbers, bits)
    return bits


def costs_without_rules(frame: Frame, ask: Ask, query: Query) -> FloatArray:
    """Return what each row would cost, in minutes, as if it broke no rule, with `apart` laid over."""
    n = frame.mask.shape[1]
    rows, costs, buffer = np.empty(n, np.int32), np.empty(n, np.float32), np.empty(BLOCK, np.float32)
    matrix = frame.matrix.copy()
    matrix[at.WORK_END_MIN] = np.inf
    found = top_k(matrix, frame.mask, *_without_rules(ask, query), rows, costs, buffer)
    unruled = np.full(n, np.inf, np.float32)
    unruled[rows[:found]] = costs[:found]
    return unruled


def rows_in(rows: IntArray, apart: Apart) -> Apart:
    """Return where in `rows` those stand who are apart."""
    return Apart(*(_rows_among(rows, some) for some in (apart.asked, apart.blocked, apart.preferred)))


def _rows_among(rows: IntArray, some: IntArray) -> IntArray:
    # To most bookings nobody is apart, and `isin` of nothing costs as much as the kernel.
    return np.flatnonzero(np.isin(rows, some)).astype(np.int32) if len(some) else np.zeros(0, np.int32)


def _without_rules(ask: Ask, query: Query) -> tuple[IntArray, FloatArray]:
    """Return need and query that nobody with the skill is excluded by."""
    need, numbers = query.need.copy(), query.numbers.copy()
    need[at.NEED_READY], need[at.NEED_KIT] = 1 << ask.skill_bit, 0
    numbers[at.QUERY_KM2_MAX] = np.inf
    return need, numbers
