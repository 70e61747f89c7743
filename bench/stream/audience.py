"""Clients of Socket.IO that only listen, in one process: they count a mark in what they hear, and when it came."""

import select
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

MARK: Final = "~~~~"
"""In the body of each event that counts, and in nothing else that a server sends."""
_MARK_BYTES: Final = MARK.encode()
_READ_BYTES: Final = 262_144
_ANSWER_S: Final = 30
_OPENING: Final = 50
"""Clients that connect at the same time."""
_UPGRADE: Final = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "{extensions}"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_DEFLATE: Final = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
"""What a browser offers."""


@dataclass(slots=True)
class Audience:
    """Connected clients."""

    sockets: Sequence[socket.socket]
    heard: list[int] = field(default_factory=list)
    """Marks heard by each."""
    waits_s: list[float] = field(default_factory=list)
    """From the sending of a mark to its arrival, one a delivery; only with `sent_at_s`."""
    sent_at_s: list[float] = field(default_factory=list)
    total: int = 0
    _poll: select.epoll = field(default_factory=select.epoll)
    _row_of: dict[int, int] = field(default_factory=dict)
    _tails: dict[int, bytes] = field(default_factory=dict)
    """May be the beginning of a mark."""

    def __post_init__(self) -> None:
        """Nobody has heard anything."""
        self.heard = [0] * len(self.sockets)
        for row, each in enumerate(self.sockets):
            each.setblocking(False)  # noqa: FBT003 - socket's signature
            self._poll.register(each, select.EPOLLIN)
            self._row_of[each.fileno()] = row

    def ignore(self, rows: Iterable[int]) -> None:
        """Read no more from these: they stall."""
        for row in rows:
            self._poll.unregister(self.sockets[row])

    def listen(self, timeout_s: float) -> None:
        """Take what has come, or wait for it.

        Raises:
            ConnectionError: the server has hung up on a client.
        """
        for descriptor, _ in self._poll.poll(timeout_s):
            row = self._row_of[descriptor]
            data = self.sockets[row].recv(_READ_BYTES)
            if not data:
                raise ConnectionError(f"the server has hung up on client {row}")
            data = self._tails.pop(row, b"") + data
            if not data.endswith(_MARK_BYTES):
                self._tails[row] = data[1 - len(_MARK_BYTES) :]
            if marks := data.count(_MARK_BYTES):
                if self.sent_at_s:
                    now_s, first = time.perf_counter(), self.heard[row]
                    self.waits_s += [now_s - self.sent_at_s[at] for at in range(first, first + marks)]
                self.heard[row] += marks
                self.total += marks

    def close(self) -> None:
        """Hang up."""
        self._poll.close()
        for each in self.sockets:
            each.close()


def connected(
    port: int,
    first: Sequence[str],
    until: bytes,
    *,
    is_socketio: bool = True,
    offers_deflate: bool = False,
    read_bytes: int | None = None,
) -> list[socket.socket]:
    """Open a client for each of `first`, its first packet, and wait until it has heard `until`."""
    opening = _UPGRADE.format(extensions=_DEFLATE if offers_deflate else "").encode()
    sockets: list[socket.socket] = []
    for start in range(0, len(first), _OPENING):
        group = [_opened(port, read_bytes) for _ in first[start : start + _OPENING]]
        if is_socketio:
            for each in group:
                each.sendall(opening)
            for each in group:
                read_until(each, b"\r\n\r\n")
            for each, packet in zip(group, first[start : start + _OPENING], strict=True):
                each.sendall(text_frame(packet))
            for each in group:
                read_until(each, until)
        sockets += group
    return sockets


def _opened(port: int, read_bytes: int | None) -> socket.socket:
    opened = socket.socket()
    if read_bytes is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, read_bytes)
    opened.settimeout(_ANSWER_S)
    opened.connect(("127.0.0.1", port))
    return opened


def rounds(audience: Audience, send: Callable[[], None], seconds: float, *, listeners: int) -> int:
    """Send round after round, each when all listeners have heard the one before; return how many."""
    until_s, sent = time.perf_counter() + seconds, 0
    start = audience.total
    while time.perf_counter() < until_s:
        while audience.total - start >= sent * listeners and time.perf_counter() < until_s:
            send()
            sent += 1
        audience.listen(0.01)
    until_s = time.perf_counter() + _ANSWER_S
    while audience.total - start < sent * listeners and time.perf_counter() < until_s:
        audience.listen(0.01)
    return sent


def text_frame(message: str) -> bytes:
    """Return a client's text frame, masked with zeros."""
    data = message.encode()
    size = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2)  # noqa: PLR2004 - RFC 6455
    return b"\x81" + size + bytes(4) + data


def binary_frame(data: bytes) -> bytes:
    """Return a client's binary frame, masked with zeros."""
    return b"\x82" + bytes((0x80 | len(data),)) + bytes(4) + data


def read_until(each: socket.socket, wanted: bytes) -> bytes:
    """Read until it has come; return all that did.

    Raises:
        ConnectionError: the server has hung up.
    """
    heard = b""
    while wanted not in heard:
        if not (more := each.recv(65_536)):
            raise ConnectionError("the server has hung up")
        heard += more
    return heard
