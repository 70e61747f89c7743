"""The fleet of a benchmark: real moves where there is a recording, and the truth about who is near."""

import csv
from pathlib import Path

import numpy as np
import pytest

from bench.fleet import Fleet, fleet
from bench.geo_queries import RADIUS_M, recall, truth


def recording(folder: Path) -> Path:
    """Two taxis, 0.001 degrees apart, that drive north by 0.0001 degrees a fix."""
    path = folder / "trace.csv"
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("taxi_id", "timestamp", "lat", "lng"))
        for fix in range(6):
            for taxi in (0, 1):
                lines.writerow((f"t{taxi}", 1_700_000_000 + fix * 15, 41.15 + fix * 0.0001, -8.61 + taxi * 0.001))
    return path


def test_workers_follow_recorded_taxis(tmp_path: Path) -> None:
    driven = fleet(20, 3, np.random.default_rng(1), recording(tmp_path))
    assert "real fixes of trace.csv" in driven.source
    assert (driven.workers, driven.rounds) == (20, 3)
    assert np.diff(driven.lats_e7, axis=0).tolist() == [[1_000] * 20] * 2, "one recorded fix a round"
    assert np.diff(driven.lngs_e7, axis=0).any() == False  # noqa: E712 - nobody changes taxis
    assert len(np.unique(driven.lngs_e7)) == 2


def test_without_a_recording_the_fleet_is_called_made_up(tmp_path: Path) -> None:
    driven = fleet(50, 4, np.random.default_rng(1), tmp_path / "nothing.csv")
    assert driven.source.startswith("made-up")
    assert driven.lats_e7.shape == (4, 50)
    slots = np.arange(50)
    assert (driven.records(1, slots)["ts_ms"] > driven.records(0, slots)["ts_ms"]).all()


def test_recall_counts_what_brute_force_finds() -> None:
    lats = 411_500_000 + np.arange(30, dtype=np.int32)[None] * 1_000
    driven = Fleet("a line to the north", lats, np.full((1, 30), -86_100_000, np.int32))
    here = truth(driven, (41.15, -8.61))
    assert here.count == 20
    assert here.farthest_m == pytest.approx(19 * 11.12, abs=0.1)
    assert recall([here], [list(range(20))]) == 1
    assert recall([here], [[*range(18), 25, 26]]) == 0.9
    assert recall([here], [[0] * 20]) == 0.05, "a worker counts once"
    assert truth(driven, (41.15 + 2 * RADIUS_M / 111_000, -8.61)).count == 0
