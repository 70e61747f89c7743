"""Engine.IO 4 as text and bytes: packets, the payloads of HTTP polling, websocket frames. Pure.

A packet is text whose first character is its type, or bytes: a binary message. Source: the protocol's description,
github.com/socketio/engine.io-protocol.
"""

import base64
import binascii
from typing import Final, TypeAlias

from config.limits import POLL_PACKETS_MAX
from engine.core.errors import WireError

Packet: TypeAlias = str | bytes

OPEN: Final = "0"
CLOSE: Final = "1"
PING: Final = "2"
PONG: Final = "3"
MESSAGE: Final = "4"
UPGRADE: Final = "5"
NOOP: Final = "6"
PROBE: Final = "2probe"
PROBED: Final = "3probe"
_TYPES: Final = frozenset((OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP))
_SEPARATOR: Final = "\x1e"
_BASE64: Final = "b"
_TEXT_FRAME: Final = 0x81
_BINARY_FRAME: Final = 0x82
_CLOSE_FRAME: Final = 0x88


def checked(packet: Packet) -> Packet:
    """Return a packet as it came over a websocket.

    Raises:
        WireError: it is text without a type.
    """
    if isinstance(packet, str) and packet[:1] not in _TYPES:
        raise WireError("this is not a packet of Engine.IO")
    return packet


def packets_of(payload: str) -> list[Packet]:
    """Return the packets of one POST.

    Raises:
        WireError: one of them is none, or there are more than `POLL_PACKETS_MAX`.
    """
    parts = payload.split(_SEPARATOR, POLL_PACKETS_MAX)
    if len(parts) > POLL_PACKETS_MAX:
        raise WireError(f"a payload holds at most {POLL_PACKETS_MAX} packets")
    return [_binary(part) if part[:1] == _BASE64 else checked(part) for part in parts]


def payload_of(packets: list[Packet]) -> str:
    """Return what answers a poll."""
    return _SEPARATOR.join(
        packet if isinstance(packet, str) else _BASE64 + base64.b64encode(packet).decode() for packet in packets
    )


def websocket_frame(packet: Packet) -> bytes:
    """Return one unmasked, final websocket frame (RFC 6455, 5.2): built once, it may go to many sockets."""
    if isinstance(packet, str):
        return _frame(_TEXT_FRAME, packet.encode())
    return _frame(_BINARY_FRAME, packet)


def close_frame(code: int) -> bytes:
    """Return a websocket close frame."""
    return _frame(_CLOSE_FRAME, code.to_bytes(2, "big"))


def _frame(head: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:  # noqa: PLR2004 - RFC 6455
        return bytes((head, length)) + payload
    if length < 65_536:  # noqa: PLR2004 - RFC 6455
        return bytes((head, 126)) + length.to_bytes(2, "big") + payload
    return bytes((head, 127)) + length.to_bytes(8, "big") + payload


def _binary(part: str) -> bytes:
    try:
        return base64.b64decode(part[1:], validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError("a binary packet is base64") from error
