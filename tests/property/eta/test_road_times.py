"""Our roads against scipy's Dijkstra: random graphs with one-way, missing, parallel and zero-length roads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra

from bench.eta.cities import made_city
from bench.eta.trips import open_data
from engine.core.units import METRES_PER_DEG
from engine.eta.hub_labels import label
from engine.eta.hub_order import importance_order
from engine.eta.road_graph import EmptyRoadsError, RoadGraph, Roads, assemble, strong_parts
from engine.eta.road_snap import nearest_piece, snap_grid
from engine.eta.road_times import OFF_GRAPH_MS, RoadIndex, RoadTimes
from engine.eta.street_files import read_csv

MUNICH = open_data() / "roads"
TINY = 1e-9
"""scipy takes a stored zero for no edge."""


@st.composite
def stretches(draw: st.DrawFn) -> Roads:
    nodes = draw(st.integers(2, 14))
    count = draw(st.integers(1, 40))
    ends = st.lists(st.integers(0, nodes - 1), min_size=count, max_size=count)
    ms = st.lists(st.sampled_from([-1, 0, 1, 7, 1_000, 60_000, 86_400_000]), min_size=count, max_size=count)
    tail, head, forward, backward = (np.array(draw(each), np.int32) for each in (ends, ends, ms, ms))
    places = st.lists(st.integers(0, 40), min_size=nodes, max_size=nodes)
    lat, lng = (np.array(draw(places), np.int32) * 10_000 + base for base in (410_000_000, -86_000_000))
    lat, lng = lat.astype(np.int32), lng.astype(np.int32)
    both = np.column_stack([tail, head]).ravel()
    ends_at = np.arange(2, 2 * count + 1, 2, dtype=np.int32)
    metres = np.full(count, 1_000, np.int32)
    return Roads(lat, lng, tail, head, forward, backward, metres, ends_at, lat[both], lng[both])


def indexed(graph: RoadGraph) -> RoadTimes:
    return RoadTimes(RoadIndex(graph, label(graph, importance_order(graph)), snap_grid(graph)))


def matrix(graph: RoadGraph) -> csr_matrix:
    """The fastest of parallel edges; scipy would add them up."""
    fastest: dict[tuple[int, int], float] = {}
    for tail, head, ms in zip(graph.edge_from.tolist(), graph.edge_to.tolist(), graph.edge_ms.tolist(), strict=True):
        fastest[tail, head] = min(fastest.get((tail, head), np.inf), ms + TINY)
    ends = np.array(list(fastest)).T
    return csr_matrix((list(fastest.values()), (ends[0], ends[1])), shape=(graph.nodes, graph.nodes))


@settings(deadline=None)
@given(stretches())
def test_labels_tell_what_dijkstra_tells_between_all_nodes(roads: Roads) -> None:
    try:
        graph = assemble(roads)
    except EmptyRoadsError:
        return
    times, expected = indexed(graph), dijkstra(matrix(graph))
    found = [[times.between_nodes(a, b) for b in range(graph.nodes)] for a in range(graph.nodes)]
    np.testing.assert_allclose(found, expected, atol=1e-3)


@settings(deadline=None)
@given(stretches())
def test_the_kept_part_is_the_largest_in_which_all_reach_all(roads: Roads) -> None:
    ways = [(roads.tail, roads.head, roads.forward_ms), (roads.head, roads.tail, roads.backward_ms)]
    ends = [np.concatenate([way[side][way[2] >= 0] for way in ways]) for side in (0, 1)]
    n = len(roads.node_lat_e7)
    _, expected = connected_components(csr_matrix((np.ones(len(ends[0])), ends), shape=(n, n)), connection="strong")
    order = np.argsort(ends[0], kind="stable")
    first = np.searchsorted(ends[0][order], np.arange(n + 1)).astype(np.int32)
    found = strong_parts(first, ends[1][order].astype(np.int32))
    assert len(set(zip(found.tolist(), expected.tolist(), strict=True))) == len(set(expected.tolist()))
    assert len(set(found.tolist())) == len(set(expected.tolist()))
    largest = int(np.bincount(expected).max())
    try:
        assert assemble(roads).nodes == largest
    except EmptyRoadsError:
        assert largest == 1


@settings(deadline=None)
@given(stretches(), st.floats(40.999, 41.041), st.floats(-8.601, -8.559), st.sampled_from([20.0, 250.0, 5_000.0]))
def test_the_grid_finds_the_piece_that_looking_at_all_finds(roads: Roads, lat: float, lng: float, limit: float) -> None:
    try:
        graph = assemble(roads)
    except EmptyRoadsError:
        return
    grid = snap_grid(graph)
    piece, along, metres = nearest_piece(
        lat, lng, limit, (grid.frame, grid.shape, grid.first, grid.piece), graph.piece_e7
    )
    scale = 1e-7 * METRES_PER_DEG * np.array([1.0, np.cos(np.radians(lat))] * 2)
    ends = (graph.piece_e7 - np.array([lat, lng] * 2) * 1e7) * scale
    a, step = ends[:, :2], ends[:, 2:] - ends[:, :2]
    length2 = (step**2).sum(axis=1)
    share = np.clip(-(a * step).sum(axis=1) / np.where(length2 > 0, length2, 1), 0, 1)
    away = np.hypot(*(a + share[:, None] * step).T)
    if away.min() > limit * 1.001:
        assert piece == -1
    elif away.min() < limit * 0.999:
        assert metres == pytest.approx(away.min(), rel=1e-3, abs=0.01)
        assert away[piece] == pytest.approx(away.min(), rel=1e-3, abs=0.01)
        assert 0 <= along <= 1


@pytest.mark.parametrize("lat", [90.0, -90.0, 89.999999, float("nan"), float("inf")])
@pytest.mark.parametrize("lng", [11.5, -180.0, float("nan")])
def test_a_place_at_a_pole_or_nowhere_is_off_the_roads(lat: float, lng: float) -> None:
    times = indexed(made_city(64))
    goal = 48.1, 11.5
    assert times.milliseconds(np.array([lat]), np.array([lng]), *goal).tolist() == [OFF_GRAPH_MS]
    assert times.milliseconds(np.array([48.1]), np.array([11.5]), lat, lng).tolist() == [OFF_GRAPH_MS]


def test_roads_at_a_pole_are_found_from_there() -> None:
    """A road around a station at the South Pole: every longitude is near, and a cell's width nearly nothing."""
    lat = np.array([-899_990_000, -899_990_000, -899_980_000], np.int32)
    lng = np.array([0, 900_000_000, 450_000_000], np.int32)
    tail, head = np.array([0, 1, 2], np.int32), np.array([1, 2, 0], np.int32)
    both, ms = np.column_stack([tail, head]).ravel(), np.full(3, 1_000, np.int32)
    ends = np.array([2, 4, 6], np.int32)
    times = indexed(assemble(Roads(lat, lng, tail, head, ms, ms, ms, ends, lat[both], lng[both])))
    assert times.milliseconds(np.array([-90.0]), np.array([10.0]), -89.999, 0.0)[0] >= 0


def test_places_along_a_road_cost_their_share_of_it() -> None:
    """A triangle of two-way roads of 100, 100 and 1,000 s, and a one-way road beside the long one."""
    lat = np.array([410_000_000, 410_000_000, 410_100_000], np.int32)
    lng = np.array([-86_000_000, -85_900_000, -86_000_000], np.int32)
    tail, head = np.array([0, 1, 0], np.int32), np.array([1, 2, 2], np.int32)
    forward, backward = np.array([100_000, 1_000_000, 100_000], np.int32), np.array([100_000, -1, 100_000], np.int32)
    both = np.column_stack([tail, head]).ravel()
    metres, ends = np.array([839, 1_393, 1_112], np.int32), np.array([2, 4, 6], np.int32)
    times = indexed(assemble(Roads(lat, lng, tail, head, forward, backward, metres, ends, lat[both], lng[both])))

    def seconds(a: tuple[float, float], b: tuple[float, float]) -> float:
        return float(times.milliseconds(np.array([a[0]]), np.array([a[1]]), *b)[0] / 1e3)

    quarter, half = (41.0, -8.5975), (41.0, -8.595)
    assert seconds(quarter, half) == pytest.approx(25, abs=0.1)
    assert seconds(half, quarter) == pytest.approx(25, abs=0.1)
    assert seconds((41.005, -8.6), quarter) == pytest.approx(75, abs=0.1)
    on_one_way, further = (41.0025, -8.5925), (41.005, -8.595)
    assert seconds(on_one_way, further) == pytest.approx(250, abs=0.5)
    assert seconds(further, on_one_way) == pytest.approx(500 + 100 + 100 + 250, abs=0.5)
    assert seconds((41.05, -8.6), half) * 1e3 == OFF_GRAPH_MS
    assert seconds(half, (41.05, -8.6)) * 1e3 == OFF_GRAPH_MS


def test_a_made_city_equals_dijkstra_with_both_ends_snapped() -> None:
    graph = made_city(900)
    times, graph_matrix = indexed(graph), matrix(graph)
    random = np.random.default_rng(3)
    for target in random.integers(0, graph.nodes, 10):
        expected = dijkstra(graph_matrix.T.tocsr(), indices=target)
        found = times.milliseconds(
            graph.node_lat_e7 / 1e7,
            graph.node_lng_e7 / 1e7,
            graph.node_lat_e7[target] / 1e7,
            graph.node_lng_e7[target] / 1e7,
        )
        assert np.abs(found - expected).max() < 1_000


@pytest.mark.skipif(not (MUNICH / "munich_nodes.csv.gz").exists(), reason="the roads of Munich are not here")
def test_munich_equals_dijkstra_on_ten_thousand_pairs() -> None:
    graph = assemble(read_csv(MUNICH / "munich_nodes.csv.gz", MUNICH / "munich_edges.csv.gz"))
    times, backwards = indexed(graph), matrix(graph).T.tocsr()
    lat, lng = graph.node_lat_e7 / 1e7, graph.node_lng_e7 / 1e7
    random = np.random.default_rng(11)
    for target in random.integers(0, graph.nodes, 100):
        sources = random.integers(0, graph.nodes, 100)
        expected = dijkstra(backwards, indices=target)[sources]
        found = times.milliseconds(lat[sources], lng[sources], lat[target], lng[target])
        assert np.abs(found - expected).max() < 1_000
