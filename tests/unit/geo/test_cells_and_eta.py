"""Cells as H3 has them, rings that reach as far as they promise; the straight-line ETA."""

import math

import h3
import numpy as np
import pytest

from config.limits import SEARCH_RINGS_MAX
from engine.eta.straight_line import FITTED_M_MAX, estimate, straight_m
from engine.geo.cells import cell_of, cells_of, cover, disk, parents_of, rings_for, text_of


def test_cells_are_those_of_h3() -> None:
    places = [(41.15, -8.61), (-33.9, 151.2), (0.0001, 179.9999)]
    expected = [h3.str_to_int(h3.latlng_to_cell(lat, lng, 8)) for lat, lng in places]
    assert [cell_of(lat, lng) for lat, lng in places] == expected
    columns = np.round(np.array(places) * 1e7).astype(np.int32)
    assert cells_of(columns[:, 0], columns[:, 1]).tolist() == expected
    assert text_of(expected[0]) == h3.latlng_to_cell(*places[0], 8)


@pytest.mark.parametrize("centre", [(41.15, -8.61), (60.2, 24.9), (1.3, 103.8), (-33.9, 18.4)])
@pytest.mark.parametrize("radius_m", [1, 400, 1_500, 4_000])
def test_a_disk_holds_every_place_within_the_radius(centre: tuple[float, float], radius_m: int) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        start = (centre[0] + rng.uniform(-0.1, 0.1), centre[1] + rng.uniform(-0.1, 0.1))
        near = set(disk(cell_of(*start), rings_for(radius_m)))
        for angle in np.linspace(0, 2 * math.pi, 24):
            lat = start[0] + radius_m * math.cos(angle) / 111_320
            lng = start[1] + radius_m * math.sin(angle) / (111_320 * math.cos(math.radians(start[0])))
            assert cell_of(lat, lng) in near


def test_rings_are_bounded() -> None:
    assert rings_for(0) == 0
    assert rings_for(10**9) == SEARCH_RINGS_MAX


def test_a_cover_holds_the_coarse_cell_of_every_worker_in_the_box() -> None:
    west, south, east, north = -8.75, 41.05, -8.45, 41.25
    covered = cover(west, south, east, north, 5)
    rng = np.random.default_rng(3)
    lats, lngs = rng.uniform(south, north, 3_000), rng.uniform(west, east, 3_000)
    cells = cells_of(np.round(lats * 1e7).astype(np.int32), np.round(lngs * 1e7).astype(np.int32))
    assert set(parents_of(cells, 5).tolist()) <= covered


def test_an_eta_grows_with_the_distance_and_holds_its_interval() -> None:
    etas = [estimate(41.15, -8.61, 41.15 + metres / 111_319.49, -8.61) for metres in (0, 100, 1_000, 10_000, 10**6)]
    assert [eta.eta_s for eta in etas] == sorted(eta.eta_s for eta in etas)
    assert etas[0].eta_s == 0
    assert etas[2].eta_s == pytest.approx(337, abs=2)
    for eta in etas[1:]:
        assert eta.low_s < eta.eta_s < eta.high_s
    assert 60 < 1_000_000 / etas[-1].eta_s * 3.6 < 100, "beyond the fit: a steady speed in km/h"


def test_the_line_goes_on_smoothly_beyond_the_fit() -> None:
    below, at, above = (estimate(0, 0, (FITTED_M_MAX + step) / 111_319.49, 0).eta_s for step in (-500, 0, 500))
    assert at - below == pytest.approx(above - at, abs=2)


def test_the_straight_line_takes_the_short_way_round() -> None:
    assert straight_m(0, 179.99, 0, -179.99) == pytest.approx(0.02 * 111_319.49, rel=1e-6)
