"""Streets, routes, traffic, receivers: same seed same city, every place reachable, nobody teleports."""

import math
from collections import deque

import numpy as np
import pytest

from sim.city.gps import ERROR_M, Receivers
from sim.city.plan import CityPlan, _Draughtsman, draw_city
from sim.city.projection import Projection, distance_m
from sim.city.routes import Routes
from sim.city.streets import SPEED_MPS, StreetClass, Streets
from sim.city.traffic import Traffic
from sim.client.wire import UNKNOWN_U16

LAT, LNG = 41.15, -8.61
SMALL = CityPlan(columns=16, rows=16, river_half_width_m=120, oneway_radius_m=900, ring_radius_m=1_200)


@pytest.fixture(scope="module")
def streets() -> Streets:
    return draw_city(LAT, LNG, seed=7)


@pytest.fixture(scope="module")
def routes(streets: Streets) -> Routes:
    return Routes(streets)


def test_the_same_seed_draws_the_same_city_and_another_seed_another() -> None:
    one, same, other = (draw_city(LAT, LNG, seed=seed, plan=SMALL) for seed in (3, 3, 4))
    assert one.geojson() == same.geojson()
    assert one.geojson() != other.geojson()


@pytest.mark.parametrize("seed", range(8))
def test_every_junction_reaches_every_other(seed: int) -> None:
    streets = draw_city(LAT, LNG, seed=seed)
    assert streets.junctions > 700
    for tails, heads in ((streets.edge_from, streets.edge_to), (streets.edge_to, streets.edge_from)):
        neighbours: dict[int, list[int]] = {}
        for tail, head in zip(tails.tolist(), heads.tolist(), strict=True):
            neighbours.setdefault(tail, []).append(head)
        seen, queue = {0}, deque([0])
        while queue:
            for near in neighbours[queue.popleft()]:
                if near not in seen:
                    seen.add(near)
                    queue.append(near)
        assert len(seen) == streets.junctions


def test_it_is_a_city_and_not_a_grid(streets: Streets) -> None:
    both = set(zip(streets.edge_from.tolist(), streets.edge_to.tolist(), strict=True))
    oneway = sum((head, tail) not in both for tail, head in both)
    assert oneway > 50
    assert set(streets.edge_class.tolist()) == {int(kind) for kind in StreetClass}
    assert len(both) == streets.edges
    # Headings of a grid fall on four values; these spread over the whole rose.
    rose, _ = np.histogram(streets.edge_heading_deg, bins=24, range=(0, 360))
    assert (rose > 0).all()
    assert (streets.edge_length_m > 20).all()
    assert max(SPEED_MPS.values()) < 45


def test_the_river_can_only_be_crossed_on_a_few_bridges() -> None:
    draughtsman = _Draughtsman(CityPlan(), np.random.default_rng(7))
    streets = draughtsman.draw(Projection(LAT, LNG))
    north_of_river = draughtsman._above_river(np.stack([streets.east_m, streets.north_m], axis=-1)) > 0
    crossings = int((north_of_river[streets.edge_from] != north_of_river[streets.edge_to]).sum()) // 2
    assert 5 <= crossings <= 12
    assert 0.1 < (~north_of_river).mean() < 0.5


def test_geojson_has_every_street_once_and_longitude_first(streets: Streets) -> None:
    collection = streets.geojson()
    both = {frozenset(pair) for pair in zip(streets.edge_from.tolist(), streets.edge_to.tolist(), strict=True)}
    assert len(collection["features"]) == len(both)
    for feature in collection["features"]:
        for lng, lat in feature["geometry"]["coordinates"]:
            assert abs(lng - LNG) < 0.1
            assert abs(lat - LAT) < 0.1


def test_a_route_is_a_chain_of_edges_and_as_fast_as_a_plain_search_says(streets: Streets, routes: Routes) -> None:
    rng = np.random.default_rng(1)
    plain = _all_pairs_by_relaxation(streets, destination=11)
    for origin in rng.integers(0, streets.junctions, 40).tolist():
        route = routes.route(origin, 11)
        at = origin
        for edge in route:
            assert streets.edge_from[edge] == at
            at = int(streets.edge_to[edge])
        assert at == 11
        seconds = sum(streets.edge_length_m[edge] / streets.edge_speed_mps[edge] for edge in route)
        assert seconds == pytest.approx(plain[origin])
        assert routes.seconds(11)[origin] == pytest.approx(plain[origin])


def _all_pairs_by_relaxation(streets: Streets, *, destination: int) -> np.ndarray:
    """Bellman-Ford: slower and simpler than what it checks."""
    cost = np.full(streets.junctions, math.inf)
    cost[destination] = 0
    seconds = streets.edge_length_m / streets.edge_speed_mps
    for _ in range(streets.junctions):
        better = cost.copy()
        np.minimum.at(better, streets.edge_from, cost[streets.edge_to] + seconds)
        if np.array_equal(better, cost):
            break
        cost = better
    return cost


def test_routes_are_searched_once_a_destination(streets: Streets) -> None:
    routes = Routes(streets)
    for _ in range(3):
        routes.next_edges(5)
    assert routes.searches == 1


def test_movers_follow_streets_no_faster_than_they_may_and_arrive(streets: Streets, routes: Routes) -> None:
    traffic = Traffic(streets, routes, movers=40, rng=np.random.default_rng(2))
    everybody = np.arange(40)
    for mover in range(40):
        traffic.send(mover, 11)
    before = traffic.whereabouts(everybody)
    arrived: set[int] = set()
    for _ in range(900):
        arrived |= set(traffic.step(everybody, np.full(40, 2.0)).tolist())
        now = traffic.whereabouts(everybody)
        for mover in range(40):
            step_m = distance_m(before.lat_deg[mover], before.lng_deg[mover], now.lat_deg[mover], now.lng_deg[mover])
            assert step_m <= 2.0 * 40
            assert _metres_to_street(streets, now.lat_deg[mover], now.lng_deg[mover]) < 0.5
        before = now
        if len(arrived) == 40:
            break
    assert len(arrived) == 40
    end = traffic.whereabouts(everybody)
    lat_deg, lng_deg = streets.place_of(11)
    assert all(distance_m(lat, lng, lat_deg, lng_deg) < 1 for lat, lng in zip(end.lat_deg, end.lng_deg, strict=True))
    assert not end.speed_mps.any()


def _metres_to_street(streets: Streets, lat_deg: float, lng_deg: float) -> float:
    east_m, north_m = streets.projection.to_metres(lat_deg, lng_deg)
    ax, ay = streets.east_m[streets.edge_from], streets.north_m[streets.edge_from]
    dx, dy = streets.east_m[streets.edge_to] - ax, streets.north_m[streets.edge_to] - ay
    share = np.clip(((east_m - ax) * dx + (north_m - ay) * dy) / (dx**2 + dy**2), 0, 1)
    return float(np.hypot(ax + share * dx - east_m, ay + share * dy - north_m).min())


def test_a_parked_mover_stays_and_one_that_is_sent_elsewhere_turns(streets: Streets, routes: Routes) -> None:
    traffic = Traffic(streets, routes, movers=2, rng=np.random.default_rng(3))
    both = np.arange(2)
    start = traffic.whereabouts(both)
    assert traffic.is_parked(0)
    assert len(traffic.step(both, np.full(2, 60.0))) == 0
    assert np.array_equal(traffic.whereabouts(both).lat_deg, start.lat_deg)
    traffic.send(0, 11)
    traffic.step(both, np.full(2, 20.0))
    traffic.send(0, 400)
    for _ in range(2_000):
        if 0 in traffic.step(both, np.full(2, 5.0)):
            break
    assert traffic.is_parked(0)
    assert traffic.junction_ahead(0) == 400


def test_a_mover_is_put_back_where_it_was(streets: Streets, routes: Routes) -> None:
    traffic = Traffic(streets, routes, movers=50, rng=np.random.default_rng(6))
    everybody = np.arange(50)
    before = traffic.whereabouts(everybody)
    other = Traffic(streets, routes, movers=50, rng=np.random.default_rng(7))
    for mover in range(50):
        other.put(mover, float(before.lat_deg[mover]), float(before.lng_deg[mover]))
    after = other.whereabouts(everybody)
    for mover in range(50):
        there = (before.lat_deg[mover], before.lng_deg[mover], after.lat_deg[mover], after.lng_deg[mover])
        assert distance_m(*there) < 0.01


def test_more_destinations_than_there_was_room_for(streets: Streets, routes: Routes) -> None:
    traffic = Traffic(streets, routes, movers=200, rng=np.random.default_rng(4))
    for mover in range(200):
        traffic.send(mover, mover)
    arrived: list[int] = []
    for _ in range(1_500):
        arrived += traffic.step(np.arange(200), np.full(200, 5.0)).tolist()
        if len(arrived) == 200:
            break
    assert sorted(arrived) == list(range(200))
    assert all(traffic.junction_ahead(mover) == mover for mover in range(200))


def test_receivers_err_by_metres_that_wander(streets: Streets, routes: Routes) -> None:
    rng = np.random.default_rng(5)
    traffic = Traffic(streets, routes, movers=500, rng=rng)
    receivers = Receivers(movers=500, rng=rng)
    everybody = np.arange(500)
    true = traffic.whereabouts(everybody)
    errors = []
    for elapsed_s in (1.0, 1.0, 400.0):
        fixes = receivers.fixes(everybody, true, np.full(500, elapsed_s), ts_ms=123)
        errors.append((fixes["lat_e7"] / 1e7 - true.lat_deg) * 111_319)
    assert np.std(errors[0]) == pytest.approx(ERROR_M, rel=0.15)
    assert np.corrcoef(errors[0], errors[1])[0, 1] > 0.9
    assert abs(np.corrcoef(errors[1], errors[2])[0, 1]) < 0.2
    assert set(fixes["ts_ms"].tolist()) == {123}
    assert (fixes["heading_cdeg"] == UNKNOWN_U16).all()
    assert (fixes["accuracy_dm"] < 2_000).all()


def test_projection_there_and_back() -> None:
    projection = Projection(LAT, LNG)
    lat_deg, lng_deg = projection.to_degrees(np.array([1_234.0]), np.array([-987.0]))
    assert projection.to_metres(float(lat_deg[0]), float(lng_deg[0])) == pytest.approx((1_234.0, -987.0))
    assert distance_m(LAT, LNG, float(lat_deg[0]), float(lng_deg[0])) == pytest.approx(
        math.hypot(1_234, 987), rel=0.005
    )
