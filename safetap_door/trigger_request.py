"""A trigger's request as phones and our own processes send it, read in one go. Pure.

Reads one form of HTTP/1.1 alone: a whole request with a counted body and nothing that changes its meaning. Of anything
else it says nothing: a full server reads that, from its first byte on, so that the two never disagree about a request.
"""

import re
from dataclasses import dataclass
from typing import Final

from config.limits import TRIGGER_BYTES_MAX
from engine.safetap.forwarding import DOOR_HEADER, SOURCE_HEADER, TRIGGER_PATH

HEAD_BYTES_MAX: Final = 8_190
"""As long as the longest line that the full server takes."""

_START: Final = f"POST {TRIGGER_PATH} HTTP/1.1\r\n".encode()
_FIELDS: Final = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)+")
_UNUSUAL: Final = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer", b"te"})
_SOURCE: Final = SOURCE_HEADER.lower().encode()
_DOOR: Final = DOOR_HEADER.lower().encode()


@dataclass(frozen=True, slots=True)
class TriggerRequest:
    """What a request says, unchecked; what it does not say is empty."""

    authorization: str
    door: str
    source: str
    origin: str
    body: bytes
    size: int
    """Bytes of the request on the line; what follows is the next one."""


def read_trigger_request(data: bytes) -> TriggerRequest | None:
    """Return the request that `data` begins with, or `None` when it is not whole or not of the one form."""
    if not data.startswith(_START):
        return None
    end = data.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX)
    if end < 0 or _FIELDS.fullmatch(data, len(_START), end + 2) is None:
        return None
    fields: dict[bytes, bytes] = {}
    for line in data[len(_START) : end].split(b"\r\n"):
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in fields or name in _UNUSUAL:
            return None
        fields[name] = value.strip(b" \t")
    length = fields.get(b"content-length", b"")
    if not length.isdigit() or fields.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    size = end + 4 + int(length[:6])
    if len(length) > len(str(TRIGGER_BYTES_MAX)) or int(length) > TRIGGER_BYTES_MAX or len(data) < size:
        return None
    return TriggerRequest(
        _text(fields, b"authorization"),
        _text(fields, _DOOR),
        _text(fields, _SOURCE),
        _text(fields, b"origin"),
        data[end + 4 : size],
        size,
    )


def _text(fields: dict[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode(errors="surrogateescape")
