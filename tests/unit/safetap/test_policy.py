from typing import Any

import orjson
import pytest

from config.limits import POLICY_DELAY_S_MAX, STEPS_PER_POLICY_MAX
from engine.core.errors import InvalidInput
from engine.core.vocabulary import Channel
from engine.safetap.policy import CHANNELS_OF, Route, Target, default_policy, parse_policy

DESK = {"target": "desk", "channels": ["desk"]}


def test_the_default_policy_tells_the_desk_then_people_then_everybody() -> None:
    policy = parse_policy(default_policy())
    assert [step.delay_s for step in policy.steps] == [0, 20, 40]
    assert policy.steps[0].routes == (Route(Target.DESK, Channel.DESK),)
    assert set(policy.steps[1].routes) == {
        Route(Target.DESK, Channel.DESK),
        Route(Target.DISPATCHERS, Channel.EMAIL),
        Route(Target.ADMINS, Channel.EMAIL),
    }
    assert set(policy.steps[2].routes) == set(policy.everybody)
    assert policy.repeat_s == 60
    assert policy.follow_up_s == 600
    assert policy.webhook_url is None


def test_everybody_is_every_target_over_every_channel() -> None:
    everybody = parse_policy(default_policy()).everybody
    assert len(everybody) == len(set(everybody)) == sum(len(channels) for channels in CHANNELS_OF.values())


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
