"""The ladder as a state machine: whatever people do and whenever, there is no state from which nobody will be told."""

from dataclasses import replace
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from config.limits import ESCALATION_LEASE_MS
from engine.core.ids import IncidentId, OrgId, PersonId, ScheduleId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Channel, IncidentState, Role
from engine.safetap.escalation import Decision, Haste, Incident, StepKind, Timer, decide
from engine.safetap.policy import Policy, default_policy, parse_policy
from engine.safetap.targets import Facts, Responder

PEOPLE = [
    Responder(
        PersonId(UUID(int=10 + n)), role, {Channel.EMAIL: [f"{n}@clenzy.test"], Channel.SMS: [f"+35191000000{n}"]}
    )
    for n, role in enumerate([Role.DISPATCHER, Role.DISPATCHER, Role.ADMIN])
]
VICTIM = PEOPLE[0].person_id
SCHEDULE = ScheduleId(UUID(int=7))
NOTIFY = [
    {"target": "desk", "channels": ["desk"]},
    {"target": "dispatchers", "channels": ["email"]},
    {"target": "on_call", "schedule_id": str(SCHEDULE), "channels": ["sms"]},
    {"target": "person", "person_id": str(VICTIM), "channels": ["sms"]},
    {"target": "contacts", "channels": ["sms"]},
    {"target": "webhook", "url": "https://example.com/hook", "channels": ["webhook"]},
]

notify = st.lists(st.sampled_from(NOTIFY), min_size=1, max_size=2)
policies = st.builds(
    lambda first, later, repeat_s, follow_up_s: parse_policy(
        {
            **default_policy(),
            "steps": [
                {"delay_s": 0, "notify": first},
                *({"delay_s": delay_s, "notify": told} for delay_s, told in later),
            ],
            "repeat_s": repeat_s,
            "follow_up_s": follow_up_s,
        }
    ),
    notify,
    st.lists(st.tuples(st.integers(0, 300), notify), max_size=4),
    st.integers(10, 600),
    st.integers(10, 3_600),
)
someone = st.sampled_from([one.person_id for one in PEOPLE])


class Ladder(RuleBasedStateMachine):
    """Models what the stores do around `decide`: press, acknowledge, close, kill, people who come and go, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1_700_000_000_000
        self.state = IncidentState.OPEN
        self.timer: Timer | None = None
        self.lease_until_ms = 0
        self.waits_for_desk = False
        self.policy: Policy
        self.facts = Facts(responders=PEOPLE)
        self.keys: set[tuple[int, int, str, Channel]] = set()
        self.is_verified = True

    @initialize(policy=policies, is_verified=st.booleans())
    def trigger(self, policy: Policy, *, is_verified: bool) -> None:
        self.policy, self.is_verified = policy, is_verified
        self.timer = Timer(1, 0, self.now_ms)

    @property
    def is_live(self) -> bool:
        return self.state is not IncidentState.CLOSED

    @property
    def is_watched(self) -> bool:
        return bool(self.facts.armed - {VICTIM})

    @rule(seconds=st.integers(0, 4_000))
    def wait(self, seconds: int) -> None:
        """Time passes, and an escalator does what becomes due on the way."""
        until_ms = self.now_ms + seconds * MS_PER_S
        for _ in range(1_000):
            due_ms = self.takeable_at_ms()
            if due_ms is None or due_ms > until_ms:
                break
            self.now_ms = max(self.now_ms, due_ms)
            self.take_step()
        self.now_ms = until_ms

    @precondition(lambda self: self.is_live)
    @rule(seconds=st.integers(1, 4_000))
    def outage(self, seconds: int) -> None:
        """Time passes, and no escalator lives; then one takes a single step."""
        self.now_ms += seconds * MS_PER_S
        due_ms = self.takeable_at_ms()
        if due_ms is not None and due_ms <= self.now_ms:
            self.take_step()

    @precondition(lambda self: self.is_live)
    @rule()
    def kill_an_escalator_between_claim_and_commit(self) -> None:
        assert self.timer is not None
        if max(self.timer.due_at_ms, self.lease_until_ms) <= self.now_ms:
            self.lease_until_ms = self.now_ms + ESCALATION_LEASE_MS

    @precondition(lambda self: self.state is IncidentState.OPEN)
    @rule()
    def acknowledge(self) -> None:
        assert self.timer is not None
        self.state = IncidentState.ACKNOWLEDGED
        self.timer = Timer(1, self.timer.loop + 1, self.now_ms + self.policy.follow_up_s * MS_PER_S)
        self.lease_until_ms = 0

    @precondition(lambda self: self.is_live)
    @rule()
    def press_again(self) -> None:
        assert self.timer is not None
        self.state = IncidentState.OPEN
        self.timer = Timer(self.timer.step, self.timer.loop, min(self.now_ms, self.timer.due_at_ms))
        self.lease_until_ms = 0

    @precondition(lambda self: self.is_live and not self.is_verified)
    @rule()
    def somebody_vouches(self) -> None:
        """A verified trigger joins, or a human says that it is real: the whole ladder, from its first step."""
        assert self.timer is not None
        self.is_verified, self.state = True, IncidentState.OPEN
        self.timer = Timer(1, self.timer.loop + 1, self.now_ms)
        self.lease_until_ms = 0

    @precondition(lambda self: self.is_live)
    @rule()
    def close(self) -> None:
        self.state = IncidentState.CLOSED
        self.timer = None

    @rule(person_id=someone)
    def arm(self, person_id: PersonId) -> None:
        self.facts = replace(self.facts, armed=self.facts.armed | {person_id})

    @rule()
    def every_desk_is_left(self) -> None:
        self.facts = replace(self.facts, armed=frozenset())

    @rule(people=st.sets(st.sampled_from(range(len(PEOPLE)))))
    def responders_come_and_go(self, people: set[int]) -> None:
        self.facts = replace(self.facts, responders=[PEOPLE[number] for number in sorted(people)])

    @rule(duty=st.lists(someone, max_size=2))
    def edit_the_schedule(self, duty: list[PersonId]) -> None:
        self.facts = replace(self.facts, on_call={SCHEDULE: duty} if duty else {})

    @rule(policy=policies)
    def edit_the_policy(self, policy: Policy) -> None:
        """A frozen ladder stays as it is: only the next incident climbs the new one."""
        if not self.is_live:
            self.policy = policy
            self.state = IncidentState.OPEN
            self.timer = Timer(1, 0, self.now_ms)
            self.lease_until_ms, self.waits_for_desk = 0, False
            self.keys.clear()

    def takeable_at_ms(self) -> int | None:
        if self.timer is None:
            return None
        due_ms = self.timer.due_at_ms
        if self.waits_for_desk and self.state is IncidentState.OPEN and not self.is_watched:
            due_ms = min(due_ms, self.now_ms)  # what `HURRY` does, within a poll
        return max(due_ms, self.lease_until_ms)

    def take_step(self) -> None:
        assert self.timer is not None
        timer = replace(self.timer, due_at_ms=min(self.timer.due_at_ms, self.now_ms))
        decision = self.decide(timer)
        self.check(decision, timer)
        self.state = IncidentState.OPEN
        self.timer = decision.next_timer
        self.waits_for_desk = decision.waits_for_desk
        self.lease_until_ms = 0

    def decide(self, timer: Timer, *, state: IncidentState | None = None, now_ms: int | None = None) -> Decision:
        incident = Incident(
            IncidentId(UUID(int=1)),
            OrgId(UUID(int=2)),
            state or self.state,
            timer,
            frozenset({VICTIM}),
            is_verified=self.is_verified,
        )
        return decide(incident, self.policy, now_ms or self.now_ms, facts=self.facts)

    def check(self, decision: Decision, timer: Timer) -> None:
        assert (decision.kind is StepKind.LAPSED) == (self.state is IncidentState.ACKNOWLEDGED)
        assert decision.next_timer.due_at_ms >= self.now_ms
        assert (decision.next_timer.loop, decision.next_timer.step) > (timer.loop, timer.step)
        assert all(str(VICTIM) not in notice.target for notice in decision.notices)
        if not any(humans(decision, is_watched=self.is_watched)) and timer.step <= len(self.policy.steps):
            assert decision.next_timer.due_at_ms == self.now_ms or only_machines(self.policy, timer.step)
        if not self.is_verified:
            assert all(notice.target.startswith(("desk", "person:")) for notice in decision.notices)
        if decision.waits_for_desk:
            assert self.is_watched
        if decision.haste is Haste.NO_ARMED_DESK:
            assert not self.is_watched
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

    @invariant()
    def from_here_somebody_will_be_told(self) -> None:
        """Leave everything as it is from now on: within one ladder every human who is left has heard of it.

        Nobody acts, so nothing but the ladder itself can bring it about.
        """
        if self.timer is None:
            return
        left = {one.person_id for one in self.facts.responders} - {VICTIM}
        timer, state, told, at_ms = self.timer, self.state, set[str](), self.now_ms
        waited_ms = max(0, self.lease_until_ms - at_ms)
        for _ in range(len(self.policy.steps) + 1):
            at_ms = max(at_ms, timer.due_at_ms)
            decision = self.decide(timer, state=state, now_ms=at_ms)
            told |= {notice.target for notice in decision.notices}
            if timer.step > len(self.policy.steps):
                break
            timer, state = decision.next_timer, IncidentState.OPEN
        assert timer.step > len(self.policy.steps), "the broadcast comes"
        assert {"desk", *(f"person:{person_id}" for person_id in left)} <= told
        ladder_ms = MS_PER_S * (self.policy.repeat_s + sum(step.delay_s for step in self.policy.steps))
        if self.state is IncidentState.ACKNOWLEDGED:
            ladder_ms += self.policy.follow_up_s * MS_PER_S
        assert at_ms - self.now_ms <= waited_ms + ladder_ms


def humans(decision: Decision, *, is_watched: bool) -> list[bool]:
    return [
        notice.channel is not Channel.WEBHOOK and (notice.channel is not Channel.DESK or is_watched)
        for notice in decision.notices
    ]


def only_machines(policy: Policy, step: int) -> bool:
    return all(route.channel is Channel.WEBHOOK for route in policy.steps[step - 1].routes)


TestLadder = Ladder.TestCase
TestLadder.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
