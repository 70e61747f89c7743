"""The search finds who a look at everybody would find: in the frame that is kept, a mirror, and Redis' cells."""

from uuid import UUID

import numpy as np
import pytest
from redis.asyncio import Redis

from config.limits import CANDIDATES_MAX, SEARCH_RADIUS_M_MAX
from engine.core.ids import OrgId, PersonId, WorkerSlot
from engine.eta.straight_line import straight_m
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cells_of
from engine.geo.fixes import RECORD
from engine.geo.mirror import Mirror
from engine.matcher.ask import Ask
from engine.matcher.candidate_search import CandidateSearch, Sought
from engine.matcher.decision import rank
from engine.matcher.live_frame import LiveFrames
from engine.matcher.worker_table import WorkerRow, WorkerStatus, WorkerTable
from tests.fakes import ManualClock

pytestmark = pytest.mark.integration

ORG = OrgId(UUID(int=1))
PIN = (41.15, -8.61)


class Framed(Mirror):
    """A mirror with the frame behind it."""


class Crowd:
    """Workers in Redis and in a table."""

    def __init__(
        self, redis: Redis, clock: ManualClock, lat_deg: np.ndarray, lng_deg: np.ndarray, mirror: Mirror | None
    ) -> None:
        self.mirror = mirror
        self.cells, self.clock, self.table = CellIndex(redis), clock, WorkerTable()
        self.frames = LiveFrames(self.table, mirror) if isinstance(mirror, Framed) else None
        self.slots = np.arange(len(lat_deg))
        self.records = np.zeros(len(lat_deg), RECORD)
        self.records["ts_ms"] = clock.now_ms()
        self.records["lat_e7"], self.records["lng_e7"] = np.round(lat_deg * 1e7), np.round(lng_deg * 1e7)
        self.records["cell"] = cells_of(self.records["lat_e7"], self.records["lng_e7"])

    async def arrive(self, **changes) -> None:
        if self.mirror is None:
            await self.cells.move(self.slots, self.records)
        else:
            self.mirror.moved(self.slots, self.records)
        if self.frames is not None:
            self.frames.moved(self.slots, self.records)
        columns = {name: np.broadcast_to(value, len(self.slots)).tolist() for name, value in changes.items()}
        for slot in self.slots.tolist():
            values = {"skills": 1, "status": WorkerStatus.FREE, "is_held": False, "rating": 5.0, "experience": 1.0}
            values |= {name: column[slot] for name, column in columns.items()}
            worker_id = PersonId(UUID(int=slot + 1))
            self.table.apply([WorkerRow(WorkerSlot(slot), worker_id, ORG, idle_since_ms=1, **values)])
        if self.mirror is not None:
            self.table.describe(self.mirror, self.slots)

    async def find(self, ask: Ask):
        search = CandidateSearch(
            self.cells, self.table, clock=self.clock, fix_clock=self.clock, mirror=self.mirror, frames=self.frames
        )
        (found,) = await search.find([Sought(ask, ORG, not_to_ask=frozenset())])
        return found

    def everybody(self, ask: Ask):
        candidates = self.table.candidates(
            self.slots,
            self.records,
            not_to_ask=frozenset(),
            now_ms=self.clock.now_ms(),
            fix_now_ms=self.clock.now_ms(),
            silent_ms=1,
        )
        return rank(candidates, ask)


@pytest.fixture(params=[None, Mirror, Framed], ids=["cells", "mirror", "frame"])
def mirror(request: pytest.FixtureRequest) -> Mirror | None:
    return request.param and request.param()


@pytest.mark.parametrize("spread_deg", [0.005, 0.03, 0.2])
async def test_finds_the_cheapest_of_all(redis: Redis, clock: ManualClock, mirror, spread_deg: float):
    random = np.random.default_rng(int(spread_deg * 1_000))
    crowd = Crowd(redis, clock, *(random.normal(at, spread_deg, 300) for at in PIN), mirror)
    await crowd.arrive(
        skills=random.integers(1, 4, 300), rating=random.uniform(1, 5, 300), experience=random.uniform(0, 1, 300)
    )
    stopped_early = 0
    for _ in range(25):
        lat_deg, lng_deg = random.normal(PIN, spread_deg)
        ask = Ask(lat_deg, lng_deg, skill_bit=1, risk=float(random.uniform()))
        found, everybody = await crowd.find(ask), crowd.everybody(ask)
        assert [each.slot for each in found.ranking.ranked[:1]] == [each.slot for each in everybody.ranked[:1]]
        # The kept frame has an origin of its own: the same place, rounded elsewhere.
        for ours, theirs in zip(found.ranking.ranked[:1], everybody.ranked[:1], strict=True):
            assert ours.terms == pytest.approx(theirs.terms, abs=1e-4)
        stopped_early += found.searched_m < SEARCH_RADIUS_M_MAX
    assert stopped_early > 0 or crowd.frames is not None, "or the search saves nothing"


async def test_reaches_to_the_limit_in_every_direction_and_no_further(redis: Redis, clock: ManualClock, mirror):
    bearings = np.radians(np.arange(0, 360, 15))
    for metres, is_found in ((SEARCH_RADIUS_M_MAX - 20, True), (SEARCH_RADIUS_M_MAX + 20, False)):
        await redis.flushall()
        lat_deg = PIN[0] + metres / 111_319.5 * np.cos(bearings)
        # As far as the mean latitude has it: the measure that `straight_m` uses.
        lng_deg = PIN[1] + metres / 111_319.5 * np.sin(bearings) / np.cos(np.radians((lat_deg + PIN[0]) / 2))
        assert abs(straight_m(lat_deg[3], lng_deg[3], *PIN) - metres) < 1
        crowd = Crowd(redis, clock, lat_deg, lng_deg, mirror and type(mirror)())
        await crowd.arrive()
        found = await crowd.find(Ask(*PIN, skill_bit=0, risk=0))
        assert bool(found.ranking.ranked) is is_found
        counted = len(bearings) - found.ranking.ruled_out.get("too_far", 0)
        assert (counted == len(bearings)) is is_found


async def test_a_rare_skill_is_found_behind_a_crowd_without_it(redis: Redis, clock: ManualClock, mirror):
    random, n = np.random.default_rng(1), CANDIDATES_MAX + 500
    crowd = Crowd(redis, clock, PIN[0] + random.normal(0, 0.002, n), PIN[1] + random.normal(0, 0.002, n), mirror)
    skills = np.ones(n, np.int64)
    skills[-1] = 0b10
    await crowd.arrive(skills=skills)
    found = await crowd.find(Ask(*PIN, skill_bit=1, risk=0))
    assert [each.slot for each in found.ranking.ranked] == [n - 1]
    assert found.ranking.looked_at == (CANDIDATES_MAX if crowd.frames is None else n)
