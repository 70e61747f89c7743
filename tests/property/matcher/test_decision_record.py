"""What is kept of a decision is enough to make it again, and a byte that changes is found."""

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from config.limits import DECISION_RECORD_BYTES_MAX, ETA_CANDIDATES_MAX, KIT_BITS, NEAR_LOSERS_MAX, WEIGHT_MIN_MAX
from engine.core.ids import PersonId
from engine.eta.source import EtaMatrix
from engine.matcher import kernels
from engine.matcher.ask import Ask, Wants
from engine.matcher.cost_policy import DEFAULT_WEIGHTS, CostPolicy, CostWeights, policy_from_text, policy_text
from engine.matcher.decision import Circumstances, Decision, decide
from engine.matcher.decision_account import RULE_NAMES, record_of
from engine.matcher.decision_record import DecisionRecord, arrays_of, decode, encode
from engine.matcher.decision_replay import replay
from engine.matcher.excluded import broken_rules
from engine.matcher.frame import (
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
    laid_over,
)
from engine.matcher.packed import MAGIC, RecordError, unpack
from engine.matcher.shortlist import shortlist_of
from engine.risk.score import Risk

NOW_MS = 1_700_000_000_000
UNNAMED = Circumstances("", Risk(0.0, {}), 12_000, asks_again=False)
READY = sum(int(each) for each in Ready)


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    kernels.warm_up()


@st.composite
def towns(draw: st.DrawFn) -> tuple[Frame, Ask, Apart, CostWeights]:
    """A frame of up to some hundred workers, many of whom break a rule, at places that may coincide."""
    rng, n = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(0, 120))
    mask = np.full(n, READY, np.int32) | rng.integers(0, 16, n).astype(np.int32)
    for bit in Ready:
        mask[rng.random(n) < draw(st.sampled_from((0.0, 0.1)))] &= ~int(bit)
    spread = draw(st.sampled_from((0.0, 0.003, 0.05)))
    ends = np.where(rng.random(n) < 0.3, rng.uniform(-10, 300, n), np.inf)
    facts = WorkFacts(
        kit=rng.integers(0, 1 << 8, n).astype(np.int32) | np.int32(UNBLOCKED),
        jobs_today=rng.integers(0, 9, n).astype(float),
        earned_minor=rng.uniform(0, 30_000, n),
        acceptance_gap=rng.random(n),
        battery_pct=rng.uniform(0, 100, n),
        shift_left_min=ends,
        work_left_min=np.where(rng.random(n) < 0.2, rng.uniform(-10, 200, n), np.inf),
        levels=rng.random((SKILL_BITS, n)).astype(np.float32),
    )
    lng_deg = draw(st.sampled_from((-8.6, 179.99)))
    candidates = Candidates(
        slots=np.sort(rng.choice(5_000, n, replace=False)).astype(np.int64),
        mask=mask,
        lat_deg=41.15 + rng.normal(0, spread, n),
        lng_deg=lng_deg + rng.normal(0, spread, n),
        rating=rng.uniform(1, 5, n),
        experience=rng.random(n),
        idle_s=rng.uniform(0, 4_000, n),
        fix_age_s=rng.uniform(0, 90, n),
        facts=facts,
    )
    minutes = st.floats(0, WEIGHT_MIN_MAX / 10)
    weights = replace(
        DEFAULT_WEIGHTS, risk_gap_min=draw(minutes), preference_min=draw(minutes), parts_min=draw(minutes)
    )
    frame = build_frame(
        candidates, origin_lat_deg=41.1, origin_lng_deg=lng_deg, weights=weights, now_ms=NOW_MS, epoch_ms=NOW_MS - 700
    )
    some = st.integers(0, 1 << 4)
    wants = Wants(
        certificates=draw(some) & 1,
        tools=draw(some) & 2,
        parts=draw(some) & 12,
        languages=draw(some) & 48,
        level=draw(st.floats(0, 1)),
        duration_min=draw(st.integers(0, 240)),
        preferred=frozenset({PersonId(UUID(int=7))}) if draw(st.booleans()) else frozenset(),
        is_in_area=draw(st.integers(0, 9)) > 0,
    )
    ask = Ask(41.15, lng_deg, draw(st.integers(0, 3)), draw(st.floats(0, 1)), wants)
    who = [np.flatnonzero(rng.random(n) < 0.05).astype(np.int32) for _ in range(3)]
    return frame, ask, Apart(*who), weights


def times_of(draw_seed: int, n: int) -> EtaMatrix:
    rng = np.random.default_rng(draw_seed)
    eta_s = rng.uniform(30, 4_000, n)
    return EtaMatrix(eta_s, eta_s * 0.7, eta_s * 1.5, rng.integers(0, 7, n).astype(np.uint8))


def recorded(frame: Frame, ask: Ask, apart: Apart, weights: CostWeights, seed: int) -> tuple[Decision, DecisionRecord]:
    listed = shortlist_of(frame, ask, apart, weights=weights, now_ms=NOW_MS)
    decision = decide(listed, times_of(seed, len(listed)) if len(listed) else None, UNNAMED)
    return decision, record_of(decision, worker_id=lambda slot: UUID(int=slot + 1))


@given(towns(), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_record_is_the_decision_to_the_bit(town: tuple[Frame, Ask, Apart, CostWeights], seed: int) -> None:
    frame, ask, apart, weights = town
    before = frame.matrix.tobytes(), frame.mask.tobytes()
    decision, record = recorded(frame, ask, apart, weights, seed)
    data = encode(record)
    assert len(data) <= DECISION_RECORD_BYTES_MAX
    read = decode(data)
    assert replay(read, weights) == []
    assert {name: array.tobytes() for name, array in arrays_of(read).items()} == {
        name: np.ascontiguousarray(array).tobytes() for name, array in arrays_of(record).items()
    }
    ranked = decision.ranking.ranked
    assert [int(read.rows.slots[row]) for row in read.ranked.row] == [each.slot for each in ranked]
    assert read.ranked.cost.tolist() == [each.cost_min for each in ranked]
    assert read.ranked.eta_s.tolist() == [each.eta_s for each in ranked]
    assert read.ruled_out == decision.ranking.ruled_out
    assert read.worker_ids == tuple(UUID(int=slot + 1) for slot in read.rows.slots.tolist())
    assert (frame.matrix.tobytes(), frame.mask.tobytes()) == before, "the frame is as it was"


@given(towns(), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_near_losers_are_the_cheapest_of_those_whom_a_rule_excludes(
    town: tuple[Frame, Ask, Apart, CostWeights], seed: int
) -> None:
    frame, ask, apart, weights = town
    decision, record = recorded(frame, ask, apart, weights, seed)
    query = build_query(frame, ask, radius_m=record.asked.radius_m, weights=weights, now_ms=NOW_MS)
    with laid_over(frame, apart, query):
        rules = broken_rules(frame, ask, query)
    first = [min(i for i in range(32) if bits >> i & 1) for bits in rules.tolist() if bits]
    if ask.wants.is_in_area:
        names = [("zone", *REASONS)[i] for i in first]
        assert {name: names.count(name) for name in names} == decision.shortlist.ruled_out, "one rule book, said twice"
    listed = set(record.rows.slots[record.listed.row].tolist())
    rule_of = dict(zip(frame.slots.tolist(), rules.tolist(), strict=True))
    losers = [slot for slot in record.rows.slots.tolist() if slot not in listed]
    assert len(losers) <= NEAR_LOSERS_MAX
    late = 1 << RULE_NAMES.index("eta_cap")
    for row, slot in enumerate(record.rows.slots.tolist()):
        assert (int(record.rows.rules[row]) & ~late) == rule_of[slot]
        assert (slot in listed) == (rule_of[slot] == 0)
    skilled = [slot for slot, bits in rule_of.items() if bits and not bits & 0b10]
    if len(frame.slots) <= ETA_CANDIDATES_MAX + NEAR_LOSERS_MAX:
        assert len(losers) == min(NEAR_LOSERS_MAX, len(skilled)), "nobody who lost nearly is left out"


@given(towns(), st.integers(0, 2**32 - 1), st.data())
@settings(deadline=None)
def test_a_mutated_byte_is_found(town: tuple[Frame, Ask, Apart, CostWeights], seed: int, data: st.DataObject) -> None:
    frame, ask, apart, weights = town
    _, record = recorded(frame, ask, apart, weights, seed)
    raw = bytearray(encode(record))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RecordError):
        decode(bytes(raw))


@given(towns(), st.integers(0, 2**32 - 1), st.data())
@settings(deadline=None)
def test_a_result_that_was_not_decided_is_found(
    town: tuple[Frame, Ask, Apart, CostWeights], seed: int, data: st.DataObject
) -> None:
    """Whoever writes a record anew, with its digest, has to write what the kernels say."""
    frame, ask, apart, weights = town
    _, record = recorded(frame, ask, apart, weights, seed)
    assume(len(record.ranked.row) > 0)
    part, field_name = data.draw(
        st.sampled_from(
            (("listed", "cost"), ("ranked", "cost"), ("rows", "unruled"), ("rows", "terms"), ("query", "numbers"))
        )
    )
    array = getattr(getattr(record, part), field_name).copy()
    flat = array.reshape(-1).view(np.uint8)
    flat[data.draw(st.integers(0, len(flat) - 1))] ^= 1
    forged = replace(record, **{part: replace(getattr(record, part), **{field_name: array})})
    assert f"{part}.{field_name}" in replay(decode(encode(forged)), weights)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_record_are_refused(noise: bytes) -> None:
    for data in (noise, MAGIC + noise):
        with pytest.raises(RecordError):
            unpack(data, bytes_max=1_000)
        with pytest.raises(RecordError):
            decode(data)


@given(
    st.dictionaries(
        st.uuids(), st.floats(0, 600).map(lambda each: replace(DEFAULT_WEIGHTS, risk_gap_min=each)), max_size=3
    ),
    st.floats(0, 600),
)
def test_a_policy_is_read_back_to_the_bit(own: dict[UUID, CostWeights], weight: float) -> None:
    policy = CostPolicy("some", 3, replace(DEFAULT_WEIGHTS, parts_min=weight), own, {})
    assert policy_from_text(policy_text(policy)) == policy
    assert KIT_BITS < 31, "a mask of kit has a bit left for who is not blocked"
