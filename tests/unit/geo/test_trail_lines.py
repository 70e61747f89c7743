"""Pieces and simplification: what is left out is near the line, what is kept is what was stored."""

import numpy as np
import pytest

from engine.core.units import METRES_PER_DEG
from engine.geo.trail_lines import TRAIL_FIX, TrailArray, segments, simplified


def trail_of(places: list[tuple[float, float]], *, step_ms: int = 5_000) -> TrailArray:
    trail = np.zeros(len(places), TRAIL_FIX)
    for at, (lat, lng) in enumerate(places):
        trail[at] = (1_700_000_000_000 + at * step_ms, round(lat * 1e7), round(lng * 1e7), 50, 100, 900)
    return trail


def test_a_silence_breaks_the_line() -> None:
    trail = trail_of([(41.15, -8.61)] * 6)
    trail["at_ms"][4:] += 600_000
    assert [len(piece) for piece in segments(trail, gap_ms=600_000)] == [4, 2]
    assert segments(trail[:0], gap_ms=1) == []
    assert [len(piece) for piece in segments(trail[:1], gap_ms=1)] == [1]


def test_no_tolerance_leaves_every_fix() -> None:
    trail = trail_of([(41.15, -8.61)] * 5)
    assert len(simplified(trail, tolerance_m=0)) == 5


def test_a_corner_stays_and_noise_goes() -> None:
    metre = 1 / METRES_PER_DEG
    street = [(41.15 + (at % 2) * metre, -8.61 + at * 20 * metre) for at in range(50)]
    street += [(41.15 + at * 20 * metre, -8.61 + 49 * 20 * metre) for at in range(1, 50)]
    trail = trail_of(street)
    kept = simplified(trail, tolerance_m=5)
    assert len(kept) == 3
    assert set(kept["at_ms"].tolist()) >= {trail["at_ms"][0], trail["at_ms"][-1]}
    assert np.isin(kept, trail).all()


@pytest.mark.parametrize("lat", [0.0, 41.15, -60.0])
def test_the_tolerance_is_in_metres_at_any_latitude_and_in_every_direction(lat: float) -> None:
    north = 10 / METRES_PER_DEG
    east = north / np.cos(np.radians(lat))
    bump_north = trail_of([(lat, 0.0), (lat + north, 5 * east), (lat, 10 * east)])
    bump_east = trail_of([(lat, 0.0), (lat + 5 * north, east), (lat + 10 * north, 0.0)])
    for bump in (bump_north, bump_east):
        assert len(simplified(bump, tolerance_m=9.5)) == 3
        assert len(simplified(bump, tolerance_m=10.5)) == 2


def test_the_date_line_is_not_a_corner() -> None:
    trail = trail_of([(0.0, 179.9998), (0.0, 179.9999), (0.0, -180.0), (0.0, -179.9999)])
    assert len(simplified(trail, tolerance_m=1)) == 2


def test_a_worker_who_stood_still_is_two_fixes() -> None:
    assert len(simplified(trail_of([(41.15, -8.61)] * 9), tolerance_m=5)) == 2
