"""Position updates: our cell index against one variadic GEOADD a batch, through redis-py and without a client."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np
from redis.asyncio import Redis

from bench.fleet import E7, Fleet
from bench.report import Row, less_is_better, more_is_better
from bench.resp import BareConnection, packed
from engine.geo.cell_index import CellIndex, packed_moves, whole_call
from engine.geo.cell_scripts import MOVE
from engine.geo.fixes import RecordArray, SlotArray
from engine.geo.verify import verify

BATCH: Final = 500
GEOADD: Final = "GEOADD, variadic, redis-py"
GEOADD_BARE: Final = "GEOADD, variadic, packed beforehand"
TILE38_PER_S: Final = 46_000
TILE38: Final = "Tile38 SET, quoted: 32-46k/s on 2 such cores, not run"
KEY: Final = "anchor"
Rates = list[float]
Send = Callable[[int, SlotArray], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Bytes:
    """What Redis holds more after the fleet is in."""

    ours: float
    anchor: float


def geoadd(fleet: Fleet, number: int, slots: SlotArray) -> list[float]:
    """Return the arguments of GEOADD for some workers: longitude, latitude, slot, and so on."""
    arguments: list[float] = []
    lngs, lats = (fleet.lngs_e7[number, slots] / E7).tolist(), (fleet.lats_e7[number, slots] / E7).tolist()
    for lng, lat, slot in zip(lngs, lats, slots.tolist(), strict=True):
        arguments += (lng, lat, slot)
    return arguments


async def update_rows(redis: Redis, url: str, fleet: Fleet, random: np.random.Generator) -> list[Row]:
    """Return the rows of updates; afterwards Redis holds the last round in both layouts."""
    index = CellIndex(redis)

    async def ours(number: int, slots: SlotArray) -> object:
        return await index.move(slots, fleet.records(number, slots))

    async def anchor(number: int, slots: SlotArray) -> object:
        return await redis.geoadd(KEY, geoadd(fleet, number, slots))

    batches = _batches(fleet, random)
    size = Bytes(await _growth(redis, ours, batches), await _growth(redis, anchor, batches))
    rates = [await _rates(ours, anchor, number, batches) for number in range(1, fleet.rounds - 1)]
    client, client_anchor = (median(rate for pair in rates for rate in pair[at]) for at in (0, 1))
    bare, bare_anchor = await _bare_rates(redis, url, fleet, batches)
    is_right, moved_back, anchor_moved_back = await _check(redis, fleet, batches[0], anchor)
    return [
        more_is_better(
            "updates through redis-py, H3 included",
            *(client, client_anchor),
            anchor_name=GEOADD,
            unit="pings/s",
            ratio_min=1.5,
            gate=is_right,
        ),
        more_is_better(
            "updates without a client", bare, bare_anchor, anchor_name=GEOADD_BARE, unit="pings/s", gate=is_right
        ),
        more_is_better(
            "updates through redis-py, H3 included",
            client,
            TILE38_PER_S,
            anchor_name=TILE38,
            unit="pings/s",
            ratio_min=5,
        ),
        less_is_better(
            f"an old batch of {BATCH} replayed: workers put back",
            *(moved_back, anchor_moved_back),
            anchor_name=GEOADD,
            unit="workers",
            most=0,
            gate=moved_back == 0,
        ),
        less_is_better("memory in Redis", size.ours, size.anchor, anchor_name=GEOADD, unit="bytes a worker", most=64),
    ]


def _batches(fleet: Fleet, random: np.random.Generator) -> list[SlotArray]:
    order = random.permutation(fleet.workers)
    return [order[at : at + BATCH] for at in range(0, fleet.workers, BATCH)]


async def _growth(redis: Redis, send: Send, batches: Sequence[SlotArray]) -> float:
    """Return bytes a worker that the first round costs."""
    before = (await redis.info("memory"))["used_memory"]
    for slots in batches:
        await send(0, slots)
    after = (await redis.info("memory"))["used_memory"]
    return float(after - before) / sum(map(len, batches))


async def _rates(ours: Send, anchor: Send, number: int, batches: Sequence[SlotArray]) -> tuple[Rates, Rates]:
    """Return updates/s of both, batch by batch, in turn: a busy moment of the machine meets both."""
    rates: tuple[Rates, Rates] = [], []
    for slots in batches:
        for send, found in zip((ours, anchor), rates, strict=True):
            start = time.perf_counter()
            await send(number, slots)
            found.append(len(slots) / (time.perf_counter() - start))
    return rates


async def _check(redis: Redis, fleet: Fleet, old: SlotArray, anchor: Send) -> tuple[bool, int, int]:
    """Return whether every worker is where the last round says and in that cell alone, and what an old batch moves."""
    index, every = CellIndex(redis), np.arange(fleet.workers)
    expected = fleet.records(fleet.rounds - 1, every)
    refused = await index.move(old, fleet.records(0, old))
    slots, records = await index.all_records()
    report = await verify(redis)
    is_whole = np.array_equal(slots, every) and report.is_right and report.slots == fleet.workers
    moved_back = _differ(await index.records(old), expected[old])
    is_right = is_whole and _differ(records, expected) == 0 and len(refused.stale) == len(old)
    before = await _places(redis, old)
    await anchor(0, old)
    anchor_moved_back = sum(a != b for a, b in zip(before, await _places(redis, old), strict=True))
    await anchor(fleet.rounds - 1, old)
    return is_right, moved_back, anchor_moved_back


def _differ(records: RecordArray, expected: RecordArray) -> int:
    return int(np.count_nonzero(records != expected)) if len(records) == len(expected) else len(expected)


async def _places(redis: Redis, slots: SlotArray) -> list[Any]:
    found: list[Any] = await redis.geopos(KEY, *slots.tolist())
    return found


async def _bare_rates(redis: Redis, url: str, fleet: Fleet, batches: Sequence[SlotArray]) -> tuple[float, float]:
    """Return updates/s of both with everything packed beforehand, in the last round."""
    await redis.script_load(MOVE.text)
    number = fleet.rounds - 1
    rates: tuple[Rates, Rates] = [], []
    with BareConnection(url) as bare:
        for slots in batches:
            batch = packed_moves(slots, fleet.records(number, slots))
            call = whole_call(batch, fleet.records(number - 1, batch.slots)["cell"])
            commands = (
                packed("EVALSHA", MOVE.name, len(call.keys), *call.keys, *call.arguments),
                packed("GEOADD", KEY, *geoadd(fleet, number, slots)),
            )
            for command, found in zip(commands, rates, strict=True):
                start = time.perf_counter()
                bare.ask(command)
                found.append(len(slots) / (time.perf_counter() - start))
    return median(rates[0]), median(rates[1])
