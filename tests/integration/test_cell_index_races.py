"""Two gateways write the same workers, and every step on the network may be lost, unanswered or late.

One step happens at a time, in an order drawn by lot; after each one every worker with a place must be in the set of
the cell that the record names. When all is quiet a repair leaves every worker in exactly that one.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError

from config.limits import REPAIR_GRACE_MS
from config.settings import Settings
from engine.core.redis_store import RedisClient, ask
from engine.geo.cell_index import PAGES_KEY, CellIndex
from engine.geo.cell_sets import cell_key
from engine.geo.cells import cells_of
from engine.geo.fixes import RECORD
from engine.geo.repair import Repair
from engine.geo.slab import page_key, rows_of
from engine.geo.verify import verify
from engine.wiring import open_redis
from tests.servers import RedisNodes

pytestmark = pytest.mark.integration

SLOTS = (3, 4, 2_050)
PLACES = ((411_500_000, -86_100_000), (411_900_000, -86_100_000), (411_500_000, -85_500_000))
CELLS = cells_of(*(np.array(column, np.int32) for column in zip(*PLACES, strict=True)))
ROUNDS = 40


@dataclass(eq=False)
class Line:
    """A writer's way to Redis: every round trip waits for the test, which says what becomes of it."""

    client: RedisClient
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    fate: "asyncio.Future[str] | None" = None
    late: list[Callable[[], Awaitable[Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        make = self.client.pipeline

        def gated(**arguments: Any) -> Any:
            pipeline = make(**arguments)
            execute = pipeline.execute

            async def wait_and_execute(**how: Any) -> Any:
                self.fate = asyncio.get_running_loop().create_future()
                self.waits.set()
                fate = await self.fate
                if fate == "late":
                    self.late.append(lambda: execute(**how))
                answer = await execute(**how) if fate in {"done", "unanswered"} else None
                if fate != "done":
                    raise RedisConnectionError(fate)
                return answer

            pipeline.execute = wait_and_execute
            return pipeline

        self.client.pipeline = gated  # type: ignore[method-assign]

    async def step(self, writer: "asyncio.Task[None]", fate: str) -> None:
        """Let the writer's next round trip meet its fate; return when the next one waits or the writer has ended."""
        assert self.fate is not None
        self.waits.clear()
        self.fate.set_result(fate)
        await self.wait(writer)

    async def wait(self, writer: "asyncio.Task[None]") -> None:
        waiting = asyncio.ensure_future(self.waits.wait())
        await asyncio.wait({waiting, writer}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()


@dataclass(eq=False)
class Gateway:
    """A writer with a life of its own; a killed one comes back knowing nothing."""

    line: Line
    rng: random.Random
    index: CellIndex = field(init=False)

    def __post_init__(self) -> None:
        self.index = CellIndex(self.line.client)

    async def write(self, now: int) -> None:
        chosen = np.array(sorted(self.rng.sample(SLOTS, self.rng.randint(1, len(SLOTS)))), np.int64)
        if self.rng.random() < 0.15:
            work = self.index.remove(chosen.tolist())
        else:
            rows = np.zeros(len(chosen), RECORD)
            for row in rows:
                at = self.rng.randrange(len(PLACES))
                row["ts_ms"] = now + self.rng.randrange(-3, 2)  # old ones, and the same ones with another place
                row["lat_e7"], row["lng_e7"] = PLACES[at]
                row["cell"] = CELLS[at]
            work = self.index.move(chosen, rows)
        try:
            await work
        except RedisConnectionError:
            if self.rng.random() < 0.4:
                self.index = CellIndex(self.line.client)


@pytest.fixture
async def clients(either_settings: Settings) -> Any:
    """Two more clients of the same Redis."""
    more = [open_redis(either_settings) for _ in range(2)]
    yield more
    for client in more:
        await client.aclose()


async def lost_workers(redis: RedisClient) -> list[int]:
    """Return whose record names a cell in which they have no entry."""
    commands, places = [], []
    for page, slab in zip((0, 1), await ask(redis, [("GET", page_key(page)) for page in (0, 1)]), strict=True):
        rows = rows_of(slab)
        for place in np.flatnonzero(rows["record"]["cell"]).tolist():
            slot = page * 2_048 + place
            member = (slot << 31) + int(rows["since"][place])
            commands.append(("SISMEMBER", cell_key(int(rows["record"]["cell"][place])), member))
            places.append(slot)
    found = await ask(redis, commands)
    return [slot for slot, is_in in zip(places, found, strict=True) if not is_in]


async def interleave(redis: RedisClient, gateways: list[Gateway], rng: random.Random) -> int:
    """Let both write at once, a step at a time; return how many steps that were."""
    steps = 0
    for now in range(1_000, 1_000 + ROUNDS):
        writers = [asyncio.ensure_future(each.write(now)) for each in gateways]
        for each, writer in zip(gateways, writers, strict=True):
            await each.line.wait(writer)
        while live := [at for at, writer in enumerate(writers) if not writer.done()]:
            at = rng.choice(live)
            fate = rng.choices(("done", "lost", "unanswered", "late"), (85, 5, 5, 5))[0]
            await gateways[at].line.step(writers[at], fate)
            await meanwhile(redis, gateways, rng)
            assert await lost_workers(redis) == [], f"round {now}"
            steps += 1
        await asyncio.gather(*writers)
    for each in gateways:
        for execute in each.line.late:
            await execute()
            assert await lost_workers(redis) == []
    return steps


async def meanwhile(redis: RedisClient, gateways: list[Gateway], rng: random.Random) -> None:
    late = gateways[rng.randrange(2)].line.late
    if late and rng.random() < 0.2:
        await late.pop(rng.randrange(len(late)))()
    if rng.random() < 0.05:
        await redis.script_flush()


@pytest.mark.parametrize("seed", range(3))
async def test_no_crash_loses_a_worker_and_a_repair_leaves_one_cell_each(
    either_redis: RedisClient, clients: list[RedisClient], seed: int
) -> None:
    rng = random.Random(seed)
    gateways = [Gateway(Line(client), rng) for client in clients]
    assert await interleave(either_redis, gateways, rng) > 2 * ROUNDS
    repair = Repair(either_redis)
    await repair.run_pass(0)
    await repair.run_pass(REPAIR_GRACE_MS)
    report = await verify(either_redis)
    assert report.is_right, report
    assert (await Repair(either_redis).run_pass(0)).total == 0, "nothing is left to mend"


async def test_a_late_removal_does_not_take_who_came_back(
    either_redis: RedisClient, clients: list[RedisClient]
) -> None:
    """The worker leaves A by gateway 1, which is slow to say so, and comes back to A by gateway 2."""
    slow, quick = Line(clients[0]), CellIndex(clients[1])
    first = CellIndex(either_redis)
    here, there = int(CELLS[0]), int(CELLS[1])
    await first.move(np.array([3]), rows_at((1_000, 0)))
    leaving = asyncio.ensure_future(CellIndex(clients[0]).move(np.array([3]), rows_at((2_000, 1))))
    await slow.wait(leaving)
    while not leaving.done():
        record = (await first.records([3]))[0]
        if record["ts_ms"] == 2_000:
            await quick.move(np.array([3]), rows_at((3_000, 0)))
        await slow.step(leaving, "done")
    await leaving
    if not isinstance(either_redis, RedisCluster):
        await quick.move(np.array([3]), rows_at((3_000, 0)))
    assert await first.cell_members([here, there]) == {here: [3], there: []}
    assert (await verify(either_redis)).is_right


async def test_a_node_that_comes_back_empty_is_filled_by_fixes_and_repair(
    redis_cluster: RedisNodes, either_cluster: RedisClient
) -> None:
    index, rng = CellIndex(either_cluster), np.random.default_rng(5)
    slots = np.arange(0, 10 * 2_048, 97)
    for round_ms in (1_000, 2_000):
        await index.move(slots, scattered(slots, round_ms, rng))
    redis_cluster.restart(1)
    moving = slots[::2]
    for _ in range(3):  # the first answers only tell the client that its connections have ended
        try:
            await index.move(moving, scattered(moving, 3_000, rng))
        except (RedisConnectionError, OSError):
            continue
        break
    assert (await index.records(moving))["ts_ms"].tolist() == [3_000] * len(moving)
    repair = Repair(either_cluster)
    found = await repair.run_pass(0)
    assert found.missing > 0, "cells of the lost node"
    assert found.waiting > 0, "workers of the lost node who stand still"
    assert (await repair.run_pass(REPAIR_GRACE_MS)).extra == found.waiting
    report = await verify(either_cluster)
    assert report.is_right, report
    assert len(moving) <= report.slots < len(slots)
    assert await index.pages() == list(range(10))


@pytest.fixture
async def either_cluster(redis_cluster: RedisNodes) -> Any:
    client = open_redis(Settings(redis_url=redis_cluster.url, redis_cluster=True))
    yield client
    await client.aclose()


async def test_repair_mends_every_kind_of_damage_and_then_nothing(either_redis: RedisClient) -> None:
    redis, index, rng = either_redis, CellIndex(either_redis), np.random.default_rng(9)
    slots = np.arange(0, 3 * 2_048, 61)
    await index.move(slots, scattered(slots, 1_000_000, rng))
    await index.remove(slots[:5].tolist())
    cells = (await index.records(slots))["cell"]
    far = int(CELLS[2])

    def entry(slot: int, ts_ms: int) -> int:
        return (int(slot) << 31) + ts_ms

    await ask(redis, [("SREM", cell_key(int(cells[9])), entry(slots[9], 1_000_000))])  # missing
    await ask(redis, [("DEL", cell_key(int(cells[20])))])  # missing, a whole cell
    await ask(redis, [("SADD", cell_key(far), entry(slots[10], 999_000))])  # a double
    await ask(redis, [("SADD", cell_key(int(cells[11])), entry(slots[11], 998_000))])  # twice in the right cell
    await ask(redis, [("SADD", cell_key(far), entry(slots[2], 990_000))])  # of somebody off duty
    await ask(redis, [("SADD", cell_key(far), entry(99, 990_000), entry(900_000, 990_000))])  # of nobody
    await ask(redis, [("SADD", cell_key(far), entry(slots[12], 1_500_000))])  # newer than the record
    await ask(redis, [("SREM", PAGES_KEY, 1)])
    assert not (await verify(redis)).is_right
    repair = Repair(redis)
    first = await repair.run_pass(0)
    assert (first.extra, first.waiting, first.unlisted_pages) == (3, 3, 1)
    assert first.missing >= 2
    early = await repair.run_pass(REPAIR_GRACE_MS - 1)
    assert (early.total, early.waiting) == (0, 3)
    assert (await repair.run_pass(REPAIR_GRACE_MS)).extra == 3
    report = await verify(redis)
    assert report.is_right, report
    assert report.slots == len(slots) - 5
    again = await repair.run_pass(2 * REPAIR_GRACE_MS)
    assert (again.total, again.waiting) == (0, 0)


def slots_of(*slots: int) -> np.ndarray:
    return np.array(slots, np.int64)


def rows_at(*fixes: tuple[int, int]) -> np.ndarray:
    rows = np.zeros(len(fixes), RECORD)
    for row, (ts_ms, at) in zip(rows, fixes, strict=True):
        row["ts_ms"], row["cell"] = ts_ms, CELLS[at]
        row["lat_e7"], row["lng_e7"] = PLACES[at]
    return rows


def scattered(slots: np.ndarray, ts_ms: int, rng: np.random.Generator) -> np.ndarray:
    rows = np.zeros(len(slots), RECORD)
    rows["ts_ms"] = ts_ms
    rows["lat_e7"] = 411_500_000 + rng.integers(0, 2_000_000, len(slots))
    rows["lng_e7"] = -86_100_000 + rng.integers(0, 2_000_000, len(slots))
    rows["cell"] = cells_of(rows["lat_e7"], rows["lng_e7"])
    return rows
