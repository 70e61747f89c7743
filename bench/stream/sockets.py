"""What a message costs on its way in: CPU of the server's core, ours beside python-socketio and picows.

Measured as CPU and not as time, so that a client, however slow, and whoever else uses the machine have no say in it.
Every phone sends one frame a round, and a round is over before the next begins: a read brings one frame, as it does
with phones that send now and then. A websocket ping behind all of them is answered when all were taken.
"""

import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.report import Row, more_is_better
from bench.stream.audience import binary_frame
from bench.stream.frames import Pings, pings
from bench.stream.phones import cpu_s, open_socket
from bench.stream.rig import Rig
from bench.stream.servers import Server, started
from gateway_ws.socketio import ping_frame

PHONES: Final = 200
FRAMES: Final = 500
ROUND_S: Final = 0.004
SOCKETIO_FRAMES: Final = 60
SOCKETIO_ROUND_S: Final = 0.04
"""It takes ten times as long."""
_PING: Final = b"\x89\x80\0\0\0\0"
_PONG: Final = b"\x8a\x00"
_SETTLE_S: Final = 0.3
"""Handlers that a server has put off run before its CPU is read."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one message took."""

    us: float

    @property
    def per_s(self) -> float:
        """Messages a second of a whole core."""
        return 1e6 / self.us


def socket_rows(rig: Rig) -> list[Row]:
    """Return the rows of the raw path and of Socket.IO's ping frames."""
    random = np.random.default_rng(rig.seed)
    one, ten = (_crowd(fixes, random) for fixes in (1, 10))
    socketio = _socketio(rig, one)
    picows = {fixes: _raw(rig, "bench.stream.serve_picows", sent, random) for fixes, sent in ((1, one), (10, ten))}
    ours = {fixes: _raw(rig, "bench.stream.serve_lane", sent, random) for fixes, sent in ((1, one), (10, ten))}
    stock, fast = "python-socketio, a JSON event a ping", "picows, counting bytes"
    rows = (
        (1, socketio.per_s, stock, 12.0),
        (1, picows[1].per_s, fast, 0.9),
        (10, socketio.per_s, stock, 35.0),
        (10, picows[10].per_s * 10, fast, None),
    )
    lane = more_is_better(
        "ping frames of a stock Socket.IO client, 1 a frame",
        _ping_frames(rig, one).per_s,
        socketio.per_s,
        anchor_name=stock,
        unit="pings/s a core",
        ratio_min=6.0,
    )
    return [lane] + [
        more_is_better(
            f"raw socket, {fixes} a frame",
            ours[fixes].per_s * fixes,
            anchor,
            anchor_name=name,
            unit="pings/s a core",
            ratio_min=ratio_min,
        )
        for fixes, anchor, name, ratio_min in rows
    ]


def _crowd(fixes: int, random: np.random.Generator) -> Pings:
    return pings(PHONES, FRAMES, fixes, from_ms=1_700_000_000_000, bad_every=0, random=random)


def _raw(rig: Rig, module: str, sent: Pings, random: np.random.Generator) -> Cost:
    lines = sent.on_the_line(random)
    size = len(lines[0]) // sent.frames
    with started(module, cpu=rig.server_cpu) as server:
        sockets = [open_socket(server.port, "/ws/ping") for _ in lines]
        return _cost(
            server, sockets, [[line[at : at + size] for at in range(0, len(line), size)] for line in lines], ROUND_S
        )


def _ping_frames(rig: Rig, sent: Pings) -> Cost:
    with started("bench.stream.serve_ping_frames", cpu=rig.server_cpu) as server:
        frames = [
            [
                binary_frame(ping_frame.encode(number, sent.fixes[row, number].tobytes()))
                for number in range(sent.frames)
            ]
            for row in range(sent.phones)
        ]
        return _cost(server, _entered(server, sent.phones), frames, ROUND_S)


def _entered(server: Server, count: int) -> list[socket.socket]:
    """Open clients of Socket.IO that are in the main namespace."""
    sockets = [open_socket(server.port, "/socket.io/?EIO=4&transport=websocket") for _ in range(count)]
    for each in sockets:
        _read_until(each, b'"maxPayload"')
        each.sendall(_text(b"40"))
    for each in sockets:
        _read_until(each, b"40{")
    return sockets


def _socketio(rig: Rig, sent: Pings) -> Cost:
    with started("bench.stream.serve_socketio", cpu=rig.server_cpu) as server:
        sockets = _entered(server, sent.phones)
        return _cost(
            server,
            sockets,
            [[_event(sent, row, n) for n in range(SOCKETIO_FRAMES)] for row in range(sent.phones)],
            SOCKETIO_ROUND_S,
        )


def _event(sent: Pings, row: int, number: int) -> bytes:
    fix = sent.fixes[row, number, 0]
    body = {
        "seq": number,
        "ts_ms": int(fix["ts_ms"]),
        "lat": int(fix["lat_e7"]) / 1e7,
        "lng": int(fix["lng_e7"]) / 1e7,
        "accuracy_m": 5,
        "speed_mps": 12,
        "heading_deg": 90,
        "battery_pct": 87,
    }
    return _text(b"42" + json.dumps(["ping", body], separators=(",", ":")).encode())


def _text(message: bytes) -> bytes:
    size = bytes((0x80 | len(message),)) if len(message) < 126 else b"\xfe" + len(message).to_bytes(2)  # noqa: PLR2004 - RFC 6455
    return b"\x81" + size + bytes(4) + message


def _cost(server: Server, sockets: Sequence[socket.socket], frames: Sequence[Sequence[bytes]], round_s: float) -> Cost:
    """Send the first tenth of everything to warm up, then the rest; one frame a call, phones in turn."""
    count = len(frames[0])
    warm = count // 10
    _send(sockets, frames, range(warm), round_s)
    _wait(sockets)
    before = cpu_s(server.pid)
    _send(sockets, frames, range(warm, count), round_s)
    _wait(sockets)
    after = cpu_s(server.pid)
    for each in sockets:
        each.close()
    return Cost((after - before) * 1e6 / (len(sockets) * (count - warm)))


def _send(sockets: Sequence[socket.socket], frames: Sequence[Sequence[bytes]], numbers: range, round_s: float) -> None:
    for number in numbers:
        until = time.perf_counter() + round_s
        for each, own in zip(sockets, frames, strict=True):
            each.sendall(own[number])
        time.sleep(max(0.0, until - time.perf_counter()))


def _wait(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.sendall(_PING)
    for each in sockets:
        _read_until(each, _PONG)
    time.sleep(_SETTLE_S)


def _read_until(each: socket.socket, wanted: bytes) -> None:
    heard = b""
    while wanted not in heard:
        if not (more := each.recv(65_536)):
            raise ConnectionError("the server has hung up")
        heard += more
