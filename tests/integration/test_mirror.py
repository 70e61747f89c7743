"""The mirror is loaded from what the cell index holds."""

import numpy as np
import pytest
from redis.asyncio import Redis

from engine.geo.cell_index import CellIndex
from engine.geo.cells import cells_of
from engine.geo.fixes import RECORD
from engine.geo.mirror import Mirror

pytestmark = pytest.mark.integration


async def test_a_mirror_of_redis_answers_as_the_cells_would(redis: Redis) -> None:
    random, index = np.random.default_rng(11), CellIndex(redis)
    slots = np.sort(random.choice(9_000, 500, replace=False))
    records = np.zeros(500, RECORD)
    records["ts_ms"] = 1_000
    records["lat_e7"] = 411_500_000 + random.integers(-40_000, 40_000, 500)
    records["lng_e7"] = -86_100_000 + random.integers(-40_000, 40_000, 500)
    records["cell"] = cells_of(records["lat_e7"], records["lng_e7"])
    await index.move(slots, records)
    await index.remove(slots[:100].tolist())

    mirror = Mirror()
    mirror.rebuild(*await index.all_records())
    members = await index.cell_members(np.unique(records["cell"]).tolist())
    assert mirror.within(41.15, -8.61, radius_m=5_000).tolist() == sorted(
        slot for each in members.values() for slot in each
    )
    assert len(mirror) == 400
