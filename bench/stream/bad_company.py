"""What others cost: readers that stall, and traffic that nobody on this gateway watches."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import redis

from bench.embedded_redis import embedded_redis
from bench.report import Row, less_is_better
from bench.stream.audience import MARK, Audience, connected
from bench.stream.desk import consoles, publisher
from bench.stream.phones import cpu_s
from bench.stream.product import ORG, Product, product
from bench.stream.rig import Rig
from bench.stream.serve_audience import BODY
from bench.stream.servers import started

LISTENERS: Final = 300
STALLED: Final = 3
"""1 %."""
MANY_STALLED: Final = 100
"""For their memory: that of three drowns in the noise."""
ROUNDS: Final = 200
"""Fewer than wait for one reader before it is cut off."""
_PER_S: Final = 40
TURNS: Final = 5
"""Runs with stalled readers, and as many without: one noisy run decides nothing."""
_BIG: Final[Mapping[str, object]] = {**BODY, "detail": "." * 1_500}
"""So large that what the kernel holds for a stalled reader is full after a third of the rounds."""
_READ_BYTES: Final = 4_096
_SETTLE_S: Final = 1.0
_IDLE_S: Final = 3.0
"""Before and after: what the gateway does by itself in that time is not the messages'."""
TOPICS: Final = 100
"""One of them is watched: 1 % interest."""
STOCK_MESSAGES: Final = 4_000
MESSAGES: Final = 40_000
"""So many that what the gateway does anyhow matters little."""


def bad_company_rows(rig: Rig) -> list[Row]:
    """Return memory and delay by stalled readers, and CPU by irrelevant messages."""
    with product(rig, workers=1) as under_test:
        stalled = [_delay_row(under_test), _memory_row(under_test)]
        ours_us, is_right = _ours_us(under_test)
    stock_us, stock_is_right = _stock_us(rig)
    irrelevant = less_is_better(
        f"CPU a message, {TOPICS} topics of which one is watched",
        ours_us,
        stock_us,
        anchor_name="python-socketio, AsyncRedisManager",
        unit="us",
        most=round(stock_us / 50, 2),
        gate=is_right and stock_is_right,
    )
    return [*stalled, irrelevant]


# ---------------------------------------------------------------- stalled readers


def _delay_row(under_test: Product) -> Row:
    """Compare the waits of healthy clients with and without stalled ones among them, in turn and in both orders."""
    calm_s: list[float] = []
    beside_s: list[float] = []
    all_heard = True
    for turn in range(TURNS):
        # New ones each turn: these clients answer no pings, and would be taken for dead.
        healthy = Audience(consoles(under_test, LISTENERS - STALLED))
        for has_stalled in (turn % 2 == 0, turn % 2 == 1):
            stalled = consoles(under_test, STALLED, read_bytes=_READ_BYTES) if has_stalled else []
            p99_s, heard = _p99_s(under_test, healthy)
            (beside_s if has_stalled else calm_s).append(p99_s)
            all_heard &= heard
            for each in stalled:
                each.close()
        healthy.close()
    calm_ms, beside_ms = median(calm_s) * 1e3, median(beside_s) * 1e3
    print("p99 with and without stalled readers, turn by turn, ms:", _listed(beside_s), "|", _listed(calm_s))
    return less_is_better(
        f"p99 of {LISTENERS - STALLED} readers beside {STALLED} stalled ones, median of {TURNS} turns",
        beside_ms,
        calm_ms,
        anchor_name="the same without, in turn",
        unit="ms",
        most=round(1.2 * calm_ms, 1),
        gate=all_heard,
    )


def _listed(waits_s: Sequence[float]) -> str:
    return " ".join(f"{each * 1e3:.1f}" for each in waits_s)


def _memory_row(under_test: Product) -> Row:
    stalled = consoles(under_test, MANY_STALLED, read_bytes=_READ_BYTES)
    healthy = Audience(consoles(under_test, MANY_STALLED))
    time.sleep(_SETTLE_S)
    before = under_test.memory_bytes()
    _, all_heard = _p99_s(under_test, healthy)
    added = max(0, under_test.memory_bytes() - before) / MANY_STALLED
    for each in stalled:
        each.close()
    healthy.close()
    return less_is_better(
        f"memory of a stalled reader, {ROUNDS} events of {len(str(_BIG)) / 1e3:.1f} kB behind",
        added / 1e3,
        64,
        anchor_name="the target",
        unit="kB",
        most=64,
        gate=all_heard,
    )


def _p99_s(under_test: Product, audience: Audience) -> tuple[float, bool]:
    """Publish at a steady rate; return the 99th percentile of the waits, and whether everybody heard everything."""
    publish, start = publisher(under_test, _BIG), audience.total
    audience.waits_s.clear()
    audience.sent_at_s[:] = [0.0] * max(audience.heard)
    next_s = time.perf_counter()
    for _ in range(ROUNDS):
        audience.sent_at_s.append(time.perf_counter())
        publish()
        next_s += 1 / _PER_S
        while (left_s := next_s - time.perf_counter()) > 0:
            audience.listen(left_s)
    until_s, wanted = time.perf_counter() + 10, ROUNDS * len(audience.sockets)
    while audience.total - start < wanted and time.perf_counter() < until_s:
        audience.listen(0.01)
    waits = sorted(audience.waits_s)
    return waits[int(len(waits) * 0.99)], audience.total - start == wanted == len(waits)


# ---------------------------------------------------------------- irrelevant traffic


def _ours_us(under_test: Product) -> tuple[float, bool]:
    audience = Audience(consoles(under_test, 1))
    time.sleep(_SETTLE_S)
    idle_s = _cpu_of(under_test.pid, lambda: time.sleep(_IDLE_S)) / _IDLE_S
    client = redis.Redis.from_url(under_test.redis_url)
    message = '{"event_id":1,"kind":"booking","body":{"note":"' + MARK + '"}}'
    took = time.perf_counter()

    def publish() -> None:
        for start in range(0, MESSAGES, TOPICS):
            pipeline = client.pipeline(transaction=False)
            for number in range(start, start + TOPICS):
                topic = f"desk:{ORG}" if number == start else f"booking:{number % TOPICS}"
                pipeline.publish(f"fan:{topic}", message)
            pipeline.execute()
        _hear(audience, MESSAGES // TOPICS)

    used_s = _cpu_of(under_test.pid, publish)
    took = time.perf_counter() - took
    idle_s = (idle_s + _cpu_of(under_test.pid, lambda: time.sleep(_IDLE_S)) / _IDLE_S) / 2
    used_s -= idle_s * took
    is_right = audience.total == MESSAGES // TOPICS
    audience.close()
    return max(used_s, 0.0) * 1e6 / MESSAGES, is_right


def _stock_us(rig: Rig) -> tuple[float, bool]:
    with embedded_redis() as url, started("bench.stream.serve_audience", "redis", url, cpu=rig.server_cpu) as server:
        audience = Audience(connected(server.port, ["40"], b"40{"))
        time.sleep(_SETTLE_S)
        emitter = (sys.executable, "-m", "bench.stream.emit_rooms", url, str(STOCK_MESSAGES), str(TOPICS))

        def emit() -> None:
            subprocess.run(emitter, check=True, cwd=Path(__file__).parents[2])  # noqa: S603 - a program of our own
            _hear(audience, STOCK_MESSAGES // TOPICS)

        used_s = _cpu_of(server.pid, emit)
        is_right = audience.total == STOCK_MESSAGES // TOPICS
        audience.close()
        return used_s * 1e6 / STOCK_MESSAGES, is_right


def _cpu_of(pid: int, work: Callable[[], None]) -> float:
    before = cpu_s(pid)
    work()
    return cpu_s(pid) - before


def _hear(audience: Audience, wanted: int) -> None:
    until_s = time.perf_counter() + 20
    while audience.total < wanted and time.perf_counter() < until_s:
        audience.listen(0.05)
