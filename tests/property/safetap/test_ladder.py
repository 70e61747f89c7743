"""The ladder as a state machine: whatever people do and whenever, it never ends in silence."""

from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.core.ids import IncidentId, OrgId, PersonId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Channel, IncidentState, Role
from engine.safetap.escalation import Decision, Incident, Responder, StepKind, Timer, decide
from engine.safetap.policy import Policy, default_policy, parse_policy

RESPONDERS = [
    Responder(PersonId(UUID(int=10 + n)), role, f"{n}@clenzy.test")
    for n, role in enumerate([Role.DISPATCHER, Role.DISPATCHER, Role.ADMIN])
]
VICTIM = RESPONDERS[0].person_id

steps = st.lists(st.integers(0, 300), min_size=0, max_size=4).map(
    lambda delays: [
        {"delay_s": delay_s, "notify": [{"target": "dispatchers", "channels": ["email"]}]} for delay_s in [0, *delays]
    ]
)
policies = st.builds(
    lambda steps, repeat_s, follow_up_s: parse_policy(
        {**default_policy(), "steps": steps, "repeat_s": repeat_s, "follow_up_s": follow_up_s}
    ),
    steps,
    st.integers(10, 600),
    st.integers(10, 3_600),
)


class Ladder(RuleBasedStateMachine):
    """Models what the stores do around `decide`: press, acknowledge, close, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1_700_000_000_000
        self.state = IncidentState.OPEN
        self.timer: Timer | None = None
        self.policy: Policy
        self.keys: set[tuple[int, int, str, Channel]] = set()
        self.told_at_ms = self.now_ms

    @initialize(policy=policies)
    def trigger(self, policy: Policy) -> None:
        self.policy = policy
        self.timer = Timer(1, 0, self.now_ms)

    @property
    def is_live(self) -> bool:
        return self.state is not IncidentState.CLOSED

    @rule(seconds=st.integers(0, 4_000))
    def wait(self, seconds: int) -> None:
        """Time passes, and an escalator does what becomes due on the way."""
        until_ms = self.now_ms + seconds * MS_PER_S
        while self.timer is not None and self.timer.due_at_ms <= until_ms:
            self.now_ms = max(self.now_ms, self.timer.due_at_ms)
            self.take_step(self.timer)
        self.now_ms = until_ms

    @precondition(lambda self: self.is_live)
    @rule(seconds=st.integers(1, 4_000))
    def outage(self, seconds: int) -> None:
        """Time passes, and no escalator lives; then one takes a single step."""
        self.now_ms += seconds * MS_PER_S
        if self.timer is not None and self.timer.due_at_ms <= self.now_ms:
            self.take_step(self.timer)

    @precondition(lambda self: self.state is IncidentState.OPEN)
    @rule()
    def acknowledge(self) -> None:
        assert self.timer is not None
        self.state = IncidentState.ACKNOWLEDGED
        self.timer = Timer(1, self.timer.loop + 1, self.now_ms + self.policy.follow_up_s * MS_PER_S)

    @precondition(lambda self: self.is_live)
    @rule()
    def press_again(self) -> None:
        assert self.timer is not None
        self.state = IncidentState.OPEN
        self.timer = Timer(self.timer.step, self.timer.loop, min(self.now_ms, self.timer.due_at_ms))

    @precondition(lambda self: self.is_live)
    @rule()
    def close(self) -> None:
        self.state = IncidentState.CLOSED
        self.timer = None

    def take_step(self, timer: Timer) -> None:
        incident = Incident(IncidentId(UUID(int=1)), OrgId(UUID(int=2)), self.state, timer, frozenset({VICTIM}))
        decision = decide(incident, self.policy, self.now_ms, responders=RESPONDERS)
        self.check(decision, timer)
        self.state = IncidentState.OPEN
        self.timer = decision.next_timer
        self.told_at_ms = self.now_ms

    def check(self, decision: Decision, timer: Timer) -> None:
        assert (decision.kind is StepKind.LAPSED) == (self.state is IncidentState.ACKNOWLEDGED)
        assert decision.next_timer.due_at_ms >= self.now_ms
        assert (decision.next_timer.loop, decision.next_timer.step) > (timer.loop, timer.step)
        assert decision.notices, "a step tells somebody"
        assert all(str(VICTIM) not in notice.target for notice in decision.notices)
        keys = {(decision.loop, decision.step, notice.target, notice.channel) for notice in decision.notices}
        assert len(keys) == len(decision.notices)
        assert not keys & self.keys, "no two steps share the key of a notice"
        self.keys |= keys

    @invariant()
    def a_live_incident_always_has_a_next_step(self) -> None:
        assert (self.timer is not None) == self.is_live

    @invariant()
    def nobody_is_left_waiting_longer_than_the_policy_allows(self) -> None:
        if self.timer is None:
            return
        longest_s = max(self.policy.repeat_s, *(step.delay_s for step in self.policy.steps))
        if self.state is IncidentState.ACKNOWLEDGED:
            longest_s = self.policy.follow_up_s
        assert self.timer.due_at_ms - self.now_ms <= longest_s * MS_PER_S


TestLadder = Ladder.TestCase
TestLadder.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
