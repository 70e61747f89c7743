"""Engine.IO's packets and Socket.IO's events against the library that stock Python clients use."""

from typing import Any

import pytest
from engineio.payload import Payload
from hypothesis import given
from hypothesis import strategies as st
from socketio import packet as library

from config.limits import POLL_PACKETS_MAX
from engine.core.errors import WireError
from gateway_ws.engineio.packets import Packet, checked, close_frame, packets_of, payload_of, websocket_frame
from gateway_ws.socketio.event import SocketIoEvent
from gateway_ws.socketio.ping_frame import decode, encode, is_ping

TEXT = st.text(st.characters(exclude_characters="\x1e", exclude_categories=["Cs"]), max_size=40)
PACKETS = st.one_of(st.builds(str.__add__, st.sampled_from("0123456"), TEXT), st.binary(max_size=300))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda some: st.lists(some, max_size=3) | st.dictionaries(TEXT, some, max_size=3),
    max_leaves=8,
)


@given(st.lists(PACKETS, min_size=1, max_size=POLL_PACKETS_MAX))
def test_a_payload_is_read_back(packets: list[Packet]) -> None:
    assert packets_of(payload_of(packets)) == packets


@given(st.lists(st.builds("4".__add__, st.text("abc{}", max_size=9)), min_size=1, max_size=16))
def test_a_payload_is_the_librarys(packets: list[str]) -> None:
    theirs = Payload(encoded_payload=payload_of(list(packets)))
    assert [packet.encode() for packet in theirs.packets] == packets


@given(st.text(max_size=60))
def test_any_text_is_packets_or_one_error(payload: str) -> None:
    try:
        packets = packets_of(payload)
    except WireError:
        return
    assert all(isinstance(packet, bytes) or packet[0] in "0123456" for packet in packets)


@pytest.mark.parametrize("packet", ["", "7", "x", "-1", "b"])
def test_text_without_a_type_is_no_packet(packet: str) -> None:
    with pytest.raises(WireError):
        checked(packet)


@pytest.mark.parametrize(
    ("length", "head"),
    [(0, b"\x82\x00"), (125, b"\x82\x7d"), (126, b"\x82\x7e\x00\x7e"), (65_536, b"\x82\x7f" + (65_536).to_bytes(8))],
)
def test_frames_say_their_length(length: int, head: bytes) -> None:
    assert websocket_frame(bytes(length)) == head + bytes(length)
    assert websocket_frame("x" * length) == b"\x81" + head[1:] + b"x" * length


def test_text_frames_count_bytes_and_close_frames_carry_a_code() -> None:
    assert websocket_frame("4é") == b"\x81\x034\xc3\xa9"
    assert close_frame(1_000) == b"\x88\x02\x03\xe8"


@given(
    st.sampled_from(["/", "/desk"]),
    st.text("abc.", min_size=1, max_size=9),
    st.lists(JSON | st.binary(max_size=9), max_size=3),
)
def test_an_event_is_what_the_library_reads(namespace: str, name: str, arguments: list[Any]) -> None:
    event = SocketIoEvent(namespace, name, *arguments)
    text, *attachments = event.packets
    assert isinstance(text, str)
    assert text[0] == "4"
    theirs = library.Packet(encoded_packet=text[1:])
    for attachment in attachments:
        theirs.add_attachment(attachment)
    assert (theirs.namespace or "/", theirs.data) == (namespace, [name, *arguments])
    assert event.frames == b"".join(map(websocket_frame, event.packets))
    assert event.frames is event.frames, "built once"


@given(st.integers(0, 2**64 - 1), st.integers(1, 50))
def test_a_ping_frame_is_read_back(seq: int, fixes: int) -> None:
    frame = encode(seq, bytes(24 * fixes))
    assert is_ping(frame)
    assert decode(frame) == (seq, bytes(24 * fixes))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_ping_frame_or_one_error(data: bytes) -> None:
    try:
        _, fixes = decode(data)
    except WireError:
        return
    assert len(fixes) % 24 == 0
    assert fixes
