from typing import Any
from uuid import UUID

import orjson
import pytest

from config.limits import POLICY_DELAY_S_MAX, STEPS_PER_POLICY_MAX
from engine.core.errors import InvalidInput
from engine.core.ids import PersonId, ScheduleId
from engine.core.vocabulary import Channel
from engine.safetap.policy import ALWAYS_TOLD, CHANNELS_OF, Route, Target, default_policy, parse_policy

DESK = {"target": "desk", "channels": ["desk"]}
MAILS = {"target": "dispatchers", "channels": ["email"]}
HOOK = {"target": "webhook", "channels": ["webhook"]}
NEAR = {"target": "volunteers", "within_cells": 2, "channels": ["sms"]}
ON_CALL = {"target": "on_call", "schedule_id": str(UUID(int=7)), "channels": ["sms"]}


def test_the_default_policy_tells_the_desk_then_people_then_everybody() -> None:
    policy = parse_policy(default_policy())
    assert [step.delay_s for step in policy.steps] == [0, 20, 40]
    assert policy.steps[0].routes == (Route(Target.DESK, Channel.DESK),)
    assert set(policy.steps[1].routes) == {
        Route(Target.DESK, Channel.DESK),
        Route(Target.DISPATCHERS, Channel.EMAIL),
        Route(Target.ADMINS, Channel.EMAIL),
    }
    assert set(policy.steps[2].routes) <= set(policy.everybody)
    assert policy.repeat_s == 60
    assert policy.follow_up_s == 600
    assert policy.webhook_url is None


def test_everybody_is_the_whole_desk_over_every_channel_and_whom_any_step_names() -> None:
    policy = parse_policy(changed(["steps", 0, "notify"], [ON_CALL]))
    everybody = policy.everybody
    assert len(everybody) == len(set(everybody))
    assert {Route(target, channel) for target in ALWAYS_TOLD for channel in CHANNELS_OF[target]} <= set(everybody)
    on_call = {route.channel for route in everybody if route.target is Target.ON_CALL}
    assert on_call == CHANNELS_OF[Target.ON_CALL], "over every channel, not only the step's"


def test_a_policy_of_an_earlier_version_is_read() -> None:
    old = {
        "steps": [{"delay_s": 0, "notify": [DESK]}, {"delay_s": 5, "notify": [MAILS, HOOK]}],
        "repeat_s": 60,
        "follow_up_s": 600,
        "webhook_url": "https://example.com/hook",
    }
    policy = parse_policy(old)
    assert policy.steps[1].routes == (
        Route(Target.DISPATCHERS, Channel.EMAIL),
        Route(Target.WEBHOOK, Channel.WEBHOOK),
    )
    assert policy.monitoring_centre is None


def test_the_phone_step_is_the_first_that_tells_who_is_on_call_else_the_first_beyond_the_desk() -> None:
    def phone_step(*notify: object) -> int:
        steps = [{"delay_s": 0, "notify": [one]} for one in notify]
        return parse_policy({**default_policy(), "steps": steps}).phone_step

    assert phone_step(DESK, MAILS, ON_CALL, DESK) == 3
    assert phone_step(DESK, MAILS, DESK) == 2
    assert phone_step(DESK, DESK) == 3


def test_every_target_is_read_with_what_it_needs() -> None:
    body = changed(
        ["steps", 0, "notify"],
        [
            ON_CALL,
            {"target": "person", "person_id": str(UUID(int=8)), "channels": ["push"]},
            {"target": "volunteers", "within_cells": 3, "channels": ["fcm"]},
            {"target": "contacts", "channels": ["voice"]},
            {"target": "monitoring_centre", "channels": ["webhook", "voice"]},
            {"target": "webhook", "url": "https://example.com/own", "channels": ["webhook"]},
        ],
    )
    body |= {
        "volunteers_enabled": True,
        "monitoring_centre": {"url": "https://centre.example", "phone": "+15550100200"},
    }
    policy = parse_policy(body)
    assert policy.steps[0].routes == (
        Route(Target.ON_CALL, Channel.SMS, schedule_id=ScheduleId(UUID(int=7))),
        Route(Target.PERSON, Channel.PUSH, person_id=PersonId(UUID(int=8))),
        Route(Target.VOLUNTEERS, Channel.FCM, within_cells=3),
        Route(Target.CONTACTS, Channel.VOICE),
        Route(Target.MONITORING_CENTRE, Channel.VOICE),
        Route(Target.MONITORING_CENTRE, Channel.WEBHOOK),
        Route(Target.WEBHOOK, Channel.WEBHOOK, url="https://example.com/own"),
    )
    assert policy.schedule_ids == {ScheduleId(UUID(int=7))}


def test_a_route_that_is_written_twice_is_told_once() -> None:
    policy = parse_policy({**default_policy(), "steps": [{"delay_s": 0, "notify": [DESK, DESK]}]})
    assert policy.steps[0].routes == (Route(Target.DESK, Channel.DESK),)


def changed(path: list[Any], value: object) -> dict[str, object]:
    body: dict[str, object] = orjson.loads(orjson.dumps(default_policy()))
    place: Any = body
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return body


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (["steps"], None, "steps"),
        (["steps"], "desk", "steps"),
        (["steps"], [], "steps"),
        (["steps"], [{"delay_s": 0, "notify": [DESK]}] * (STEPS_PER_POLICY_MAX + 1), "steps"),
        (["steps", 0], [], "steps[0]"),
        (["steps", 0, "delay_s"], 1, "steps[0].delay_s"),
        (["steps", 1, "delay_s"], -1, "steps[1].delay_s"),
        (["steps", 1, "delay_s"], 1.5, "steps[1].delay_s"),
        (["steps", 1, "delay_s"], True, "steps[1].delay_s"),
        (["steps", 1, "delay_s"], POLICY_DELAY_S_MAX + 1, "steps[1].delay_s"),
        (["steps", 1, "notify"], [], "steps[1].notify"),
        (["steps", 1, "notify"], {"target": "desk"}, "steps[1].notify"),
        (["steps", 1, "notify", 0, "target"], "police", "steps[1].notify[0].target"),
        (["steps", 1, "notify", 0, "target"], ["desk"], "steps[1].notify[0].target"),
        (["steps", 1, "notify", 0, "channels"], [], "steps[1].notify[0].channels"),
        (["steps", 1, "notify", 0, "channels"], ["email"], "steps[1].notify[0].channels"),
        (["steps", 1, "notify", 1, "channels"], ["email", ["desk"]], "steps[1].notify[1].channels"),
        (["steps", 1, "notify", 0], {**ON_CALL, "schedule_id": None}, "steps[1].notify[0].schedule_id"),
        (["steps", 1, "notify", 0], {**ON_CALL, "schedule_id": "first"}, "steps[1].notify[0].schedule_id"),
        (["steps", 1, "notify", 0], {"target": "person", "channels": ["sms"]}, "steps[1].notify[0].person_id"),
        (["steps", 1, "notify", 0], {**NEAR, "within_cells": 0}, "steps[1].notify[0].within_cells"),
        (["steps", 1, "notify", 0], {**NEAR, "within_cells": True}, "steps[1].notify[0].within_cells"),
        (["steps", 1, "notify", 0], NEAR, "volunteers_enabled"),
        (["steps", 1, "notify", 0], {"target": "contacts", "channels": ["push"]}, "steps[1].notify[0].channels"),
        (["steps", 1, "notify", 0], {"target": "monitoring_centre", "channels": ["voice"]}, "monitoring_centre"),
        (["steps", 1, "notify", 0], {**HOOK, "url": "ftp://example.com"}, "steps[1].notify[0].url"),
        (["volunteers_enabled"], "yes", "volunteers_enabled"),
        (["monitoring_centre"], {}, "monitoring_centre"),
        (["monitoring_centre"], {"phone": "112"}, "monitoring_centre.phone"),
        (["monitoring_centre"], {"phone": 112}, "monitoring_centre.phone"),
        (["monitoring_centre"], {"email": "centre"}, "monitoring_centre.email"),
        (["monitoring_centre"], {"url": "centre"}, "monitoring_centre.url"),
        (["repeat_s"], 0, "repeat_s"),
        (["follow_up_s"], None, "follow_up_s"),
        (["webhook_url"], 7, "webhook_url"),
        (["webhook_url"], "ftp://example.com", "webhook_url"),
        (["webhook_url"], "https://user:secret@example.com", "webhook_url"),
        (["webhook_url"], "https://[broken", "webhook_url"),
    ],
)
def test_a_broken_rule_is_named_with_its_field(path: list[Any], value: object, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_policy(changed(path, value))
    assert refused.value.field == field
    assert refused.value.detail.endswith((".", "null.", "0."))


def test_a_policy_is_an_object() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_policy(["steps"])
    assert refused.value.field == "policy"


def test_a_webhook_address_is_kept() -> None:
    assert parse_policy(changed(["webhook_url"], "https://example.com/hook")).webhook_url == "https://example.com/hook"
