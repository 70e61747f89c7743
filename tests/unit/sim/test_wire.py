"""Frames as bytes: golden ones, all kinds from the server, and rubbish."""

import struct
from uuid import UUID

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.client import wire
from sim.client.errors import WireFault

TRIGGER_ID = UUID("01234567-89ab-cdef-0123-456789abcdef")


def test_fix_record_is_the_documented_24_bytes() -> None:
    record = np.array([(1_700_000_000_000, 411_500_000, -86_100_000, 55, 834, 27_000, 81, 3)], wire.FIX_DTYPE)
    packed = struct.pack("<qiiHHHBB", 1_700_000_000_000, 411_500_000, -86_100_000, 55, 834, 27_000, 81, 3)
    assert record.tobytes() == packed
    assert len(packed) == 24


def test_ping_carries_its_number_and_the_records_as_bytes() -> None:
    assert wire.ping(5, b"\x01" * 48) == msgpack.packb([1, 5, b"\x01" * 48])


@pytest.mark.parametrize("size", [0, 23, 25, 51 * 24])
def test_ping_refuses_to_carry_anything_but_1_to_50_whole_records(size: int) -> None:
    with pytest.raises(AssertionError):
        wire.ping(1, bytes(size))


def test_trigger_is_as_large_as_a_ping_of_two_fixes() -> None:
    frame = wire.trigger(9, TRIGGER_ID, "duress_pin", record=b"\x02" * 24)
    kind, seq, body = msgpack.unpackb(frame)
    assert (kind, seq) == (3, 9)
    assert body == b"\x02" * 24 + TRIGGER_ID.bytes + b"\x03" + bytes(7)
    assert len(frame) == len(wire.ping(9, bytes(48)))


def test_trigger_without_a_fix_carries_zeros() -> None:
    assert msgpack.unpackb(wire.trigger(1, TRIGGER_ID, "button"))[2][:24] == bytes(24)


def test_hello_command_and_token() -> None:
    assert msgpack.unpackb(wire.hello("t", "sim")) == [0, "t", {"client": "sim"}]
    place = wire.Place.of_welcome({"epoch": "e", "offset": 4, "recovered": False})
    assert place is not None
    assert msgpack.unpackb(wire.hello("t", "sim", place.after(7))) == [
        0,
        "t",
        {"client": "sim", "epoch": "e", "offset": 7},
    ]
    assert wire.Place.of_welcome({"epoch": None, "offset": None, "recovered": False}) is None
    assert msgpack.unpackb(wire.command(3, "duty", {"duty": "on"})) == [4, 3, "duty", {"duty": "on"}]
    assert msgpack.unpackb(wire.fresh_token("t2")) == [7, "t2"]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ([0, 7, {"duty": "on"}], wire.Welcome(7, {"duty": "on"})),
        ([2, 12, 0], wire.Ack(12, 0)),
        ([2, 12, 2], wire.Ack(12, 2)),
        ([5, 4, True, {"duty": "on"}], wire.Answer(4, True, {"duty": "on"})),
        ([5, 4, True, None], wire.Answer(4, True, {})),
        ([5, 4, False, {"code": "conflict"}], wire.Answer(4, False, {"code": "conflict"})),
        ([6, "offer", {"offer_id": "o"}], wire.Event("offer", {"offer_id": "o"})),
        ([6, "offer", {"offer_id": "o"}, 7], wire.Event("offer", {"offer_id": "o"}, 7)),
        ([8, {"code": "too_many", "detail": "slow", "seq": 3}], wire.FrameRefused("too_many", "slow", 3)),
        ([8, {"code": "unknown_type", "detail": ""}], wire.FrameRefused("unknown_type", "", None)),
        ([9, {"cadence_ms": 15_000}], wire.Cadence(15_000, 15_000)),
        ([9, {"cadence_ms": 5_000, "batch_ms": 15_000}], wire.Cadence(5_000, 15_000)),
    ],
)
def test_decodes_what_the_server_sends(frame: list[object], expected: wire.ServerFrame) -> None:
    assert wire.decode(msgpack.packb(frame)) == expected


@pytest.mark.parametrize("frame", [[], [1, 2], [2, "x", 0], [77], {"a": 1}, None, [8, {}], [0, 1]])
def test_names_what_it_does_not_know(frame: object) -> None:
    with pytest.raises(WireFault):
        wire.decode(msgpack.packb(frame))


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_a_wire_fault(data: bytes) -> None:
    try:
        wire.decode(data)
    except WireFault:
        return
