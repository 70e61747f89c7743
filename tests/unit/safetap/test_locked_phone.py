"""The rules of the doors for a locked phone."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.ids import DeviceId, OrgId, PersonId, RegionId
from engine.core.vocabulary import IncidentKind, Role
from engine.safetap.alarm_id import alarm_id
from engine.safetap.bare_trigger import bare_trigger
from engine.safetap.phone_doors import PhoneDoor, word_hash
from gateway_ws.trackers.alarm import trigger_body
from gateway_ws.trackers.reading import Report

PERSON = PersonId(UUID(int=1))
DOOR = PhoneDoor(
    PERSON,
    Role.WORKER,
    OrgId(UUID(int=2)),
    RegionId(UUID(int=3)),
    "+351910000001",
    word_hash(PERSON, "blue heron"),
    False,
)
ID = alarm_id("a button", 60_000)


def test_one_minute_of_one_sender_is_one_alarm() -> None:
    assert alarm_id("a button", 119_999) == ID
    assert alarm_id("a button", 120_000) != ID
    assert alarm_id("another", 60_000) != ID


def test_the_rule_is_that_of_stock_trackers() -> None:
    device = DeviceId(UUID(int=9))
    body = trigger_body(Report(fixes=(), is_sos=True), device, now_ms=60_000)
    assert body["trigger_id"] == str(alarm_id(str(device), 60_000))


@pytest.mark.parametrize("text", ["blue heron", "  Blue   HERON!", "blue heron come quick", "'Blue' heron."])
def test_a_message_that_begins_with_the_word(text: str) -> None:
    assert DOOR.is_meant_by(text)


@pytest.mark.parametrize("text", ["", "blue", "heron blue", "my blue heron", "blueheron"])
def test_a_message_that_does_not(text: str) -> None:
    assert not DOOR.is_meant_by(text)
    assert not replace(DOOR, person_id=PersonId(UUID(int=5))).is_meant_by("blue heron"), "a word is one person's"


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(repr).map(str.encode)
)
def test_whatever_a_thing_posts_is_an_alarm(body: bytes) -> None:
    trigger = bare_trigger(body, trigger_id=ID, now_ms=5)
    assert trigger.trigger_id == ID
    assert trigger.kind is IncidentKind.BUTTON


def test_what_can_be_used_is() -> None:
    trigger = bare_trigger(b'{"kind": "hold", "fix": {"lat": "41,5", "lng": 2, "ts_ms": "7"}}', trigger_id=ID, now_ms=5)
    assert trigger.fix is not None
    assert (trigger.kind, trigger.fix.lat_deg, trigger.fix.ts_ms) == (IncidentKind.HOLD, 41.5, 7)
    timeless = bare_trigger(b'{"fix": {"lat": 41.5, "lng": 2}}', trigger_id=ID, now_ms=5)
    assert timeless.fix is not None
    assert timeless.fix.ts_ms == 5
    assert bare_trigger(b'{"kind": "laser"}', trigger_id=ID, now_ms=5).ignored == {
        "body": "A JSON object of a trigger, or nothing."
    }
