"""When a job on the way changes hands: by the sentences of the policy's file, whatever the numbers are."""

from dataclasses import replace
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from config.limits import REMATCH_NEARER_S, REMATCH_POLICY_MIN_MAX, REMATCHES_MAX
from engine.matcher.cost_policy import DEFAULT_POLICY, parse_policy, policy_from_text, policy_text
from engine.matcher.pricing import Choice
from engine.matcher.rematch import Cause, Nearness, Stay, Verdict, Way, nearness_of, sooner, verdict_of
from engine.matcher.rematch_policy import LEAST, NAMES, RematchPolicy, parse_rematch

MIN_MS = 60_000
MINUTES = st.integers(0, REMATCH_POLICY_MIN_MAX)


@st.composite
def policies(draw: st.DrawFn) -> RematchPolicy:
    gain_min = draw(st.integers(1, 60))
    return RematchPolicy(
        times_max=draw(st.integers(0, REMATCHES_MAX)),
        late_min=draw(MINUTES),
        stuck_min=draw(MINUTES),
        gain_min=gain_min,
        better_min=draw(st.just(0) | st.integers(gain_min, REMATCH_POLICY_MIN_MAX)),
        near_min=draw(st.integers(LEAST["near_min"], REMATCH_POLICY_MIN_MAX)),
    )


NOWS = st.integers(10**9, 10**9 + 10**7)
WAYS = st.builds(
    Way,
    promised_at_ms=st.none() | NOWS,
    eta_s=st.none() | st.integers(0, 20_000),
    nearness=st.none() | st.builds(Nearness, st.integers(0, 20_000), NOWS),
    rematches=st.integers(0, REMATCHES_MAX),
    is_left_alone=st.booleans(),
    is_asked=st.booleans(),
)
ANSWERS_S = st.integers(5, 300)
RIVALS = st.lists(st.builds(Choice, st.integers(0, 99), st.floats(0, 100), st.integers(0, 20_000)), max_size=6)


@given(policies(), WAYS, ANSWERS_S, NOWS, RIVALS)
def test_nobody_is_asked_against_a_bound(
    policy: RematchPolicy, way: Way, answer_s: int, now_ms: int, rivals: list[Choice]
) -> None:
    verdict = verdict_of(policy, way, answer_s=answer_s, now_ms=now_ms)
    if not isinstance(verdict, Cause):
        return
    assert way.rematches < policy.times_max <= REMATCHES_MAX
    assert not way.is_left_alone
    assert not way.is_asked
    assert way.eta_s is not None
    assert way.eta_s - answer_s >= policy.near_min * 60, "by the last moment of an answer they might be near"
    chosen = sooner(policy, way, verdict, rivals, answer_s=answer_s)
    assert chosen == [each for each in rivals if each in chosen], "the order is the matcher's"
    for each in rivals:
        gain_s = way.eta_s - (answer_s + each.eta_s)
        least_min = policy.better_min if verdict is Cause.BETTER else policy.gain_min
        assert (each in chosen) == (gain_s >= 60 * least_min)


@given(policies(), WAYS, ANSWERS_S, NOWS)
def test_a_hold_forbids_and_otherwise_counts_for_nothing(
    policy: RematchPolicy, way: Way, answer_s: int, now_ms: int
) -> None:
    """Held or pinned, whatever else is true the answer is one and the same: nobody learns which of them it was."""
    told = verdict_of(policy, replace(way, is_left_alone=True), answer_s=answer_s, now_ms=now_ms)
    assert told is (Stay.LEFT_ALONE if policy.times_max else Stay.OFF)


@given(policies(), WAYS, ANSWERS_S, NOWS)
def test_each_cause_is_what_it_says(policy: RematchPolicy, way: Way, answer_s: int, now_ms: int) -> None:
    verdict = verdict_of(policy, way, answer_s=answer_s, now_ms=now_ms)
    if not isinstance(verdict, Cause) and verdict is not Stay.ON_TIME:
        return
    assert way.eta_s is not None
    promised_ms = way.promised_at_ms
    is_late = promised_ms is not None and now_ms + way.eta_s * 1000 > promised_ms + policy.late_min * MIN_MS
    stood_ms = 0 if way.nearness is None else now_ms - way.nearness.since_ms
    is_stuck = policy.stuck_min > 0 and stood_ms >= policy.stuck_min * MIN_MS
    expected = (
        Cause.LATE if is_late else Cause.STUCK if is_stuck else Cause.BETTER if policy.better_min else Stay.ON_TIME
    )
    assert verdict is expected


@given(policies(), WAYS, ANSWERS_S, NOWS, st.integers(0, 5_000))
def test_who_comes_nearer_is_never_taken_away_for_it(
    policy: RematchPolicy, way: Way, answer_s: int, now_ms: int, nearer_s: int
) -> None:
    if way.eta_s is None:
        return
    nearer = replace(way, eta_s=max(0, way.eta_s - nearer_s))
    if not isinstance(verdict_of(policy, way, answer_s=answer_s, now_ms=now_ms), Cause):
        assert not isinstance(verdict_of(policy, nearer, answer_s=answer_s, now_ms=now_ms), Cause)


@given(st.lists(st.tuples(st.integers(1, 60_000), st.integers(0, 20_000)), min_size=1))
def test_standing_is_since_the_last_real_step(looks: list[tuple[int, int]]) -> None:
    now_ms, seen = 0, None
    for pause_ms, eta_s in looks:
        now_ms += pause_ms
        before, seen = seen, nearness_of(seen, eta_s, now_ms=now_ms)
        if before is None or before.least_eta_s - eta_s >= REMATCH_NEARER_S:
            assert seen == Nearness(eta_s, now_ms)
        else:
            assert seen == before


@given(policies())
def test_a_policy_is_read_as_it_was_written(policy: RematchPolicy) -> None:
    said = {name: getattr(policy, name) for name in NAMES}
    whole = parse_policy({"name": "a", "version": 1, "rematch": said})
    assert whole.rematch == policy
    assert policy_from_text(policy_text(whole)) == whole


@given(st.dictionaries(st.sampled_from([*NAMES, "speed"]), st.integers(-3, 300) | st.booleans() | st.text(max_size=2)))
def test_a_wrong_policy_changes_nothing_and_says_where(said: dict[str, object]) -> None:
    problems: list[str] = []
    policy = parse_rematch(said, problems)
    wrong = {name for name in said if any(each.startswith(f"rematch.{name}:") for each in problems)}
    for name, value in said.items():
        is_number = isinstance(value, int) and not isinstance(value, bool)
        most = REMATCHES_MAX if name == "times_max" else REMATCH_POLICY_MIN_MAX
        if name not in NAMES or not is_number or not LEAST.get(name, 0) <= value <= most:
            assert name in wrong
    if not wrong:
        assert all(getattr(policy, name) == value for name, value in said.items())


def test_as_shipped_it_is_off() -> None:
    assert DEFAULT_POLICY.rematch.times_max == 0
    assert {*get_args(Verdict)} == {Cause, Stay}
