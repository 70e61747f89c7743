"""Numbers, signatures, texts and codes of the phone channels."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.ids import IncidentId, NoticeId, OrgId
from engine.safetap.channels.notifier import NoticeMessage, NotSent
from engine.safetap.channels.phone_number import e164
from engine.safetap.channels.phone_signature import is_signed, signature
from engine.safetap.channels.sms import TEXT_CHARS_MAX, compose, recipient
from engine.safetap.channels.voice import busy, script, spoken
from engine.safetap.reply_codes import code_in, person_of

PUBLISHED_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
PUBLISHED = [
    ("+14158675309", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    ("+14158675310", "GvWf1cFY/Q7PnoempGyD5oXAezc="),
    ("+12349013030", "0/KCTR6DLpKmkAf8muzZqo1nDgQ="),
]
"""Examples of the provider's documentation over the years; the key is `12345`."""


def published_fields(caller: str) -> list[tuple[str, str]]:
    return [
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", caller),
        ("Digits", "1234"),
        ("From", caller),
        ("To", "+18005551212"),
    ]


def message(**changes: object) -> NoticeMessage:
    incident = {
        "person": {"name": "Walter  <Worker>", "role": "worker"},
        "is_drill": False,
        "address": {"line": "Rua das Flores 1", "floor": "2", "entry_notes": "ring twice"},
        "fix": None,
    }
    incident |= {name: changes.pop(name) for name in ("is_drill",) if name in changes}
    incident |= {"address": changes.pop("place")} if "place" in changes else {}
    fields = {
        "notice_id": NoticeId(UUID(int=1)),
        "key": "key",
        "incident_id": IncidentId(UUID(int=2)),
        "org_id": OrgId(UUID(int=3)),
        "target": "person:x",
        "address": "+351910000001",
        "step": 2,
        "sent_at_ms": 0,
        "incident": incident,
    }
    return NoticeMessage(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("caller", "expected"), PUBLISHED)
def test_the_published_examples_of_a_signature(caller: str, expected: str) -> None:
    fields = published_fields(caller)
    assert signature("12345", PUBLISHED_URL, fields) == expected
    assert is_signed("12345", PUBLISHED_URL, reversed(fields), expected)


@pytest.mark.parametrize("spoilt", ["secret", "url", "field", "signature", "nothing"])
def test_a_signature_covers_secret_url_and_every_field(spoilt: str) -> None:
    caller, expected = PUBLISHED[0]
    fields = published_fields(caller)
    if spoilt == "field":
        fields[2] = ("Digits", "1235")
    given = {"signature": "A" + expected[1:], "nothing": ""}.get(spoilt, expected)
    url = PUBLISHED_URL.replace("foo=1", "foo=2") if spoilt == "url" else PUBLISHED_URL
    assert not is_signed("54321" if spoilt == "secret" else "12345", url, fields, given)


@pytest.mark.parametrize(
    ("called", "signed"),
    [
        ("https://x.test/a?b=1", "https://x.test:443/a?b=1"),
        ("http://x.test/a", "http://x.test:80/a"),
        ("https://x.test:8443/a", "https://x.test/a"),
    ],
)
def test_the_port_may_be_signed_or_not(called: str, signed: str) -> None:
    assert is_signed("k", called, [], signature("k", signed, []))


@given(st.text(max_size=40))
def test_any_text_as_a_signature_is_refused_without_an_error(text: str) -> None:
    assert not is_signed("k", "https://x.test/", [("a", "b")], text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+351 910 000 001", "+351910000001"),
        ("00351910000001", "+351910000001"),
        ("+1 (415) 867-5309", "+14158675309"),
        ("910000001", None),
        ("+0123456789", None),
        ("+35191000000123456", None),
        ("client:anonymous", None),
        ("", None),
    ],
)
def test_a_number_needs_its_country(text: str, expected: str | None) -> None:
    assert e164(text) == expected


def test_what_a_text_says_first_survives_the_longest_address() -> None:
    text = compose(message(reply_code="0042", place={"line": "x" * 900, "floor": ""}), console_url="https://d.test")
    assert len(text) == TEXT_CHARS_MAX
    assert text.startswith(
        "SafeTap: Walter <Worker> (worker) needs help.\nReply ACK 0042 to take it.\nDo not ring them."
    )


def test_a_drill_says_so_first_and_without_a_code_nobody_is_asked_to_answer() -> None:
    text = compose(message(is_drill=True, place=None), console_url="https://d.test")
    assert text.startswith("DRILL. SafeTap")
    assert "ACK" not in text


def test_an_address_that_is_no_number_is_refused_for_good() -> None:
    with pytest.raises(NotSent) as refused:
        recipient(message(address="910000001"))
    assert refused.value.is_final


def test_a_call_says_no_address_and_names_where_the_key_goes() -> None:
    text = script(message(), answer_url="https://d.test/a?notice=1&x=2")
    assert 'action="https://d.test/a?notice=1&amp;x=2"' in text
    assert "Walter  &lt;Worker&gt;" in text
    assert "Rua" not in text
    assert busy() == '<Response><Reject reason="busy" /></Response>'
    assert spoken(None) == "<Response><Hangup /></Response>"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ACK 1234", "1234"),
        (" ack1234 ", "1234"),
        ("Acknowledge: 1234.", "1234"),
        ("1234", "1234"),
        ("12345", None),
        ("ACK 12 34", None),
        ("help 1234", None),
        ("", None),
    ],
)
def test_the_code_of_an_answer(text: str, code: str | None) -> None:
    assert code_in(text) == code


def test_only_a_person_can_be_asked_to_answer() -> None:
    person = UUID(int=7)
    assert person_of(f"person:{person}") == person
    assert person_of(f"person:{person}/1") == person
    for other in ("desk", "contact:" + str(person), "volunteer:" + str(person), "person:x"):
        assert person_of(other) is None
