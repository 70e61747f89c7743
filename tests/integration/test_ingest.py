"""The gatherer on a real Redis: what is acknowledged when, what survives an outage, what duty does on the way."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from config.limits import FLUSH_FIXES_MAX
from engine.core.vocabulary import FixOutcome, FixRefusal
from engine.geo.cell_index import CellIndex, MoveResult
from engine.geo.cells import cell_of
from engine.geo.fixes import FIX, RecordArray, SlotArray
from engine.geo.ingest import FlushReport, Ingest, Moves
from engine.geo.verify import verify
from engine.geo.worker_table import WorkerTable
from tests.fakes import ManualClock

pytestmark = pytest.mark.integration

PORTO = (41.15, -8.61)


@dataclass(eq=False)
class Source:
    slot: int
    acknowledged: list[int] = field(default_factory=list)
    refused: Counter[FixRefusal] = field(default_factory=Counter)

    def acknowledge(self, seq: int) -> None:
        self.acknowledged.append(seq)

    def count_refused(self, reasons: Counter[FixRefusal]) -> None:
        self.refused.update(reasons)


@dataclass
class Observer:
    taken: Counter[FixOutcome] = field(default_factory=Counter)
    refused: Counter[FixRefusal] = field(default_factory=Counter)
    reports: list[FlushReport] = field(default_factory=list)
    failures: int = 0

    def judged(self, taken: Counter[FixOutcome], refused: Counter[FixRefusal]) -> None:
        self.taken.update(taken)
        self.refused.update(refused)

    def flushed(self, report: FlushReport) -> None:
        self.reports.append(report)

    def flush_failed(self) -> None:
        self.failures += 1


class SometimesAway(CellIndex):
    """The real index behind a line that the test can cut, before or after Redis has done its work."""

    is_cut = False
    is_answer_lost = False

    async def move(
        self, slots: SlotArray, records: RecordArray, *, publish: Sequence[tuple[str, bytes]] = ()
    ) -> MoveResult:
        if self.is_cut:
            raise RedisConnectionError
        result = await super().move(slots, records, publish=publish)
        if self.is_answer_lost:
            raise RedisConnectionError
        return result


@dataclass
class Bench:
    clock: ManualClock
    index: SometimesAway
    table: WorkerTable
    observer: Observer
    moves: list[Moves]
    ingest: Ingest

    def source(self, slot: int, *, on: bool = True) -> Source:
        source = Source(slot)
        self.ingest.open(source)
        self.ingest.set_duty(slot, on=on)
        return source

    def add(self, source: Source, seq: int, place: tuple[float, float] = PORTO, *, fixes: int = 1) -> None:
        rows = np.zeros(fixes, FIX)
        for row in rows:
            self.clock.step_ms(1_000)
            row["ts_ms"] = self.clock.now_ms()
        rows["lat_e7"], rows["lng_e7"], rows["accuracy_dm"] = round(place[0] * 1e7), round(place[1] * 1e7), 50
        rows["speed_cm_s"] = 100
        self.ingest.add(source, seq, rows.tobytes())


@pytest.fixture
def bench(redis: Redis, clock: ManualClock) -> Bench:
    index, table, observer, moves = SometimesAway(redis), WorkerTable(), Observer(), list[Moves]()

    def publisher(flushed: Moves) -> list[tuple[str, bytes]]:
        moves.append(flushed)
        return []

    ingest = Ingest(index, table, clock=clock, fix_clock=clock, publisher=publisher, observer=observer)
    return Bench(clock, index, table, observer, moves, ingest)


async def members(bench: Bench) -> list[int]:
    return (await bench.index.cell_members([cell_of(*PORTO)]))[cell_of(*PORTO)]


async def test_a_frame_is_acknowledged_once_its_flush_is_answered(bench: Bench) -> None:
    source = bench.source(5)
    bench.add(source, 1)
    bench.add(source, 2, fixes=3)
    assert source.acknowledged == []
    assert await bench.ingest.flush()
    assert source.acknowledged == [2]
    assert await members(bench) == [5]
    assert (bench.observer.taken, bench.observer.reports[-1].moved) == ({FixOutcome.ACCEPTED: 4}, 1)
    assert len(bench.observer.reports[-1].frame_latencies_ns) == 2
    assert await bench.ingest.flush()
    assert source.acknowledged == [2], "nothing new, nothing said"


async def test_an_outage_keeps_the_newest_of_each_worker_unacknowledged(bench: Bench, redis: Redis) -> None:
    one, two = bench.source(1), bench.source(2)
    bench.index.is_cut = True
    for seq in range(1, 200):
        bench.add(one, seq)
        bench.add(two, seq)
        assert not await bench.ingest.flush()
    assert one.acknowledged == two.acknowledged == []
    assert bench.observer.failures == 199
    bench.index.is_cut = False
    assert await bench.ingest.flush()
    assert (one.acknowledged, two.acknowledged) == ([199], [199])
    assert (await bench.index.records([1]))[0] == bench.table.last[1]
    assert (await verify(redis)).is_right


async def test_an_answer_that_was_lost_is_asked_for_again_without_harm(bench: Bench, redis: Redis) -> None:
    source = bench.source(1)
    bench.add(source, 1)
    bench.index.is_answer_lost = True
    assert not await bench.ingest.flush()
    bench.index.is_answer_lost = False
    assert await bench.ingest.flush()
    assert source.acknowledged == [1]
    assert (await verify(redis)).is_right


async def test_a_flush_that_was_cancelled_on_its_way_is_brought_by_the_last_one(bench: Bench, redis: Redis) -> None:
    source = bench.source(1)
    bench.add(source, 1)
    flushing = asyncio.ensure_future(bench.ingest.flush())
    await asyncio.sleep(0)  # judged and handed over, not answered yet
    assert bench.table.last[1]["ts_ms"]
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    assert source.acknowledged == []
    await bench.ingest.drain()
    assert source.acknowledged == [1]
    assert (await verify(redis)).is_right


async def test_going_off_duty_during_an_outage_wins_over_what_waited(bench: Bench, redis: Redis) -> None:
    source = bench.source(1)
    bench.add(source, 1)
    assert await bench.ingest.flush()
    bench.index.is_cut = True
    bench.add(source, 2)
    assert not await bench.ingest.flush()
    bench.ingest.set_duty(1, on=False)
    bench.index.is_cut = False
    assert await bench.ingest.flush()
    assert await members(bench) == []
    assert bench.moves[-1].removed_cells.tolist() == [cell_of(*PORTO)], "maps learn where the worker left"
    bench.add(source, 3)
    assert await bench.ingest.flush()
    assert source.refused == {FixRefusal.OFF_DUTY: 1}
    report = await verify(redis)
    assert (report.is_right, report.slots, report.off_duty) == (True, 0, 1)


async def test_off_and_on_again_between_two_flushes_ends_where_the_newest_fix_says(bench: Bench) -> None:
    source = bench.source(1)
    bench.add(source, 1)
    assert await bench.ingest.flush()
    bench.ingest.set_duty(1, on=False)
    bench.ingest.set_duty(1, on=True)
    bench.add(source, 2)
    assert await bench.ingest.flush()
    assert await members(bench) == [1]


async def test_a_rival_with_newer_fixes_wins_and_is_believed(bench: Bench, redis: Redis, clock: ManualClock) -> None:
    mine = bench.source(1)
    bench.add(mine, 1)
    assert await bench.ingest.flush()
    other_moves: list[Moves] = []
    rival_table = WorkerTable()
    rival = Ingest(
        CellIndex(redis),
        rival_table,
        clock=clock,
        fix_clock=clock,
        publisher=lambda moves: other_moves.append(moves) or [],
        observer=Observer(),
    )
    theirs = Source(1)
    rival.open(theirs)
    rival.set_duty(1, on=True)
    bench.add(mine, 2)
    late = bench.ingest
    clock.step_ms(10_000)
    row = np.zeros(1, FIX)
    row["ts_ms"], row["lat_e7"], row["lng_e7"] = clock.now_ms(), 411_501_000, -86_100_000
    rival.add(theirs, 1, row.tobytes())
    assert await rival.flush()
    assert await late.flush()
    assert bench.table.last[1]["ts_ms"] == row["ts_ms"][0], "the newer record was taken over"
    assert (await bench.index.records([1]))[0]["lat_e7"] == 411_501_000
    assert (await verify(redis)).is_right


async def test_a_full_flush_is_judged_at_once(bench: Bench) -> None:
    source = bench.source(1)
    payload = np.zeros(50, FIX).tobytes()
    for seq in range(FLUSH_FIXES_MAX // 50):
        assert bench.observer.refused.total() == 0
        bench.ingest.add(source, seq, payload)
    assert bench.observer.refused == {FixRefusal.INVALID: FLUSH_FIXES_MAX}


async def test_a_closed_source_is_told_nothing_but_its_fix_counts(bench: Bench) -> None:
    source = bench.source(1)
    bench.add(source, 1)
    bench.ingest.close(source)
    assert await bench.ingest.flush()
    assert source.acknowledged == []
    assert await members(bench) == [1]


async def test_slots_far_apart_grow_the_table(bench: Bench, redis: Redis) -> None:
    sources = [bench.source(slot) for slot in (0, 2_047, 2_048, 100_000)]
    for source in sources:
        bench.add(source, 1)
    assert await bench.ingest.flush()
    assert await members(bench) == [0, 2_047, 2_048, 100_000]
    assert (await verify(redis)).is_right
