"""`clenzy roads`: from streets to a road file, what it tells, and what it cannot use."""

import io
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest
from rich.console import Console

from clenzy import roads
from clenzy.child import CannotStartError
from engine.eta import learned_file
from sim.city.plan import draw_city


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("city") / "porto.geojson"
    path.write_bytes(orjson.dumps(draw_city(41.15, -8.61, seed=7).geojson()))
    return path


def test_a_road_file_is_built_told_of_and_taught(streets: Path, tmp_path: Path) -> None:
    screen = io.StringIO()
    built = roads.build(streets, tmp_path / "porto.roads", Console(file=screen))
    assert "labelling" in screen.getvalue()
    told = dict(roads.told(built.path))
    assert told["made of"] == "porto.geojson"
    assert f"{built.index.graph.nodes:,} of" in told["junctions"]
    assert "checksums hold" in told["file"]
    graph, trips = built.index.graph, tmp_path / "trips.csv"
    lat, lng = graph.node_lat_e7 / 1e7, graph.node_lng_e7 / 1e7
    rows = [f"{1_372_636_800_000 + at},{lat[at]},{lng[at]},{lat[-1]},{lng[-1]},600" for at in range(80)]
    trips.write_text("\n".join(["begin_ms,from_lat,from_lng,to_lat,to_lng,seconds", *rows]))
    said = roads.learn(built.path, trips, tmp_path / "learned.json", ZoneInfo("Europe/Lisbon"), Console(file=screen))
    assert said.startswith("80 trips taught, 0 passed over")
    assert "following trips" in screen.getvalue()
    assert learned_file.read(tmp_path / "learned.json").trips == 80


def test_what_cannot_be_used_is_told_and_leaves_no_file(streets: Path, tmp_path: Path) -> None:
    quiet, out = Console(file=io.StringIO()), tmp_path / "out.roads"
    for name, content in (
        ("no.osm.pbf", b"?"),
        ("no.geojson", b"{}"),
        ("city_edges.csv", b""),
        ("a_nodes.csv", b"x\n"),
    ):
        source = tmp_path / name
        source.write_bytes(content)
        with pytest.raises(CannotStartError, match=name.partition(".")[0]):
            roads.build(source, out, quiet)
    assert not list(tmp_path.glob("*.roads*"))
    with pytest.raises(CannotStartError, match="clenzy roads build"):
        roads.told(streets)
    with pytest.raises(CannotStartError, match="cannot be read"):
        roads.learn(out, streets, tmp_path / "learned.json", ZoneInfo("UTC"), quiet)
