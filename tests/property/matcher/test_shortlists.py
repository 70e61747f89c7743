"""Many bookings in one call of the kernel are what each is by itself, and that is what the plain twin says."""

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.limits import NEAR_LOSERS_MAX, SEARCH_RADIUS_M_MAX
from engine.core.ids import PersonId
from engine.eta.source import EtaMatrix, EtaOutcome
from engine.matcher import decision, reference
from engine.matcher import kernels as at
from engine.matcher.ask import Ask, Wants
from engine.matcher.cost_policy import DEFAULT_WEIGHTS, CostWeights
from engine.matcher.excluded import OUT_OF_AREA
from engine.matcher.frame import (
    READY_RULES,
    REASONS,
    SKILL_BITS,
    UNBLOCKED,
    Apart,
    Candidates,
    Frame,
    Ready,
    WorkFacts,
    build_frame,
    build_query,
    degrees_of,
    kit_rules,
    laid_over,
    straight_eta_min,
)
from engine.matcher.pricing import price_list
from engine.matcher.shortlist import InFrame, Shortlist, columns_of, shortlist_of, shortlists_of

NOW_MS = 1_700_000_000_000
LAT_DEG, LNG_DEG = 41.15, -8.6
READY = sum(int(each) for each in Ready)
SMALL = (0, 1, 31, 33, 60)
LARGE = (33, 257, 600)
"""Around the sizes at which blocks begin; the plain twin takes a while for the large ones."""
STEPS = 8
"""Places of a coarse grid, so that costs are often equal."""


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    decision.warm_up()


@st.composite
def towns(draw: st.DrawFn, sizes: tuple[int, ...]) -> tuple[Frame, CostWeights, list[InFrame], int]:
    """A frame of one of these sizes, some bookings in it, and how long a list is."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.sampled_from(sizes))
    spread_deg = draw(st.sampled_from([0.0, 0.004, 0.15]))
    weights = replace(
        DEFAULT_WEIGHTS,
        preference_min=draw(st.floats(0, 9)),
        risk_gap_min=draw(st.sampled_from([0.0, 5.0])),
        overtime_min_per_min=draw(st.sampled_from([0.0, 0.5])),
    )
    candidates = _candidates(rng, n, spread_deg, broken=draw(st.sampled_from([0.0, 0.05, 0.4])))
    frame = build_frame(
        candidates,
        origin_lat_deg=LAT_DEG,
        origin_lng_deg=LNG_DEG,
        weights=weights,
        now_ms=NOW_MS,
        epoch_ms=NOW_MS - 700,
    )
    bookings = [_booking(rng, n, spread_deg) for _ in range(draw(st.integers(1, 6)))]
    return frame, weights, bookings, draw(st.sampled_from([1, 5, 30]))


def _candidates(rng: np.random.Generator, n: int, spread_deg: float, *, broken: float) -> Candidates:
    def stepped() -> np.ndarray:
        return rng.integers(0, STEPS, n) / STEPS

    mask = np.full(n, READY, np.int32) | rng.integers(0, 4, n).astype(np.int32)
    for bit in Ready:
        mask[rng.random(n) < broken] &= ~int(bit)
    facts = WorkFacts(
        kit=rng.integers(0, 1 << 8, n).astype(np.int32) | np.int32(UNBLOCKED),
        jobs_today=rng.integers(0, 3, n).astype(float),
        earned_minor=np.zeros(n),
        acceptance_gap=stepped(),
        battery_pct=np.full(n, 80.0),
        shift_left_min=np.where(rng.random(n) < 0.3, rng.uniform(-10, 300, n), np.inf),
        work_left_min=np.where(rng.random(n) < 0.2, rng.uniform(-10, 200, n), np.inf),
        levels=rng.integers(0, 3, (SKILL_BITS, n)).astype(np.float32) / 2,
    )
    return Candidates(
        slots=np.sort(rng.choice(5_000, n, replace=False)).astype(np.int64),
        mask=mask,
        lat_deg=LAT_DEG + spread_deg * (stepped() - 0.5),
        lng_deg=LNG_DEG + spread_deg * (stepped() - 0.5),
        rating=4 + stepped(),
        experience=stepped(),
        idle_s=np.full(n, 9_000.0),
        fix_age_s=np.zeros(n),
        facts=facts,
    )


def _booking(rng: np.random.Generator, n: int, spread_deg: float) -> InFrame:
    some = [np.flatnonzero(rng.random(n) < 0.05).astype(np.int32) for _ in range(3)]
    apart = Apart.nobody() if rng.random() < 0.5 else Apart(*some)
    wants = Wants(
        certificates=int(rng.integers(0, 2)),
        tools=int(rng.integers(0, 2)) * 2,
        parts=int(rng.integers(0, 2)) * 4,
        languages=int(rng.integers(0, 2)) * 8,
        level=float(rng.integers(0, 3)) / 2,
        duration_min=int(rng.integers(0, 3)) * 60,
        preferred=frozenset({PersonId(UUID(int=7))}) if rng.random() < 0.5 else frozenset(),
        is_in_area=bool(rng.random() < 0.9),
    )
    place = LAT_DEG + spread_deg * (rng.random() - 0.5), LNG_DEG + spread_deg * (rng.random() - 0.5)
    radius_m = float(rng.choice([0, 900, 4_000, SEARCH_RADIUS_M_MAX]))
    return InFrame(Ask(*place, int(rng.integers(0, 2)), float(rng.random()), wants), apart, radius_m)


def bits(listed: Shortlist) -> list[object]:
    """Everything that a shortlist says, to the bit."""
    arrays = [listed.query.numbers, listed.query.need, listed.cost_min]
    for frame, apart in ((listed.frame, listed.apart), (listed.excluded.frame, listed.excluded.apart)):
        arrays += [frame.slots, frame.matrix, frame.mask, frame.fixed, apart.asked, apart.blocked, apart.preferred]
    said = (listed.looked_at, listed.ruled_out, listed.radius_m, listed.k, listed.now_ms, listed.ask, listed.weights)
    return [*((str(each.dtype), each.shape, each.tobytes()) for each in arrays), *said]


@settings(deadline=None, max_examples=40)
@given(towns(LARGE), st.randoms())
def test_bookings_of_one_call_know_nothing_of_each_other(town: tuple, shuffled: object) -> None:
    frame, weights, bookings, k = town
    before = frame.matrix.tobytes(), frame.mask.tobytes()
    alone = [
        shortlist_of(frame, b.ask, b.apart, radius_m=b.radius_m, weights=weights, k=k, now_ms=NOW_MS) for b in bookings
    ]
    together = shortlists_of(frame, bookings, weights=weights, k=k, now_ms=NOW_MS)
    assert [bits(each) for each in together] == [bits(each) for each in alone]
    for booking, found in zip(bookings, alone, strict=True):
        assert (found.cost_min.tolist(), found.frame.slots.tolist()) == _ranked(frame, booking, weights, k)
    order = list(range(len(bookings)))
    shuffled.shuffle(order)
    again = shortlists_of(frame, [bookings[i] for i in order], weights=weights, k=k, now_ms=NOW_MS)
    assert [bits(each) for each in again] == [bits(alone[i]) for i in order]
    assert (frame.matrix.tobytes(), frame.mask.tobytes()) == before, "the frame is as it was"


def _ranked(frame: Frame, booking: InFrame, weights: CostWeights, k: int) -> tuple[list[float], list[int]]:
    """What the scoring kernel says, which the plain twin is held to elsewhere."""
    rows, costs, buffer = np.empty(k, np.int32), np.empty(k, np.float32), np.empty(at.BLOCK, np.float32)
    query = build_query(frame, booking.ask, radius_m=booking.radius_m, weights=weights, now_ms=NOW_MS)
    with laid_over(frame, booking.apart, query):
        found = at.top_k(frame.matrix, frame.mask, query.need, query.numbers, rows, costs, buffer)
    found = found if booking.ask.wants.is_in_area else 0
    return costs[:found].tolist(), frame.slots[rows[:found]].tolist()


@settings(deadline=None, max_examples=25)
@given(towns(SMALL))
def test_a_shortlist_is_what_the_plain_twin_says(town: tuple) -> None:
    frame, weights, bookings, k = town
    listed = shortlists_of(frame, bookings, weights=weights, k=k, now_ms=NOW_MS)
    for booking, found in zip(bookings, listed, strict=True):
        ask = booking.ask
        query = build_query(frame, ask, radius_m=booking.radius_m, weights=weights, now_ms=NOW_MS)
        with laid_over(frame, booking.apart, query):
            cheapest = reference.top_k(frame.matrix, frame.mask, query.need, query.numbers, k)
            reasons = _reasons(frame, ask, query.numbers)
            nearly = _nearly(frame, ask, query.need, query.numbers, k + NEAR_LOSERS_MAX)
        if not ask.wants.is_in_area:
            cheapest, reasons = [], [OUT_OF_AREA] * len(reasons)
        assert found.cost_min.tolist() == [cost for cost, _ in cheapest]
        assert found.frame.slots.tolist() == frame.slots[[row for _, row in cheapest]].tolist()
        said = [each for each in reasons if each is not None]
        assert found.ruled_out == {each: said.count(each) for each in said}
        losers = sorted([row for row in nearly if reasons[row] is not None][:NEAR_LOSERS_MAX])
        assert found.excluded.frame.slots.tolist() == frame.slots[losers].tolist()


def _reasons(frame: Frame, ask: Ask, numbers: np.ndarray) -> list[str | None]:
    ready, kit = READY_RULES.copy(), np.array(kit_rules(ask), np.int32)
    ready[0] = 1 << ask.skill_bit
    found = [
        reference.reason(frame.matrix[:, row], frame.mask[:, row], ready, kit, numbers)
        for row in range(len(frame.slots))
    ]
    return [None if each is None else REASONS[each] for each in found]


def _nearly(frame: Frame, ask: Ask, need: np.ndarray, numbers: np.ndarray, count: int) -> list[int]:
    """The rows of the cheapest with the skill, as if there were no other rule and no end of a shift."""
    need, numbers = need.copy(), numbers.copy()
    need[at.NEED_READY], need[at.NEED_KIT] = 1 << ask.skill_bit, 0
    numbers[at.QUERY_KM2_MAX], numbers[at.QUERY_END_MIN] = np.inf, -np.inf
    return [row for _, row in reference.top_k(frame.matrix, frame.mask, need, numbers, count)]


@settings(deadline=None, max_examples=25)
@given(towns(SMALL), st.integers(0, 2**32 - 1))
def test_prices_are_those_of_each_list(town: tuple, seed: int) -> None:
    frame, weights, bookings, k = town
    rng = np.random.default_rng(seed)
    capped = replace(weights, eta_cap_min=float(rng.choice([1.0, 15.0, 600.0])))
    listed = shortlists_of(frame, bookings, weights=capped, k=k, now_ms=NOW_MS)
    times = [_times(rng, len(each)) for each in listed]
    prices = price_list(listed, times)
    best, of = prices.best(), prices.list_of(prices.best())
    for number, (each, arrivals) in enumerate(zip(listed, times, strict=True)):
        straight_min = straight_eta_min(each.frame.matrix, each.query.numbers.astype(np.float64))
        eta_min, cost_min = straight_min, each.cost_min.astype(np.float64)
        if arrivals is not None:
            knows = np.isin(arrivals.outcome, [EtaOutcome.ROADS, EtaOutcome.ROUTER])
            eta_min = np.where(knows, arrivals.eta_s / 60, straight_min)
            cost_min = cost_min + (eta_min - straight_min)
        here = slice(prices.first[number], prices.first[number + 1])
        assert prices.cost_min[here].tobytes() == cost_min.tobytes()
        assert prices.eta_min[here].tobytes() == eta_min.tobytes()
        order = [row for row in np.argsort(cost_min, kind="stable").tolist() if eta_min[row] <= capped.eta_cap_min]
        own = best[of == number]
        assert (own - prices.first[number]).tolist() == order
        slots = [choice.slot for choice in prices.choices(own)]
        assert slots == each.frame.slots[order].tolist()
    assert prices.best(2).tolist() == [row for i in range(len(listed)) for row in best[of == i][:2].tolist()]


@settings(deadline=None, max_examples=25)
@given(towns(SMALL), towns(SMALL), st.randoms())
def test_lists_of_several_calls_are_the_same_columns(one: tuple, other: tuple, shuffled: object) -> None:
    listed = [
        each
        for frame, weights, bookings, k in (one, other)
        for each in shortlists_of(replace(frame, origin_lng_deg=LNG_DEG + k), bookings, weights=weights, k=k)
    ]
    shuffled.shuffle(listed)
    columns = columns_of(listed)
    lat_deg, lng_deg = degrees_of(columns.places_km, columns.origin_deg)
    for number, each in enumerate(listed):
        here = slice(columns.first[number], columns.first[number + 1])
        origin_deg = np.array([[each.frame.origin_lng_deg], [each.frame.origin_lat_deg]])
        own_places = degrees_of(each.frame.matrix[: at.BASE_MIN], origin_deg)
        own = each.frame.slots, each.cost_min, *own_places, each.query.numbers
        found = columns.slots[here], columns.cost_min[here], lat_deg[here], lng_deg[here], columns.numbers[number]
        assert [array.tobytes() for array in found] == [array.tobytes() for array in own]


def _times(rng: np.random.Generator, n: int) -> EtaMatrix | None:
    if rng.random() < 0.2:
        return None
    eta_s = rng.integers(1, 60, n) * 30.0
    return EtaMatrix(eta_s, eta_s, eta_s, rng.integers(0, 7, n).astype(np.uint8))
