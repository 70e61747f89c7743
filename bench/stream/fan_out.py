"""One event to many clients: the real gateway, from a Redis channel to the consoles of an organisation.

Rates are of a whole core of the server, from the CPU that it used: who else uses the machine has no say in it. The
wall's rates, at which the server or the client is saturated, are printed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.report import Row, less_is_better, more_is_better
from bench.stream.audience import Audience, connected, rounds, text_frame
from bench.stream.desk import consoles, publisher
from bench.stream.phones import cpu_s
from bench.stream.product import Product, product
from bench.stream.rig import Rig
from bench.stream.serve_audience import BODY
from bench.stream.servers import started

LISTENERS: Final = 2_000
IDLE: Final = 1_000
_SETTLE_S: Final = 1.0
_FRAME_BYTES: Final = 190
"""About what the event takes on the wire."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one run has shown."""

    per_core_s: float
    per_s: float
    is_right: bool
    """Whether every client heard every event, and none twice."""


def fan_out_rows(rig: Rig) -> list[Row]:
    """Return deliveries a second and the memory of an idle connection."""
    rooms, sends = _rooms(rig), _sends(rig)
    stock_bytes = _stock_bytes(rig)
    with product(rig, workers=IDLE + 100) as under_test:
        own_bytes, all_welcomed = _idle_bytes(under_test)
        ours = _desk(under_test, rig)
    is_right = ours.is_right and rooms.is_right and sends.is_right
    print(
        f"fan-out by the wall: ours {ours.per_s:,.0f}/s, rooms {rooms.per_s:,.0f}/s, plain sends {sends.per_s:,.0f}/s"
    )
    return [
        more_is_better(
            f"one event to {LISTENERS:,} consoles", ours.per_core_s, rooms.per_core_s,
            anchor_name="python-socketio, emit to a room", unit="deliveries/s a core", ratio_min=10, gate=is_right,
        ),
        more_is_better(
            f"one event to {LISTENERS:,} consoles", ours.per_core_s, sends.per_core_s,
            anchor_name="a loop of send() over plain sockets", unit="deliveries/s a core", ratio_min=0.8, gate=is_right,
        ),
        less_is_better(
            f"memory of an idle connection that offers deflate ({IDLE:,} workers)", own_bytes / 1e3, stock_bytes / 1e3,
            anchor_name="python-socketio as it comes", unit="kB", most=35, gate=all_welcomed,
        ),
    ]  # fmt: skip


def measured(audience: Audience, send: Callable[[], None], pid: int, seconds: float, listeners: int) -> Told:
    """Run rounds to warm up, then as many as fit, and count everything."""
    warm = rounds(audience, send, seconds / 4, listeners=listeners)
    before, start_s = cpu_s(pid), time.perf_counter()
    count = rounds(audience, send, seconds, listeners=listeners)
    took_s, used_s = time.perf_counter() - start_s, cpu_s(pid) - before
    deliveries = count * listeners
    is_right = set(audience.heard) - {0} == {warm + count} and audience.total == (warm + count) * listeners
    return Told(deliveries / used_s, deliveries / took_s, is_right)


def _rooms(rig: Rig) -> Told:
    with started("bench.stream.serve_audience", "rooms", cpu=rig.server_cpu) as server:
        audience = Audience(connected(server.port, ["40"] * LISTENERS, b"40{"))
        go = text_frame('42["go"]')
        told = measured(audience, lambda: audience.sockets[0].sendall(go), server.pid, rig.seconds, LISTENERS)
        audience.close()
        return told


def _sends(rig: Rig) -> Told:
    with started("bench.stream.serve_audience", "sends", str(_FRAME_BYTES), cpu=rig.server_cpu) as server:
        (director,) = connected(server.port, [""], b"", is_socketio=False)
        audience = Audience(connected(server.port, [""] * LISTENERS, b"", is_socketio=False))
        told = measured(audience, lambda: director.sendall(b"!"), server.pid, rig.seconds, LISTENERS)
        director.close()
        audience.close()
        return told


def _desk(under_test: Product, rig: Rig) -> Told:
    audience = Audience(consoles(under_test, LISTENERS))
    told = measured(audience, publisher(under_test, BODY), under_test.pid, rig.seconds, LISTENERS)
    audience.close()
    return told


# ---------------------------------------------------------------- memory


def _idle_bytes(under_test: Product) -> tuple[float, bool]:
    """Return what each of 1,000 workers' connections adds, after the first hundred have made what is made once."""
    hello = [f'40/worker,{{"token":"{token}"}}' for token in under_test.worker_tokens]
    first = connected(under_test.port, hello[:100], b'["welcome"', offers_deflate=True)
    time.sleep(_SETTLE_S)
    before = under_test.memory_bytes()
    rest = connected(under_test.port, hello[100 : 100 + IDLE], b'["welcome"', offers_deflate=True)
    time.sleep(_SETTLE_S)
    added = under_test.memory_bytes() - before
    for each in (*first, *rest):
        each.close()
    return added / IDLE, len(rest) == IDLE


def _stock_bytes(rig: Rig) -> float:
    with started("bench.stream.serve_audience", "rooms", cpu=rig.server_cpu) as server:
        # What it sends is compressed then: nobody here reads it.
        first = connected(server.port, ["40"] * 100, b"", offers_deflate=True)
        time.sleep(_SETTLE_S)
        before = server.memory_bytes()
        rest = connected(server.port, ["40"] * IDLE, b"", offers_deflate=True)
        time.sleep(_SETTLE_S)
        added = server.memory_bytes() - before
        for each in (*first, *rest):
            each.close()
        return added / IDLE
