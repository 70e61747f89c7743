"""Several open bookings, decided together: shortlists in, one exact plan, decisions out. Pure.

How much better somebody is than nobody is the matter of `urgency`. Who is about to finish is a candidate beside the
free: a booking that is better off with them is not given out now, but planned again with the next window. Open seats of
one crew are filled together or not at all: nobody is bound to a job that cannot begin.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from config.limits import CREW_WORK_MAX, WHY_CANDIDATES_MAX
from engine.eta.source import EtaMatrix
from engine.matcher.assignment.sparse import UNASSIGNED
from engine.matcher.assignment.window import DEFAULT_RULES, Outcome, WindowPlan, WindowRules
from engine.matcher.assignment.window_seats import Candidates, Workers
from engine.matcher.decision import Circumstances, Decision
from engine.matcher.finishing import Soon
from engine.matcher.frame import DoubleArray, SlotArray
from engine.matcher.kernels import IntArray
from engine.matcher.plan import GaveWay, Mode, Share, WindowProblem
from engine.matcher.pricing import BoolArray, Choice, PriceList, price_list
from engine.matcher.shortlist import Shortlist
from engine.matcher.urgency import seats_of

NOBODY: Final = -1
"""Instead of a slot."""


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
    crew_id: UUID | None = None
    """Bookings of one crew are filled together or not at all."""


def prices_of(bookings: Sequence[Open]) -> PriceList:
    """Return what each booking's free workers cost it."""
    return price_list([each.free for each in bookings], [each.free_arrivals for each in bookings])


def problem_of(
    bookings: Sequence[Open],
    prices: PriceList,
    soon: Soon,
    *,
    now_ms: int,
    is_short: bool = False,
    rules: WindowRules = DEFAULT_RULES,
) -> WindowProblem:
    """Return the question for the solver; `prices` are those of the free, `is_short` says that hands are."""
    entries = _entries(bookings, prices)
    slots, worker = np.unique(entries.slots, return_inverse=True)
    free_at_ms, sd_min = np.full(len(slots), now_ms, np.int64), np.zeros(len(slots))
    likely_at_ms = free_at_ms.copy()
    is_soon = np.isin(slots, soon.slots)
    at = np.searchsorted(soon.slots, slots[is_soon])
    # Whose time has come since they were read is overdue; free is only who was found free.
    free_at_ms[is_soon], sd_min[is_soon] = np.maximum(soon.free_at_ms[at], now_ms + 1), soon.sd_min[at]
    likely_at_ms[is_soon] = soon.likely_at_ms[at]
    counts = np.bincount(entries.seat, minlength=len(bookings))
    seats = seats_of(
        [booking.free.weights for booking in bookings],
        np.array([booking.waited_min for booking in bookings], np.float64),
        entries.extra_min(len(bookings)),
        is_short=np.array([is_short and not booking.is_pinned for booking in bookings]),
    )
    return WindowProblem(
        seats=replace(seats, job=_jobs(bookings)),
        candidates=Candidates(
            start=np.concatenate(([0], np.cumsum(counts))).astype(np.int32),
            worker=worker.astype(np.int32),
            cost_min=entries.cost_min,
            drive_min=entries.drive_min,
        ),
        workers=Workers(free_at_ms, sd_min, likely_at_ms),
        slots=slots,
        now_ms=now_ms,
        rules=replace(rules, crew_steps_max=min(rules.crew_steps_max, max(1, CREW_WORK_MAX // len(bookings)))),
    )


def decisions_of(
    bookings: Sequence[Open],
    prices: PriceList,
    problem: WindowProblem,
    plan: WindowPlan,
    *,
    window_ms: int,
    solver_us: int,
) -> list[Decision]:
    """Return what the plan says of each booking."""
    got = plan.worker != UNASSIGNED
    slots = np.full(len(bookings), NOBODY, np.int64)
    slots[got] = problem.slots[plan.worker[got]]
    seat_of = dict(zip(slots[got].tolist(), np.flatnonzero(got).tolist(), strict=True))
    is_sent = np.array([each is Outcome.SENT for each in plan.outcome])
    sent = dict(zip(np.flatnonzero(is_sent).tolist(), _chosen(prices, np.where(is_sent, slots, NOBODY)), strict=True))
    others = _others(prices, slots[got], is_sent)
    shares = zip(plan.outcome, slots.tolist(), _cheapest(prices), strict=True)
    decisions = []
    for seat, (outcome, slot, cheapest) in enumerate(shares):
        chosen, booking = sent.get(seat), bookings[seat]
        share = Share(
            mode=Mode.WINDOW,
            window_ms=window_ms,
            seat=seat,
            outcome=outcome,
            solver_us=solver_us,
            reserved_slot=slot if outcome is Outcome.RESERVED else None,
            gave_way=_gave_way(cheapest, chosen, seat, seat_of),
            problem=problem,
            plan=plan,
        )
        to_ask = () if chosen is None else (chosen, *others[seat])
        decisions.append(Decision(booking.free, booking.free_arrivals, to_ask, booking.circumstances, share))
    return decisions


@dataclass(frozen=True, slots=True, eq=False)
class _Entries:
    """Pairs of a booking and a worker in time for it, by booking: the free, then those about to finish."""

    seat: IntArray
    slots: SlotArray
    cost_min: DoubleArray
    drive_min: DoubleArray

    def extra_min(self, bookings: int) -> DoubleArray:
        """Return what the cheapest worker of each booking costs beside the drive; 0 where there is none."""
        least_min = np.full(bookings, np.inf)
        np.minimum.at(least_min, self.seat, self.cost_min - self.drive_min)
        return np.where(np.isfinite(least_min), least_min, 0.0)


def _jobs(bookings: Sequence[Open]) -> IntArray:
    """Return the job of each booking: a crew's open seats are one."""
    numbers: dict[UUID | int, int] = {}
    keys = [seat if booking.crew_id is None else booking.crew_id for seat, booking in enumerate(bookings)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int32)


def _entries(bookings: Sequence[Open], prices: PriceList) -> _Entries:
    free = _in_time(prices, np.arange(len(bookings)))
    ahead = [(seat, each.soon, each.soon_arrivals) for seat, each in enumerate(bookings) if each.soon]
    if not ahead:
        return free
    seats, lists, times = zip(*ahead, strict=True)
    soon = _in_time(price_list(lists, times), np.array(seats))
    seat = np.concatenate((free.seat, soon.seat))
    order = np.argsort(seat, kind="stable")
    return _Entries(
        seat[order],
        np.concatenate((free.slots, soon.slots))[order],
        np.concatenate((free.cost_min, soon.cost_min))[order],
        np.concatenate((free.drive_min, soon.drive_min))[order],
    )


def _in_time(prices: PriceList, seats: NDArray[np.int64]) -> _Entries:
    rows = prices.best()
    return _Entries(
        np.repeat(seats, prices.in_time).astype(np.int32),
        prices.slots[rows],
        prices.cost_min[rows],
        prices.eta_min[rows],
    )


def _chosen(prices: PriceList, slots: SlotArray) -> tuple[Choice, ...]:
    """Return the price of each booking's worker; `NOBODY` has none."""
    rows = np.flatnonzero(prices.slots == np.repeat(slots, np.diff(prices.first)))
    return prices.choices(rows)


def _others(prices: PriceList, taken: SlotArray, is_sent: BoolArray) -> list[tuple[Choice, ...]]:
    """Return for each booking that is sent somebody the next best whom no booking of the window got."""
    rows = prices.best(WHY_CANDIDATES_MAX)
    seat = prices.list_of(rows)
    kept = is_sent[seat] & ~np.isin(prices.slots[rows], taken)
    choices = prices.choices(rows[kept])
    ends = np.cumsum(np.bincount(seat[kept], minlength=len(prices))).tolist()
    return [choices[a:b] for a, b in pairwise([0, *ends])]


def _cheapest(prices: PriceList) -> list[tuple[int, float] | None]:
    """Return the cheapest worker of each booking, by slot and price."""
    cheapest: list[tuple[int, float] | None] = [None] * len(prices)
    rows = prices.best(1)
    named = zip(prices.slots[rows].tolist(), prices.cost_min[rows].tolist(), strict=True)
    for seat, one in zip(prices.list_of(rows).tolist(), named, strict=True):
        cheapest[seat] = one
    return cheapest


def _gave_way(
    cheapest: tuple[int, float] | None, chosen: Choice | None, seat: int, seat_of: dict[int, int]
) -> GaveWay | None:
    """Return the cheapest worker of a booking that did not get that one."""
    if cheapest is None:
        return None
    slot, cost_min = cheapest
    if seat_of.get(slot) == seat:
        return None
    more_min = None if chosen is None else chosen.cost_min - cost_min
    return GaveWay(slot, cost_min, more_min, seat_of.get(slot))
