"""Pings through the whole product: socket, filters, cells in Redis, fan-out, trail in Postgres, acknowledgements."""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis

from bench.report import Row, less_is_better, more_is_better
from bench.stream.frames import STEP_MS, Pings, pings
from bench.stream.phones import Drive, Pace, connect, drive
from bench.stream.product import Product, product
from bench.stream.rig import Rig
from bench.stream.servers import ROOT, started
from config.limits import CONSOLE_FRAME_MS, FLUSH_TICK_MS
from engine.geo.cell_index import CellIndex
from engine.geo.verify import verify

WORKERS: Final = 2_000
FIRST_PHONES: Final = 200
"""Phones that pay for what a gateway allocates once."""
BAD_EVERY: Final = 50
TRAIL_S_MAX: Final = 60
FIXES: Final = "clenzy_gateway_fixes"
TRAIL_FIXES: Final = "clenzy_trail_fixes"


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load."""

    name: str
    fixes_per_frame: int
    frames: int
    """As many as a phone can have sent by the end at the utmost."""
    pace: Pace
    target: float
    """Pings a second."""


CASES: Final = (
    Case("10 a frame", 10, 250, Pace(window=6), 400_000),
    Case("1 a frame", 1, 500, Pace(window=6), 80_000),
)
PACED: Final = Case("10 a frame, 100,000 pings/s", 10, 250, Pace(frames_per_s=10_000), 100_000)
"""Load under which the map's delay is taken."""
RAW_KB: Final = 15
DELAY_MS: Final = 15
"""What the map may lag beyond its tick."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One drive and what it left behind."""

    sent: Pings
    driven: Drive
    pings_per_s: float
    is_right: bool
    sink_per_s: float
    """What the same client reaches against a server that does nothing; pings a second."""


def end_to_end_rows(rig: Rig) -> list[Row]:
    """Return the whole product's rates, its memory for a phone, and the map's delay."""
    with product(rig, workers=WORKERS) as under_test:
        connection_kb = _connection_kb(under_test)
        taken = [_take(rig, under_test, case) for case in CASES]
        rows = [row for case, each in zip(CASES, taken, strict=True) for row in _rates(case, each)]
        memory = less_is_better(
            "memory of a raw connection",
            connection_kb,
            RAW_KB,
            anchor_name="the target",
            unit="kB",
            most=RAW_KB,
        )
        return [*rows, memory, *_delays(rig, under_test)]


def _connection_kb(under_test: Product) -> float:
    """Return the gateway's memory for one more phone that has signed in and sent nothing yet."""
    tokens = under_test.worker_tokens
    nothing = [b""] * len(tokens)
    first = connect(under_test.port, nothing[:FIRST_PHONES], 1, tokens[:FIRST_PHONES], tls=under_test.has_tls)
    before = under_test.memory_bytes()
    others = connect(under_test.port, nothing[FIRST_PHONES:], 1, tokens[FIRST_PHONES:], tls=under_test.has_tls)
    more = under_test.memory_bytes() - before
    first.close()
    others.close()
    return more / len(others.sockets) / 1_000


def tls_rows(rig: Rig) -> list[Row]:
    """Return the whole product's rates with TLS on."""
    with product(rig, workers=WORKERS, tls=True) as under_test:
        return [row for case in CASES for row in _rates(case, _take(rig, under_test, case), ", TLS")]


def _delays(rig: Rig, under_test: Product) -> list[Row]:
    """Watch the map while phones send by the clock; return how late it is."""
    with tempfile.TemporaryDirectory(prefix="clenzy-bench-") as folder:
        file = Path(folder) / "heard.npz"
        arguments = (under_test.url, under_test.desk_token, under_test.redis_url, str(file))
        with subprocess.Popen(  # noqa: S603 - a program of our own
            (sys.executable, "-m", "bench.stream.console", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        ) as watcher:
            assert watcher.stdout is not None
            watcher.stdout.readline()
            taken = _take(rig, under_test, PACED)
            watcher.communicate()
        heard = np.load(file)
        late = {name: _late_ms(taken, heard[name]) for name in ("desk", "channel")}
    tick_ms = {"desk": CONSOLE_FRAME_MS + FLUSH_TICK_MS, "channel": FLUSH_TICK_MS}
    for name, each in late.items():
        p50, p99 = np.percentile(each, (50, 99))
        print(f"  delay to the {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, of {len(each):,} places")
    return [
        less_is_better(
            f"ping to {name}, p99 at 100,000/s",
            float(np.percentile(late[name], 99)),
            tick_ms[name],
            anchor_name=f"its tick; {taken.pings_per_s:,.0f} pings/s acknowledged",
            unit="ms",
            most=tick_ms[name] + DELAY_MS,
            gate=taken.is_right,
        )
        for name in late
    ]


def _late_ms(taken: Taken, heard: NDArray[np.void]) -> NDArray[np.float64]:
    """Return how long each place that was heard took from the phone."""
    frame = (heard["ts_ms"] - taken.sent.from_ms) // (STEP_MS * taken.sent.fixes_per_frame)
    ours = (frame >= 0) & (frame < taken.sent.frames)
    sent_at_s = taken.driven.sent_at_s[heard["slot"][ours] - 1, frame[ours]]
    late_ms: NDArray[np.float64] = (heard["at_s"][ours] - sent_at_s) * 1_000
    is_paced: NDArray[np.bool_] = sent_at_s > 0
    return np.asarray(late_ms[is_paced])


def _take(rig: Rig, under_test: Product, case: Case) -> Taken:
    random = np.random.default_rng(rig.seed)
    sent = pings(
        WORKERS, case.frames, case.fixes_per_frame,
        from_ms=under_test.fix_now_ms(), bad_every=BAD_EVERY, random=random,
    )  # fmt: skip
    lines = sent.on_the_line(random)
    crowd = connect(under_test.port, lines, case.frames, under_test.worker_tokens, tls=under_test.has_tls)
    before = Counter(under_test.outcomes(FIXES)), Counter(under_test.outcomes(TRAIL_FIXES))
    servers = {"gateway": [under_test.pid], "redis": [under_test.redis_pid]}
    driven = drive(crowd, sent, case.pace, rig.seconds, servers)
    is_right = _is_right(under_test, sent, driven, before)
    crowd.close()
    sink_per_s = _sink_rate(rig, case, sent, lines) if case.pace.window else 0.0
    per_s = driven.frames_per_s * case.fixes_per_frame
    return Taken(sent, driven, per_s, is_right, sink_per_s)


def _sink_rate(rig: Rig, case: Case, sent: Pings, lines: Sequence[bytes]) -> float:
    with started("bench.stream.sink", str(len(lines[0]) // case.frames), cpu=rig.server_cpu) as sink:
        crowd = connect(sink.port, lines, case.frames, None)
        driven = drive(crowd, sent, case.pace, rig.seconds / 2, {})
        crowd.close()
    return driven.frames_per_s * case.fixes_per_frame


def _is_right(under_test: Product, sent: Pings, driven: Drive, before: tuple[Counter[str], Counter[str]]) -> bool:
    """Return whether every fix has ended as it must, and every worker is where the last good fix says."""
    accepted, refused = sent.expected(driven.sent)
    counted = Counter(under_test.outcomes(FIXES))
    counted.subtract(before[0])
    expected = Counter({"accepted": accepted, **{reason.value: count for reason, count in refused.items()}})
    outcomes = +counted
    checks = {
        "acknowledged": driven.unacknowledged == 0,
        "outcomes": outcomes == +expected,
        "cells": asyncio.run(_cells_are_right(under_test.redis_url, sent, driven)),
        "trail": _trail_is_whole(under_test, before[1], accepted),
    }
    for name, is_so in checks.items():
        if not is_so:
            print(f"WRONG: {name}; expected {dict(+expected)}, counted {dict(outcomes)}, {driven.unacknowledged=}")
    return all(checks.values())


async def _cells_are_right(url: str, sent: Pings, driven: Drive) -> bool:
    redis: Redis = Redis.from_url(url, protocol=2)
    try:
        report = await verify(redis)
        slots = np.flatnonzero(driven.sent) + 1
        records = await CellIndex(redis).records(slots)
    finally:
        await redis.aclose()
    places = sent.last_places(driven.sent)
    same = all(np.array_equal(records[column], places[column]) for column in ("ts_ms", "lat_e7", "lng_e7"))
    return report.is_right and same


def _trail_is_whole(under_test: Product, before: Counter[str], accepted: int) -> bool:
    """Wait until every accepted fix is in Postgres, or counted as dropped: the trail's buffer is bounded."""
    until = time.perf_counter() + TRAIL_S_MAX
    rows_before = before["stored"]
    while True:
        counted = Counter(under_test.outcomes(TRAIL_FIXES))
        counted.subtract(before)
        if counted.total() == accepted or time.perf_counter() > until:
            break
        time.sleep(0.2)
    stored = under_test.trail_rows() - rows_before
    print(f"  trail: {stored:,} of {accepted:,} stored, {counted['dropped']:,} dropped")
    return stored == counted["stored"] and stored + counted["dropped"] == accepted


def _rates(case: Case, taken: Taken, kind: str = "") -> list[Row]:
    """Return the rate and, because stores and client may have been slower than the gateway, what a ping cost it."""
    driven, per_s = taken.driven, taken.pings_per_s
    us = driven.shares["gateway"] * 1e6 / per_s
    busy = ", ".join(f"{name} {share:.0%}" for name, share in {"client": driven.own_share, **driven.shares}.items())
    print(
        f"  {case.name}{kind}: {per_s:,.0f} pings/s; of a core: {busy}; "
        f"the client against a null sink: {taken.sink_per_s:,.0f} pings/s"
    )
    return [
        more_is_better(
            f"end to end, {case.name}{kind}",
            per_s,
            case.target,
            anchor_name=f"the target; gateway {driven.shares['gateway']:.0%}, client {driven.own_share:.0%} of a core",
            unit="pings/s",
            ratio_min=1,
            gate=taken.is_right,
        ),
        less_is_better(
            f"gateway CPU a ping, {case.name}{kind}",
            us,
            1e6 / case.target,
            anchor_name="a core at the target",
            unit="us",
            most=1e6 / case.target,
        ),
    ]
