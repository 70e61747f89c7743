"""Several open bookings, decided together: shortlists in, one exact plan, decisions out. Pure.

How much better somebody is than nobody is the matter of `urgency`. Who is about to finish is a candidate beside the
free: a booking that is better off with them is not given out now, but planned again with the next window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.eta.source import EtaMatrix
from engine.matcher.assignment.sparse import UNASSIGNED
from engine.matcher.assignment.window import DEFAULT_RULES, Outcome, WindowPlan, WindowRules
from engine.matcher.assignment.window_seats import Candidates, Workers
from engine.matcher.decision import (
    Choice,
    Circumstances,
    Decision,
    Priced,
    Shortlist,
    choice_at,
    choices_of,
    priced,
)
from engine.matcher.finishing import Soon
from engine.matcher.frame import DoubleArray, SlotArray
from engine.matcher.plan import GaveWay, Mode, Share, WindowProblem
from engine.matcher.urgency import seats_of


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Open:
    """A booking of a window: who is free for it, and who soon will be."""

    free: Shortlist
    free_arrivals: EtaMatrix | None
    soon: Shortlist | None
    soon_arrivals: EtaMatrix | None
    waited_min: float
    circumstances: Circumstances
    is_pinned: bool = False
    """By the desk, to the one worker who is on its list."""


@dataclass(frozen=True, slots=True, eq=False)
class _Entries:
    """A booking's pairs: free workers, then those about to finish."""

    slots: SlotArray
    cost_min: DoubleArray
    drive_min: DoubleArray


def problem_of(
    bookings: Sequence[Open],
    prices: Sequence[Priced],
    soon: Soon,
    *,
    now_ms: int,
    is_short: bool = False,
    rules: WindowRules = DEFAULT_RULES,
) -> WindowProblem:
    """Return the question for the solver; `prices` are those of the free, `is_short` says that hands are."""
    entries = [_entries(booking, price) for booking, price in zip(bookings, prices, strict=True)]
    listed = np.concatenate([each.slots for each in entries])
    slots, worker = np.unique(listed, return_inverse=True)
    free_at_ms, sd_min = np.full(len(slots), now_ms, np.int64), np.zeros(len(slots))
    likely_at_ms = free_at_ms.copy()
    is_soon = np.isin(slots, soon.slots)
    at = np.searchsorted(soon.slots, slots[is_soon])
    free_at_ms[is_soon], sd_min[is_soon] = soon.free_at_ms[at], soon.sd_min[at]
    likely_at_ms[is_soon] = soon.likely_at_ms[at]
    counts = [len(each.slots) for each in entries]
    return WindowProblem(
        seats=seats_of(
            [booking.free.weights for booking in bookings],
            np.array([booking.waited_min for booking in bookings], np.float64),
            np.array([_extra_min(each) for each in entries], np.float64),
            is_short=np.array([is_short and not booking.is_pinned for booking in bookings]),
        ),
        candidates=Candidates(
            start=np.concatenate(([0], np.cumsum(counts))).astype(np.int32),
            worker=worker.astype(np.int32),
            cost_min=np.concatenate([each.cost_min for each in entries]),
            drive_min=np.concatenate([each.drive_min for each in entries]),
        ),
        workers=Workers(free_at_ms, sd_min, likely_at_ms),
        slots=slots,
        now_ms=now_ms,
        rules=rules,
    )


def prices_of(bookings: Sequence[Open]) -> list[Priced]:
    """Return what each booking's free workers cost it."""
    return [priced(booking.free, booking.free_arrivals) for booking in bookings]


def decisions_of(
    bookings: Sequence[Open],
    prices: Sequence[Priced],
    problem: WindowProblem,
    plan: WindowPlan,
    *,
    window_ms: int,
    solver_us: int,
) -> list[Decision]:
    """Return what the plan says of each booking."""
    seat_of = {int(problem.slots[column]): seat for seat, column in enumerate(plan.worker.tolist()) if column >= 0}
    decisions = []
    for seat, (booking, price) in enumerate(zip(bookings, prices, strict=True)):
        column = int(plan.worker[seat])
        slot = None if column == UNASSIGNED else int(problem.slots[column])
        is_sent = plan.outcome[seat] is Outcome.SENT
        chosen = _choice(booking.free, price, slot) if is_sent and slot is not None else None
        share = Share(
            mode=Mode.WINDOW,
            window_ms=window_ms,
            seat=seat,
            outcome=plan.outcome[seat],
            solver_us=solver_us,
            reserved_slot=slot if plan.outcome[seat] is Outcome.RESERVED else None,
            gave_way=_gave_way(booking.free, price, chosen, seat_of),
            problem=problem,
            plan=plan,
        )
        to_ask = () if chosen is None else (chosen, *_others(booking.free, price, seat_of))
        decisions.append(Decision(booking.free, booking.free_arrivals, to_ask, booking.circumstances, share))
    return decisions


def _extra_min(entries: _Entries) -> float:
    return float((entries.cost_min - entries.drive_min).min()) if len(entries.slots) else 0.0


def _entries(booking: Open, price: Priced) -> _Entries:
    free = _listed(booking.free, price)
    if booking.soon is None or len(booking.soon) == 0:
        return free
    soon = _listed(booking.soon, priced(booking.soon, booking.soon_arrivals))
    return _Entries(
        np.concatenate((free.slots, soon.slots)),
        np.concatenate((free.cost_min, soon.cost_min)),
        np.concatenate((free.drive_min, soon.drive_min)),
    )


def _listed(shortlist: Shortlist, price: Priced) -> _Entries:
    return _Entries(shortlist.frame.slots[price.order], price.cost_min[price.order], price.eta_min[price.order])


def _choice(shortlist: Shortlist, price: Priced, slot: int) -> Choice:
    row = int(np.flatnonzero(shortlist.frame.slots == slot)[0])
    return choice_at(shortlist, price, row)


def _others(shortlist: Shortlist, price: Priced, seat_of: dict[int, int]) -> tuple[Choice, ...]:
    """Return the next best whom no booking of the window got."""
    return tuple(each for each in choices_of(shortlist, price) if each.slot not in seat_of)


def _gave_way(shortlist: Shortlist, price: Priced, chosen: Choice | None, seat_of: dict[int, int]) -> GaveWay | None:
    """Return the cheapest worker of a booking that was not sent that one."""
    if len(price.order) == 0:
        return None
    best = choice_at(shortlist, price, int(price.order[0]))
    if chosen is not None and best.slot == chosen.slot:
        return None
    more_min = None if chosen is None else chosen.cost_min - best.cost_min
    return GaveWay(best.slot, best.cost_min, more_min, seat_of.get(best.slot))
