"""The geo benchmark runs to its end on a small fleet, and its gates can fail."""

import json
from pathlib import Path

import numpy as np
import pytest
from redis.asyncio import Redis

from bench import geo, geo_queries, report
from bench.fleet import fleet
from bench.geo_updates import update_rows
from engine.geo.cell_sets import cell_key

pytestmark = pytest.mark.integration

ROWS = {"row", "ours", "anchor", "anchor_name", "unit", "ratio", "target", "met", "gate"}


def test_a_small_run_is_right_and_writes_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geo_queries, "LOAD_S", 0.2)
    monkeypatch.setattr(geo, "save", lambda name, rows: report.save(name, rows, tmp_path))
    assert geo.main(["--workers", "1500"]) == 0
    rows = json.loads((tmp_path / "geo.json").read_text())
    assert len(rows) == 12
    assert all(row.keys() == ROWS for row in rows)
    assert {row["gate"] for row in rows} == {True, None}
    assert any("Tile38" in row["anchor_name"] and "quoted" in row["anchor_name"] for row in rows)
    put_back = next(row for row in rows if "put back" in row["row"])
    assert put_back["ours"] == 0
    assert put_back["anchor"] > 400, "nearly every taxi has moved since"


async def test_a_worker_in_a_second_cell_fails_the_gate(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    await redis.sadd(cell_key(0x88392281A1FFFFF), 3 << 31)
    driven = fleet(600, 4, np.random.default_rng(1), tmp_path / "none")
    rows = await update_rows(redis, redis_url, driven, np.random.default_rng(1))
    assert report.exit_code(rows) == 1


def test_a_mirror_that_misses_workers_fails_the_gate(redis_url: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(geo_queries, "LOAD_S", 0.05)
    driven = fleet(600, 4, np.random.default_rng(1), tmp_path / "none")
    half = np.arange(0, 600, 2)
    mirror = geo.Mirror()
    mirror.moved(half, driven.records(3, half))
    assert report.exit_code(geo_queries.query_rows(redis_url, driven, mirror, np.random.default_rng(2))) == 1
