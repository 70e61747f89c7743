"""Zones judged all at once are zones judged one by one; drift about an edge is one event at most."""

import math
from itertools import pairwise
from uuid import UUID

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.ids import OrgId, ZoneId
from engine.core.vocabulary import ZoneKind, ZoneReason
from engine.geo.cells import cells_of
from engine.geo.fixes import RECORD
from engine.geo.zone_geometry import geojson_of, read_geometry, stored_polygon
from engine.geo.zone_tracker import ZoneTracker
from engine.geo.zones import CoveredZone, Zone, ZoneMap
from tests.property.zone_reference import PlainMove, PlainWatch, PlainZone, distance_m, is_inside

ORGS = {"one": OrgId(UUID(int=1)), "two": OrgId(UUID(int=2))}
CENTRES = ((41.15, -8.61), (0.0, 0.0), (-33.87, 151.2), (69.6, 18.9), (79.5, 178.5))
GRID_E7 = 500
"""Corners and places lie on a grid of 5 cm, so that places on edges and corners are common."""
SMALL_DEG, LARGE_DEG = 0.004, 0.25
"""Radii on both sides of the size from which coarse cells are used."""


def on_grid(value: float) -> int:
    return round(value / GRID_E7) * GRID_E7


def ring_around(x: int, y: int, radius_e7: float, random: np.random.Generator, corners: int) -> list[tuple[int, int]]:
    """A star-shaped ring, so that it does not cross itself; sometimes a plain box."""
    if corners == 4:
        half = on_grid(radius_e7 * 0.7)
        box = [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)]
        return [*box, box[0]]
    angles = (np.arange(corners) + random.uniform(0, 0.7, corners)) * (2 * math.pi / corners)
    reach = radius_e7 * random.uniform(0.5, 1.0, corners)
    ring = [(on_grid(x + r * math.cos(a)), on_grid(y + r * math.sin(a))) for r, a in zip(reach, angles, strict=True)]
    return [*ring, ring[0]]


def drawn(name: str, org: str, rings: list[list[tuple[int, int]]], dwell_ms: int | None = None):
    """The same zone twice: as the product reads it, and plain."""
    coordinates = [[[x / 1e7, y / 1e7] for x, y in ring] for ring in rings]
    polygon = read_geometry({"type": "Polygon", "coordinates": coordinates}, "geometry")
    zone = Zone(ZoneId(UUID(int=int(name))), ORGS[org], ZoneKind.SITE, name, dwell_ms, 1, polygon)
    return CoveredZone.of(zone), PlainZone(name, org, rings, dwell_ms)


@st.composite
def towns(draw: st.DrawFn, radii: tuple[float, ...] = (SMALL_DEG, SMALL_DEG, SMALL_DEG, LARGE_DEG)):
    """A few zones that overlap, some with a hole, and places in, on and about them."""
    lat, lng = draw(st.sampled_from(CENTRES))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pairs, corners = [], []
    for number in range(draw(st.integers(1, 5))):
        radius_e7 = draw(st.sampled_from(radii)) * 1e7
        x, y = (on_grid(each * 1e7 + random.uniform(-1, 1) * radius_e7 / 2) for each in (lng, lat))
        rings = [ring_around(x, y, radius_e7, random, draw(st.sampled_from([4, 5, 12, 40])))]
        if draw(st.booleans()):
            rings.append(ring_around(x, y, radius_e7 * 0.2, random, draw(st.sampled_from([4, 7]))))
        dwell_ms = draw(st.sampled_from([None, 60_000, 90_000]))
        pairs.append(drawn(str(number), draw(st.sampled_from(["one", "one", "two"])), rings, dwell_ms))
        corners += [corner for ring in rings for corner in ring]
        corners += [((x0 + x1) // 2, (y0 + y1) // 2) for ring in rings for (x0, y0), (x1, y1) in pairwise(ring)]
    picked = [corners[at] for at in random.integers(0, len(corners), 40)]
    near_m = random.normal(0, draw(st.sampled_from([0.1, 20.0, 100.0])), (len(picked), 2)) / 0.0111
    places = [*picked, *((on_grid(x + dx), on_grid(y + dy)) for (x, y), (dx, dy) in zip(picked, near_m, strict=True))]
    return pairs, places, random


def records(rows: list[tuple[int, int, int, int]]) -> np.ndarray:
    """Records of (ts_ms, x, y, accuracy_dm)."""
    found = np.zeros(len(rows), RECORD)
    for at, (ts_ms, x, y, accuracy_dm) in enumerate(rows):
        found[at]["ts_ms"], found[at]["lng_e7"], found[at]["lat_e7"] = ts_ms, x, y
        found[at]["accuracy_dm"] = accuracy_dm
    found["cell"] = cells_of(found["lat_e7"], found["lng_e7"])
    return found


@settings(max_examples=40)
@given(towns())
def test_a_place_is_inside_as_whole_numbers_say(town) -> None:
    pairs, places, _ = town
    zones = ZoneMap([covered for covered, _ in pairs])
    rows = records([(1, x, y, 0) for x, y in places])
    for org, org_id in ORGS.items():
        at, found = zones.inside(rows, np.full(len(rows), zones.org_number(org_id)))
        expected = [
            (place, row)
            for place, (x, y) in enumerate(places)
            for row, (_, plain) in enumerate(pairs)
            if plain.org == org and is_inside(x, y, plain.rings)
        ]
        assert [*zip(at.tolist(), found.tolist(), strict=True)] == expected
        mask = zones.mask(rows, org_id, {ZoneKind.SITE})
        assert np.flatnonzero(mask).tolist() == sorted({place for place, _ in expected})
        assert not zones.mask(rows, org_id, {ZoneKind.NO_GO}).any()


@settings(max_examples=40)
@given(towns(radii=(SMALL_DEG,)))
def test_how_far_a_place_is_from_a_zone(town) -> None:
    pairs, places, _ = town
    zones = ZoneMap([covered for covered, _ in pairs])
    rows = records([(1, x, y, 0) for x, y in places])
    found = zones.distance_m(rows, np.zeros(len(rows), np.int64))
    rings = pairs[0][1].rings
    expected = [0.0 if is_inside(x, y, rings) else distance_m(x, y, rings) for x, y in places]
    assert np.allclose(found, expected, rtol=1e-9, atol=1e-6)


@settings(max_examples=25)
@given(towns(radii=(SMALL_DEG,)), st.integers(1, 4), st.sampled_from([1, 3, 17, 200]))
def test_moves_in_batches_are_moves_one_by_one(town, workers: int, batch: int) -> None:
    pairs, places, random = town
    org_of = {slot: "one" if slot else "two" for slot in range(workers)}
    tracker, plain = ZoneTracker(), PlainWatch([zone for _, zone in pairs], org_of)
    tracker.learn({slot: ORGS[org] for slot, org in org_of.items()})
    tracker.change_zones(ZoneMap([covered for covered, _ in pairs]))
    moves, ts_ms = [], 1_700_000_000_000
    for x, y in (places[at] for at in random.integers(0, len(places), 200)):
        ts_ms += int(random.choice([-1_000, 0, 5_000, 40_000, 100_000]))
        accuracy_dm = int(random.choice([0, 50, 300, 1_500, 65_535]))
        moves.append(PlainMove(int(random.integers(workers)), ts_ms, x, y, accuracy_dm, bool(random.random() < 0.05)))
    for first in range(0, len(moves), batch):
        some = moves[first : first + batch]
        rows = records([(move.ts_ms, move.x, move.y, move.accuracy_dm) for move in some])
        rows["cell"][[move.is_off for move in some]] = 0
        slots = np.array([move.worker for move in some], np.int64)
        changes = tracker.take(slots, rows, ZoneReason.MOVED)
        found = [(each.slot, each.kind.value, each.zone.name, each.at_ms, each.reason.value) for each in changes]
        expected = [event for move in some for event in plain.take(move)]
        for slot in range(workers):
            assert [each for each in found if each[0] == slot] == [each for each in expected if each[0] == slot]
    assert len(tracker.presence) == len(plain.since)


@settings(max_examples=60)
@given(
    towns(radii=(SMALL_DEG,)),
    st.lists(st.tuples(st.floats(0, 12.4), st.floats(0, 2 * math.pi), st.integers(0, 65_535)), min_size=2, max_size=60),
)
def test_drift_within_the_margin_is_one_event_at_most(town, drift) -> None:
    pairs, places, random = town
    tracker = ZoneTracker()
    tracker.learn({0: ORGS["one"]})
    tracker.change_zones(ZoneMap([covered for covered, _ in pairs]))
    slot = np.zeros(1, np.int64)
    if random.random() < 0.5:  # parked after having been inside
        x, y = pairs[0][1].rings[0][0]
        tracker.take(slot, records([(1_000, x, y, 50)]), ZoneReason.MOVED)
    x, y = places[int(random.integers(len(places)))]
    east = math.cos(math.radians(y / 1e7))
    events: dict[str, int] = {}
    for nth, (far_m, angle, accuracy_dm) in enumerate(drift):
        at_x, at_y = x + far_m / 0.01113195 / east * math.cos(angle), y + far_m / 0.01113195 * math.sin(angle)
        rows = records([(2_000 + nth, round(at_x), round(at_y), accuracy_dm)])
        for change in tracker.take(slot, rows, ZoneReason.MOVED):
            events[change.zone.name] = events.get(change.zone.name, 0) + 1
    assert all(count <= 1 for count in events.values())


@settings(max_examples=15)
@given(towns())
def test_a_zone_is_stored_as_it_was_read(town) -> None:
    for covered, _ in town[0]:
        polygon = covered.zone.polygon
        assert shapely.equals_identical(stored_polygon(geojson_of(polygon)), polygon)
