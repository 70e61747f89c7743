"""What trips teach: effects that are there are found, few trips move little, intervals hold what they say."""

from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from bench.eta.calibration import calibration_rows, judged
from bench.eta.cities import made_city
from bench.eta.trips import open_data
from engine.eta import learned_file
from engine.eta.breaker import Breaker
from engine.eta.hub_labels import label
from engine.eta.hub_order import importance_order
from engine.eta.learned_file import LearnedFileError
from engine.eta.learned_times import LearnedTimes, learn, unlearned
from engine.eta.road_snap import snap_grid
from engine.eta.road_times import RoadIndex, RoadTimes
from engine.eta.router_wire import RouterAnswerError, RouterKind, seconds_of_answer
from engine.eta.smooth_grids import Axis, Term, bell, smooth_tables
from engine.eta.trip_cells import coarse_cells, hour_of_week
from engine.eta.trip_effects import Trips

RUSH = 8
CELLS = coarse_cells(np.repeat(np.linspace(41.1, 41.2, 3), 3), np.tile(np.linspace(-8.7, -8.5, 3), 3))
SLOW_CELL = CELLS[4]
FAR_OFF = coarse_cells(np.array([48.1, 48.3]), np.array([11.5, 11.7]))


def made_trips(count: int, seed: int, noise: float = 0.2) -> tuple[Trips, np.ndarray]:
    random = np.random.default_rng(seed)
    hour, from_cell, to_cell = (
        random.integers(0, 168, count),
        random.choice(CELLS, count),
        random.choice(CELLS, count),
    )
    trips = Trips(random.uniform(60, 2_400, count), hour, from_cell, to_cell)
    log_ratio = 0.2 + 0.5 * (hour % 24 == RUSH) + 0.4 * (to_cell == SLOW_CELL) + random.normal(0, noise, count)
    return trips, trips.base_s * np.exp(log_ratio)


def test_effects_that_are_there_are_found() -> None:
    learned = learn(*made_trips(6_000, 1))
    told, real_s = made_trips(4_000, 2, noise=0)
    assert np.median(np.abs(learned.seconds(told) / real_s - 1)) < 0.06


def test_the_interval_holds_eight_of_ten_trips_it_never_saw() -> None:
    learned = learn(*made_trips(3_000, 3))
    trips, real_s = made_trips(3_000, 4)
    eta_s = learned.seconds(trips)
    assert judged(real_s, eta_s, *learned.interval(trips, eta_s)).coverage == pytest.approx(0.8, abs=0.03)


def test_tables_are_those_of_the_regression_written_down() -> None:
    random = np.random.default_rng(11)
    apart = np.abs(np.subtract.outer(np.arange(5.0), np.arange(5.0)))
    one, two = (Axis(random.integers(0, 5, 80), bell(apart, reach)) for reach in (1.0, 2.0))
    terms, left, noise = (Term((one,), 0.3), Term((two, one), 0.7)), random.normal(0, 1, 80), 0.5
    matrix = noise * np.eye(80)
    matrix += 0.3 * one.covariance[np.ix_(one.at, one.at)]
    matrix += 0.7 * two.covariance[np.ix_(two.at, two.at)] * one.covariance[np.ix_(one.at, one.at)]
    weights = np.linalg.solve(matrix, left)
    first, second = smooth_tables(terms, left, noise=noise)
    np.testing.assert_allclose(first, 0.3 * one.covariance[:, one.at] @ weights, atol=0.03)
    expected = np.einsum("at,bt,t->ab", two.covariance[:, two.at], one.covariance[:, one.at], 0.7 * weights)
    np.testing.assert_allclose(second, expected, atol=0.03)


def test_what_is_near_a_known_cell_is_known_and_what_is_far_is_not() -> None:
    trips, real_s = made_trips(3_000, 12)
    beside = coarse_cells(np.array([41.158]), np.array([-8.6]))
    assert beside[0] not in CELLS
    learned = learn(trips, real_s)
    base, hour = np.full(1, 600.0), np.array([100])
    slow, near, far = (
        learned.seconds(Trips(base, hour, CELLS[:1], cell))[0] for cell in (CELLS[4:5], beside, FAR_OFF[:1])
    )
    assert far < near < slow


def test_without_trips_the_base_stays() -> None:
    trips, _ = made_trips(50, 5)
    nothing = unlearned()
    np.testing.assert_allclose(nothing.seconds(trips), trips.base_s)
    low_s, high_s = nothing.interval(trips, trips.base_s)
    assert ((low_s < trips.base_s) & (trips.base_s < high_s)).all()


def test_one_strange_trip_in_a_cell_moves_it_little() -> None:
    trips, real_s = made_trips(400, 6)
    strange = Trips(*(np.append(getattr(trips, name), value) for name, value in _strange()))
    learned = learn(strange, np.append(real_s, 60_000.0))
    there = Trips(np.array([600.0]), np.array([30]), FAR_OFF[:1], FAR_OFF[1:])
    elsewhere = Trips(np.array([600.0]), np.array([30]), CELLS[:1], CELLS[1:2])
    assert learned.seconds(there)[0] < 2 * learned.seconds(elsewhere)[0]


def _strange() -> list[tuple[str, float | int]]:
    return [("base_s", 600.0), ("hour", 30), ("from_cell", FAR_OFF[0]), ("to_cell", FAR_OFF[1])]


def test_what_was_learned_comes_back_from_its_file(tmp_path: Path) -> None:
    learned, path = learn(*made_trips(500, 7)), tmp_path / "learned.json"
    learned_file.write(learned, path)
    read = learned_file.read(path)
    trips, _ = made_trips(100, 8)
    np.testing.assert_array_equal(read.seconds(trips), learned.seconds(trips))
    np.testing.assert_array_equal(read.interval(trips, trips.base_s), learned.interval(trips, trips.base_s))
    assert isinstance(read, LearnedTimes)
    for damaged in (b"", b"[]", path.read_bytes()[:-9], path.read_bytes().replace(b'"version":2', b'"version":3')):
        path.write_bytes(damaged)
        with pytest.raises(LearnedFileError, match="clenzy roads learn"):
            learned_file.read(path)


def test_a_table_of_trips_teaches_how_slow_the_roads_are(tmp_path: Path) -> None:
    graph = made_city(100)
    times = RoadTimes(RoadIndex(graph, label(graph, importance_order(graph)), snap_grid(graph)))
    lat, lng = graph.node_lat_e7 / 1e7, graph.node_lng_e7 / 1e7
    random, lines = np.random.default_rng(9), ["begin_ms,from_lat,from_lng,to_lat,to_lng,seconds"]
    for a, b in random.integers(0, graph.nodes, (300, 2)):
        base_s = times.milliseconds(lat[a : a + 1], lng[a : a + 1], lat[b], lng[b])[0] / 1e3
        lines.append(f"{1_372_636_800_000 + 60_000 * a},{lat[a]},{lng[a]},{lat[b]},{lng[b]},{2 * base_s:.1f}")
    path = tmp_path / "trips.csv"
    path.write_text("\n".join(lines))
    lesson = learned_file.learned_of(learned_file.read_trips(path), times, ZoneInfo("Europe/Lisbon"))
    trips = Trips(np.array([100.0]), np.array([3]), FAR_OFF[:1], FAR_OFF[1:])
    assert lesson.learned.seconds(trips)[0] == pytest.approx(200, rel=0.1)
    assert (lesson.used + lesson.passed_over, lesson.learned.trips) == (300, lesson.used)
    path.write_text("\n".join(lines[:20]))
    with pytest.raises(LearnedFileError, match="at least 50"):
        learned_file.learned_of(learned_file.read_trips(path), times, ZoneInfo("UTC"))
    path.write_text("begin_ms\n1\n")
    with pytest.raises(LearnedFileError, match="from_lat"):
        learned_file.learned_of(learned_file.read_trips(path), times, ZoneInfo("UTC"))


def test_hours_are_local() -> None:
    assert hour_of_week(1_372_636_800_000, ZoneInfo("UTC")) == 0  # Monday, 1 July 2013
    assert hour_of_week(1_372_636_800_000, ZoneInfo("Europe/Lisbon")) == 1
    assert hour_of_week(1_372_636_800_000, ZoneInfo("America/Chicago")) == 6 * 24 + 19


def test_a_breaker_lets_one_through_after_its_rest() -> None:
    breaker = Breaker()
    for now_ms in range(3):
        assert breaker.may_ask(now_ms)
        breaker.failed(now_ms)
    assert not breaker.may_ask(10_001)
    assert [breaker.may_ask(10_002), breaker.may_ask(10_003)] == [True, False]
    breaker.answered()
    assert breaker.may_ask(10_004)


@pytest.mark.parametrize("kind", list(RouterKind))
@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'{"code":"Ok","durations":[[1],[2]],"sources_to_targets":[[{"time":1}],[{}]]}']
)
def test_an_answer_of_another_form_is_an_error(kind: RouterKind, body: bytes) -> None:
    with pytest.raises(RouterAnswerError):
        seconds_of_answer(kind, body, 1)


@pytest.mark.skipif(not open_data().exists(), reason="the real trips are not here")
def test_real_trips_come_out_no_worse_than_by_the_straight_line() -> None:
    rows = {row.row: row for row in calibration_rows(open_data())}
    medians = [row for name, row in rows.items() if name.endswith("median error")]
    assert medians
    assert [row.row for row in medians if not row.met] == []
    assert all(row.ours < 1.02 * (row.anchor or 0) for row in medians)
    winkler = [row for name, row in rows.items() if name.endswith("Winkler score")]
    assert all(row.ratio is not None and row.ratio > 1 for row in winkler)
    assert [row.row for row in rows.values() if row.met is False] == []
