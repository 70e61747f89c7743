"""The ping frame of Socket.IO's fast lane (docs/protocol.md, section 3). Pure.

One binary message that is no event: the byte 0xC1, which starts no value of MessagePack and no text, the frame's number
(u64, little-endian), then 1-50 fixes of 24 bytes. A stock client sends it with `socket.io.engine.write(buffer)`.
"""

from typing import Final, TypeGuard

from engine.core.errors import WireError
from gateway_ws.wire import check_fixes

MAGIC: Final = 0xC1
_HEAD_BYTES: Final = 9


def is_ping(data: str | bytes) -> TypeGuard[bytes]:
    """Return whether a message that is no attachment of an event is a ping frame."""
    return isinstance(data, bytes) and data[:1] == b"\xc1"


def decode(data: bytes) -> tuple[int, bytes]:
    """Return the number and the fixes of a ping frame.

    Raises:
        WireError: it is not a head and a whole number of fixes, at least one.
        TooManyFixes: more than `FIXES_PER_FRAME_MAX` fixes.
    """
    if len(data) < _HEAD_BYTES:
        raise WireError("a ping frame starts with 0xC1 and its number, 8 bytes")
    return int.from_bytes(data[1:_HEAD_BYTES], "little"), check_fixes(data[_HEAD_BYTES:])


def encode(seq: int, fixes: bytes) -> bytes:
    """Return the ping frame of fixes."""
    return bytes((MAGIC,)) + seq.to_bytes(8, "little") + fixes
