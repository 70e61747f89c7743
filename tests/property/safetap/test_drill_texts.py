"""Over every channel a drill says so before anything else, and a real alarm never does, whatever people are called."""

import xml.etree.ElementTree as ET
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from engine.core.ids import IncidentId, NoticeId, OrgId
from engine.safetap.channels import email, sms, voice
from engine.safetap.channels.monitoring import alarm_export
from engine.safetap.channels.notifier import NoticeMessage
from engine.safetap.channels.push_text import push_fields

SAID: dict[str, str] = {"sms": "drill. ", "voice": "this is a drill. ", "mail": "[drill] ", "push": "drill: "}
"""How each channel begins when it is for practice."""

# What an attacker, or chance, might call somebody: each mark among other text.
words = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=30), st.sampled_from(list(SAID.values()))
)
texts = st.lists(words, min_size=1, max_size=3).map("".join)


@st.composite
def messages(draw: st.DrawFn, *, is_drill: bool) -> NoticeMessage:
    address = draw(st.none() | st.fixed_dictionaries({"line": texts, "floor": texts, "entry_notes": texts}))
    fix = draw(st.none() | st.just({"lat": 41.15, "lng": -8.61, "accuracy_m": 12.0, "ts_ms": 1}))
    incident = {
        "person": {"name": draw(texts), "role": draw(st.sampled_from(["worker", "customer"]))},
        "kind": "drill" if is_drill else draw(st.sampled_from(["button", "duress_pin", "silence"])),
        "is_drill": is_drill,
        "trust": draw(st.sampled_from(["verified", "unverified"])),
        "address": address,
        "fix": fix,
        "opened_at": "2026-01-01T00:00:00Z",
        "state": "open",
        "step": 2,
        "severity": 1,
    }
    return NoticeMessage(
        notice_id=NoticeId(UUID(int=1)),
        key="key",
        incident_id=IncidentId(UUID(int=2)),
        org_id=OrgId(UUID(int=3)),
        target="person:x",
        address="somebody@clenzy.test",
        step=2,
        sent_at_ms=0,
        incident=incident,
        reply_code=draw(st.none() | st.just("1234")),
        advice=draw(st.none() | texts),
    )


def beginnings(message: NoticeMessage) -> dict[str, str]:
    """What a person sees or hears first, by channel."""
    spoken = ET.fromstring(voice.script(message, answer_url="https://d.test/answer"))
    return {
        "sms": sms.compose(message, console_url="https://d.test").lstrip().lower(),
        "voice": "".join(spoken.itertext()).lstrip().lower(),
        "mail": str(email.compose(message, sender="a@d.test", console_url="https://d.test")["Subject"]).lower(),
        "push": push_fields(message)["title"].lower(),
    }


@given(messages(is_drill=True))
def test_a_drill_begins_by_saying_so(message: NoticeMessage) -> None:
    for channel, text in beginnings(message).items():
        assert text.startswith(SAID[channel]), (channel, text)
    assert alarm_export(message)["test"] is True


@given(messages(is_drill=False))
def test_a_real_alarm_never_begins_like_a_drill(message: NoticeMessage) -> None:
    for channel, text in beginnings(message).items():
        assert not text.startswith(tuple(mark.strip() for mark in SAID.values())), (channel, text)
    assert alarm_export(message)["test"] is False
