from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.limits import TRIGGER_BYTES_MAX
from engine.core.errors import InvalidInput
from engine.core.ids import BookingId, IncidentId, OrgId, PersonId, RegionId, TriggerId
from engine.core.vocabulary import Door, IncidentKind, Role
from engine.safetap.trigger import (
    ReceivedTrigger,
    TokenState,
    Trigger,
    TriggerFix,
    from_record,
    parse_trigger,
    to_record,
)

TRIGGER_ID = UUID("0b6f8f5e-7f5c-4f6e-9d57-3d1f0a6f2a11")
FIX = {"lat": 41.15, "lng": -8.61, "accuracy_m": 12, "ts_ms": 1_700_000_000_000}


def body(**fields: object) -> bytes:
    return orjson.dumps({"trigger_id": str(TRIGGER_ID), "kind": "button", **fields})


def test_the_least_a_trigger_needs() -> None:
    trigger = parse_trigger(body())
    assert trigger == Trigger(TriggerId(TRIGGER_ID), IncidentKind.BUTTON, ignored={})
    assert not trigger.is_drill


def test_everything_a_trigger_may_have() -> None:
    booking_id = uuid4()
    trigger = parse_trigger(body(kind="duress_pin", booking_id=str(booking_id), fix=FIX, colour="red"))
    assert trigger.booking_id == booking_id
    assert trigger.fix == TriggerFix(41.15, -8.61, 12.0, 1_700_000_000_000)
    assert trigger.ignored == {}
    assert trigger.severity > parse_trigger(body()).severity


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", None),
        (b"[]", None),
        (b"{", None),
        (b'{"kind": "button"}', "trigger_id"),
        (body(trigger_id="17"), "trigger_id"),
        (body(trigger_id=17), "trigger_id"),
        (body(kind="shake"), "kind"),
        (body(kind=None), "kind"),
        (body(kind=["button"]), "kind"),
        (b" " * (TRIGGER_BYTES_MAX + 1), None),
    ],
)
def test_what_cannot_be_told_apart_is_refused_by_field(raw: bytes, field: str | None) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_trigger(raw)
    assert refused.value.field == field
    assert refused.value.detail


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({"fix": {**FIX, "lat": 91}}, "fix"),
        ({"fix": {**FIX, "lng": -181}}, "fix"),
        ({"fix": {**FIX, "lat": "41"}}, "fix"),
        ({"fix": {**FIX, "lat": True}}, "fix"),
        ({"fix": {**FIX, "lat": 0, "lng": 0}}, "fix"),
        ({"fix": {**FIX, "ts_ms": 0}}, "fix"),
        ({"fix": {**FIX, "ts_ms": 10**18}}, "fix"),
        ({"fix": {**FIX, "ts_ms": 1.5}}, "fix"),
        ({"fix": "here"}, "fix"),
        ({"booking_id": "mine"}, "booking_id"),
        ({"booking_id": 7}, "booking_id"),
    ],
)
def test_what_is_merely_helpful_never_costs_the_alarm(fields: dict[str, Any], ignored: str) -> None:
    trigger = parse_trigger(body(**fields))
    assert trigger.fix is None
    assert trigger.booking_id is None
    assert trigger.ignored is not None
    assert set(trigger.ignored) == {ignored}


def test_an_accuracy_out_of_range_leaves_the_position() -> None:
    trigger = parse_trigger(body(fix={**FIX, "accuracy_m": -1}))
    assert trigger.fix == TriggerFix(41.15, -8.61, None, 1_700_000_000_000)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_by_our_own_error(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_trigger(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FIX, "x"]), inner, max_size=4),
    max_leaves=8,
)


@given(fix=json_values, booking_id=json_values)
def test_no_fix_and_no_booking_can_make_a_good_trigger_fail(fix: object, booking_id: object) -> None:
    assert parse_trigger(body(fix=fix, booking_id=booking_id)).trigger_id == TRIGGER_ID


@pytest.mark.parametrize("fix", [None, TriggerFix(41.15, -8.61, None, 5), TriggerFix(41.15, -8.61, 3.5, 5)])
@pytest.mark.parametrize("booking_id", [None, BookingId(UUID(int=7))])
def test_the_spools_form_keeps_everything(fix: TriggerFix | None, booking_id: BookingId | None) -> None:
    received = ReceivedTrigger(
        trigger=Trigger(TriggerId(uuid4()), IncidentKind.HOLD, booking_id, fix, {"fix": "why"}),
        person_id=PersonId(uuid4()),
        role=Role.WORKER,
        org_id=OrgId(uuid4()),
        region_id=RegionId(uuid4()),
        door=Door.SOCKET,
        token_state=TokenState.EXPIRED,
        incident_id=IncidentId(uuid4()),
        issued_at_ms=1_600_000_000_000,
        received_at_ms=1_700_000_000_000,
    )
    assert from_record(to_record(received)) == received
