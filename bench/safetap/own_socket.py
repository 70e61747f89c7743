"""A process of its own: workers whose phones send all the pings that they may, and call for help in between.

Each call goes through the connection that it follows the pings on. Prints the delays until `committed`, as JSON.
"""

import argparse
import select
import socket
import time
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import msgpack
import numpy as np
import orjson

from bench.stream.frames import FIRST_SEQ, pings
from bench.stream.phones import connect
from engine.geo.fixes import FIX_BYTES

FRAMES: Final = 5_000
PINGS_PER_S: Final = 180
"""Of each phone: nearly all that one connection may bring (`limits.CONNECTION_FIXES_PER_S_MAX`)."""
CALLS_PER_S: Final = 2
"""Of each phone."""
COMMITTED: Final = 2
WAIT_S: Final = 5.0


class Phone:
    """One connection that floods and calls."""

    def __init__(self, own: socket.socket, line: bytes, frame_bytes: int) -> None:
        self.socket = own
        self._line = memoryview(line)
        self._frame_bytes = frame_bytes
        self._sent = 0
        self._heard = b""
        self.called: dict[int, tuple[UUID, float]] = {}
        self.delays_ms: list[float] = []
        self.committed: list[UUID] = []
        self._seq = FIRST_SEQ + 10_000_000

    def ping(self) -> None:
        """Send the next ping."""
        at = self._sent % FRAMES * self._frame_bytes
        self._send(self._line[at : at + self._frame_bytes])
        self._sent += 1

    def call(self, due: float) -> None:
        """Call for help: the frame is as long as a ping of two fixes."""
        self._seq += 1
        trigger_id = uuid4()
        body = msgpack.packb([3, self._seq, bytes(FIX_BYTES) + trigger_id.bytes + bytes(8)])
        self.called[self._seq] = (trigger_id, due)
        self._send(b"\x82" + bytes((0x80 | len(body),)) + bytes(4) + body)

    def hear(self) -> None:
        """Read what came: acknowledgements of pings, and of calls."""
        self._heard += self.socket.recv(65_536)
        while len(self._heard) >= 2:  # noqa: PLR2004 - RFC 6455
            size, start = self._heard[1], 2
            if size == 126:  # noqa: PLR2004 - RFC 6455
                size, start = int.from_bytes(self._heard[2:4]), 4
            if len(self._heard) < start + size:
                return
            frame, self._heard = self._heard[start : start + size], self._heard[start + size :]
            self._take(msgpack.unpackb(frame) if frame else [])

    def _take(self, frame: list[object]) -> None:
        if len(frame) == 3 and frame[0] == 2 and frame[2] == COMMITTED and frame[1] in self.called:  # noqa: PLR2004 - the wire
            seq = frame[1]
            assert isinstance(seq, int)
            trigger_id, due = self.called.pop(seq)
            self.delays_ms.append((time.perf_counter() - due) * 1e3)
            self.committed.append(trigger_id)

    def _send(self, data: "bytes | memoryview") -> None:
        self.socket.setblocking(True)  # noqa: FBT003 - socket's signature
        self.socket.sendall(data)
        self.socket.setblocking(False)  # noqa: FBT003 - as above


def run(phones: list[Phone], seconds: float) -> None:
    """Ping and call by the clock, and wait for the last answers."""
    poll = select.epoll()
    by_file = {phone.socket.fileno(): phone for phone in phones}
    for file in by_file:
        poll.register(file, select.EPOLLIN)
    start = time.perf_counter()
    pinged = called = 0
    while (now := time.perf_counter()) < start + seconds + WAIT_S:
        if now < start + seconds:
            while pinged < (now - start) * PINGS_PER_S * len(phones):
                phones[pinged % len(phones)].ping()
                pinged += 1
            while called < (now - start) * CALLS_PER_S * len(phones):
                phones[called % len(phones)].call(start + called / (CALLS_PER_S * len(phones)))
                called += 1
        elif not any(phone.called for phone in phones):
            break
        for file, _ in poll.poll(0.001):
            by_file[file].hear()


def main() -> None:
    """Flood and call for some seconds."""
    parser = argparse.ArgumentParser(prog="bench.safetap.own_socket")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--from-ms", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    options = parser.parse_args()
    random, tokens = np.random.default_rng(11), options.tokens.read_text().split()
    sent = pings(len(tokens), FRAMES, 1, from_ms=options.from_ms, bad_every=0, random=random)
    crowd = connect(options.port, sent.on_the_line(random), FRAMES, tokens)
    phones = [Phone(own, line, crowd.frame_bytes) for own, line in zip(crowd.sockets, crowd.lines, strict=True)]
    print("running", flush=True)
    run(phones, options.seconds)
    told = {
        "delays_ms": [delay for phone in phones for delay in phone.delays_ms],
        "committed": [str(one) for phone in phones for one in phone.committed],
        "unanswered": sum(len(phone.called) for phone in phones),
    }
    print(orjson.dumps(told).decode(), flush=True)


if __name__ == "__main__":
    main()
