from uuid import UUID, uuid4

import pytest

from config.limits import RESPONDERS_MAX
from engine.core.ids import IncidentId, OrgId, PersonId
from engine.core.vocabulary import Channel, IncidentState, Role
from engine.safetap.escalation import Incident, Notice, Responder, StepKind, Timer, decide
from engine.safetap.policy import default_policy, parse_policy

NOW = 1_700_000_000_000
ORG = OrgId(UUID(int=1))
POLICY = parse_policy(default_policy())
DORA = Responder(PersonId(UUID(int=10)), Role.DISPATCHER, "dora@clenzy.test")
ADA = Responder(PersonId(UUID(int=11)), Role.ADMIN, "ada@clenzy.test")
MUTE = Responder(PersonId(UUID(int=12)), Role.ADMIN, None)
DESK = Notice("desk", Channel.DESK, f"desk:{ORG}")


def incident(
    step: int,
    *,
    loop: int = 0,
    due_at_ms: int = NOW,
    state: IncidentState = IncidentState.OPEN,
    excluded: frozenset[PersonId] = frozenset(),
) -> Incident:
    return Incident(IncidentId(uuid4()), ORG, state, Timer(step, loop, due_at_ms), excluded)


def mail(responder: Responder) -> Notice:
    assert responder.email is not None
    return Notice(f"person:{responder.person_id}", Channel.EMAIL, responder.email)


def test_the_first_step_tells_the_desk_and_sets_the_second() -> None:
    decision = decide(incident(1), POLICY, NOW, responders=[DORA, ADA])
    assert decision.kind is StepKind.STEP
    assert decision.notices == (DESK,)
    assert decision.next_timer == Timer(2, 0, NOW + 20_000)


def test_the_second_step_tells_everybody_who_can_be_told() -> None:
    decision = decide(incident(2), POLICY, NOW, responders=[DORA, ADA, MUTE])
    assert decision.notices == (DESK, mail(DORA), mail(ADA))
    assert decision.next_timer == Timer(3, 0, NOW + 40_000)


def test_after_the_last_step_comes_the_broadcast_and_it_repeats() -> None:
    last = decide(incident(3), POLICY, NOW)
    assert last.next_timer == Timer(4, 0, NOW + 60_000)
    first = decide(incident(4), POLICY, NOW, responders=[DORA, ADA])
    assert first.kind is StepKind.BROADCAST
    assert set(first.notices) == {DESK, mail(DORA), mail(ADA)}
    assert first.next_timer == Timer(4, 1, NOW + 60_000)


def test_a_webhook_is_told_where_the_policy_names_one() -> None:
    policy = parse_policy({**default_policy(), "webhook_url": "https://example.com/hook"})
    assert Notice("webhook", Channel.WEBHOOK, "https://example.com/hook") in decide(incident(3), policy, NOW).notices
    assert all(notice.channel is not Channel.WEBHOOK for notice in decide(incident(3), POLICY, NOW).notices)


def test_who_has_a_stake_is_never_told() -> None:
    decision = decide(incident(2, excluded=frozenset({DORA.person_id})), POLICY, NOW, responders=[DORA, ADA])
    assert mail(DORA) not in decision.notices
    assert mail(ADA) in decision.notices


def test_a_late_step_does_not_delay_the_next() -> None:
    assert decide(incident(1, due_at_ms=NOW - 5_000), POLICY, NOW).next_timer.due_at_ms == NOW + 15_000
    assert decide(incident(1, due_at_ms=NOW - 50_000), POLICY, NOW).next_timer.due_at_ms == NOW


def test_broadcasts_are_not_made_up_for() -> None:
    assert decide(incident(4, due_at_ms=NOW - 3_600_000), POLICY, NOW).next_timer.due_at_ms == NOW + 60_000


def test_a_lapsed_acknowledgement_starts_the_ladder_anew() -> None:
    decision = decide(incident(1, loop=3, state=IncidentState.ACKNOWLEDGED), POLICY, NOW)
    assert decision.kind is StepKind.LAPSED
    assert (decision.step, decision.loop) == (1, 3)
    assert decision.notices == (DESK,)


def test_a_step_beyond_a_shorter_policy_is_the_broadcast() -> None:
    assert decide(incident(9), POLICY, NOW).kind is StepKind.BROADCAST
    assert decide(incident(9), POLICY, NOW).step == 4


def test_the_number_of_people_told_is_bounded() -> None:
    crowd = [Responder(PersonId(uuid4()), Role.DISPATCHER, f"{n}@clenzy.test") for n in range(RESPONDERS_MAX + 7)]
    decision = decide(incident(2), POLICY, NOW, responders=crowd)
    assert len(decision.notices) == RESPONDERS_MAX + 1


def test_a_closed_incident_and_a_timer_of_the_future_are_defects() -> None:
    with pytest.raises(AssertionError):
        decide(incident(1, state=IncidentState.CLOSED), POLICY, NOW)
    with pytest.raises(AssertionError):
        decide(incident(1, due_at_ms=NOW + 1), POLICY, NOW)
