"""Whom a region's frame needs, against plain distances."""

import math

import h3.api.basic_int as h3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.limits import REGION_BORDER_M, REGION_RESOLUTION_MAX, SEARCH_RADIUS_M_MAX
from engine.geo.cells import CellArray, cell_of, parent_of, parents_of
from engine.geo.fixes import RECORD
from engine.matcher.region_cover import FINER, RegionCover, covering

EARTH_M = 6_371_008.8


def off(lat_deg: float, lng_deg: float, bearing: float, distance_m: float) -> tuple[float, float]:
    """Return the place so far away in this direction, on the sphere."""
    lat, angle = math.radians(lat_deg), distance_m / EARTH_M
    to_lat = math.asin(math.sin(lat) * math.cos(angle) + math.cos(lat) * math.sin(angle) * math.cos(bearing))
    turn = math.atan2(
        math.sin(bearing) * math.sin(angle) * math.cos(lat), math.cos(angle) - math.sin(lat) * math.sin(to_lat)
    )
    return math.degrees(to_lat), (lng_deg + math.degrees(turn) + 540) % 360 - 180


def covers(cells: CellArray, resolution: int, place: tuple[float, float]) -> bool:
    return parent_of(cell_of(*place), resolution + FINER) in set(cells.tolist())


@given(
    lat_deg=st.floats(-85, 85),
    lng_deg=st.floats(-180, 179.9),
    resolution=st.integers(3, REGION_RESOLUTION_MAX),
    bearings=st.lists(st.floats(0, 2 * math.pi), min_size=8, max_size=8),
    far=st.floats(0.9, 1),
)
def test_everybody_whom_a_booking_can_need_is_covered(lat_deg, lng_deg, resolution, bearings, far):
    region = parent_of(cell_of(lat_deg, lng_deg), resolution)
    cells = covering({region}, resolution=resolution)
    # Also from the region's corners: what sticks out there is farthest from its middle.
    pins = [(lat_deg, lng_deg), *(off(*corner, 0, 0) for corner in h3.cell_to_boundary(region))]
    pins = [pin for pin in pins if parent_of(cell_of(*pin), resolution) == region]
    for pin in pins:
        for bearing in bearings:
            assert covers(cells, resolution, off(*pin, bearing, far * SEARCH_RADIUS_M_MAX))


@pytest.mark.parametrize("resolution", range(3, REGION_RESOLUTION_MAX + 1))
def test_the_border_is_no_wider_than_it_must_be(resolution: int):
    region = parent_of(cell_of(41.15, -8.61), resolution)
    inside = set(h3.cell_to_children(region, resolution + FINER))
    beyond = [cell for cell in covering({region}, resolution=resolution).tolist() if cell not in inside]
    edge_m = h3.average_hexagon_edge_length(resolution + FINER, unit="m")
    middles = [h3.cell_to_latlng(cell) for cell in inside]
    for cell in beyond[:: max(1, len(beyond) // 50)]:
        nearest_m = min(h3.great_circle_distance(h3.cell_to_latlng(cell), middle, unit="m") for middle in middles)
        assert nearest_m <= 2 * (REGION_BORDER_M + 2 * edge_m)


def test_leaves_out_who_is_elsewhere_and_keeps_who_has_no_place():
    here, there = (41.15, -8.61), (38.72, -9.14)
    region = parent_of(cell_of(*here), 4)
    cover = RegionCover(resolution=4)
    slots = np.array([0, 1, 5_000], np.int64)
    records = np.zeros(3, RECORD)
    records["cell"] = [cell_of(*here), cell_of(*there), 0]
    cover.moved(slots, records)
    asked = np.array([0, 1, 2, 5_000, 90_000], np.int64)

    assert cover.of(asked).tolist() == asked.tolist(), "everywhere"
    assert cover.has(*there)
    cover.change(frozenset({region}), covering({region}, resolution=4))
    assert cover.of(asked).tolist() == [0, 2, 5_000, 90_000]
    assert (cover.has(*here), cover.has(*there)) == (True, False)

    records["cell"] = np.roll(records["cell"], 1)
    cover.moved(slots, records)
    assert cover.of(asked).tolist() == [0, 1, 2, 90_000], "they changed places"
    cover.replaced(0, slots[:0], records[:0])
    assert cover.of(asked).tolist() == [0, 1, 2, 90_000], "nobody of the page has a place"
    cover.change(frozenset(), np.zeros(0, np.uint64))
    assert cover.of(asked).tolist() == [0, 1, 2, 90_000]


def test_regions_of_another_resolution_are_passed_over():
    finer = parent_of(cell_of(41.15, -8.61), 6)
    assert covering({finer}, resolution=3).tolist() == []


@given(st.floats(-90, 90), st.floats(-180, 180), st.integers(0, 8))
def test_ancestors_are_those_of_h3(lat_deg: float, lng_deg: float, resolution: int):
    cell = cell_of(lat_deg, lng_deg)
    assert parents_of(np.array([cell, 0], np.uint64), resolution).tolist() == [h3.cell_to_parent(cell, resolution), 0]
