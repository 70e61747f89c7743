"""Reading roads from extracts and tables, and road files that are whole, damaged or of another version."""

import gzip
from pathlib import Path

import numpy as np
import orjson
import osmium
import pytest

from bench.eta.cities import made_city
from engine.eta import road_file
from engine.eta.hub_labels import label
from engine.eta.hub_order import importance_order
from engine.eta.osm_roads import OsmFileError, direction_of, is_drivable, read_osm, speed_kmh
from engine.eta.road_file import RoadFileError
from engine.eta.road_graph import EmptyRoadsError, assemble
from engine.eta.road_snap import snap_grid
from engine.eta.road_times import RoadIndex, RoadTimes
from engine.eta.street_files import StreetFileError, read_csv, read_geojson
from sim.city.plan import draw_city


@pytest.fixture(scope="module")
def index() -> RoadIndex:
    graph = made_city(64)
    return RoadIndex(graph, label(graph, importance_order(graph)), snap_grid(graph))


@pytest.fixture
def written(index: RoadIndex, tmp_path: Path) -> Path:
    path = tmp_path / "city.roads"
    road_file.write(index, path, {"source": "made"})
    return path


def test_a_road_file_gives_back_what_was_written(index: RoadIndex, written: Path) -> None:
    read, about = road_file.read(written)
    assert about == {"source": "made"}
    for part in ("graph", "labels", "grid"):
        for name in getattr(index, part).__slots__:
            np.testing.assert_array_equal(getattr(getattr(read, part), name), getattr(getattr(index, part), name))
    assert not read.graph.edge_to.flags.writeable  # mapped, not copied
    place = read.graph.node_lat_e7[:9] / 1e7, read.graph.node_lng_e7[:9] / 1e7
    to_one = float(place[0][0]), float(place[1][0])
    np.testing.assert_array_equal(
        RoadTimes(read).milliseconds(*place, *to_one), RoadTimes(index).milliseconds(*place, *to_one)
    )
    assert list(written.parent.iterdir()) == [written]


def test_any_changed_byte_is_refused(written: Path) -> None:
    whole = written.read_bytes()
    read, _ = road_file.read(written)
    arrays = [getattr(getattr(read, part), name) for part, of in road_file.PARTS.items() for name in of.__slots__]
    padding = len(whole) - sum(array.nbytes for array in arrays)
    del read, arrays
    passed = 0
    for at in range(0, len(whole), 997):
        written.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            road_file.read(written)
            passed += 1
        except RoadFileError:
            pass
    assert passed <= padding  # bytes between arrays mean nothing
    assert passed < 5


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda whole: whole[: len(whole) // 2], "damaged"),
        (lambda whole: whole[:10], "no road file"),
        (lambda whole: whole[:0], "cannot be read"),
        (lambda whole: b"PK" + whole[2:], "no road file"),
        (lambda whole: whole[:8] + b"\x09" + whole[9:], "version 9"),
        (lambda whole: whole[:40] + b"?" + whole[41:], "damaged"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(written: Path, damage, says: str) -> None:
    written.write_bytes(damage(written.read_bytes()))
    with pytest.raises(RoadFileError, match=says):
        road_file.read(written)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(RoadFileError, match="cannot be read"):
        road_file.read(tmp_path / "none.roads")


@pytest.mark.parametrize(
    ("highway", "posted", "kmh"),
    [
        ("residential", None, 24),
        ("residential", "50", 40),
        ("primary", "30 mph", 30 * 1.609344 * 0.8),
        ("motorway", "none", 100),
        ("motorway", "walk", 100),
        ("motorway", "999", 130),
        ("service", "1", 5),
    ],
)
def test_speeds_by_class_and_posted_limit(highway: str, posted: str | None, kmh: float) -> None:
    assert speed_kmh(highway, posted) == pytest.approx(kmh)


@pytest.mark.parametrize(
    ("tags", "direction"),
    [
        ({}, 0),
        ({"oneway": "yes"}, 1),
        ({"oneway": "-1"}, -1),
        ({"junction": "roundabout"}, 1),
        ({"junction": "roundabout", "oneway": "no"}, 0),
        ({"highway": "motorway"}, 1),
        ({"oneway": "yes", "oneway:motor_vehicle": "no"}, 0),
    ],
)
def test_which_way_cars_may_drive(tags: dict[str, str], direction: int) -> None:
    assert direction_of({"highway": "residential"} | tags) == direction


@pytest.mark.parametrize(
    ("tags", "is_open"),
    [
        ({}, True),
        ({"highway": "footway"}, False),
        ({"access": "private"}, False),
        ({"access": "no", "motor_vehicle": "yes"}, True),
        ({"motorcar": "no", "access": "yes"}, False),
        ({"service": "driveway"}, False),
        ({"area": "yes"}, False),
    ],
)
def test_which_ways_are_for_cars(tags: dict[str, str], is_open: bool) -> None:
    assert is_drivable({"highway": "residential"} | tags) is is_open


def test_an_extract_becomes_roads_cut_where_they_meet(tmp_path: Path) -> None:
    path = tmp_path / "town.osm.pbf"
    places = {
        1: (-8.60, 41.00),
        2: (-8.59, 41.00),
        3: (-8.58, 41.00),
        4: (-8.59, 41.01),
        5: (-8.595, 41.005),
        6: (-8.0, 41.0),
    }
    with osmium.SimpleWriter(str(path)) as writer:
        for number, place in places.items():
            writer.add_node(osmium.osm.mutable.Node(id=number, location=place))
        ways = [([1, 2, 3], {"highway": "primary"}), ([2, 4], {"highway": "residential", "oneway": "yes"})]
        ways += [([4, 5, 1], {"highway": "residential"}), ([3, 6], {"highway": "residential", "oneway": "yes"})]
        ways += [([1, 4], {"highway": "footway"})]
        for number, (nodes, tags) in enumerate(ways):
            writer.add_way(osmium.osm.mutable.Way(id=number + 1, nodes=nodes, tags=tags))
    roads = read_osm(path)
    assert len(roads.tail) == 5  # the primary road is cut at the crossing, the bend stays a bend
    graph = assemble(roads)
    assert graph.nodes == 4  # nobody comes back from the dead end
    assert graph.edges == 2 * 3 + 1
    assert int((graph.edge_twin < 0).sum()) == 1
    assert len(graph.piece_edge) == 5


def test_what_is_no_extract_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.osm.pbf"
    path.write_bytes(b"not an extract")
    with pytest.raises(OsmFileError, match=r"no\.osm\.pbf"):
        read_osm(path)


def test_the_simulators_streets_become_the_same_graph(tmp_path: Path) -> None:
    streets = draw_city(41.15, -8.61, seed=7)
    path = tmp_path / "streets.geojson"
    path.write_bytes(orjson.dumps(streets.geojson()))
    graph = assemble(read_geojson(path))
    assert (graph.nodes, graph.edges) == (streets.junctions, streets.edges)
    expected = float((streets.edge_length_m / streets.edge_speed_mps).sum())
    assert graph.edge_ms.sum() / 1e3 == pytest.approx(expected, rel=5e-3)


def test_tables_become_roads_and_opposite_edges_one_road(tmp_path: Path) -> None:
    nodes, edges = tmp_path / "t_nodes.csv.gz", tmp_path / "t_edges.csv"
    nodes.write_bytes(gzip.compress(b"node_index,pos_x,pos_y\n10,11.0,48.0\n20,11.01,48.0\n30,11.0,48.01\n"))
    edges.write_text(
        "from_node,to_node,distance,travel_time\n10,20,744,60\n20,10,744,70\n20,30,1300,90\n30,10,1113,80\n"
    )
    roads = read_csv(nodes, edges)
    assert len(roads.tail) == 3
    graph = assemble(roads)
    assert (graph.nodes, graph.edges, int((graph.edge_twin < 0).sum())) == (3, 4, 2)
    edges.write_text("from_node,to_node,distance,travel_time\n10,99,744,60\n")
    with pytest.raises(StreetFileError, match="99"):
        read_csv(nodes, edges)


def test_roads_that_lead_nowhere_are_no_graph(tmp_path: Path) -> None:
    path = tmp_path / "one.geojson"
    line = {"type": "LineString", "coordinates": [[11.0, 48.0], [11.1, 48.0]]}
    feature = {"type": "Feature", "geometry": line, "properties": {"oneway": True, "speed_mps": 5}}
    path.write_bytes(orjson.dumps({"type": "FeatureCollection", "features": [feature]}))
    with pytest.raises(EmptyRoadsError):
        assemble(read_geojson(path))
    path.write_bytes(orjson.dumps({"features": [{}]}))
    with pytest.raises(StreetFileError):
        read_geojson(path)
