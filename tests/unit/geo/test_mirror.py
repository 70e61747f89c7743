"""The mirror, one property at a time."""

import math

import numpy as np
import pytest

from config.limits import CANDIDATES_MAX, SLAB_PAGE_SLOTS, SLOTS_MAX
from engine.core.errors import NotAllowed
from engine.core.units import METRES_PER_DEG
from engine.geo import mirror as module
from engine.geo.fixes import RECORD
from engine.geo.mirror import Mirror, Wanted

LAT, LNG = 41.15, -8.61


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    module.warm_up()


def records(*places: tuple[int, float, float]) -> np.ndarray:
    """Records of (ts_ms, lat_deg, lng_deg), in some cell."""
    found = np.zeros(len(places), RECORD)
    for at, (ts_ms, lat_deg, lng_deg) in enumerate(places):
        found[at]["ts_ms"], found[at]["cell"] = ts_ms, 1
        found[at]["lat_e7"], found[at]["lng_e7"] = round(lat_deg * 1e7), round(lng_deg * 1e7)
    return found


def slots(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def nearest(mirror: Mirror, *, k: int = 5, radius_m: float = 5_000, lat: float = LAT, lng: float = LNG) -> list[int]:
    near = mirror.nearest(lat, lng, k=k, radius_m=radius_m)
    return near.slots[: near.found].tolist()


def test_nobody_is_near_in_an_empty_mirror() -> None:
    near = Mirror().nearest(LAT, LNG, k=3, radius_m=1e9)
    assert (near.found, near.slots.tolist(), near.distances_m.tolist()) == (0, [-1] * 3, [np.inf] * 3)
    assert Mirror().within(LAT, LNG, radius_m=1e9).tolist() == []


def test_of_equal_distances_the_lower_slot_comes_first() -> None:
    mirror, order = Mirror(), np.random.default_rng(3).permutation(40)
    mirror.moved(order, records(*[(1, LAT + 0.001, LNG)] * 40))
    assert nearest(mirror, k=7) == list(range(7))
    assert nearest(mirror, k=40, radius_m=1e8) == list(range(40))


def test_the_last_word_of_the_feed_counts_whatever_its_time() -> None:
    mirror = Mirror()
    mirror.moved(slots(5, 5), records((2, LAT + 1, LNG), (1, LAT, LNG)))
    assert nearest(mirror) == [5]
    mirror.moved(slots(5), records((3, LAT + 1, LNG)))
    assert nearest(mirror) == []
    assert nearest(mirror, lat=LAT + 1) == [5]


def test_who_leaves_is_gone_until_a_record_with_a_cell_comes() -> None:
    mirror = Mirror()
    mirror.moved(slots(1, 2, 3), records(*[(10, LAT, LNG)] * 3))
    mirror.removed(slots(2, 9, 5_000))
    off_duty = records((11, LAT, LNG))
    off_duty["cell"] = 0
    mirror.moved(slots(3), off_duty)
    assert nearest(mirror) == [1]
    mirror.moved(slots(2), records((11, LAT, LNG)))
    assert nearest(mirror) == [1, 2]
    assert len(mirror) == 2


def test_a_place_that_is_none_is_no_place() -> None:
    mirror = Mirror()
    mirror.moved(slots(1, 2), records((1, 90.1, 0), (1, 0, 180.1)))
    assert len(mirror) == 0


def test_a_page_that_is_read_again_takes_away_whoever_is_missing_in_it() -> None:
    mirror = Mirror()
    others = SLAB_PAGE_SLOTS + 1
    mirror.moved(slots(1, 2, others), records(*[(1, LAT, LNG)] * 3))
    mirror.replaced(0, slots(2, 4), records(*[(1, LAT, LNG)] * 2))
    assert nearest(mirror) == [2, 4, others]


def test_both_sides_of_the_antimeridian_are_near() -> None:
    mirror = Mirror()
    mirror.moved(slots(1, 2, 3), records((1, -17, 179.999), (1, -17, -179.999), (1, -17, 0)))
    near = mirror.nearest(-17, 180, k=3, radius_m=1_000)
    assert sorted(near.slots.tolist()) == [-1, 1, 2]
    assert near.distances_m[:2] == pytest.approx([106.45, 106.45], abs=0.01)
    assert sorted(nearest(mirror, lat=-17, lng=-180)) == [1, 2]


@pytest.mark.parametrize("lat", [0.0, 41.15, -60.0, 78.2, -89.0, 89.99])
def test_a_circle_is_as_wide_as_it_is_high_at_every_latitude(lat: float) -> None:
    mirror = Mirror()
    towards_pole, east = 2_000 / METRES_PER_DEG, 2_000 / METRES_PER_DEG / math.cos(math.radians(lat))
    ring = [(lat, LNG + east), (lat, LNG - east), (lat - math.copysign(towards_pole, lat), LNG)]
    mirror.moved(slots(0, 1, 2), records(*[(1, *place) for place in ring]))
    assert sorted(nearest(mirror, lat=lat, radius_m=2_010)) == [0, 1, 2]
    assert nearest(mirror, lat=lat, radius_m=1_000) == []


def test_skills_status_and_age_are_asked_for() -> None:
    mirror = Mirror()
    mirror.moved(slots(0, 1, 2, 3), records(*[(ts_ms, LAT, LNG) for ts_ms in (5, 6, 7, 8)]))
    mirror.describe(
        slots(0, 1, 2, 3),
        skills=np.array([0b11, 0b01, 0b11, 0b111], np.int32),
        statuses=np.array([1, 1, 2, 1], np.uint8),
    )

    def ask(wanted: Wanted) -> list[int]:
        return mirror.within(LAT, LNG, radius_m=10, wanted=wanted).tolist()

    assert ask(Wanted(skills=0b11)) == [0, 2, 3]
    assert ask(Wanted(skills=0b11, statuses=1 << 1)) == [0, 3]
    assert ask(Wanted(since_ms=7)) == [2, 3]
    assert ask(Wanted(skills=0b1000)) == []


def test_rebuilding_forgets_who_is_not_there() -> None:
    mirror = Mirror()
    mirror.moved(slots(1, 2_000), records((100, LAT, LNG), (100, LAT, LNG)))
    mirror.describe(slots(1), skills=np.ones(1, np.int32), statuses=np.ones(1, np.uint8))
    mirror.rebuild(slots(1, 3), records((50, LAT, LNG), (50, LAT, LNG)))
    assert nearest(mirror) == [1, 3]
    assert mirror.within(LAT, LNG, radius_m=1, wanted=Wanted(skills=1, statuses=2)).tolist() == [1]


def test_the_table_grows_and_stays_exact() -> None:
    mirror = Mirror()
    mirror.moved(slots(0, 1_023), records((1, LAT, LNG), (1, LAT, LNG)))
    mirror.moved(slots(1_024, 70_000), records((1, LAT, LNG), (1, LAT, LNG)))
    assert nearest(mirror) == [0, 1_023, 1_024, 70_000]
    mirror.moved(slots(0, 70_000), records((2, 0, 0), (2, 0, 0)))
    assert nearest(mirror) == [1_023, 1_024]
    assert mirror.nbytes <= 131_072 * 13 + 800_000


def test_a_slot_beyond_the_tables_is_refused_and_nothing_is_taken_over() -> None:
    mirror = Mirror()
    with pytest.raises(NotAllowed):
        mirror.moved(slots(0, SLOTS_MAX), records((1, LAT, LNG), (1, LAT, LNG)))
    assert len(mirror) == 0


def test_within_keeps_the_nearest_beyond_its_limit() -> None:
    mirror, n = Mirror(), CANDIDATES_MAX + 50
    rows = records(*[(1, LAT + (n - slot) * 1e-6, LNG) for slot in range(n)])
    mirror.moved(np.arange(n), rows)
    assert mirror.within(LAT, LNG, radius_m=1e6).tolist() == list(range(50, n))
