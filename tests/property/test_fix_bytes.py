"""The fix as bytes and the raw websocket's frames: round trips, and no surprise from random input."""

import math

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import WireError
from engine.geo.fixes import FIX, check_payload, decode, encode, payload_of_objects
from gateway_ws.closing import TooManyFixes, UnknownType
from gateway_ws.raw import wire

ONE_FIX = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 65_535),
    st.integers(0, 65_535),
    st.integers(0, 65_535),
    st.integers(0, 255),
    st.integers(0, 255),
)
JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5)
    | st.binary(max_size=60),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(st.lists(ONE_FIX, min_size=1, max_size=5), min_size=1, max_size=6))
def test_decode_gives_back_what_was_encoded_with_its_slot(frames: list[list[tuple[int, ...]]]) -> None:
    payloads = [encode(np.array(frame, FIX)) for frame in frames]
    fixes, slots = decode(payloads, list(range(len(frames))))
    assert fixes.tolist() == [fix for frame in frames for fix in frame]
    assert slots.tolist() == [slot for slot, frame in enumerate(frames) for _ in frame]


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_decode_of_random_bytes_raises_nothing_but_wire_errors(payloads: list[bytes]) -> None:
    try:
        fixes, slots = decode(payloads, [0] * len(payloads))
    except WireError:
        assert any(len(payload) % 24 for payload in payloads)
    else:
        assert len(fixes) == len(slots) == sum(map(len, payloads)) // 24


@pytest.mark.parametrize("payload", [b"", b"x", bytes(25), "text", None, 24, [bytes(24)]])
def test_a_payload_is_a_whole_number_of_fixes(payload: object) -> None:
    with pytest.raises(WireError):
        check_payload(payload)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_by_name(data: bytes) -> None:
    _decodes_or_refuses(data)


@given(st.lists(JSONISH, max_size=5))
def test_random_values_are_refused_by_name(elements: list[object]) -> None:
    _decodes_or_refuses(msgpack.packb(elements))


def _decodes_or_refuses(data: bytes) -> None:
    try:
        frame = wire.decode(data)
    except (WireError, UnknownType, TooManyFixes):
        return
    assert isinstance(frame, wire.Hello | wire.Fixes | wire.Trigger | wire.Command | wire.FreshToken)


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        ([1, 1, bytes(24 * 51)], TooManyFixes),
        ([77, 1], UnknownType),
        ([2, 1, 0], UnknownType),
        ([1, 1], WireError),
        ([1, -1, bytes(24)], WireError),
        ([1, True, bytes(24)], WireError),
        ([True, "token"], WireError),
        ([3, 1, bytes(47)], WireError),
        ([3, 1, bytes(24) + bytes(16) + b"\x05" + bytes(7)], WireError),
        ([4, 1, "duty", None], WireError),
        ({"a": 1}, WireError),
        (b"", WireError),
    ],
)
def test_what_is_wrong_with_a_frame_has_a_name(frame: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        wire.decode(msgpack.packb(frame))


def test_a_trigger_is_as_long_as_a_ping_of_two_fixes() -> None:
    trigger_id = bytes(range(16))
    frame = msgpack.packb([3, 9, bytes(24) + trigger_id + b"\x04" + bytes(7)])
    assert len(frame) == len(msgpack.packb([1, 9, bytes(48)]))
    decoded = wire.decode(frame)
    assert isinstance(decoded, wire.Trigger)
    assert (decoded.trigger_id.bytes, decoded.kind, decoded.fix) == (trigger_id, "drill", None)


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536])
def test_websocket_frames_say_their_length(length: int) -> None:
    frame = wire.websocket_frame(bytes(length))
    head = len(frame) - length
    assert head == (2 if length < 126 else 4 if length < 65_536 else 10)
    assert frame[0] == 0x82
    told = frame[1] if head == 2 else int.from_bytes(frame[2:head], "big")
    assert told == length


def test_json_fixes_become_the_same_records() -> None:
    written = {"ts_ms": 5, "lat": 41.15, "lng": -8.61, "accuracy_m": 4.2, "speed_mps": 1.5, "heading_deg": 90,
               "battery_pct": 80}  # fmt: skip
    fixes, _ = decode([payload_of_objects([written, {"ts_ms": 6, "lat": -90, "lng": 180}])], [0])
    assert fixes.tolist() == [
        (5, 411_500_000, -86_100_000, 42, 150, 9_000, 80, 0),
        (6, -900_000_000, 1_800_000_000, 65_535, 65_535, 65_535, 255, 0),
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, 1e300, 10**30, 214.8])
def test_a_json_place_that_no_fix_can_hold_is_out_of_range(value: float | None) -> None:
    fixes, _ = decode([payload_of_objects([{"ts_ms": 1, "lat": value, "lng": 1}])], [0])
    assert fixes["lat_e7"][0] > 900_000_000


@pytest.mark.parametrize(
    "fix", [None, [], "x", {"ts_ms": "1", "lat": 1, "lng": 1}, {"lat": True, "ts_ms": 1, "lng": 1}]
)
def test_a_json_fix_of_another_shape_is_malformed(fix: object) -> None:
    with pytest.raises(WireError):
        payload_of_objects([fix])


def test_a_hopeless_accuracy_stays_hopeless() -> None:
    fixes, _ = decode([payload_of_objects([{"ts_ms": 1, "lat": 1, "lng": 1, "accuracy_m": 1e9}])], [0])
    assert fixes["accuracy_dm"][0] == 65_534
