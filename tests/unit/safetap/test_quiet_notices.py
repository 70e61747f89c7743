"""What people who only look are told: to stay outside, whom to call, and nothing to answer."""

import pytest

from engine.safetap.channels import email, sms, voice
from engine.safetap.channels.push_text import push_fields
from tests.unit.safetap.test_phone import message

ADVICE = "Look from outside only. Do not enter, do not ring or write to them. If you see danger, call 112."
DESK = "https://desk.test"


@pytest.mark.parametrize("advice", [ADVICE, None])
def test_every_channel_tells_a_bystander_to_stay_outside_and_asks_for_no_answer(advice: str | None) -> None:
    told = message(advice=advice, target="volunteer:x")
    told.incident.update(opened_at="now", state="open", step=1, severity=1)  # type: ignore[attr-defined]
    texts = [
        sms.compose(told, console_url=DESK),
        voice.script(told, answer_url="https://door.test/answer"),
        email.compose(told, sender="a@b.test", console_url=DESK).get_content(),
    ]
    for text in texts:
        says_take_it = any(word in text for word in ("Press", "Gather", "ACK", DESK))
        assert (ADVICE in text, says_take_it) == (advice is not None, advice is None), text
    assert ("do not enter" in push_fields(told)["body"]) == (advice is not None)


def test_an_unconfirmed_alarm_says_so() -> None:
    told = message()
    told.incident.update(trust="unverified")  # type: ignore[attr-defined]
    assert sms.compose(told, console_url=DESK).startswith("UNCONFIRMED. SafeTap: ")


def test_a_decoy_is_the_persons_words_and_nothing_else() -> None:
    assert sms.compose(message(decoy="Your parcel is late"), console_url=DESK) == "Your parcel is late"
