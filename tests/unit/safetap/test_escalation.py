from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from config.limits import RESPONDERS_MAX
from engine.core.ids import ContactId, IncidentId, OrgId, PersonId, ScheduleId
from engine.core.vocabulary import Channel, IncidentState, Role
from engine.safetap.escalation import Haste, Incident, StepKind, Timer, decide
from engine.safetap.policy import default_policy, parse_policy
from engine.safetap.targets import Contact, Facts, Notice, Responder

NOW = 1_700_000_000_000
ORG = OrgId(UUID(int=1))
POLICY = parse_policy(default_policy())
DORA = Responder(PersonId(UUID(int=10)), Role.DISPATCHER, {Channel.EMAIL: ["dora@clenzy.test"]})
ADA = Responder(PersonId(UUID(int=11)), Role.ADMIN, {Channel.EMAIL: ["ada@clenzy.test"]})
MUTE = Responder(PersonId(UUID(int=12)), Role.ADMIN, {})
WATCHED = Facts(responders=[DORA, ADA, MUTE], armed=frozenset({ADA.person_id}))
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
    return Notice(f"person:{responder.person_id}", Channel.EMAIL, responder.addresses[Channel.EMAIL][0])


def test_the_first_step_tells_the_desk_and_sets_the_second() -> None:
    decision = decide(incident(1), POLICY, NOW, facts=WATCHED)
    assert decision.kind is StepKind.STEP
    assert decision.notices == (DESK,)
    assert decision.next_timer == Timer(2, 0, NOW + 20_000)


def test_the_second_step_tells_everybody_who_can_be_told() -> None:
    decision = decide(incident(2), POLICY, NOW, facts=WATCHED)
    assert decision.notices == (DESK, mail(DORA), mail(ADA))
    assert decision.next_timer == Timer(3, 0, NOW + 40_000)


def test_after_the_last_step_comes_the_broadcast_and_it_repeats() -> None:
    last = decide(incident(3), POLICY, NOW, facts=WATCHED)
    assert last.next_timer == Timer(4, 0, NOW + 60_000)
    first = decide(incident(4), POLICY, NOW, facts=WATCHED)
    assert first.kind is StepKind.BROADCAST
    assert set(first.notices) == {DESK, mail(DORA), mail(ADA)}
    assert first.next_timer == Timer(4, 1, NOW + 60_000)


def test_a_webhook_is_told_where_the_policy_names_one() -> None:
    policy = parse_policy({**default_policy(), "webhook_url": "https://example.com/hook"})
    assert Notice("webhook", Channel.WEBHOOK, "https://example.com/hook") in decide(incident(3), policy, NOW).notices
    assert all(notice.channel is not Channel.WEBHOOK for notice in decide(incident(3), POLICY, NOW).notices)


def test_who_has_a_stake_is_never_told() -> None:
    decision = decide(incident(2, excluded=frozenset({DORA.person_id})), POLICY, NOW, facts=WATCHED)
    assert mail(DORA) not in decision.notices
    assert mail(ADA) in decision.notices


def test_a_late_step_does_not_delay_the_next() -> None:
    assert decide(incident(1, due_at_ms=NOW - 5_000), POLICY, NOW, facts=WATCHED).next_timer.due_at_ms == NOW + 15_000
    assert decide(incident(1, due_at_ms=NOW - 50_000), POLICY, NOW, facts=WATCHED).next_timer.due_at_ms == NOW


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
    crowd = [
        Responder(PersonId(uuid4()), Role.DISPATCHER, {Channel.EMAIL: [f"{n}@clenzy.test"]})
        for n in range(RESPONDERS_MAX + 7)
    ]
    decision = decide(incident(2), POLICY, NOW, facts=Facts(responders=crowd))
    assert len(decision.notices) == RESPONDERS_MAX + 1


def test_who_is_on_call_or_an_admin_is_told_however_many_dispatchers_there_are() -> None:
    crowd = [
        Responder(PersonId(uuid4()), Role.DISPATCHER, {Channel.EMAIL: [f"{n}@clenzy.test"]})
        for n in range(RESPONDERS_MAX + 7)
    ]
    schedule_id = ScheduleId(UUID(int=7))
    notify = [
        {"target": "on_call", "schedule_id": str(schedule_id), "channels": ["email"]},
        {"target": "admins", "channels": ["email"]},
    ]
    policy = parse_policy({**default_policy(), "steps": [{"delay_s": 0, "notify": notify}]})
    facts = Facts(responders=[*crowd, ADA], on_call={schedule_id: [crowd[-1].person_id]})
    assert decide(incident(1), policy, NOW, facts=facts).notices == (mail(crowd[-1]), mail(ADA))


def test_a_closed_incident_and_a_timer_of_the_future_are_defects() -> None:
    with pytest.raises(AssertionError):
        decide(incident(1, state=IncidentState.CLOSED), POLICY, NOW)
    with pytest.raises(AssertionError):
        decide(incident(1, due_at_ms=NOW + 1), POLICY, NOW)


def test_without_an_armed_desk_nothing_waits_before_the_phones() -> None:
    on_call = {"target": "on_call", "schedule_id": str(UUID(int=7)), "channels": ["sms"]}
    desk = {"target": "desk", "channels": ["desk"]}
    mails = {"target": "dispatchers", "channels": ["email"]}
    steps = [
        {"delay_s": delay_s, "notify": [one]} for delay_s, one in ((0, desk), (30, mails), (40, on_call), (50, desk))
    ]
    policy = parse_policy({**default_policy(), "steps": steps})
    unwatched = Facts(responders=[DORA, ADA])
    first = decide(incident(1), policy, NOW, facts=unwatched)
    assert (first.haste, first.next_timer) == (Haste.NO_ARMED_DESK, Timer(2, 0, NOW))
    assert not first.is_desk_armed
    second = decide(incident(2), policy, NOW, facts=unwatched)
    assert second.notices == (mail(DORA),)
    assert second.next_timer == Timer(3, 0, NOW)
    watched = decide(incident(1), policy, NOW, facts=WATCHED)
    assert (watched.haste, watched.next_timer) == (None, Timer(2, 0, NOW + 30_000))
    assert watched.waits_for_desk
    assert not decide(incident(3), policy, NOW, facts=WATCHED).waits_for_desk


def test_the_desk_of_who_has_a_stake_is_not_armed() -> None:
    own = Facts(responders=[DORA], armed=frozenset({DORA.person_id}))
    assert decide(incident(1), POLICY, NOW, facts=own).is_desk_armed
    decision = decide(incident(1, excluded=frozenset({DORA.person_id})), POLICY, NOW, facts=own)
    assert (decision.is_desk_armed, decision.next_timer.due_at_ms) == (False, NOW)


def test_a_step_that_reaches_no_human_is_followed_at_once() -> None:
    schedule_id = ScheduleId(UUID(int=7))
    on_call = {"target": "on_call", "schedule_id": str(schedule_id), "channels": ["email"]}
    hook = {"target": "webhook", "url": "https://example.com/hook", "channels": ["webhook"]}
    steps = [{"delay_s": 0, "notify": [on_call, hook]}, {"delay_s": 300, "notify": [hook]}]
    policy = parse_policy({**default_policy(), "steps": steps})
    nobody = decide(incident(1), policy, NOW, facts=WATCHED)
    assert len(nobody.notices) == 1
    assert (nobody.haste, nobody.next_timer) == (Haste.NOBODY_TOLD, Timer(2, 0, NOW))
    duty = Facts(responders=[DORA, ADA], on_call={schedule_id: (ADA.person_id,)})
    somebody = decide(incident(1), policy, NOW, facts=duty)
    assert mail(ADA) in somebody.notices
    assert mail(DORA) not in somebody.notices
    assert (somebody.haste, somebody.next_timer) == (None, Timer(2, 0, NOW + 300_000))
    hook_alone = decide(incident(2), policy, NOW, facts=WATCHED)
    assert hook_alone.haste is None, "a step that only calls a machine was meant to"


def test_a_broadcast_repeats_at_its_own_pace_when_it_reaches_nobody() -> None:
    assert decide(incident(4), POLICY, NOW).next_timer == Timer(4, 1, NOW + 60_000)


def test_the_broadcast_tells_everybody_over_everything_whatever_the_steps_say() -> None:
    dora = Responder(DORA.person_id, Role.DISPATCHER, {Channel.SMS: ["+351912345678"], Channel.FCM: ["one", "two"]})
    policy = parse_policy(
        {
            **default_policy(),
            "steps": [{"delay_s": 0, "notify": [{"target": "desk", "channels": ["desk"]}]}],
            "monitoring_centre": {"phone": "+351211111111"},
        }
    )
    told = decide(incident(2), policy, NOW, facts=Facts(responders=[dora, ADA])).notices
    who = f"person:{DORA.person_id}"
    assert set(told) == {
        DESK,
        mail(ADA),
        Notice(who, Channel.SMS, "+351912345678"),
        Notice(who, Channel.FCM, "one"),
        Notice(f"{who}/1", Channel.FCM, "two"),
        Notice("monitoring_centre", Channel.SMS, "+351211111111"),
        Notice("monitoring_centre", Channel.VOICE, "+351211111111"),
    }


def test_what_nothing_vouches_for_is_told_to_the_desk_and_whoever_is_on_call_alone() -> None:
    schedule = ScheduleId(UUID(int=7))
    hook, contacts = {"target": "webhook", "channels": ["webhook"]}, {"target": "contacts", "channels": ["sms"]}
    on_call = {"target": "on_call", "schedule_id": str(schedule), "channels": ["email"]}
    everybody = {"target": "dispatchers", "channels": ["email"]}
    steps = [
        {"delay_s": 0, "notify": [{"target": "desk", "channels": ["desk"]}, contacts]},
        {"delay_s": 20, "notify": [on_call, everybody, hook, contacts]},
    ]
    policy = parse_policy({**default_policy(), "steps": steps, "webhook_url": "https://example.com/hook"})
    contact = Contact(ContactId(UUID(int=9)), {Channel.SMS: ["+351910000009"]}, may_be_at_address=False)
    facts = replace(WATCHED, on_call={schedule: [ADA.person_id]}, contacts=[contact])
    unverified = [replace(incident(step), is_verified=False) for step in (1, 2, 3)]
    assert [decide(each, policy, NOW, facts=facts).notices for each in unverified] == [
        (DESK,),
        (mail(ADA),),
        (DESK, mail(DORA), mail(ADA)),
    ]
    verified = decide(incident(3), policy, NOW, facts=facts)
    assert {notice.channel for notice in verified.notices} == {
        Channel.DESK,
        Channel.EMAIL,
        Channel.WEBHOOK,
        Channel.SMS,
    }


def test_without_a_schedule_the_steps_tell_the_people_of_the_desk() -> None:
    hook = parse_policy({**default_policy(), "webhook_url": "https://example.com/hook"})
    assert decide(replace(incident(3), is_verified=False), hook, NOW, facts=WATCHED).notices == (
        DESK,
        mail(DORA),
        mail(ADA),
    )
