"""The mirror misses nobody: its answers are those of brute force, anywhere on the globe and after any history."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.limits import FANOUT_RESOLUTION, PAIRS_MAX, SLAB_PAGE_SLOTS
from engine.core.units import METRES_PER_DEG
from engine.geo import mirror as module
from engine.geo.cells import cells_of, parents_of
from engine.geo.fixes import RECORD
from engine.geo.mirror import Mirror, Region, Wanted

RADIUS_M = METRES_PER_DEG * 180 / math.pi
CLOSE_M = 1e-3
"""Two right answers may differ where distances are equal to a millimetre: the oracle rounds in other places."""
CENTRES = ((41.15, -8.61), (0.0, 0.0), (78.2, 15.6), (-89.99, 30.0), (90.0, 0.0), (-17.0, 180.0), (65.0, -179.999))


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    module.warm_up()


def distance_m(lat_deg: float, lng_deg: float, other_lat_deg: float, other_lng_deg: float) -> float:
    """The haversine."""
    lat, other = math.radians(lat_deg), math.radians(other_lat_deg)
    half_lat, half_lng = (other - lat) / 2, math.radians(other_lng_deg - lng_deg) / 2
    share = math.sin(half_lat) ** 2 + math.cos(lat) * math.cos(other) * math.sin(half_lng) ** 2
    return 2 * RADIUS_M * math.asin(math.sqrt(min(1.0, share)))


@st.composite
def worlds(draw: st.DrawFn):
    """Moves of a fleet around a place, in the order of the feed, with the place asked from."""
    lat, lng = draw(st.sampled_from(CENTRES))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.sampled_from([0, 1, 60, 700, 700]))
    spread = draw(st.sampled_from([0.0, 0.002, 0.02, 0.05, 3.0, 200.0]))
    lats = np.clip(lat + random.normal(0, spread or 1e-12, n), -90, 90)
    lngs = (lng + random.normal(0, spread or 1e-12, n) / max(0.01, math.cos(math.radians(lat))) + 180) % 360 - 180
    moves = np.zeros(n, RECORD)
    moves["ts_ms"] = random.integers(1, 50, n)
    moves["lat_e7"], moves["lng_e7"] = np.rint(lats * 1e7), np.rint(lngs * 1e7)
    moves["cell"] = random.random(n) < 0.9
    slots = random.integers(0, max(1, n // 2) * draw(st.sampled_from([1, 40])), n)
    asked = (min(90.0, max(-90.0, lat + random.normal(0, spread))), (lng + random.normal(0, spread) + 180) % 360 - 180)
    return slots.astype(np.int64), moves, asked


@settings(max_examples=200)
@given(worlds(), st.integers(1, 30), st.sampled_from([0.0, 150.0, 2_000.0, 5_000.0, 400_000.0, 3e7]), st.booleans())
def test_nearest_and_within_are_those_of_brute_force(world, k, radius_m, is_picky) -> None:
    slots, moves, (lat, lng) = world
    mirror = Mirror()
    for at in range(0, len(slots), 50):
        mirror.moved(slots[at : at + 50], moves[at : at + 50])
    known = dict(zip(slots.tolist(), moves, strict=True))
    every = np.arange(int(slots.max(initial=0)) + 1)
    skills, statuses = every % 4, (every % 3).astype(np.uint8)
    mirror.describe(every, skills=skills.astype(np.int32), statuses=statuses, groups=(every % 2 + 1).astype(np.int32))
    wanted = Wanted(skills=2, statuses=0b101, since_ms=20, group=2) if is_picky else module.ANYBODY

    there = {
        slot: distance_m(lat, lng, move["lat_e7"] / 1e7, move["lng_e7"] / 1e7)
        for slot, move in known.items()
        if move["cell"]
        and (not is_picky or (slot % 4 >= 2 and slot % 3 != 1 and slot % 2 == 1 and move["ts_ms"] >= 20))
    }
    near = mirror.nearest(lat, lng, k=k, radius_m=radius_m, wanted=wanted)
    surely = sorted(distance for distance in there.values() if distance <= radius_m - CLOSE_M)
    perhaps = sum(distance <= radius_m + CLOSE_M for distance in there.values())
    assert min(k, len(surely)) <= near.found <= min(k, perhaps)
    found, distances = near.slots[: near.found].tolist(), near.distances_m[: near.found].tolist()
    assert len(set(found)) == near.found
    assert distances == sorted(distances)
    assert distances == pytest.approx([there[slot] for slot in found], abs=CLOSE_M)
    assert distances[: len(surely)] == pytest.approx(surely[:k][: near.found], abs=CLOSE_M)
    assert near.slots[near.found :].tolist() == [-1] * (k - near.found)
    assert np.isinf(near.distances_m[near.found :]).all()

    inside = set(mirror.within(lat, lng, radius_m=radius_m, wanted=wanted).tolist())
    assert {slot for slot, distance in there.items() if distance <= radius_m - CLOSE_M} <= inside
    assert inside <= {slot for slot, distance in there.items() if distance <= radius_m + CLOSE_M}
    assert len(mirror) == sum(bool(move["cell"]) for move in known.values())

    many = mirror.nearest_many(np.array([[lat, lng], [-lat, lng], [lat, lng]]), k=k, radius_m=radius_m, wanted=wanted)
    for at in (0, 2):
        assert (many.found[at], many.slots[at].tolist()) == (near.found, near.slots.tolist())
        assert many.distances_m[at].tolist() == near.distances_m.tolist()
    places = mirror.places(every)
    assert {slot: (each["ts_ms"], each["lat_e7"]) for slot, each in enumerate(places) if each["cell"]} == {
        slot: (move["ts_ms"], move["lat_e7"]) for slot, move in known.items() if move["cell"]
    }


@given(worlds(), st.sampled_from([0.0, 30.0, 400.0, 20_000.0, 3e7]), st.booleans())
def test_pairs_within_are_those_of_brute_force(world, radius_m, is_picky) -> None:
    slots, moves, _ = world
    mirror = Mirror()
    slots, moves = slots[:60], moves[:60]
    mirror.moved(slots, moves)
    wanted = Wanted(since_ms=20 if is_picky else 0)
    there = {
        slot: (move["lat_e7"] / 1e7, move["lng_e7"] / 1e7)
        for slot, move in dict(zip(slots.tolist(), moves, strict=True)).items()
        if move["cell"] and move["ts_ms"] >= wanted.since_ms
    }
    distances = {(a, b): distance_m(*there[a], *there[b]) for a, b in combinations(sorted(there), 2)}
    pairs = mirror.pairs_within(radius_m, wanted=wanted)
    found = list(map(tuple, pairs.slots.tolist()))
    assert found == sorted(set(found))
    assert pairs.found == len(found)
    assert {pair for pair, distance in distances.items() if distance <= radius_m - CLOSE_M} <= set(found)
    assert set(found) <= {pair for pair, distance in distances.items() if distance <= radius_m + CLOSE_M}
    assert pairs.distances_m.tolist() == pytest.approx([distances[pair] for pair in found], abs=CLOSE_M)


def test_more_pairs_than_fit_are_counted() -> None:
    mirror, at_one_spot = Mirror(), np.zeros(500, RECORD)
    at_one_spot["cell"] = at_one_spot["ts_ms"] = 1
    mirror.moved(np.arange(500), at_one_spot)
    pairs = mirror.pairs_within(10)
    assert pairs.found == 500 * 499 // 2
    assert len(pairs.slots) == len(pairs.distances_m) == PAIRS_MAX


@given(worlds(), st.lists(st.integers(0, 20), max_size=8), st.integers(0, 2**32 - 1))
def test_a_replaced_page_holds_whom_the_page_holds(world, pages, seed) -> None:
    slots, moves, (lat, lng) = world
    mirror, random, known = Mirror(), np.random.default_rng(seed), {}
    mirror.moved(slots, moves)
    known |= dict(zip(slots.tolist(), moves, strict=True))
    for page in pages:
        first = page * SLAB_PAGE_SLOTS
        in_page = np.unique(random.integers(first, first + SLAB_PAGE_SLOTS, 20))
        there = random.choice(moves, len(in_page)) if len(moves) else np.ones(len(in_page), RECORD)
        mirror.replaced(page, in_page, there)
        known = {slot: move for slot, move in known.items() if slot // SLAB_PAGE_SLOTS != page}
        known |= dict(zip(in_page.tolist(), there, strict=True))
    expected = sorted(slot for slot, move in known.items() if move["cell"])
    assert mirror.within(lat, lng, radius_m=3e7).tolist() == expected
    assert len(mirror) == len(expected)


def test_a_mirror_of_a_region_keeps_nobody_else() -> None:
    random = np.random.default_rng(4)
    records = np.zeros(20_000, RECORD)
    records["ts_ms"] = 1
    records["lat_e7"] = 411_500_000 + random.integers(-9_000_000, 9_000_000, 20_000)
    records["lng_e7"] = -86_100_000 + random.integers(-9_000_000, 9_000_000, 20_000)
    records["cell"] = cells_of(records["lat_e7"], records["lng_e7"])
    parents = parents_of(records["cell"], FANOUT_RESOLUTION)
    cells = np.unique(parents)[:5]
    mirror = Mirror(Region(cells.tolist(), resolution=FANOUT_RESOLUTION))
    mirror.moved(np.arange(20_000), records)
    inside = np.flatnonzero(np.isin(parents, cells))
    assert 0 < len(inside) == len(mirror) < 2_000
    assert np.flatnonzero(mirror.places(np.arange(20_000))["cell"]).tolist() == inside.tolist()
    everywhere = Mirror()
    everywhere.moved(np.arange(20_000), records)
    assert mirror.nbytes < everywhere.nbytes / 2, "or a region saves nothing"

    away = inside[:50]
    records["cell"][away] = records["cell"][np.flatnonzero(~np.isin(parents, cells))[0]]
    mirror.moved(away, records[away])
    assert len(mirror) == len(inside) - 50
