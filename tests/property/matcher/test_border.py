"""A booking near the border of a region is given to whom an unshared matcher would give it."""

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.limits import FRAME_REFRESH_MS, SEARCH_RADIUS_M_MAX
from engine.core.ids import OrgId, PersonId, WorkerSlot
from engine.geo import mirror as mirrors
from engine.geo.cells import cell_of, cells_of, parent_of
from engine.geo.fixes import RECORD
from engine.geo.mirror import Mirror
from engine.matcher import kernels
from engine.matcher.ask import Ask
from engine.matcher.cost_policy import DEFAULT_WEIGHTS
from engine.matcher.decision import Ranking, rank_frame
from engine.matcher.frame import Apart
from engine.matcher.live_frame import LiveFrames, Moment
from engine.matcher.region_cover import RegionCover, covering
from engine.matcher.worker_table import WorkerRow, WorkerStatus, WorkerTable

ORG = OrgId(UUID(int=1))
NOW_MS = 1_700_000_000_000
WORKERS = 80
RESOLUTION = 5
LAT_DEG, LNG_DEG = 41.15, -8.61
WIDE_DEG = 0.6
"""Some 65 km: three regions wide each way."""


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    kernels.warm_up()
    mirrors.warm_up()


def region_of(lat_deg: float, lng_deg: float) -> int:
    return parent_of(cell_of(lat_deg, lng_deg), RESOLUTION)


class Matcher:
    """Its frames, of the regions that it holds; the table and the mirror are as everybody's."""

    def __init__(self, table: WorkerTable, mirror: Mirror, regions: frozenset[int] | None) -> None:
        self.cover = RegionCover(resolution=RESOLUTION)
        if regions is not None:
            self.cover.change(regions, covering(regions, resolution=RESOLUTION))
        self.frames = LiveFrames(table, mirror, self.cover)

    def moved(self, slots: np.ndarray, records: np.ndarray) -> None:
        self.cover.moved(slots, records)
        self.frames.moved(slots, records)

    def ranking(self, pin: tuple[float, float], now_ms: int) -> Ranking:
        frame = self.frames.of(ORG, DEFAULT_WEIGHTS).at(Moment(now_ms, now_ms))
        return rank_frame(frame, Ask(*pin, 0, 0), Apart.nobody(), radius_m=SEARCH_RADIUS_M_MAX, now_ms=now_ms)


def places(random: np.random.Generator, slots: np.ndarray) -> np.ndarray:
    records = np.zeros(len(slots), RECORD)
    records["ts_ms"] = NOW_MS
    offset_deg = random.uniform(-WIDE_DEG, WIDE_DEG, (2, len(slots)))
    records["lat_e7"], records["lng_e7"] = np.round((np.array([[LAT_DEG], [LNG_DEG]]) + offset_deg) * 1e7)
    records["cell"] = cells_of(records["lat_e7"], records["lng_e7"])
    return records


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), owners=st.integers(2, 4))
def test_shared_matchers_choose_as_one_that_has_everything(seed: int, owners: int) -> None:
    random = np.random.default_rng(seed)
    table, mirror = WorkerTable(), Mirror()
    for slot in range(WORKERS):
        row = WorkerRow(WorkerSlot(slot), PersonId(UUID(int=slot + 1)), ORG, 1, WorkerStatus.FREE, False, 4, 0.5, 0)
        table.apply([row])
    pins = random.uniform(-WIDE_DEG / 2, WIDE_DEG / 2, (20, 2)) + np.array([LAT_DEG, LNG_DEG])
    regions = sorted({region_of(*pin) for pin in pins})
    shares = [frozenset(regions[first::owners]) for first in range(owners)]
    alone, *shared = (Matcher(table, mirror, share) for share in (None, *shares))

    everybody = np.arange(WORKERS)
    moves = [everybody, random.choice(everybody, 5), random.choice(everybody, 30, replace=False)]
    for step, slots in enumerate(moves):
        now_ms = NOW_MS + step * FRAME_REFRESH_MS // 2
        records = places(random, slots)
        for listener in (mirror, alone, *shared):
            listener.moved(slots, records)
        for pin in pins:
            (owner,) = (each for each, share in zip(shared, shares, strict=True) if region_of(*pin) in share)
            assert owner.cover.has(*pin)
            whole, part = alone.ranking(tuple(pin), now_ms), owner.ranking(tuple(pin), now_ms)
            # Frames have their origins apart, so costs are equal to a rounding.
            assert [each.cost_min for each in part.ranked] == pytest.approx(
                [each.cost_min for each in whole.ranked], abs=2e-3
            )
            assert part.looked_at <= whole.looked_at
            costs = [each.cost_min for each in whole.ranked]
            if costs and (len(costs) == 1 or costs[1] - costs[0] > 4e-3):
                assert part.ranked[0].slot == whole.ranked[0].slot


def test_a_frame_holds_no_more_than_a_part_of_a_country() -> None:
    random = np.random.default_rng(1)
    table, mirror = WorkerTable(), Mirror()
    for slot in range(WORKERS):
        row = WorkerRow(WorkerSlot(slot), PersonId(UUID(int=slot + 1)), ORG, 1, WorkerStatus.FREE, False, 4, 0.5, 0)
        table.apply([row])
    part = Matcher(table, mirror, frozenset({region_of(LAT_DEG, LNG_DEG)}))
    slots = np.arange(WORKERS)
    for listener in (mirror, part):
        listener.moved(slots, places(random, slots))
    assert part.ranking((LAT_DEG, LNG_DEG), NOW_MS).looked_at < WORKERS / 2
    part.cover.change(None, np.zeros(0, np.uint64))
    assert part.ranking((LAT_DEG, LNG_DEG), NOW_MS).looked_at == WORKERS, "the frame is built anew at once"
