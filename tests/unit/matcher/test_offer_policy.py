"""What a policy's file may say of offers, and that each wrong word is named."""

import pytest

from config.limits import OFFER_TTL_MS
from engine.matcher.cost_policy import PolicyError, parse_policy, policy_from_text, policy_text
from engine.matcher.offer_policy import DEFAULT_OFFER_POLICY, OfferPolicy
from engine.matcher.policy_watch import SHIPPED, read_policy

GOOD = {"at_once": [2, 2, 4], "radius_m": [3_000, 9_000], "answer_s": 45}


def parsed(**offers: object) -> OfferPolicy:
    return parse_policy({"name": "own", "version": 1, "offers": offers}).offers


def test_what_is_said_is_taken_and_the_rest_is_the_default():
    assert parsed(**GOOD) == OfferPolicy((2, 2, 4), (3_000, 9_000), 45)
    assert parsed(answer_s=45) == OfferPolicy(answer_s=45)
    assert parsed() == read_policy(SHIPPED).offers == DEFAULT_OFFER_POLICY
    assert DEFAULT_OFFER_POLICY.answer_s * 1000 == OFFER_TTL_MS


def test_a_kept_text_says_it_again():
    policy = parse_policy({"name": "own", "version": 1, "offers": GOOD})
    assert policy_from_text(policy_text(policy)) == policy


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("at_once", [], "1 to 10 numbers"),
        ("at_once", [1] * 11, "1 to 10 numbers"),
        ("at_once", 2, "a list"),
        ("at_once", [0], "from 1 to 5"),
        ("at_once", [6], "from 1 to 5"),
        ("at_once", [True], "whole numbers"),
        ("at_once", [2, 1], "never ask fewer"),
        ("radius_m", [499], "from 500"),
        ("radius_m", [12_001], "to 12000"),
        ("radius_m", [1_000.0], "whole numbers"),
        ("answer_s", 4, "from 5 to 300"),
        ("answer_s", 301, "from 5 to 300"),
        ("answer_s", "20", "from 5 to 300"),
        ("ttl_s", 20, "unknown"),
    ],
)
def test_a_wrong_word_is_named(name: str, value: object, rule: str):
    with pytest.raises(PolicyError, match=rf"offers\.{name}: .*{rule}"):
        parsed(**GOOD | {name: value})


def test_it_is_a_table():
    with pytest.raises(PolicyError, match="offers: a table"):
        parse_policy({"name": "own", "version": 1, "offers": [1]})
