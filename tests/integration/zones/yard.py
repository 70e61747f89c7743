"""An organisation with workers and zones, a watch over it, and what the watch must have told."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import asyncpg
import numpy as np
import orjson
from redis.asyncio import Redis

from engine.core.clock import SystemClock
from engine.core.units import deg_to_e7, ms_from_utc, utc_from_ms
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cells_of
from engine.geo.feed_follower import FeedFollower, FeedListener
from engine.geo.fixes import RECORD
from engine.geo.zone_geometry import geojson_of, read_geometry
from engine.zones.zone_watch import ZoneWatch

LAT, LNG = 41.15, -8.61
BEGIN_MS = 1_700_000_000_000
STEP_MS = 5_000
PATIENCE_S = 20
STREET = 0.015
"""East of every shop and west of every park of the tests."""


def square(east_deg: float, size_deg: float = 0.01) -> dict:
    """A square east of the middle, as GeoJSON."""
    west, south, north = LNG + east_deg, LAT - size_deg / 2, LAT + size_deg / 2
    ring = [[west, south], [west + size_deg, south], [west + size_deg, north], [west, north], [west, south]]
    return geojson_of(read_geometry({"type": "Polygon", "coordinates": [ring]}, "geometry"))


def records(at_ms: int, east_deg: Sequence[float], *, accuracy_dm: int = 50) -> np.ndarray:
    found = np.zeros(len(east_deg), RECORD)
    found["ts_ms"] = at_ms
    found["lat_e7"] = deg_to_e7(LAT)
    found["lng_e7"] = [deg_to_e7(LNG + east) for east in east_deg]
    found["accuracy_dm"] = accuracy_dm
    found["cell"] = cells_of(found["lat_e7"], found["lng_e7"])
    return found


@dataclass
class Yard:
    """Everything moves on one line through the middle: how far east is all there is to a place."""

    pool: asyncpg.Pool
    redis: Redis
    org_id: UUID = field(default_factory=uuid4)
    worker_ids: list[UUID] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    now_ms: int = BEGIN_MS

    async def found(self, workers: int) -> "Yard":
        self.index = CellIndex(self.redis)
        region_id, at = uuid4(), utc_from_ms(BEGIN_MS)
        await self.pool.execute("INSERT INTO org VALUES ($1, 'Yard', $2)", self.org_id, at)
        await self.pool.execute(
            "INSERT INTO region VALUES ($1, $2, 'Porto', 'PT', 'UTC', $3, $4)", region_id, self.org_id, LAT, LNG
        )
        for _ in range(workers):
            worker_id = uuid4()
            await self.pool.execute(
                """INSERT INTO person
                          (person_id, org_id, region_id, role, full_name, tokens_valid_after, tz, created_at)
                   VALUES ($1, $2, $3, 'worker', 'Somebody', $4, 'UTC', $4)""",
                worker_id,
                self.org_id,
                region_id,
                at,
            )
            slot = await self.pool.fetchval(
                "INSERT INTO worker (worker_id, duty, updated_at) VALUES ($1, 'on', $2) RETURNING slot", worker_id, at
            )
            self.worker_ids.append(worker_id)
            self.slots.append(slot)
        # A page that is there already: what comes first on a new one is read, and so counts as recovered.
        await self.move(*[STREET] * workers)
        return self

    async def draw(self, name: str, east_deg: float, *, dwell_s: int | None = None, size_deg: float = 0.01) -> UUID:
        zone_id = uuid4()
        await self.pool.execute(
            """INSERT INTO zone
                      (zone_id, org_id, kind, name, geometry, dwell_s, active, version, created_at, updated_at)
               VALUES ($1, $2, 'site', $3, $4::text::jsonb, $5, true, 1, $6, $6)""",
            zone_id,
            self.org_id,
            name,
            orjson.dumps(square(east_deg, size_deg)).decode(),
            dwell_s,
            utc_from_ms(BEGIN_MS),
        )
        return zone_id

    async def change(self, zone_id: UUID, assignment: str) -> None:
        await self.pool.execute(f"UPDATE zone SET version = version + 1, {assignment} WHERE zone_id = $1", zone_id)

    async def move(self, *east_deg: float, after_ms: int = STEP_MS, accuracy_dm: int = 50) -> None:
        """Bring the first workers to these places."""
        self.now_ms += after_ms
        slots = np.array(self.slots[: len(east_deg)], np.int64)
        moved = await self.index.move(slots, records(self.now_ms, east_deg, accuracy_dm=accuracy_dm))
        assert moved.accepted == len(east_deg)

    async def told(self) -> list[tuple[int, str, str, str]]:
        """Every event in its order: worker, kind, zone, reason."""
        rows = await self.pool.fetch(
            """SELECT e.worker_id, e.kind, z.name, e.reason
                 FROM zone_event e JOIN zone z USING (zone_id) ORDER BY e.event_id"""
        )
        return [(self.worker_ids.index(row["worker_id"]), row["kind"], row["name"], row["reason"]) for row in rows]

    async def present(self) -> set[tuple[int, str]]:
        rows = await self.pool.fetch("SELECT p.worker_id, z.name FROM zone_presence p JOIN zone z USING (zone_id)")
        return {(self.worker_ids.index(row["worker_id"]), row["name"]) for row in rows}

    async def until_told(self, count: int) -> list[tuple[int, str, str, str]]:
        """Wait for so many events."""
        async with asyncio.timeout(PATIENCE_S):
            while len(told := await self.told()) < count:  # noqa: ASYNC110 - a table sends no event
                await asyncio.sleep(0.02)
        return told

    async def until_present(self, expected: set[tuple[int, str]]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await self.present() != expected:  # noqa: ASYNC110 - a table sends no event
                await asyncio.sleep(0.02)

    async def check_books(self) -> None:
        """Hold everything stored against each other: gapless ids, alternation, order, presence, what desks are told."""
        rows = await self.pool.fetch("SELECT * FROM zone_event ORDER BY event_id")
        assert [row["event_id"] for row in rows] == list(range(1, len(rows) + 1))
        inside, last = defaultdict(bool), defaultdict(int)
        for row in rows:
            pair = row["worker_id"], row["zone_id"]
            assert inside[pair] == (row["kind"] != "enter"), f"event {row['event_id']} comes out of nothing"
            inside[pair] = row["kind"] != "exit"
            at_ms = ms_from_utc(row["at"])
            assert at_ms >= last[row["worker_id"]], "a worker's events go back in time"
            last[row["worker_id"]] = at_ms
        stored = await self.pool.fetch("SELECT worker_id, zone_id FROM zone_presence")
        assert {(row["worker_id"], row["zone_id"]) for row in stored} == {
            pair for pair, there in inside.items() if there
        }
        bodies = await self.pool.fetch("SELECT body::text AS body FROM outbox WHERE kind = 'zone' ORDER BY event_id")
        assert [orjson.loads(row["body"])["event_id"] for row in bodies] == [row["event_id"] for row in rows]


def watch_of(pool: asyncpg.Pool, redis: Redis) -> tuple[ZoneWatch, list[FeedFollower]]:
    """A watch, and the followers that its turns have made."""
    clock, followers = SystemClock(), []

    def follow(listener: FeedListener) -> FeedFollower:
        followers.append(FeedFollower(redis, CellIndex(redis), clock=clock, listener=listener))
        return followers[-1]

    return ZoneWatch(pool=pool, clock=clock, follow=follow), followers


@asynccontextmanager
async def watching(pool: asyncpg.Pool, redis: Redis) -> AsyncIterator[ZoneWatch]:
    """A watch that has its turn and follows the whole feed."""
    watch, followers = watch_of(pool, redis)
    task = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            whole = asyncio.create_task(followers[-1].whole())
            await asyncio.wait({task, whole}, return_when=asyncio.FIRST_COMPLETED)
            whole.cancel()
        if task.done():
            await task
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
