"""A mirror that follows the real feed while another process writes to the index, asked at the same time."""

import asyncio
import multiprocessing
import multiprocessing.sharedctypes
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis

from bench.fleet import Fleet
from engine.core.clock import SystemClock
from engine.geo.cell_index import CellIndex
from engine.geo.fixes import RecordArray
from engine.geo.followed_mirror import FollowedMirror
from engine.geo.mirror import Mirror

TICK_S: Final = 0.01
"""How often a gateway flushes."""
_SPIN_S: Final = 0.001
_QUIET_S_MAX: Final = 10.0
_TIMEOUT_S: Final = 10


Written: TypeAlias = "multiprocessing.sharedctypes.Synchronized[int]"
"""A number that both processes see."""


@dataclass(frozen=True, slots=True)
class Load:
    """How many pings a second come in and how long, and which questions are asked meanwhile."""

    pings_per_s: int
    seconds: float
    places: Sequence[tuple[float, float]]
    k: int
    radius_m: float


@dataclass(frozen=True, slots=True)
class Followed:
    """What it cost, and whether the mirror ended up equal to the index."""

    taken_ms: NDArray[np.float64]
    """Of each question, from the moment when it was due."""
    is_equal: bool
    moved: int
    """Pings that were written meanwhile."""


def follow(url: str, fleet: Fleet, load: Load) -> Followed:
    """Follow the index at `url`, which holds the fleet's last round, under load."""
    return asyncio.run(_follow(url, fleet, load))


async def _follow(url: str, fleet: Fleet, load: Load) -> Followed:
    redis: Redis = Redis.from_url(url, protocol=2, socket_timeout=_TIMEOUT_S)
    index = CellIndex(redis)
    followed = FollowedMirror(redis, index, clock=SystemClock())
    context = multiprocessing.get_context("spawn")
    written = context.Value("q", 0)
    records = fleet.records(fleet.rounds - 1, np.arange(fleet.workers))
    writer = context.Process(target=_write, args=(url, records, load, written), daemon=True)
    try:
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(followed.run())
            await followed.until_whole()
            await asyncio.to_thread(writer.start)
            while not written.value:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(TICK_S)
            taken_ms = await _ask(followed.mirror, load)
            await asyncio.to_thread(writer.join)
            is_equal = await _becomes_equal(index, followed)
            following.cancel()
    finally:
        await redis.aclose()
    return Followed(taken_ms, is_equal, written.value)


async def _ask(mirror: Mirror, load: Load) -> NDArray[np.float64]:
    due_s = np.sort(np.random.default_rng(1).uniform(0, load.seconds, len(load.places)))
    taken_ms, start = [], time.perf_counter()
    for due, place in zip(due_s.tolist(), load.places, strict=True):
        await asyncio.sleep(max(0.0, start + due - time.perf_counter() - _SPIN_S))
        # The feed has its turn meanwhile: how late a sleeper wakes is not what is measured.
        while time.perf_counter() < start + due:  # noqa: ASYNC110 - the clock sets no event
            await asyncio.sleep(0)
        mirror.nearest(*place, k=load.k, radius_m=load.radius_m)
        taken_ms.append((time.perf_counter() - start - due) * 1000)
    return np.array(taken_ms)


async def _becomes_equal(index: CellIndex, followed: FollowedMirror) -> bool:
    """Return whether the mirror holds what the index holds, once what is on its way has come."""
    slots, records = await index.all_records()
    for _ in range(round(_QUIET_S_MAX / TICK_S)):
        found = followed.mirror.places(slots)
        same = all(np.array_equal(found[name], records[name]) for name in ("ts_ms", "lat_e7", "lng_e7"))
        if followed.whole is not None and same and len(followed.mirror) == len(slots):
            return True
        await asyncio.sleep(TICK_S)
    return False


def _write(url: str, records: RecordArray, load: Load, written: "Written") -> None:
    asyncio.run(_write_all(url, records, load, written))


async def _write_all(url: str, records: RecordArray, load: Load, written: "Written") -> None:
    """Move workers, drawn by lot, by a batch a tick, as gateways do."""
    redis: Redis = Redis.from_url(url, protocol=2, socket_timeout=_TIMEOUT_S)
    index, random = CellIndex(redis), np.random.default_rng(3)
    batch, start = round(load.pings_per_s * TICK_S), time.perf_counter()
    for tick in range(round(load.seconds / TICK_S)):
        await asyncio.sleep(max(0.0, start + tick * TICK_S - time.perf_counter()))
        slots = np.sort(random.choice(len(records), min(batch, len(records)), replace=False))
        newer = records[slots]
        newer["ts_ms"] += (tick + 1) * round(TICK_S * 1000)
        await index.move(slots, newer)
        written.value += len(slots)
    await redis.aclose()
