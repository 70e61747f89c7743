"""One event to many clients: the real gateway, from a Redis channel to the consoles of an organisation.

Rates are of a whole core of the server, from the CPU that it used: who else uses the machine has no say in it. The wall's
rates, at which the server or the client is saturated, are printed.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import redis

from bench.report import Row, less_is_better, more_is_better
from bench.stream.audience import MARK, Audience, connected, rounds, text_frame
from bench.stream.phones import cpu_s
from bench.stream.product import ORG, Product, product
from bench.stream.rig import Rig
from bench.stream.serve_audience import BODY
from bench.stream.servers import memory_bytes, started

LISTENERS: Final = 2_000
IDLE: Final = 1_000
STALLED: Final = 20
"""1 % of the listeners."""
_STEADY_PER_S: Final = 10
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
    """Return deliveries a second, memory of an idle connection, and what stalled readers cost."""
    rooms, sends = _rooms(rig), _sends(rig)
    stock_bytes = _stock_bytes(rig)
    with product(rig, workers=IDLE + 100) as under_test:
        own_bytes, all_welcomed = _idle_bytes(under_test)
        ours = _desk(under_test, rig)
        stalled = _stalled_rows(under_test, rig)
    is_right = ours.is_right and rooms.is_right and sends.is_right
    print(f"fan-out by the wall: ours {ours.per_s:,.0f}/s, rooms {rooms.per_s:,.0f}/s, plain sends {sends.per_s:,.0f}/s")
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
        *stalled,
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
    audience = Audience(_consoles(under_test, LISTENERS))
    told = measured(audience, _publisher(under_test), under_test.pid, rig.seconds, LISTENERS)
    audience.close()
    return told


def _consoles(under_test: Product, count: int) -> Sequence[object]:
    return connected(under_test.port, [f'40/console,{{"token":"{under_test.desk_token}"}}'] * count, b'["welcome"')


def _publisher(under_test: Product) -> Callable[[], None]:
    client = redis.Redis.from_url(under_test.redis_url)
    message = json.dumps({"event_id": 1, "kind": "booking", "body": BODY})
    return lambda: None if client.publish(f"fan:desk:{ORG}", message) else None


# ---------------------------------------------------------------- memory


def _idle_bytes(under_test: Product) -> tuple[float, bool]:
    """Return what each of 1,000 workers' connections adds, after the first hundred have made what is made once."""
    hello = [f'40/worker,{{"token":"{token}"}}' for token in under_test.worker_tokens]
    first = connected(under_test.port, hello[:100], b'["welcome"')
    time.sleep(_SETTLE_S)
    before = memory_bytes(under_test.pid)
    rest = connected(under_test.port, hello[100 : 100 + IDLE], b'["welcome"')
    time.sleep(_SETTLE_S)
    added = memory_bytes(under_test.pid) - before
    for each in (*first, *rest):
        each.close()
    return added / IDLE, len(rest) == IDLE


def _stock_bytes(rig: Rig) -> float:
    with started("bench.stream.serve_audience", "rooms", cpu=rig.server_cpu) as server:
        first = connected(server.port, ["40"] * 100, b"40{")
        time.sleep(_SETTLE_S)
        before = memory_bytes(server.pid)
        rest = connected(server.port, ["40"] * IDLE, b"40{")
        time.sleep(_SETTLE_S)
        added = memory_bytes(server.pid) - before
        for each in (*first, *rest):
            each.close()
        return added / IDLE


# ---------------------------------------------------------------- stalled readers


def _stalled_rows(under_test: Product, rig: Rig) -> list[Row]:
    """Compare the healthy clients' waits with and without 1 % that read nothing, and weigh those."""
    calm = Audience(_consoles(under_test, LISTENERS))
    calm_s = _steady(under_test, calm, rig.seconds, LISTENERS)
    before = memory_bytes(under_test.pid)
    calm.ignore(range(STALLED))
    healthy = LISTENERS - STALLED
    calm.waits_s.clear()
    start = calm.total
    with_stalled_s = _steady(under_test, calm, rig.seconds, healthy)
    added = max(0, memory_bytes(under_test.pid) - before) / STALLED
    is_right = calm.total - start == healthy * round(rig.seconds * _STEADY_PER_S)
    calm.close()
    return [
        less_is_better(
            f"memory of a stalled reader ({STALLED} of {LISTENERS:,})", added / 1e3, 64,
            anchor_name="the target", unit="kB", most=64, gate=is_right,
        ),
        less_is_better(
            f"p99 of the others, {STALLED} of {LISTENERS:,} stalled", with_stalled_s * 1e3, calm_s * 1e3,
            anchor_name="the same with nobody stalled", unit="ms", most=round(1.2 * calm_s * 1e3, 1), gate=is_right,
        ),
    ]  # fmt: skip


def _steady(under_test: Product, audience: Audience, seconds: float, listeners: int) -> float:
    """Send at a rate that the gateway bears easily; return the 99th percentile of the waits."""
    publish, count = _publisher(under_test), round(seconds * _STEADY_PER_S)
    start = audience.total
    if not audience.sent_at_s:
        audience.sent_at_s.extend([time.perf_counter()] * max(audience.heard, default=0))
    next_s = time.perf_counter()
    for _ in range(count):
        audience.sent_at_s.append(time.perf_counter())
        publish()
        next_s += 1 / _STEADY_PER_S
        while (left_s := next_s - time.perf_counter()) > 0:
            audience.listen(left_s)
    until_s = time.perf_counter() + 10
    while audience.total - start < count * listeners and time.perf_counter() < until_s:
        audience.listen(0.01)
    return sorted(audience.waits_s)[int(len(audience.waits_s) * 0.99)]
