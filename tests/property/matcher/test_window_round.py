"""What is decided together: nobody twice, nothing against a rule, the least cost of all, and the same once more."""

import math
from itertools import product
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.limits import CREW_STEPS_MAX, CREW_WORK_MAX
from engine.eta.source import EtaMatrix, EtaOutcome
from engine.matcher import kernels
from engine.matcher.ask import Ask
from engine.matcher.assignment import sparse
from engine.matcher.assignment.window import DEFAULT_RULES, Outcome
from engine.matcher.cost_policy import CostWeights
from engine.matcher.decision import Circumstances, Decision
from engine.matcher.finishing import Soon
from engine.matcher.frame import ALL_READY, Apart, Candidates, build_frame
from engine.matcher.plan import WindowProblem
from engine.matcher.pricing import PriceList
from engine.matcher.shortlist import Shortlist, shortlist_of
from engine.matcher.urgency import UNSERVED_MIN
from engine.matcher.window_round import Open, decisions_of, prices_of, problem_of
from engine.risk.score import Risk

LAT_DEG, LNG_DEG = 41.15, -8.61
NOW_MS = 1_700_000_000_000
CALM = Circumstances("standard@1", Risk(0.0, {}), 12_000, asks_again=False)
WINDOW_MS = 1_000
CREWS = (UUID(int=1), UUID(int=2))


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    kernels.warm_up()
    sparse.warm_up()


def shortlist(random: np.random.Generator, slots: np.ndarray, *, cap_min: float) -> Shortlist:
    n = len(slots)
    candidates = Candidates(
        slots=slots,
        mask=np.where(random.random(n) < 0.8, int(ALL_READY) | 1, int(ALL_READY)).astype(np.int32),
        lat_deg=LAT_DEG + random.normal(0, 0.02, n),
        lng_deg=LNG_DEG + random.normal(0, 0.02, n),
        rating=random.uniform(3, 5, n),
        experience=random.uniform(0, 1, n),
        idle_s=random.uniform(0, 7_200, n),
        fix_age_s=np.zeros(n),
    )
    weights = CostWeights(eta_cap_min=cap_min)
    frame = build_frame(candidates, origin_lat_deg=LAT_DEG, origin_lng_deg=LNG_DEG, weights=weights)
    ask = Ask(LAT_DEG + random.normal(0, 0.01), LNG_DEG, skill_bit=0, risk=0)
    return shortlist_of(frame, ask, Apart.nobody(), weights=weights)


def arrivals(random: np.random.Generator, of: Shortlist) -> EtaMatrix | None:
    if len(of) == 0:
        return None
    seconds = random.uniform(60, 2_400, len(of))
    outcome = random.choice([EtaOutcome.ROADS, EtaOutcome.OFF_GRAPH], len(of)).astype(np.uint8)
    return EtaMatrix(seconds, seconds, seconds, outcome)


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[Open], Soon]:
    """Up to four bookings, some of them seats of a crew, and up to five workers, free or about to finish."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    free_slots = np.arange(draw(st.integers(0, 4)), dtype=np.int64) * 3
    soon_slots = np.arange(draw(st.integers(0, 2)), dtype=np.int64) * 3 + 100
    n = len(soon_slots)
    soon = Soon(
        soon_slots,
        np.full(n, LAT_DEG),
        np.full(n, LNG_DEG),
        NOW_MS + random.integers(0, 500_000, n),
        random.uniform(0, 10, n),
        NOW_MS + random.integers(0, 1_500_000, n),
    )
    bookings = []
    for _ in range(draw(st.integers(1, 4))):
        cap_min = draw(st.sampled_from([45.0, 20.0]))
        free = shortlist(random, free_slots, cap_min=cap_min)
        ahead = shortlist(random, soon_slots, cap_min=cap_min) if draw(st.booleans()) else None
        waited_min = float(random.uniform(0, 30))
        ahead_times = None if ahead is None else arrivals(random, ahead)
        crew_id = draw(st.sampled_from([None, None, *CREWS]))
        bookings.append(Open(free, arrivals(random, free), ahead, ahead_times, waited_min, CALM, crew_id=crew_id))
    return bookings, soon


def decided(
    bookings: list[Open], soon: Soon, *, is_short: bool = False
) -> tuple[WindowProblem, PriceList, list[Decision]]:
    prices = prices_of(bookings)
    problem = problem_of(bookings, prices, soon, now_ms=NOW_MS, is_short=is_short)
    plan = problem.solve()
    return problem, prices, decisions_of(bookings, prices, problem, plan, window_ms=WINDOW_MS, solver_us=7)


def least_cost(problem: WindowProblem) -> float:
    """Try every way to give each booking one of its workers, or none; a crew all of them, or none."""
    found, wait_min = problem.candidates, (problem.workers.free_at_ms - problem.now_ms) / 60_000
    wait_min = np.where(wait_min > 0, wait_min + DEFAULT_RULES.finish_margin_sd * problem.workers.free_sd_min, 0)
    options: list[list[tuple[int | None, float]]] = []
    for seat, unassigned_min in enumerate(problem.seats.unassigned_min.tolist()):
        pairs = range(found.start[seat], found.start[seat + 1])
        cap_min = problem.seats.eta_cap_min[seat]
        options.append([(None, unassigned_min)])
        options[-1] += [
            (
                int(found.worker[i]),
                float(found.cost_min[i] + DEFAULT_RULES.finish_wait_weight * wait_min[found.worker[i]])
                + late_cost_min(problem, seat, i),
            )
            for i in pairs
            if found.drive_min[i] + wait_min[found.worker[i]] <= cap_min
        ]
    totals = [
        sum(cost for _, cost in way)
        for way in product(*options)
        if len({who for who, _ in way if who is not None}) == sum(who is not None for who, _ in way)
        and is_whole([who is not None for who, _ in way], problem.seats.job.tolist())
    ]
    return min(totals)


def is_whole(filled: list[bool], job: list[int]) -> bool:
    """Whether each job has all its seats filled, or none."""
    return all(len({yes for yes, of in zip(filled, job, strict=True) if of == each}) == 1 for each in set(job))


def late_cost_min(problem: WindowProblem, seat: int, pair: int) -> float:
    found, team = problem.candidates, problem.workers
    worker = found.worker[pair]
    likely_min = max((team.likely_at_ms[worker] - problem.now_ms) / 60_000, 0.0)
    spread_min = DEFAULT_RULES.late_spread_min
    spread_min += DEFAULT_RULES.late_spread_sd * min(team.free_sd_min[worker], likely_min)
    over_min = found.drive_min[pair] + likely_min - problem.seats.late_after_min[seat]
    return float(problem.seats.late_min[seat]) / (1 + math.exp(min(-over_min / spread_min, 700.0)))


@settings(max_examples=60)
@given(windows(), st.booleans())
def test_a_window_is_the_cheapest_for_all_and_gives_nobody_twice(drawn: tuple[list[Open], Soon], short: bool) -> None:
    bookings, soon = drawn
    problem, prices, decisions = decided(bookings, soon, is_short=short)
    crews = [booking.crew_id for booking in bookings]
    job = problem.seats.job.tolist()
    assert all(
        (job[a] == job[b]) == (a == b or (crews[a] is not None and crews[a] == crews[b]))
        for a, b in product(range(len(job)), repeat=2)
    )
    plan = decisions[0].share.plan
    assert plan is not None
    assert plan.total_min == pytest.approx(least_cost(problem))
    given_out = [int(problem.slots[column]) for column in plan.worker.tolist() if column >= 0]
    assert len(set(given_out)) == len(given_out)
    for seat, (booking, decision) in enumerate(zip(bookings, decisions, strict=True)):
        share = decision.share
        if share.outcome == Outcome.SENT:
            first, *others = decision.to_ask
            assert first.slot in given_out
            assert first.eta_s <= booking.free.weights.eta_cap_min * 60 + 1
            assert not {each.slot for each in others} & set(given_out), "or two bookings would ask one worker"
        else:
            assert decision.to_ask == ()
        assert (share.reserved_slot is not None) == (share.outcome == Outcome.RESERVED)
        mine = problem.slots[plan.worker[seat]] if plan.worker[seat] != sparse.UNASSIGNED else None
        best = prices.best(1)
        cheapest = prices.choices(best[prices.list_of(best) == seat])
        if share.outcome == Outcome.CREW_WAITS:
            mates = [Outcome(each.share.outcome) for each, of in zip(decisions, job, strict=True) if of == job[seat]]
            assert Outcome.RESERVED in mates
            assert Outcome.SENT not in mates
        if cheapest and cheapest[0].slot != mine:
            assert share.gave_way is not None
            assert share.gave_way.slot == cheapest[0].slot


def test_many_crews_that_cannot_all_be_filled_do_not_hold_up_a_window() -> None:
    random = np.random.default_rng(5)
    slots = np.arange(60, dtype=np.int64)
    bookings = []
    for seat in range(120):
        free = shortlist(random, slots, cap_min=45.0)
        crew_id = UUID(int=1 + seat // 3)
        bookings.append(Open(free, arrivals(random, free), None, None, 1.0, CALM, crew_id=crew_id))
    problem, _, decisions = decided(bookings, Soon.nobody())
    assert problem.rules.crew_steps_max * len(bookings) <= CREW_WORK_MAX < CREW_STEPS_MAX * len(bookings)
    sent = [bool(decision.to_ask) for decision in decisions]
    assert is_whole(sent, problem.seats.job.tolist())
    assert 30 <= sum(sent) <= len(slots)


@settings(max_examples=20)
@given(windows())
def test_the_same_problem_has_the_same_plan(drawn: tuple[list[Open], Soon]) -> None:
    problem, _, decisions = decided(*drawn)
    again = problem.solve()
    plan = decisions[0].share.plan
    assert plan is not None
    assert again.outcome == plan.outcome
    assert again.worker.tolist() == plan.worker.tolist()
    assert again.total_min == plan.total_min


def test_staying_without_costs_more_than_anybody() -> None:
    random = np.random.default_rng(3)
    free = shortlist(random, np.arange(30, dtype=np.int64), cap_min=600)
    slow = EtaMatrix(*(np.full(len(free), 35_000.0) for _ in range(3)), np.full(len(free), EtaOutcome.ROADS, np.uint8))
    _, prices, (decision,) = decided([Open(free, slow, None, None, 0, CALM)], Soon.nobody())
    assert decision.share.outcome == Outcome.SENT
    assert prices.cost_min.max() < UNSERVED_MIN
