"""The watch as a state machine: whatever happens, and whenever a watcher looks, no missed check-in goes unheard."""

import math
import random
import statistics
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from config.limits import SILENCE_LOOK_MS, SILENCE_LOOK_MS_MIN
from engine.core.ids import BookingId, OrgId, PersonId, RegionId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import IncidentKind, Role, WatchPhase, WatchStage
from engine.safetap.silence.decision import Ask, Climb, End, Rest, decide
from engine.safetap.silence.outage import Phone, judge
from engine.safetap.silence.policy import WatchPolicy
from engine.safetap.silence.usual import GAP_S, JOB_RATIO, NOTHING, Seen, job_ratio, reporting
from engine.safetap.silence.watch import OF_POSITIONS, SIGNALS, Facts, Outage, Watch
from engine.safetap.silence.watch_loop import advanced, calmed

BEGAN_MS = 1_700_000_000_000
SLACK_MS = SILENCE_LOOK_MS + SILENCE_LOOK_MS_MIN
"""How much later than promised something may be noticed: a look was put off by what stood in its way."""

AT_WORK = Watch(
    BookingId(UUID(int=1)),
    PersonId(UUID(int=2)),
    OrgId(UUID(int=3)),
    Role.WORKER,
    WatchPhase.IN_PROGRESS,
    phase_since_ms=BEGAN_MS,
    calm_at_ms=BEGAN_MS,
)

policies = st.builds(
    WatchPolicy,
    watches_customers=st.just(True),
    check_in_every_s=st.integers(300, 2_000),
    grace_s=st.integers(60, 600),
    silent_s=st.one_of(st.none(), st.integers(60, 900)),
    stop_s=st.one_of(st.none(), st.integers(60, 900)),
    off_site_s=st.one_of(st.none(), st.integers(60, 900)),
    overrun_s=st.one_of(st.none(), st.integers(60, 5_000)),
)


class Silence(RuleBasedStateMachine):
    """Models what the stores do around `decide`: a job at its place, a phone, a desk, outages, late watchers, time."""

    @initialize(policy=policies, role=st.sampled_from([Role.WORKER, Role.CUSTOMER]))
    def begin(self, policy: WatchPolicy, role: Role) -> None:
        self.policy = policy
        self.now_ms = BEGAN_MS
        self.watch = replace(AT_WORK, role=role)
        self.facts = Facts(overrun_after_s=600)
        self.due_ms: int | None = BEGAN_MS
        self.incidents: list[UUID] = []
        self.is_open = False
        self.lag_ms = 0

    def look(self) -> None:
        """Do what the loop does: decide, write, and open at most one incident for a round."""
        facts = replace(self.facts, is_cared_for=self.is_open)
        decision = decide(self.watch, facts, self.now_ms, self.policy)
        assert not isinstance(decision, End), "the job is under way"
        if isinstance(decision, Ask):
            assert decision.signal in SIGNALS
            is_blind = facts.outage is not None and facts.outage.ended_ms is None
            assert not (is_blind and decision.signal in OF_POSITIONS), "nobody is asked because we are deaf"
        if isinstance(decision, Climb):
            assert self.watch.stage is WatchStage.ASKED, "first it asks"
            assert self.watch.asked_at_ms is not None
            assert self.now_ms - self.watch.asked_at_ms >= self.policy.grace_s * MS_PER_S
            assert self.watch.trigger_id not in self.incidents, "one alarm a round"
            self.incidents.append(self.watch.trigger_id)
            self.is_open = True
        self.watch = advanced(self.watch, decision, self.now_ms)
        self.due_ms = getattr(decision, "due_ms", self.now_ms)

    @rule(seconds=st.integers(1, 4_000))
    def time_passes(self, seconds: int) -> None:
        until_ms = self.now_ms + seconds * MS_PER_S
        for _ in range(2_000):
            if self.due_ms is None or self.due_ms > until_ms:
                break
            self.now_ms = max(self.now_ms, self.due_ms)
            self.look()
        else:
            raise AssertionError("it looks again and again")
        self.now_ms = until_ms

    @rule()
    def the_next_look_comes(self) -> None:
        assert self.due_ms is not None
        self.now_ms = max(self.now_ms, self.due_ms)
        self.look()

    @rule()
    def answers(self) -> None:
        # The same statement as `check_in.ANSWER`.
        if self.watch.stage is WatchStage.ASKED:
            self.watch = calmed(self.watch, calm_at_ms=self.now_ms)
        else:
            self.watch = replace(self.watch, calm_at_ms=self.now_ms)
        self.due_ms = self.now_ms

    @rule()
    def phone_talks(self) -> None:
        self.facts = replace(self.facts, heard_ms=self.now_ms)

    @rule(is_away=st.booleans())
    def phone_shows_a_place(self, is_away: bool) -> None:
        since_ms = (self.facts.away_since_ms or self.now_ms) if is_away else None
        self.facts = replace(self.facts, heard_ms=self.now_ms, away_since_ms=since_ms)

    @rule(found_after_s=st.integers(0, 900))
    def outage_begins_or_ends(self, found_after_s: int) -> None:
        had = self.facts.outage
        if had is None or had.ended_ms is not None:
            self.facts = replace(self.facts, outage=Outage(self.now_ms - found_after_s * MS_PER_S))
        else:
            self.facts = replace(self.facts, outage=Outage(had.began_ms, self.now_ms))

    @precondition(lambda self: self.is_open)
    @rule()
    def desk_closes(self) -> None:
        self.is_open = False

    @rule()
    def presses_the_button(self) -> None:
        self.is_open = True

    @invariant()
    def a_missed_check_in_is_heard(self) -> None:
        """Whatever else goes on: so long after the last answer somebody is told, or is being told."""
        watch = getattr(self, "watch", None)
        if watch is None or self.is_open or watch.stage is WatchStage.CLIMBED:
            return
        assert self.policy.check_in_every_s is not None
        latest_s = self.policy.check_in_every_s + self.policy.grace_s
        told_by_ms = max(watch.calm_at_ms, watch.phase_since_ms) + latest_s * MS_PER_S
        # Twice: a question of another kind may have been asked just before, and comes first.
        assert self.now_ms <= told_by_ms + self.policy.grace_s * MS_PER_S + SLACK_MS

    @invariant()
    def somebody_looks_again(self) -> None:
        if hasattr(self, "watch"):
            assert self.due_ms is not None


TestSilence = Silence.TestCase
TestSilence.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


@given(st.lists(st.floats(-2, 2), max_size=30), st.lists(st.floats(-2, 2), max_size=30))
def test_summaries_add_up(some: list[float], more: list[float]) -> None:
    both, added = Seen.of(some + more), Seen.of(some).and_also(Seen.of(more))
    assert added.count == both.count
    assert added.mean == pytest.approx(both.mean, abs=1e-9)
    assert added.squares == pytest.approx(both.squares, abs=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40))
def test_a_belief_moved_one_by_one_or_at_once_is_the_same(seen: list[float]) -> None:
    at_once, one_by_one = JOB_RATIO.after(Seen.of(seen)), JOB_RATIO
    for value in seen:
        one_by_one = one_by_one.after(Seen.of([value]))
    for name in ("centre", "weight", "shape", "scale"):
        assert getattr(one_by_one, name) == pytest.approx(getattr(at_once, name), rel=1e-9, abs=1e-9)


def test_thin_data_stay_near_the_plan_and_much_data_forget_it() -> None:
    twice = math.log(2)
    assert job_ratio(NOTHING, NOTHING).median == pytest.approx(1)
    assert 1 < job_ratio(Seen.of([twice]), NOTHING).median < 1.2
    assert job_ratio(Seen.of([twice] * 500), NOTHING).median == pytest.approx(2, rel=0.02)
    shared = Seen.of([twice] * 500)
    assert job_ratio(NOTHING, shared).median == pytest.approx(2, rel=0.02), "a new service leans on the others"
    wide, narrow = Seen.of([-1.0, 1.0] * 50), Seen.of([-0.1, 0.1] * 50)
    assert job_ratio(wide, wide).rarely_exceeded(3) > 5 > job_ratio(narrow, narrow).rarely_exceeded(3) > 1


def test_a_job_like_the_others_is_rarely_asked_after() -> None:
    dice = random.Random(7)
    seen = Seen.of(dice.gauss(0.1, 0.3) for _ in range(200))
    limit = job_ratio(seen, seen).rarely_exceeded(3)
    too_long = statistics.mean(math.exp(dice.gauss(0.1, 0.3)) > limit for _ in range(20_000))
    assert too_long < 0.005


def test_a_phone_is_silent_by_its_own_habit() -> None:
    often, rarely = Seen.of([math.log(5)] * 200), Seen.of([math.log(240), math.log(400)] * 50)
    assert reporting(often, least_s=300).silent_after_s == 300
    assert reporting(rarely, least_s=300).silent_after_s == 1_200, "never more than four times the least"
    assert reporting(NOTHING, least_s=60).usual_s == pytest.approx(GAP_S.median)


HERE, THERE = RegionId(UUID(int=1)), RegionId(UUID(int=2))


def phones(region_id: RegionId, *, heard: int, silent: int) -> list[Phone]:
    return [Phone(region_id, BEGAN_MS - 5_000, 5_000)] * heard + [Phone(region_id, BEGAN_MS - 300_000, 5_000)] * silent


@pytest.mark.parametrize(
    ("those", "already", "places"),
    [
        (phones(HERE, heard=0, silent=3), frozenset(), set()),
        (phones(HERE, heard=0, silent=4), frozenset(), {None}),
        (phones(HERE, heard=1, silent=4), frozenset(), {None}),
        (phones(HERE, heard=2, silent=4), frozenset(), set()),
        (phones(HERE, heard=2, silent=4), frozenset({None}), {None}),
        (phones(HERE, heard=0, silent=5) + phones(THERE, heard=9, silent=0), frozenset(), {HERE}),
        ([Phone(HERE, BEGAN_MS - 100_000, 60_000)] * 9, frozenset(), set()),
    ],
)
def test_what_an_outage_is(
    those: list[Phone], already: frozenset[RegionId | None], places: set[RegionId | None]
) -> None:
    assert set(judge(those, BEGAN_MS, already=already)) == places


def test_a_question_that_an_outage_holds_back_does_not_hold_back_a_missed_check_in() -> None:
    policy = WatchPolicy(check_in_every_s=600, grace_s=60)
    asked_ms = BEGAN_MS + 400_000
    watch = replace(AT_WORK, stage=WatchStage.ASKED, signal=IncidentKind.SILENCE, asked_at_ms=asked_ms)
    facts = Facts(outage=Outage(asked_ms - 100_000))
    assert decide(watch, facts, asked_ms + 100_000, policy) == Rest(asked_ms + 100_000 + SILENCE_LOOK_MS)
    assert decide(watch, facts, BEGAN_MS + 600_000, policy) == Rest(BEGAN_MS + 660_000)
    missed = decide(watch, facts, BEGAN_MS + 660_000, policy)
    assert isinstance(missed, Climb)
    assert missed.signal is IncidentKind.CHECK_IN_MISSED
    before = Facts(outage=Outage(asked_ms + 1))
    assert isinstance(decide(watch, before, asked_ms + 60_000, policy), Climb), "silent before everybody was"
    over = Facts(outage=Outage(asked_ms - 100_000, asked_ms + 30_000))
    assert decide(watch, over, asked_ms + 60_000, policy) == Rest(asked_ms + 90_000)


def test_the_most_telling_signal_is_told() -> None:
    decision = decide(AT_WORK, Facts(overrun_after_s=60), BEGAN_MS + 10**9, WatchPolicy(check_in_every_s=600))
    assert isinstance(decision, Ask)
    assert decision.signal is IncidentKind.CHECK_IN_MISSED
