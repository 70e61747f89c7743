"""A crowd of phones in one process: prebuilt frames out, acknowledgements in, as little Python as that takes.

Told apart from what it measures by its own share of a core, and by its rate against a server that does nothing
(`bench.stream.sink`).
"""

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from bench.stream.frames import FIRST_SEQ, Pings

_ACK: Final = b"\x82\x08\x93\x02\xce"
_ACK_BYTES: Final = 10
_READ_BYTES: Final = 65_536
_ANSWER_S: Final = 30
_ROUND: Final = 64
"""Frames sent between two looks at the clock."""
_HEARD: Final = 512
"""Phones heard at once."""
_NAP_S: Final = 0.001
_UPGRADE: Final = (
    "GET {path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_CONNECTING: Final = 50
"""Phones that sign in at the same time."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a crowd sends: as fast as `window` unacknowledged frames a phone allow, or `frames_per_s` by the clock."""

    window: int = 0
    frames_per_s: float = 0


@dataclass(frozen=True, slots=True)
class Drive:
    """What one run of a crowd has shown."""

    sent: NDArray[np.int64]
    """Frames sent by each phone."""
    unacknowledged: int
    frames_per_s: float
    """Acknowledged a second, in the measured part."""
    own_share: float
    """CPU seconds of this process a second."""
    shares: dict[str, float]
    """The same of the servers that were named."""
    sent_at_s: NDArray[np.float64]
    """When each frame was sent by the clock (`time.perf_counter`); shape (phones, frames)."""


@dataclass(slots=True)
class Crowd:
    """Connected phones."""

    sockets: list[socket.socket]
    lines: Sequence[bytes]
    frame_bytes: int
    acked: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Nobody has sent anything."""
        self.acked = [0] * len(self.sockets)
        self.sent = [0] * len(self.sockets)

    def close(self) -> None:
        """Hang up."""
        for each in self.sockets:
            each.close()


def connect(
    port: int,
    lines: Sequence[bytes],
    frames: int,
    tokens: Sequence[str] | None,
    *,
    path: str = "/ws/ping",
    tls: bool = False,
) -> Crowd:
    """Open a websocket for each phone; with `tokens` sign in and wait for the welcome.

    Raises:
        ConnectionError: the server does not let a phone in.
    """
    context = trusting() if tls else None
    sockets: list[socket.socket] = []
    for start in range(0, len(lines), _CONNECTING):
        group = [_opened(port, context) for _ in lines[start : start + _CONNECTING]]
        for each in group:
            each.sendall(_UPGRADE.format(path=path).encode())
        for each in group:
            _upgraded(each)
        if tokens is not None:
            for each, token in zip(group, tokens[start : start + _CONNECTING], strict=True):
                each.sendall(_hello(token))
            for each in group:
                _welcomed(each)
        sockets += group
    for each in sockets:
        each.setblocking(False)  # noqa: FBT003 - socket's signature
    return Crowd(sockets, lines, len(lines[0]) // frames)


def drive(crowd: Crowd, pings: Pings, pace: Pace, seconds: float, servers: Mapping[str, Sequence[int]]) -> Drive:
    """Send for `seconds`, the first quarter of them to warm up, and wait for the acknowledgements of everything."""
    run = _Run(crowd, pings, pace)
    started = time.perf_counter()
    run.go_on(started + seconds / 4)
    before = _Meter(servers, sum(crowd.acked))
    run.go_on(started + seconds)
    after = _Meter(servers, sum(crowd.acked))
    run.settle()
    took = after.at_s - before.at_s
    return Drive(
        sent=np.array(crowd.sent, np.int64),
        unacknowledged=sum(crowd.sent) - sum(crowd.acked),
        frames_per_s=(after.acked - before.acked) / took,
        own_share=(after.own_s - before.own_s) / took,
        shares={name: (after.server_s[name] - before.server_s[name]) / took for name in servers},
        sent_at_s=run.sent_at_s,
    )


class _Run:
    """Sends and hears; one thread, one poll."""

    def __init__(self, crowd: Crowd, pings: Pings, pace: Pace) -> None:
        self._crowd = crowd
        self._frames = pings.frames
        self._pace = pace
        self._row_of = {each.fileno(): row for row, each in enumerate(crowd.sockets)}
        self._poll = select.epoll()
        for each in crowd.sockets:
            self._poll.register(each, select.EPOLLIN)
        self._views = [memoryview(line) for line in crowd.lines]
        self._may_send = deque(range(len(crowd.sockets)))
        self._is_queued = [True] * len(crowd.sockets)
        self._tails: dict[int, bytes] = {}
        self._next, self._total = 0, 0
        self._started_s = time.perf_counter()
        self.sent_at_s = np.zeros((len(crowd.sockets), pings.frames))

    def go_on(self, until_s: float) -> None:
        """Send until then."""
        while time.perf_counter() < until_s:
            if not self._pace.window:
                self._hear(0 if self._send_due() else _NAP_S)
            elif (ready := self._send_round()) < len(self._row_of) // 2:
                # Seldom, so that one read brings several acknowledgements: the client shares its core with the stores.
                self._hear(0 if ready else _NAP_S)

    def settle(self) -> None:
        """Hear the last acknowledgements; what has not come in `_ANSWER_S` never will."""
        until_s = time.perf_counter() + _ANSWER_S
        self._may_send.clear()
        self._pace = Pace()
        while sum(self._crowd.acked) < sum(self._crowd.sent) and time.perf_counter() < until_s:
            self._hear(0.01)
        self._poll.close()

    def _send_round(self) -> int:
        """Send a few frames; return how many phones may go on sending."""
        window, crowd = self._pace.window, self._crowd
        for _ in range(min(_ROUND, len(self._may_send))):
            row = self._may_send.popleft()
            self._send(row)
            if crowd.sent[row] - crowd.acked[row] < window and crowd.sent[row] < self._frames:
                self._may_send.append(row)
            else:
                self._is_queued[row] = False
        return len(self._may_send)

    def _send_due(self) -> bool:
        due = int((time.perf_counter() - self._started_s) * self._pace.frames_per_s)
        for _ in range(min(_ROUND, due - self._total)):
            if self._crowd.sent[self._next] < self._frames:
                self._send(self._next)
            self._total += 1
            self._next = (self._next + 1) % len(self._crowd.sockets)
        return self._total < due

    def _send(self, row: int) -> None:
        number, size = self._crowd.sent[row], self._crowd.frame_bytes
        frame = self._views[row][number * size : (number + 1) * size]
        if self._pace.frames_per_s:
            self.sent_at_s[row, number] = time.perf_counter()
        try:
            done = self._crowd.sockets[row].send(frame)
        except (BlockingIOError, ssl.SSLWantWriteError):
            done = 0
        if done < size:
            _send_all(self._crowd.sockets[row], frame[done:])
        self._crowd.sent[row] = number + 1

    def _hear(self, timeout_s: float) -> None:
        for descriptor, _ in self._poll.poll(timeout_s, _HEARD):
            row = self._row_of[descriptor]
            try:
                data = self._crowd.sockets[row].recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            if not data:
                raise ConnectionError(f"the server has hung up on phone {row}")
            self._take(row, self._tails.pop(row, b"") + data)

    def _take(self, row: int, data: bytes) -> None:
        at = data.rfind(_ACK)
        if at >= 0 and len(data) - at >= _ACK_BYTES:
            self._crowd.acked[row] = int.from_bytes(data[at + 5 : at + 9]) - FIRST_SEQ + 1
            if self._pace.window and not self._is_queued[row] and self._crowd.sent[row] < self._frames:
                self._is_queued[row] = True
                self._may_send.append(row)
            at += _ACK_BYTES
        if rest := data[max(at, 0) :][1 - _ACK_BYTES :]:
            self._tails[row] = rest  # may be the beginning of an acknowledgement


class _Meter:
    """Clocks read at one instant."""

    def __init__(self, servers: Mapping[str, Sequence[int]], acked: int) -> None:
        self.at_s = time.perf_counter()
        self.acked = acked
        self.own_s = time.process_time()
        self.server_s = {name: sum(map(cpu_s, pids)) for name, pids in servers.items()}


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that the threads of a process have used, to the nanosecond."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def open_socket(port: int, path: str) -> socket.socket:
    """Open one websocket; what is sent and heard on it is the caller's business."""
    opened = _opened(port, None)
    opened.sendall(_UPGRADE.format(path=path).encode())
    _upgraded(opened)
    return opened


def _opened(port: int, context: ssl.SSLContext | None) -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened if context is None else context.wrap_socket(opened)


def trusting() -> ssl.SSLContext:
    """Return what speaks TLS with a server of our own, whatever its certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _hello(token: str) -> bytes:
    message: bytes = msgpack.packb([0, token, {"client": "bench"}])
    return b"\x82\xfe" + len(message).to_bytes(2) + bytes(4) + message


def _upgraded(each: socket.socket) -> None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (byte := each.recv(1)):
            raise ConnectionError("the server has hung up")
        head += byte
    if b" 101 " not in head.split(b"\r\n", 1)[0]:
        raise ConnectionError(head.decode(errors="replace"))


def _welcomed(each: socket.socket) -> None:
    head = _exactly(each, 2)
    size = head[1] if head[1] < 126 else int.from_bytes(_exactly(each, 2))  # noqa: PLR2004 - RFC 6455
    frame = msgpack.unpackb(_exactly(each, size)) if head[0] == 0x82 else [head[0]]  # noqa: PLR2004 - RFC 6455
    if frame[0] != 0:
        raise ConnectionError(f"no welcome but {frame}")


def _exactly(each: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := each.recv(size - len(data))):
            raise ConnectionError("the server has hung up")
        data += more
    return data


def _send_all(each: socket.socket, rest: memoryview) -> None:
    each.setblocking(True)  # noqa: FBT003 - socket's signature
    each.sendall(rest)
    each.setblocking(False)  # noqa: FBT003
