"""Many questions at once are answered as each by itself, to the bit, however often a place is asked about."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.eta.cities import made_city
from engine.core.units import DEG_E7
from engine.eta.hub_labels import label
from engine.eta.hub_order import importance_order
from engine.eta.learned_times import LearnedTimes, learn
from engine.eta.road_snap import snap_grid
from engine.eta.road_source import RoadSource
from engine.eta.road_times import RoadIndex, RoadTimes
from engine.eta.source import EtaOutcome, Floats, Question, Questions
from engine.eta.trip_cells import trips_of
from engine.eta.trip_places import places_of

AT_MS = 1_700_000_000_000
HOUR = 12


@pytest.fixture(scope="module")
def times() -> RoadTimes:
    graph = made_city(200)
    return RoadTimes(RoadIndex(graph, label(graph, importance_order(graph)), snap_grid(graph)))


def questions_of(times: RoadTimes, seed: int, counts: list[int]) -> list[Question]:
    """Questions about few places, so that they meet again; some of these lie far from every road."""
    random, graph = np.random.default_rng(seed), times.index.graph
    nodes = random.integers(0, graph.nodes, 12)
    lat, lng = graph.node_lat_e7[nodes] / DEG_E7, graph.node_lng_e7[nodes] / DEG_E7
    lat[:2] += 1.0
    lng[2:6] = np.nextafter(lng[2:6], 180.0)
    asked = [(random.integers(0, 12, count), int(random.integers(0, 12))) for count in counts]
    return [Question(lat[begin], lng[begin], float(lat[end]), float(lng[end])) for begin, end in asked]


def learned(times: RoadTimes) -> LearnedTimes:
    """What some trips between these places teach."""
    random = np.random.default_rng(1)
    counts = [40] * 5
    base_s = random.uniform(30, 900, sum(counts))
    known = trips_of(base_s, places_of(questions_of(times, 1, counts)), HOUR)
    return learn(known, base_s * random.uniform(0.5, 2, sum(counts)))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 9), min_size=1, max_size=7))
async def test_answers_are_those_of_each_question(times: RoadTimes, seed: int, counts: list[int]) -> None:
    questions = questions_of(times, seed, counts)
    source = RoadSource(times, learned(times), lambda _: HOUR)
    asked = Questions.of(questions)
    together = await source.answers(asked, at_ms=AT_MS)
    assert len(together) == len(asked) == len(questions)
    for question, same in zip(questions, [*asked[:-1], asked[-1]], strict=True):
        assert (same.to_lat_deg, same.to_lng_deg) == (question.to_lat_deg, question.to_lng_deg)
        assert same.from_lat_deg.tobytes() == question.from_lat_deg.tobytes()
        assert same.from_lng_deg.tobytes() == question.from_lng_deg.tobytes()
    for question, found in zip(questions, together, strict=True):
        (alone,) = await source.answers([question], at_ms=AT_MS)
        for name in ("eta_s", "low_s", "high_s", "outcome"):
            assert getattr(found, name).tobytes() == getattr(alone, name).tobytes()
        assert set(found.outcome.tolist()) <= {EtaOutcome.ROADS, EtaOutcome.OFF_GRAPH}


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 9), min_size=2, max_size=7))
def test_each_place_is_kept_once(times: RoadTimes, seed: int, counts: list[int]) -> None:
    questions = questions_of(times, seed, counts)
    places = places_of(questions)
    assert len(set(zip(places.lat_deg.tolist(), places.lng_deg.tolist(), strict=True))) == len(places.lat_deg)
    for i, question in enumerate(questions):
        here = places.place[places.first[i] : places.first[i + 1]]
        assert places.lat_deg[here].tobytes() == question.from_lat_deg.tobytes()
        assert places.lng_deg[here].tobytes() == question.from_lng_deg.tobytes()
        assert (places.to_lat_deg[i], places.to_lng_deg[i]) == (question.to_lat_deg, question.to_lng_deg)


def test_what_is_kept_of_a_place_is_what_snapping_says(times: RoadTimes) -> None:
    again, (question,) = RoadTimes(times.index), questions_of(times, 5, [9])
    first = again.milliseconds(*_trip(question))
    assert (first == again.milliseconds(*_trip(question))).all()
    moved = Question(np.nextafter(question.from_lat_deg, 90.0), question.from_lng_deg, *_trip(question)[2:])
    assert (again.milliseconds(*_trip(moved)) == RoadTimes(times.index).milliseconds(*_trip(moved))).all()


def _trip(question: Question) -> tuple[Floats, Floats, float, float]:
    return question.from_lat_deg, question.from_lng_deg, question.to_lat_deg, question.to_lng_deg
