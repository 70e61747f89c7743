"""Pings through the whole product: socket, filters, cells in Redis, fan-out, trail in Postgres, acknowledgements."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from redis.asyncio import Redis

from bench.report import Row, more_is_better
from bench.stream.frames import Pings, pings
from bench.stream.phones import Drive, Pace, connect, drive
from bench.stream.product import Product, product
from bench.stream.rig import Rig
from bench.stream.servers import started
from engine.geo.cell_index import CellIndex
from engine.geo.verify import verify

WORKERS: Final = 2_000
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
    Case("10 fixes a frame", 10, 200, Pace(window=6), 400_000),
    Case("1 fix a frame", 1, 400, Pace(window=6), 80_000),
)


@dataclass(frozen=True, slots=True)
class Taken:
    """One drive and what it left behind."""

    driven: Drive
    pings_per_s: float
    is_right: bool
    sink_per_s: float
    """What the same client reaches against a server that does nothing; pings a second."""


def end_to_end_rows(rig: Rig) -> list[Row]:
    """Return rates of the whole product, each with the client's own limit beside it."""
    rows: list[Row] = []
    with product(rig, workers=WORKERS) as under_test:
        for case in CASES:
            taken = _take(rig, under_test, case)
            rows += _rows(case, taken)
    return rows


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
    return Taken(driven, driven.frames_per_s * case.fixes_per_frame, is_right, _sink_rate(rig, case, sent, lines))


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


def _rows(case: Case, taken: Taken) -> list[Row]:
    driven = taken.driven
    busy = ", ".join(f"{name} {share:.0%}" for name, share in driven.shares.items())
    print(
        f"{case.name}: {taken.pings_per_s:,.0f}/s; client {driven.own_share:.0%} of a core, {busy}; "
        f"{driven.shares['gateway'] * 1e6 / taken.pings_per_s:.2f} us of the gateway a ping; "
        f"the client alone, against a null sink: {taken.sink_per_s:,.0f}/s"
    )
    return [
        more_is_better(
            f"pings end to end, {case.name}",
            taken.pings_per_s,
            case.target,
            anchor_name="the target",
            unit="pings/s",
            ratio_min=1,
            gate=taken.is_right,
        ),
    ]
