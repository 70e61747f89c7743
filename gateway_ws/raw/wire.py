"""The raw websocket's frames (docs/protocol.md, section 2) as values. Pure: bytes in, dataclasses out, and back.

Whatever a phone sends, decoding raises nothing but errors of our own.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgpack

from config.limits import FIXES_PER_FRAME_MAX
from engine.core.errors import ClenzyError, WireError
from engine.core.vocabulary import IncidentKind
from engine.geo.fixes import FIX_BYTES, NO_FIX, check_payload
from gateway_ws.closing import TooManyFixes, UnknownType
from gateway_ws.fan_out import resume_point
from gateway_ws.fan_out.resume_point import ResumePoint


class FrameType(IntEnum):
    """The first element of every frame, in both directions."""

    HELLO = 0
    FIXES = 1
    ACK = 2
    TRIGGER = 3
    COMMAND = 4
    ANSWER = 5
    EVENT = 6
    TOKEN = 7
    REFUSED = 8
    CADENCE = 9


class AckState(IntEnum):
    """What an acknowledgement says besides its `seq`."""

    INDEXED = 0
    SPOOLED = 1
    COMMITTED = 2


TRIGGER_KINDS: Final = (
    IncidentKind.BUTTON,
    IncidentKind.HOLD,
    IncidentKind.GESTURE,
    IncidentKind.DURESS_PIN,
    IncidentKind.DRILL,
)
TRIGGER_BYTES: Final = 2 * FIX_BYTES
"""A trigger is as long as a ping of two fixes: who watches the wire learns nothing."""
_UUID_BYTES: Final = 16
_CLOSE_REASON_BYTES: Final = 123
SEQ_MAX: Final = 2**64 - 1

# MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md) of a ping frame's head: [1, seq, bin].
_FIXES_HEAD: Final = bytes((0x93, FrameType.FIXES))
_SEQ_ENDS: Final = {_FIXES_HEAD + bytes((kind,)): end for kind, end in ((0xCC, 4), (0xCD, 5), (0xCE, 7), (0xCF, 11))}
"""First bytes of a frame whose `seq` has a length of its own -> where it ends."""
_SMALL_SEQS: Final = {_FIXES_HEAD + bytes((seq,)): seq for seq in range(0x80)}
"""First bytes of a frame with a `seq` of seven bits -> that."""
_BIN_HEADS: Final = {
    len(head) + count * FIX_BYTES: head
    for count in range(1, FIXES_PER_FRAME_MAX + 1)
    for head in (
        *((bytes((0xC4, count * FIX_BYTES)),) if count * FIX_BYTES <= 0xFF else ()),  # noqa: PLR2004 - one byte
        b"\xc5" + (count * FIX_BYTES).to_bytes(2, "big"),
    )
}
"""Length of what follows the `seq` -> the head of the binary, where it holds a whole number of fixes."""
_U32_MAX: Final = 2**32 - 1
_ACK_HEAD_U32: Final = bytes((0x82, 8, 0x93, FrameType.ACK, 0xCE))
_ACK_HEAD_U64: Final = bytes((0x82, 12, 0x93, FrameType.ACK, 0xCF))
PING_FRAME: Final = bytes((0x89, 0))
"""The whole websocket frame that asks a peer for a sign of life."""


@dataclass(frozen=True, slots=True)
class Hello:
    """First frame: who speaks, and where their events stopped, should they come back."""

    token: str
    resume: ResumePoint | None = None


@dataclass(frozen=True, slots=True)
class Fixes:
    """1-50 fixes, still as bytes."""

    seq: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Trigger:
    """The silent alarm."""

    seq: int
    trigger_id: UUID
    kind: IncidentKind
    fix: bytes | None


@dataclass(frozen=True, slots=True)
class Command:
    """Something the worker asks for."""

    command_id: int
    name: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FreshToken:
    """A new access token for the open connection."""

    token: str


PhoneFrame: TypeAlias = Hello | Fixes | Trigger | Command | FreshToken


def decode(data: bytes) -> PhoneFrame:
    """Return the frame in one binary message.

    Raises:
        WireError: it is not msgpack, not an array, or an element breaks its rule.
        UnknownType: the phone sends no such frame.
        TooManyFixes: more than `FIXES_PER_FRAME_MAX` fixes.
    """
    match _unpack(data):
        case [FrameType.FIXES, seq, payload]:
            return Fixes(_seq(seq), check_fixes(payload))
        case [FrameType.TRIGGER, seq, body]:
            return read_trigger(_seq(seq), body)
        case [FrameType.COMMAND, command_id, str(name), dict(body)]:
            return Command(_seq(command_id), name, body)
        case [FrameType.TOKEN, str(token)]:
            return FreshToken(token)
        case [FrameType.HELLO, str(token), *rest]:
            return Hello(token, resume_point.from_hello(rest[0]) if rest else None)
        case [int(number), *_] if number in _FROM_PHONE:
            raise WireError("the elements of this frame are not those of its type")
        case [int() as number, *_]:
            raise UnknownType(f"phones send no frame of type {number}")
        case _:
            raise WireError("a frame is an array whose first element is its type")


_FROM_PHONE: Final = frozenset(
    {FrameType.HELLO, FrameType.FIXES, FrameType.TRIGGER, FrameType.COMMAND, FrameType.TOKEN}
)


def peel_fixes(data: bytes) -> tuple[int, bytes] | None:
    """Return the `seq` and payload of a ping frame in one of its usual forms; `None`: ask `decode`.

    What this returns `decode` would return too. A quarter of its cost: nothing of the frame is unpacked but its head.
    """
    head = data[:3]
    at = _SEQ_ENDS.get(head)
    if at is not None:
        seq = int.from_bytes(data[3:at], "big")
    elif head in _SMALL_SEQS:
        seq, at = _SMALL_SEQS[head], 3
    else:
        return None
    bin_head = _BIN_HEADS.get(len(data) - at)
    if bin_head is None or not data.startswith(bin_head, at):
        return None
    return seq, data[at + len(bin_head) :]


def check_fixes(payload: object) -> bytes:
    """Return the payload of a ping frame.

    Raises:
        WireError: not binary, empty, or not a whole number of fixes.
        TooManyFixes: more than `FIXES_PER_FRAME_MAX` fixes.
    """
    checked = check_payload(payload)
    if len(checked) > FIXES_PER_FRAME_MAX * FIX_BYTES:
        raise TooManyFixes(f"a frame holds at most {FIXES_PER_FRAME_MAX} fixes")
    return checked


def read_trigger(seq: int, body: object) -> Trigger:
    """Return the silent trigger that a frame's body holds.

    Raises:
        WireError: it is none.
    """
    if not isinstance(body, bytes) or len(body) != TRIGGER_BYTES:
        raise WireError(f"a trigger is {TRIGGER_BYTES} bytes")
    fix, rest = body[:FIX_BYTES], body[FIX_BYTES:]
    kind = rest[_UUID_BYTES]
    if kind >= len(TRIGGER_KINDS):
        raise WireError("no such kind of trigger")
    return Trigger(seq, UUID(bytes=rest[:_UUID_BYTES]), TRIGGER_KINDS[kind], None if fix == NO_FIX else fix)


def ack_frame(seq: int, state: AckState = AckState.INDEXED) -> bytes:
    """Return the whole websocket frame that acknowledges pings up to `seq`, or a trigger: of one size, whichever."""
    if seq <= _U32_MAX:
        return _ACK_HEAD_U32 + seq.to_bytes(4, "big") + bytes((state,))
    return _ACK_HEAD_U64 + seq.to_bytes(8, "big") + bytes((state,))


def pack(*elements: object) -> bytes:
    """Return one message of the server as msgpack."""
    packed: bytes = msgpack.packb(elements, default=str)
    return packed


def refusal_body(error: ClenzyError, seq: int | None = None, *, retry_after_ms: int | None = None) -> dict[str, Any]:
    """Return what a client reads about a refused frame, command or connection."""
    body: dict[str, Any] = {"code": error.code, "detail": error.detail}
    if error.field is not None:
        body["field"] = error.field
    if seq is not None:
        body["seq"] = seq
    if retry_after_ms is not None:
        body["retry_after_ms"] = retry_after_ms
    return body


def websocket_frame(payload: bytes) -> bytes:
    """Return one unmasked, final binary websocket frame (RFC 6455, 5.2): built once, it may go to many sockets."""
    length = len(payload)
    if length < 126:  # noqa: PLR2004 - RFC 6455
        return bytes((0x82, length)) + payload
    if length < 65_536:  # noqa: PLR2004 - RFC 6455
        return b"\x82\x7e" + length.to_bytes(2, "big") + payload
    return b"\x82\x7f" + length.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str) -> bytes:
    """Return a websocket close frame; the reason is cut to what a control frame can hold."""
    body = code.to_bytes(2, "big") + reason.encode()[:_CLOSE_REASON_BYTES]
    return bytes((0x88, len(body))) + body


def pong_frame(payload: bytes) -> bytes:
    """Return the websocket frame that answers a ping, which holds at most 125 bytes."""
    return bytes((0x8A, len(payload))) + payload


def _unpack(data: bytes) -> object:
    try:
        # Tuples would not match list patterns; text keys only, so that bodies are JSON-like.
        return msgpack.unpackb(data, use_list=True, strict_map_key=False)
    except Exception as error:  # msgpack raises a family without a common root
        raise WireError("the message is not one msgpack value") from error


def _seq(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= SEQ_MAX:
        raise WireError("a sequence number is an unsigned integer")
    return value
