"""The ping frame of Socket.IO's fast lane (docs/protocol.md, section 3). Pure.

One binary message that is no event: the byte 0xC1, which starts no value of MessagePack and no text, the frame's number
(u64, little-endian), then 1-50 fixes of 24 bytes. A stock client sends it with `socket.io.engine.write(buffer)`.

A silent trigger travels in the same family: 0xC0 in the place of 0xC1, and a body of the size of two fixes. Whoever
watches the line sees a ping, and the answer to one.
"""

from typing import Final, TypeGuard

from engine.core.errors import WireError
from gateway_ws.raw.wire import Trigger, check_fixes, read_trigger

MAGIC: Final = 0xC1
TRIGGER_MAGIC: Final = 0xC0
_HEAD_BYTES: Final = 9


def is_ping(data: str | bytes) -> TypeGuard[bytes]:
    """Return whether a message that is no attachment of an event is a ping frame, or a trigger that looks like one."""
    return isinstance(data, bytes) and data[:1] in (b"\xc1", b"\xc0")


def is_trigger(data: bytes) -> bool:
    """Return whether a ping frame is in truth a silent trigger."""
    return data[0] == TRIGGER_MAGIC


def decode(data: bytes) -> tuple[int, bytes]:
    """Return the number and the fixes of a ping frame.

    Raises:
        WireError: it is not a head and a whole number of fixes, at least one.
        TooManyFixes: more than `FIXES_PER_FRAME_MAX` fixes.
    """
    if len(data) < _HEAD_BYTES:
        raise WireError("a ping frame starts with 0xC1 and its number, 8 bytes")
    return int.from_bytes(data[1:_HEAD_BYTES], "little"), check_fixes(data[_HEAD_BYTES:])


def decode_trigger(data: bytes) -> Trigger:
    """Return the silent trigger of a frame.

    Raises:
        WireError: it is not a head and a trigger's body.
    """
    if len(data) < _HEAD_BYTES:
        raise WireError("a trigger frame starts with 0xC0 and its number, 8 bytes")
    return read_trigger(int.from_bytes(data[1:_HEAD_BYTES], "little"), data[_HEAD_BYTES:])


def encode(seq: int, fixes: bytes) -> bytes:
    """Return the ping frame of fixes."""
    return bytes((MAGIC,)) + seq.to_bytes(8, "little") + fixes
