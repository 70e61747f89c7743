"""The frame that is kept is the frame that would be built anew, whatever happened to its workers."""

import tracemalloc
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.limits import FRAME_REFRESH_MS, WORKER_SILENT_MS
from engine.core.ids import OrgId, PersonId, WorkerSlot
from engine.geo import mirror as mirrors
from engine.geo.cells import cells_of
from engine.geo.fixes import RECORD
from engine.geo.mirror import Mirror
from engine.matcher import kernels
from engine.matcher.ask import Ask, Wants
from engine.matcher.cost_policy import DEFAULT_WEIGHTS
from engine.matcher.decision import rank, rank_frame
from engine.matcher.frame import Apart
from engine.matcher.live_frame import LiveFrames, Moment
from engine.matcher.worker_table import Matching, Tally, WorkerRow, WorkerStatus, WorkerTable

OURS, THEIRS = OrgId(UUID(int=1)), OrgId(UUID(int=2))
NOW_MS = 1_700_000_000_000
SLOTS = 12
WANTS = Wants(tools=0b10, parts=0b100, languages=0b1000, level=0.7, duration_min=45)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    kernels.warm_up()
    mirrors.warm_up()


def who(slot: int) -> PersonId:
    return PersonId(UUID(int=1_000 + slot))


slots = st.integers(0, SLOTS - 1)
matchings = st.builds(
    Matching,
    kit=st.integers(0, 15),
    levels=st.sampled_from([(), ((0, 0.25),), ((0, 1.0),)]),
    shift_until_ms=st.sampled_from([0, NOW_MS + 20 * 60_000, NOW_MS + 3_600_000]),
    work_until_ms=st.sampled_from([0, NOW_MS - 1, NOW_MS + 2_700_500, NOW_MS + 9_000_000]),
)
steps = st.one_of(
    st.tuples(st.just("read"), slots, st.sampled_from(list(WorkerStatus)), st.booleans(), matchings),
    st.tuples(st.just("moved"), slots, st.floats(-0.06, 0.06), st.floats(-0.06, 0.06), st.integers(0, 120_000)),
    st.tuples(st.just("gone"), slots),
    st.tuples(st.just("tallied"), slots, st.integers(0, 9), st.floats(0, 0.5)),
    st.tuples(st.just("waited"), st.sampled_from([1, FRAME_REFRESH_MS - 1, FRAME_REFRESH_MS, 45_000])),
    st.tuples(st.just("asked")),
)


class World:
    """A table and a mirror with the frames behind them."""

    def __init__(self) -> None:
        self.table, self.mirror, self.now_ms = WorkerTable(), Mirror(), NOW_MS
        self.frames = LiveFrames(self.table, self.mirror)

    def read(self, slot: int, status: WorkerStatus, is_held: bool, matching: Matching) -> None:
        org = THEIRS if slot % 4 == 3 else OURS
        row = WorkerRow(WorkerSlot(slot), who(slot), org, 1, status, is_held, 4.0, 0.5, NOW_MS - 60_000, matching)
        self.table.apply([row])

    def moved(self, slot: int, north_deg: float, east_deg: float, age_ms: int) -> None:
        record = np.zeros(1, RECORD)
        record["ts_ms"] = self.now_ms - age_ms
        record["lat_e7"], record["lng_e7"] = round((41.15 + north_deg) * 1e7), round((-8.61 + east_deg) * 1e7)
        record["cell"] = cells_of(record["lat_e7"], record["lng_e7"])
        self._tell(slot, record)

    def gone(self, slot: int) -> None:
        self._tell(slot, np.zeros(1, RECORD))

    def _tell(self, slot: int, record: np.ndarray) -> None:
        for listener in (self.mirror, self.frames):
            listener.moved(np.array([slot]), record)

    def tallied(self, slot: int, jobs: int, gap: float) -> None:
        self.table.apply_tallies({who(slot): Tally(jobs, jobs * 1_000, gap)})

    def waited(self, span_ms: int) -> None:
        self.now_ms += span_ms

    def asked(self) -> None:
        """Ask the kept frame and one built from everything; what ages may differ by as much as it may be old."""
        ask = Ask(41.15, -8.61, 0, 0.8, WANTS)
        live = self.frames.of(OURS, DEFAULT_WEIGHTS)
        frame = live.at(Moment(self.now_ms, self.now_ms))
        kept = rank_frame(frame, ask, Apart.nobody(), now_ms=self.now_ms)
        ours = self.table.of_org(np.arange(SLOTS), OURS)
        candidates = self.table.candidates(
            ours, self.mirror.places(ours), not_to_ask=frozenset(), now_ms=frame.epoch_ms,
            fix_now_ms=frame.epoch_ms, silent_ms=WORKER_SILENT_MS,
        )  # fmt: skip
        built = rank(candidates, ask)
        assert kept.looked_at == built.looked_at == len(ours)
        if self.now_ms == frame.epoch_ms:
            assert kept.ruled_out == built.ruled_out
            assert [each.slot for each in kept.ranked] == pytest.approx([each.slot for each in built.ranked])
            for one, other in zip(kept.ranked, built.ranked, strict=True):
                assert one.terms == pytest.approx(other.terms, abs=2e-3)
        for each in kept.ranked:
            assert sum(each.terms.values()) == pytest.approx(each.cost_min, abs=1e-3)
            assert min(each.terms.values()) >= 0
        assert len(kept.ranked) + sum(kept.ruled_out.values()) == kept.looked_at


@settings(max_examples=60)
@given(st.lists(steps, max_size=40))
def test_the_kept_frame_is_the_one_that_would_be_built(happened: list[tuple]) -> None:
    world = World()
    for name, *arguments in [*happened, ("asked",)]:
        getattr(world, name)(*arguments)
    world.waited(FRAME_REFRESH_MS)
    world.asked()


def test_what_is_special_to_a_booking_leaves_no_trace() -> None:
    world = World()
    for slot in range(3):
        world.read(slot, WorkerStatus.FREE, False, Matching())
        world.moved(slot, 0.001 * slot, 0, 0)
    live = world.frames.of(OURS, DEFAULT_WEIGHTS)
    frame = live.at(Moment(NOW_MS, NOW_MS))
    before = frame.matrix.copy(), frame.mask.copy()
    ask = Ask(41.15, -8.61, 0, 0, Wants(preferred=frozenset({who(2)}), blocked=frozenset({who(0)})))
    rows = live.rows_of([0]), live.rows_of([1]), live.rows_of([2])
    ranking = rank_frame(frame, ask, Apart(asked=rows[1], blocked=rows[0], preferred=rows[2]), now_ms=NOW_MS)
    assert ranking.ruled_out == {"blocked": 1, "declined_before": 1}
    assert [each.terms["preference"] for each in ranking.ranked] == [0]
    assert all(np.array_equal(was, now) for was, now in zip(before, (frame.matrix, frame.mask), strict=True))


def found_at(world: World, lat_deg: float, lng_deg: float) -> tuple[list[int], float]:
    """The slots of those who could go there, and the frame's origin."""
    frame = world.frames.of(OURS, DEFAULT_WEIGHTS).at(Moment(world.now_ms, world.now_ms))
    ranking = rank_frame(frame, Ask(lat_deg, lng_deg, 0, 0.0), Apart.nobody(), now_ms=world.now_ms)
    return sorted(each.slot for each in ranking.ranked), frame.origin_lng_deg


def placed(world: World, slot: int, lat_deg: float, lng_deg: float) -> None:
    world.read(slot, WorkerStatus.FREE, False, Matching())
    world.moved(slot, lat_deg - 41.15, lng_deg + 8.61, 0)


def test_workers_on_both_sides_of_the_180th_meridian_are_near_each_other() -> None:
    world = World()
    placed(world, 0, -16.8, 179.97)
    placed(world, 1, -16.8, -179.97)
    for lng_deg in (179.98, -179.98):
        slots_found, origin_deg = found_at(world, -16.8, lng_deg)
        assert slots_found == [0, 1]
        assert abs(origin_deg) > 179.9


def test_a_frame_of_workers_without_places_takes_its_origin_from_the_first_who_have_one() -> None:
    world = World()
    world.read(0, WorkerStatus.FREE, False, Matching())
    assert found_at(world, 41.15, -8.61) == ([], 0.0)
    placed(world, 0, 41.15, -8.61)
    assert found_at(world, 41.15, -8.61)[0] == [0]
    world.now_ms += FRAME_REFRESH_MS
    slots_found, origin_deg = found_at(world, 41.15, -8.61)
    assert slots_found == [0]
    assert origin_deg == pytest.approx(-8.61, abs=1e-6), "float32 keys places to centimetres near the origin alone"


def test_a_frame_that_nobody_asks_for_does_not_list_everybody_who_moves() -> None:
    world = World()
    placed(world, 0, 41.15, -8.61)
    assert found_at(world, 41.15, -8.61)[0] == [0]
    records = np.zeros(256, RECORD)
    tracemalloc.start()
    for first in range(1_000, 200_000, 256):
        world.frames.moved(np.arange(first, first + 256), records)
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept_bytes < 1_000_000
    placed(world, 1, 41.15, -8.61)
    assert found_at(world, 41.15, -8.61)[0] == [0, 1]
