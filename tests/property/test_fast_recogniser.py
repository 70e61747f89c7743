"""Ping frames are recognised by their bytes before anything is unpacked: never otherwise than `decode` would."""

import msgpack
from hypothesis import example, given
from hypothesis import strategies as st

from config.limits import FIXES_PER_FRAME_MAX
from engine.core.errors import ClenzyError
from engine.geo.fixes import FIX_BYTES
from gateway_ws.raw import wire

SEQS = st.integers(0, wire.SEQ_MAX) | st.sampled_from(
    [0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, wire.SEQ_MAX]
)
PAYLOADS = st.integers(1, FIXES_PER_FRAME_MAX).map(lambda fixes: bytes(range(FIX_BYTES)) * fixes)


def decoded(data: bytes) -> wire.PhoneFrame | None:
    try:
        return wire.decode(data)
    except ClenzyError:
        return None


@st.composite
def nearly_fixes(draw: st.DrawFn) -> bytes:
    """A ping frame, or one with a few bytes changed, cut off, added, or in a longer form than it needs."""
    seq = draw(st.binary(min_size=0, max_size=9))
    head = draw(st.sampled_from([b"\x93\x01", b"\x93\x03", b"\x92\x01", b"\xdc\x00\x03\x01"]))
    mark = draw(st.sampled_from([b"", b"\xcc", b"\xcd", b"\xce", b"\xcf", b"\xd3"]))
    length = draw(st.integers(0, 51)) * FIX_BYTES + draw(st.sampled_from([0, 0, 0, 1, -1]))
    told = max(0, length + draw(st.sampled_from([0, 0, 0, 24, -24])))
    size = draw(st.sampled_from([b"\xc4" + bytes((told & 255,)), b"\xc5" + told.to_bytes(2, "big"), b"\xc6\0\0\0\x18"]))
    return head + mark + seq + size + bytes(max(0, length))


@given(SEQS, PAYLOADS)
def test_what_msgpack_writes_is_recognised(seq: int, payload: bytes) -> None:
    assert wire.peel_fixes(msgpack.packb([1, seq, payload])) == (seq, payload)


@given(nearly_fixes() | st.binary(max_size=80) | st.binary(max_size=60).map(lambda rest: b"\x93\x01" + rest))
@example(b"\x93\x01\xcd\x00\x01\xc4\x18" + bytes(24))
@example(b"\x93\x01\x05\xc5\x00\x18" + bytes(24))
@example(b"\x93\x01\x05\xc4\x18" + bytes(25))
def test_it_never_says_otherwise_than_decode(data: bytes) -> None:
    peeled = wire.peel_fixes(data)
    if peeled is not None:
        assert decoded(data) == wire.Fixes(*peeled)
    elif isinstance(frame := decoded(data), wire.Fixes):
        # What is left to `decode`: an array or binary written longer than it needs, a signed integer.
        assert data != msgpack.packb([1, frame.seq, frame.payload])


@given(st.integers(0, wire.SEQ_MAX), st.sampled_from(wire.AckState))
def test_a_prebuilt_acknowledgement_reads_as_a_packed_one(seq: int, state: wire.AckState) -> None:
    frame = wire.ack_frame(seq, state)
    assert frame[:2] == bytes((0x82, len(frame) - 2))
    assert msgpack.unpackb(frame[2:]) == [wire.FrameType.ACK, seq, state]
