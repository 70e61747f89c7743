"""The cell index on a real Redis: exactness under repetition, reordering, restarts and rival writers."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import h3
import numpy as np
import pytest
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.client import PubSub

from config.limits import SLAB_PAGE_SLOTS
from engine.core.redis_store import RedisClient, own_connection
from engine.geo.cell_index import MOVE, CellIndex
from engine.geo.cell_sets import cell_key
from engine.geo.cells import cell_of, cells_of
from engine.geo.fixes import RECORD
from engine.geo.slab import HEAD, PAGE_BYTES, page_key
from engine.geo.verify import verify

pytestmark = pytest.mark.integration

PORTO = (411_500_000, -86_100_000)
KM_E7 = 90_000


@pytest.fixture
def redis(either_redis: RedisClient) -> RedisClient:
    return either_redis


def records(*rows: tuple[int, int, int]) -> np.ndarray:
    """Records of (ts_ms, lat_e7, lng_e7), each with its cell."""
    found = np.zeros(len(rows), RECORD)
    for at, row in enumerate(rows):
        found[at]["ts_ms"], found[at]["lat_e7"], found[at]["lng_e7"] = row
    found["cell"] = cells_of(found["lat_e7"], found["lng_e7"])
    return found


def slots(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


async def test_a_worker_is_where_the_newest_fix_says(redis: RedisClient) -> None:
    index = CellIndex(redis)
    here, there = records((1_000, *PORTO)), records((2_000, PORTO[0] + 5 * KM_E7, PORTO[1]))
    assert (await index.move(slots(7), here)).accepted == 1
    assert (await index.move(slots(7), there)).accepted == 1

    old_cell, new_cell = int(here["cell"][0]), int(there["cell"][0])
    assert await index.cell_members([old_cell, new_cell]) == {old_cell: [], new_cell: [7]}
    assert (await index.records([7, 8])).tolist() == [there[0].tolist(), (0,) * 9]
    tag = h3.cell_to_parent(h3.int_to_str(new_cell), 7)
    keys = [key async for key in redis.scan_iter(match="geo:{cells:*")]
    assert keys == [f"geo:{{cells:{tag}}}:{h3.int_to_str(new_cell)}".encode()]


async def test_a_stale_record_is_refused_and_named(redis: RedisClient) -> None:
    index = CellIndex(redis)
    newest = records((2_000, *PORTO), (2_000, *PORTO))
    await index.move(slots(1, 5_000), newest)
    old = records((1_999, PORTO[0] + KM_E7 * 9, PORTO[1]), (2_001, *PORTO))
    result = await index.move(slots(1, 5_000), old)
    assert (result.accepted, result.stale.tolist()) == (1, [1])
    assert (await index.records([1]))[0] == newest[0]
    assert (await verify(redis)).is_right


async def test_a_batch_does_what_its_rows_would_do_one_by_one(redis: RedisClient) -> None:
    """A long batch reads its page at once, a single row by itself."""
    index, rng, workers = CellIndex(redis), random.Random(3), 60
    together, alone = np.arange(workers), np.arange(workers) + SLAB_PAGE_SLOTS
    for _ in range(4):
        rows = [
            (rng.randint(1, 9) * 1_000, PORTO[0] + rng.randint(-4, 4) * KM_E7 // 9, PORTO[1]) for _ in range(workers)
        ]
        batch = records(*rows)
        at_once = await index.move(together, batch)
        singly = [
            slot
            for slot, row in zip(alone, batch, strict=True)
            if len((await index.move(slots(slot), np.array([row]))).stale)
        ]
        assert (np.sort(at_once.stale) + SLAB_PAGE_SLOTS).tolist() == singly
        assert np.array_equal(await index.records(together), await index.records(alone))
        found = await index.cell_members(np.unique(batch["cell"]).tolist())
        for members in found.values():
            lower = [slot for slot in members if slot < SLAB_PAGE_SLOTS]
            assert [slot + SLAB_PAGE_SLOTS for slot in lower] == [slot for slot in members if slot >= SLAB_PAGE_SLOTS]
    assert (await verify(redis)).is_right


async def test_repeating_a_batch_whose_answer_was_lost_changes_nothing(redis: RedisClient) -> None:
    index, batch = CellIndex(redis), records((2_000, *PORTO))
    await index.move(slots(1), batch)
    again = await index.move(slots(1), batch)
    assert (again.accepted, len(again.stale)) == (1, 0)
    other = records((2_000, PORTO[0] + 9 * KM_E7, PORTO[1]))
    assert (await index.move(slots(1), other)).stale.tolist() == [1]


async def test_removal_forgets_the_place_but_not_the_time(redis: RedisClient) -> None:
    index = CellIndex(redis)
    await index.move(slots(3, 4), records((2_000, *PORTO), (2_000, *PORTO)))
    await index.remove([3, 99])
    assert await index.cell_members([cell_of(41.15, -8.61)]) == {cell_of(41.15, -8.61): [4]}
    assert (await index.records([3]))[0].tolist() == (2_000, *(0,) * 8)
    assert (await index.move(slots(3), records((1_500, *PORTO)))).stale.tolist() == [3]
    report = await verify(redis)
    assert (report.is_right, report.slots, report.off_duty) == (True, 1, 1)
    assert (await index.all_records())[0].tolist() == [4]


async def test_a_page_is_kept_whole_and_without_reserve(redis: RedisClient) -> None:
    index = CellIndex(redis)
    for slot in (5, 3, 2_047):
        await index.move(slots(slot), records((2_000, *PORTO)))
    assert await redis.strlen(page_key(0)) == PAGE_BYTES
    assert await redis.memory_usage(page_key(0)) < PAGE_BYTES * 1.3
    assert (await index.all_records())[0].tolist() == [3, 5, 2_047]
    assert (await index.records([4]))[0].tolist() == (0,) * 9


async def test_who_stays_in_a_cell_is_still_heard(redis: RedisClient) -> None:
    index = CellIndex(redis)
    await index.move(slots(1), records((2_000, *PORTO)))
    nearby = records((3_000, PORTO[0] + 10, PORTO[1]))
    assert (await index.move(slots(1), nearby)).accepted == 1
    assert (await index.records([1]))[0] == nearby[0]
    assert await index.cell_members([int(nearby["cell"][0])]) == {int(nearby["cell"][0]): [1]}


async def test_ten_thousand_random_moves_against_brute_force(redis: RedisClient) -> None:
    """Also with old batches replayed, slots removed, scripts forgotten and everything flushed half-way."""
    rng, index, truth = random.Random(5), CellIndex(redis), Truth()
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    for step in range(100):
        chosen = slots(*rng.sample(range(0, 6_000, 5), 100))
        if step == 50:
            await redis.flushall()
            truth.records.clear()
            seen.clear()
        if step % 10 == 3:
            await redis.script_flush()
        batch = records(*(truth.step(rng, step) for _ in chosen))
        if seen and step % 4 == 0:
            chosen, batch = rng.choice(seen)
        seen.append((chosen, batch))
        expected = truth.move(chosen.tolist(), batch)
        result = await index.move(chosen, batch)
        assert sorted(result.stale.tolist()) == expected
        if step % 7 == 0:
            gone = chosen[:5].tolist()
            await index.remove(gone)
            truth.remove(gone)

    found_slots, found = await index.all_records()
    in_cells = {slot: record for slot, record in truth.records.items() if record["cell"]}
    assert dict(zip(found_slots.tolist(), found.tolist(), strict=True)) == {
        slot: record.tolist() for slot, record in in_cells.items()
    }
    report = await verify(redis)
    assert report.is_right
    assert report.slots == len(in_cells) > 500


async def test_verify_sees_every_kind_of_fault(redis: RedisClient) -> None:
    index = CellIndex(redis)
    wrong = records((1_000, *PORTO))
    wrong["cell"] = cells_of(np.array([0], np.int32), np.array([10_000_000], np.int32))
    await index.move(slots(1, 2, 3), np.concatenate([wrong, records((1_000, *PORTO), (1_000, *PORTO))]))
    await redis.srem(cell_key(cell_of(41.15, -8.61)), (2 << 31) + 1_000)
    await redis.sadd(cell_key(0x88754E64DDFFFFF), (3 << 31) + 1_000, (77 << 31) + 1_000)
    report = await verify(redis)
    assert not report.is_right
    assert report.wrong_cell == [1]
    assert report.not_in_cell == [1, 2]
    assert sorted(report.in_several) == [1, 3, 77]


@dataclass
class Truth:
    """What the index must hold, kept the simplest way."""

    records: dict[int, np.void] = field(default_factory=dict)

    def step(self, rng: random.Random, step: int) -> tuple[int, int, int]:
        ts_ms = 1_000_000 + step * 100 + rng.randrange(300)
        return ts_ms, PORTO[0] + rng.randrange(20 * KM_E7), PORTO[1] + rng.randrange(20 * KM_E7)

    def move(self, numbers: list[int], batch: np.ndarray) -> list[int]:
        stale = []
        for slot, record in zip(numbers, batch, strict=True):
            held = self.records.get(slot)
            if held is not None and (record["ts_ms"], 1) <= (held["ts_ms"], record.tobytes() != held.tobytes()):
                stale.append(slot)
            else:
                self.records[slot] = record.copy()
        return sorted(stale)

    def remove(self, numbers: list[int]) -> None:
        for slot in numbers:
            if slot in self.records:
                kept = np.zeros((), RECORD)
                kept["ts_ms"] = self.records[slot]["ts_ms"]
                self.records[slot] = kept


async def test_records_come_back_in_the_order_asked_for_near_or_far_apart(redis: RedisClient) -> None:
    index, rng = CellIndex(redis), np.random.default_rng(3)
    known = np.sort(rng.choice(3 * SLAB_PAGE_SLOTS, 300, replace=False))
    await index.move(known, records(*((1_000 + int(slot), *PORTO) for slot in known)))
    wanted = rng.permutation(np.concatenate([known[::2], [3 * SLAB_PAGE_SLOTS + 9], known[:5] + 1]))
    expected = [1_000 + slot if slot in known else 0 for slot in wanted.tolist()]
    assert (await index.records(wanted))["ts_ms"].tolist() == expected


async def heard(redis: RedisClient, feed: PubSub) -> list[tuple[int, int, int, list[int], list[tuple[int, ...]]]]:
    """Take what was told so far: page, epoch, number, slots, records. A marker from every node ends the list."""
    nodes = redis.get_primaries() if isinstance(redis, RedisCluster) else [None]
    for node in nodes:
        where = {} if node is None else {"target_nodes": node}
        await redis.execute_command("PUBLISH", "marker", b"", **where)
    found, markers = [], 0
    while True:
        message = await feed.get_message(timeout=5)
        assert message is not None
        if message["type"] == "message":
            markers += 1
            if markers == len(nodes):
                return sorted(found)
        if message["type"] == "pmessage":
            epoch, seq = HEAD.unpack_from(message["data"])
            moves = np.frombuffer(message["data"], MOVE, offset=HEAD.size)
            rows = np.ascontiguousarray(moves["record"]).view(RECORD)
            page = int(message["channel"].removeprefix(b"geo:feed:"))
            found.append((page, epoch, seq, moves["slot"].tolist(), rows.tolist()))


@pytest.fixture
async def feed(redis: RedisClient) -> AsyncIterator[PubSub]:
    """What is heard at one node: the others pass on what is published at them."""
    connection = await own_connection(redis)
    node = Redis(host=connection.host, port=connection.port, password=connection.password, protocol=2)
    async with node, node.pubsub() as feed:
        await feed.psubscribe("geo:feed:*")
        await feed.subscribe("marker")
        for _ in range(2):
            assert await feed.get_message(timeout=5)
        # Among nodes a message travels after its command was answered: an earlier test's may still be on its way.
        await heard(redis, feed)
        yield feed


async def test_exactly_what_was_taken_over_is_told_page_by_page(redis: RedisClient, feed: PubSub) -> None:
    index = CellIndex(redis, draw_epoch=iter((11, 12, 13, 14, 15)).__next__)
    first = records((2_000, *PORTO), (2_000, *PORTO), (2_000, *PORTO))
    await index.move(slots(9, 1, SLAB_PAGE_SLOTS), first)
    second = records((1_000, *PORTO), (3_000, PORTO[0] + 9 * KM_E7, PORTO[1]))
    await index.move(slots(9, 1), second)
    await index.remove([SLAB_PAGE_SLOTS, 77])
    off_duty = (2_000, *(0,) * 8)
    assert await heard(redis, feed) == [
        (0, 11, 1, [9, 1], first[:2].tolist()),
        (0, 11, 2, [1], second[1:].tolist()),
        (1, 11, 1, [SLAB_PAGE_SLOTS], first[2:].tolist()),
        (1, 11, 2, [SLAB_PAGE_SLOTS], [off_duty]),
    ]
    assert await index.pages() == [0, 1]
    page = await index.page(0)
    assert (page.epoch, page.seq, page.slots.tolist()) == (11, 2, [1, 9])
    assert page.records.tolist() == [second[1].tolist(), first[0].tolist()]
    gone = await index.page(1)
    assert (gone.epoch, gone.seq, len(gone.slots), len(gone.records)) == (11, 2, 0, 0)


async def test_what_is_repeated_or_refused_is_not_told(redis: RedisClient, feed: PubSub) -> None:
    index, batch = CellIndex(redis), records((2_000, *PORTO))
    await index.move(slots(1), batch)
    assert len(await heard(redis, feed)) == 1
    await index.move(slots(1), batch)
    await index.move(slots(1), records((1_999, *PORTO)))
    await index.remove([2])
    assert await heard(redis, feed) == []
    await index.remove([1])
    await index.remove([1])
    assert [told[2] for told in await heard(redis, feed)] == [2]
    assert (await index.page(0)).seq == 2


async def test_a_page_that_was_lost_begins_anew_under_another_epoch(redis: RedisClient, feed: PubSub) -> None:
    index = CellIndex(redis)
    await index.move(slots(1), records((2_000, *PORTO)))
    assert (await index.page(7)).epoch == 0
    await redis.flushall()
    assert await index.pages() == []
    await index.move(slots(1), records((1_000, *PORTO)))
    (_, one, first, *_), (_, other, second, *_) = await heard(redis, feed)
    assert one != other
    assert (first, second) == (1, 1)
    assert (await index.page(0)).epoch in {one, other}
