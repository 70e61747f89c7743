"""The kernel of shortlists: for each of many bookings the cheapest who may go, and why nobody else. A leaf.

One pass over the frame a booking answers three questions: who are the k cheapest that count, how many are ruled out by
which rule, and who would be among the cheapest but for a rule. `engine.matcher.kernels` has the costs and the reasons
for blocks; this is the same with two limits.

What the bookings of a window have in common is paid for once: who is ruled out by bits alone is found for each set of
needs, and the list of the booking before gives the first limit. Its workers cost this booking something, too: the
dearest of them is a bound for the k-th best, and a near one when the bookings come in an order in which neighbours
follow each other. It is a bound only: whatever the order, the lists are the same to the bit.
"""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.jit import kernel
from engine.matcher import kernels as at
from engine.matcher.kernels import FloatArray, IntArray, cost_of, km2_of, overtime_of, sift_down, sift_up, sort_costs

CountArray: TypeAlias = NDArray[np.int64]

SKILL_RULE: Final = 0
KIT_RULES: Final = 1
RULE_LENGTH: Final = 5
"""Elements of a booking's own rules: the skill's bit, and from `KIT_RULES` on four sets of kit bits."""

ASKED: Final = 0
BLOCKED: Final = 1
PREFERRED: Final = 2
APART_KINDS: Final = 3
"""What a worker may be to one booking alone, in the order of the apart rows."""

COUNTS: Final = 1
NEARLY: Final = 2
"""Bits of a flag: cheaper than the dearest of those that count; cheaper than the dearest of those with the skill."""

Asked: TypeAlias = tuple[FloatArray, IntArray, IntArray, IntArray, IntArray, IntArray]
Apart: TypeAlias = tuple[IntArray, IntArray, int, int]
Lists: TypeAlias = tuple[IntArray, FloatArray, IntArray, IntArray, IntArray, CountArray]
Own: TypeAlias = tuple[FloatArray, IntArray, IntArray, CountArray]
"""What a booking may lay over: each row's base, mask, and first rule that it breaks; and how many rows break which."""


@kernel
def shortlists(matrix: FloatArray, mask: IntArray, asked: Asked, apart: Apart, lists: Lists) -> None:
    """Write what is found for each of m bookings into `lists`.

    Shapes:
        asked: queries (m, QUERY_LENGTH), needs (m, NEED_LENGTH), rules (m, RULE_LENGTH), is_in_area (m), the order in
            which the bookings are looked at (m), and the bits that each of the rules after the skill asks for (a).
        apart: rows of the frame, booking by booking and kind by kind, where each kind's begin (APART_KINDS * m + 1),
            and the bits that who was asked, and who is blocked, lacks.
        lists: rows and costs (m, k), cheapest first, of equals the lower row; how many (m); rows that would be among
            the cheapest but for a rule (m, l), ascending; how many (m); how many rows are ruled out by the first of
            the rules that applies (m, rules + 2): bits, then too far, then working time that ends before the job.
    """
    queries, needs, rules, is_in_area, order, ready_rules = asked
    rows, costs, found, near_rows, near_found, ruled_out = lists
    own = (matrix[at.BASE_MIN].copy(), mask.copy(), np.empty(mask.shape[1], np.int32), np.zeros_like(ruled_out[0]))
    k, wanted = rows.shape[1], rows.shape[1] + near_rows.shape[1]
    skilled, skilled_costs = np.empty(wanted, np.int32), np.empty(wanted, np.float32)
    block = np.empty(at.BLOCK, np.int32), np.empty(at.BLOCK, np.float32)
    before, skilled_found = -1, 0
    for b in order:
        if before < 0 or not _same_rules(rules[b], rules[before]):
            _sort_out(own, needs[b], rules[b], ready_rules)
        _lay_over(own, apart, b, queries[b], rules[b], ready_rules)
        of = matrix, needs[b], queries[b], own
        limit, skilled_limit = np.float32(np.inf if is_in_area[b] else -np.inf), np.float32(np.inf)
        if before >= 0 and is_in_area[b] and found[before] == k:
            limit = np.float32(_dearest(rows[before], of, True))  # noqa: FBT003 - kernels know no keywords
        if skilled_found == wanted:
            skilled_limit = np.float32(_dearest(skilled, of, False))  # noqa: FBT003 - as above
        ruled_out[b] = own[3]
        found[b], skilled_found = _fill(
            of, limit, skilled_limit, rows[b], costs[b], skilled, skilled_costs, block, ruled_out[b]
        )
        near_found[b] = _near(of, skilled[:skilled_found], is_in_area[b] != 0, near_rows[b])
        _take_off(own, apart, b, matrix, mask, rules[b], ready_rules)
        before = b


Of: TypeAlias = tuple[FloatArray, IntArray, FloatArray, Own]
"""A booking before its candidates: matrix, need, query, and what is its own."""

Block: TypeAlias = tuple[IntArray, FloatArray]
"""Of each row of a block: a flag, and the cost but for overtime."""


@kernel
def _fill(  # noqa: C901, PLR0913, PLR0917 - one loop: calls in it would cost what they tidy
    of: Of,
    limit: np.float32,
    skilled_limit: np.float32,
    rows: IntArray,
    costs: FloatArray,
    skilled: IntArray,
    skilled_costs: FloatArray,
    block: Block,
    ruled_out: CountArray,
) -> tuple[int, int]:
    """Write the cheapest that count and the cheapest with the skill, both in order; return how many of each."""
    matrix, _, query, own = of
    flags, block_costs = block
    n, found, skilled_found = own[0].shape[0], 0, 0
    start, stop = 0, 0
    while stop < n:
        start, stop = stop, min(n, stop + min(at.BLOCK, max(at.FIRST_BLOCK, stop)))
        if not _score(of, start, stop, limit, skilled_limit, block, ruled_out):
            continue
        for i in range(stop - start):
            if not flags[i]:
                continue
            row, cost = start + i, block_costs[i]
            if flags[i] & NEARLY and cost < skilled_limit:
                skilled_found = _put(skilled, skilled_costs, skilled_found, row, cost)
                if skilled_found == skilled.shape[0]:
                    skilled_limit = min(skilled_limit, skilled_costs[0])
            if flags[i] & COUNTS:
                cost += overtime_of(matrix, row, query)
                if cost < limit:
                    found = _put(rows, costs, found, row, cost)
                    if found == rows.shape[0]:
                        limit = min(limit, costs[0])
    sort_costs(rows, costs, found)
    sort_costs(skilled, skilled_costs, skilled_found)
    return found, skilled_found


@kernel
def _put(rows: IntArray, costs: FloatArray, found: int, row: int, cost: float) -> int:
    """Put a row on a heap, for the dearest if it is full; return how many are on it."""
    if found < rows.shape[0]:
        sift_up(rows, costs, found, row, cost)
        return found + 1
    sift_down(rows, costs, found, row, cost)
    return found


@kernel
def _score(
    of: Of, start: int, stop: int, limit: np.float32, skilled_limit: np.float32, block: Block, ruled_out: CountArray
) -> np.int32:
    """Write each row's cost, and for which lists it is cheap enough; return how many are for any.

    Who keeps every rule of bits but is too far away, or whose time ends, is counted.
    """
    matrix, need, query, own = of
    flags, costs = block
    x_km, y_km, base_min = matrix[at.X_KM, start:stop], matrix[at.Y_KM, start:stop], own[0][start:stop]
    experience, levels = matrix[at.EXPERIENCE, start:stop], matrix[need[at.LEVEL_ROW], start:stop]
    shift_end_min, work_end_min = matrix[at.SHIFT_END_MIN, start:stop], matrix[at.WORK_END_MIN, start:stop]
    kit, broken = own[1][at.MASK_KIT, start:stop], own[2][start:stop]
    place, terms, km2_max = at.place_of(query), at.terms_of(need, query), query[at.QUERY_KM2_MAX]
    end_min, overtime = query[at.QUERY_END_MIN], query[at.QUERY_OVERTIME]
    none, zero = np.int32(ruled_out.shape[0] - 2), np.float32(0)
    count, far, spent = np.int32(0), np.int32(0), np.int32(0)
    for i in range(stop - start):
        km2 = km2_of(place, x_km[i], y_km[i])
        cost = cost_of(terms, km2, base_min[i], experience[i], levels[i], kit[i])
        # np.int32: as in `kernels`.
        is_free, is_near = np.int32(broken[i] == none), np.int32(km2 <= km2_max)
        has_time = np.int32(end_min <= work_end_min[i])
        far += is_free & np.int32(not is_near)
        spent += is_free & is_near & np.int32(not has_time)
        whole_cost = cost + overtime * max(zero, end_min - shift_end_min[i])
        counts = is_free & is_near & has_time & np.int32(whole_cost < limit)
        nearly = np.int32(broken[i] != SKILL_RULE) & np.int32(cost < skilled_limit)
        flag = np.int32(counts | np.int32(nearly + nearly))
        flags[i], costs[i] = flag, cost
        count += np.int32(flag != 0)
    ruled_out[none] += far
    ruled_out[none + 1] += spent
    return count


@kernel
def _dearest(rows: IntArray, of: Of, has_rules: bool) -> float:  # noqa: FBT001 - kernels know no keywords
    """Return a cost that only as many are below as there are rows; infinity if one of these does not count."""
    matrix, need, query, own = of
    base, mask, broken, ruled_out = own
    place, terms, levels = at.place_of(query), at.terms_of(need, query), matrix[need[at.LEVEL_ROW]]
    dearest = np.float32(0)
    for row in rows:
        km2 = km2_of(place, matrix[at.X_KM, row], matrix[at.Y_KM, row])
        cost = cost_of(terms, km2, base[row], matrix[at.EXPERIENCE, row], levels[row], mask[at.MASK_KIT, row])
        if has_rules:
            counts = broken[row] == ruled_out.shape[0] - 2 and not at.is_far(matrix, row, query)
            if not counts or query[at.QUERY_END_MIN] > matrix[at.WORK_END_MIN, row]:
                return at.NEVER
            cost += overtime_of(matrix, row, query)
        elif broken[row] == SKILL_RULE:
            return at.NEVER
        dearest = max(dearest, cost)
    above: float = np.nextafter(dearest, at.NEVER)
    return above


@kernel
def _near(of: Of, skilled: IntArray, is_in_area: bool, near: IntArray) -> int:  # noqa: FBT001 - as above
    """Write the first of those with the skill who break a rule, ascending; return how many they are."""
    matrix, _, query, own = of
    none = own[3].shape[0] - 2
    count = 0
    for row in skilled:
        if count == near.shape[0]:
            break
        is_spent = query[at.QUERY_END_MIN] > matrix[at.WORK_END_MIN, row]
        if is_in_area and own[2][row] == none and not is_spent and not at.is_far(matrix, row, query):
            continue
        to = count
        while to > 0 and near[to - 1] > row:
            near[to] = near[to - 1]
            to -= 1
        near[to] = row
        count += 1
    return count


@kernel
def _same_rules(one: IntArray, other: IntArray) -> bool:
    is_same = True
    for i in range(RULE_LENGTH):
        is_same &= one[i] == other[i]
    return is_same


@kernel
def _sort_out(own: Own, need: IntArray, rules: IntArray, ready_rules: IntArray) -> None:
    """Find the first rule that the bits of each row break, and count."""
    _, mask, broken, ruled_out = own
    need_ready, need_kit = need[at.NEED_READY], need[at.NEED_KIT]
    none = ruled_out.shape[0] - 2
    ruled_out[:] = 0
    for row in range(mask.shape[1]):
        ready, kit = mask[at.MASK_READY, row], mask[at.MASK_KIT, row]
        if (ready & need_ready) == need_ready and (kit & need_kit) == need_kit:
            broken[row] = none
            continue
        broken[row] = _first_broken(ready, kit, rules, ready_rules)
        if broken[row] != none:
            ruled_out[broken[row]] += 1


@kernel
def _first_broken(ready: int, kit: int, rules: IntArray, ready_rules: IntArray) -> int:
    """Return the number of the first rule whose bits are not all there; if there is none, how many rules there are."""
    if (ready & rules[SKILL_RULE]) != rules[SKILL_RULE]:
        return SKILL_RULE
    number = SKILL_RULE + 1
    for bits in ready_rules:
        if (ready & bits) != bits:
            return number
        number += 1
    for i in range(KIT_RULES, RULE_LENGTH):
        if (kit & rules[i]) != rules[i]:
            return number
        number += 1
    return number


@kernel
def _lay_over(own: Own, apart: Apart, b: int, query: FloatArray, rules: IntArray, ready_rules: IntArray) -> None:
    """Lay what is special to a booking over the rows that it is about."""
    base, mask, _, _ = own
    rows, first, unasked, unblocked = apart
    for i in range(first[APART_KINDS * b + ASKED], first[APART_KINDS * b + BLOCKED]):
        mask[at.MASK_READY, rows[i]] &= ~unasked
        _rule_again(own, rows[i], rules, ready_rules)
    for i in range(first[APART_KINDS * b + BLOCKED], first[APART_KINDS * b + PREFERRED]):
        mask[at.MASK_KIT, rows[i]] &= ~unblocked
        _rule_again(own, rows[i], rules, ready_rules)
    for i in range(first[APART_KINDS * b + PREFERRED], first[APART_KINDS * (b + 1)]):
        base[rows[i]] -= query[at.QUERY_PREFERENCE_MIN]


@kernel
def _take_off(
    own: Own, apart: Apart, b: int, matrix: FloatArray, mask: IntArray, rules: IntArray, ready_rules: IntArray
) -> None:
    rows, first, _, _ = apart
    for i in range(first[APART_KINDS * b], first[APART_KINDS * (b + 1)]):
        own[0][rows[i]] = matrix[at.BASE_MIN, rows[i]]
        own[1][:, rows[i]] = mask[:, rows[i]]
        _rule_again(own, rows[i], rules, ready_rules)


@kernel
def _rule_again(own: Own, row: int, rules: IntArray, ready_rules: IntArray) -> None:
    """Find a row's first broken rule anew, and count it there."""
    _, mask, broken, ruled_out = own
    none = ruled_out.shape[0] - 2
    now = _first_broken(mask[at.MASK_READY, row], mask[at.MASK_KIT, row], rules, ready_rules)
    if broken[row] != none:
        ruled_out[broken[row]] -= 1
    if now != none:
        ruled_out[now] += 1
    broken[row] = now
