"""Travel times put a shortlist in another order; what is unknown leaves it as it was."""

import numpy as np
import pytest

from engine.eta.source import EtaMatrix, EtaOutcome
from engine.matcher import kernels
from engine.matcher.ask import Ask
from engine.matcher.cost_policy import CostWeights
from engine.matcher.decision import BEYOND_CAP, Circumstances, decide, ranking_of
from engine.matcher.frame import ALL_READY, Apart, Candidates, build_frame, degrees_of
from engine.matcher.shortlist import Shortlist, columns_of, shortlist_of
from engine.risk.score import Risk

LAT_DEG, LNG_DEG = 41.15, -8.61
NORTH_DEG = np.array([0.001, 0.01, 0.02, 0.03])
CALM = Circumstances("standard@1", Risk(0.0, {}), 12_000, asks_again=False)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    kernels.warm_up()


def listed(*, eta_cap_min: float = 45.0, north_deg: np.ndarray = NORTH_DEG) -> Shortlist:
    """Four workers to the north, the nearest in slot 10."""
    n = len(north_deg)
    candidates = Candidates(
        slots=np.arange(n) * 10 + 10,
        mask=np.full(n, int(ALL_READY) | 1, np.int32),
        lat_deg=LAT_DEG + north_deg,
        lng_deg=np.full(n, LNG_DEG),
        rating=np.full(n, 5.0),
        experience=np.ones(n),
        idle_s=np.full(n, 7_200.0),
        fix_age_s=np.zeros(n),
    )
    weights = CostWeights(eta_cap_min=eta_cap_min)
    frame = build_frame(candidates, origin_lat_deg=LAT_DEG, origin_lng_deg=LNG_DEG, weights=weights)
    return shortlist_of(frame, Ask(LAT_DEG, LNG_DEG, skill_bit=0, risk=0), Apart.nobody(), weights=weights)


def times(minutes: list[float], outcomes: list[EtaOutcome]) -> EtaMatrix:
    seconds = np.array(minutes) * 60
    return EtaMatrix(seconds, seconds, seconds, np.array(outcomes, np.uint8))


def slots(ranking) -> list[int]:
    return [each.slot for each in ranking.ranked]


def test_roads_put_the_nearest_last_who_is_across_the_river():
    arrivals = times([40, 3, 2, 30], [EtaOutcome.ROADS] * 4)
    decision = decide(listed(), arrivals, CALM)
    assert slots(decision.ranking) == [each.slot for each in decision.to_ask] == [30, 20, 40, 10]
    for each in decision.ranking.ranked:
        assert sum(each.terms.values()) == pytest.approx(each.cost_min, abs=1e-3)
        assert each.eta_by is EtaOutcome.ROADS
    assert [each.eta_s for each in decision.to_ask] == [120, 180, 1800, 2400]


@pytest.mark.parametrize("outcome", [EtaOutcome.GRAPH_MISSING, EtaOutcome.ROUTER_DOWN, EtaOutcome.NO_ROUTE])
def test_a_source_that_is_down_leaves_the_straight_line_and_its_name(outcome: EtaOutcome):
    decision = decide(listed(), times([40, 3, 2, 1], [outcome] * 4), CALM)
    straight = ranking_of(listed())
    assert [(each.slot, each.cost_min, each.eta_s) for each in decision.ranking.ranked] == [
        (each.slot, each.cost_min, each.eta_s) for each in straight.ranked
    ]
    assert {each.eta_by for each in decision.ranking.ranked} == {outcome}


def test_one_place_off_the_graph_is_compared_by_the_straight_line():
    outcomes = [EtaOutcome.ROADS, EtaOutcome.OFF_GRAPH, EtaOutcome.ROADS, EtaOutcome.ROADS]
    ranking = ranking_of(listed(), times([40, 0, 30, 35], outcomes))
    straight = {each.slot: each for each in ranking_of(listed()).ranked}
    assert slots(ranking) == [20, 30, 40, 10]
    assert ranking.ranked[0].eta_s == straight[20].eta_s


def test_nobody_is_asked_who_would_need_longer_than_the_service_allows():
    arrivals = times([40, 21, 19.9, 50], [EtaOutcome.ROADS] * 4)
    decision = decide(listed(eta_cap_min=20), arrivals, CALM)
    assert [each.slot for each in decision.to_ask] == [30]
    assert decision.ranking.ruled_out == {BEYOND_CAP: 3}


def test_all_beyond_the_cap_is_nobody_with_the_rule_that_says_why():
    decision = decide(listed(eta_cap_min=1), times([2, 2, 2, 2], [EtaOutcome.ROADS] * 4), CALM)
    assert decision.to_ask == ()
    assert decision.ranking.ruled_out == {BEYOND_CAP: 4}


def test_of_equal_costs_the_lower_slot_is_asked():
    shortlist = listed(north_deg=np.full(4, 0.01))
    for arrivals in (None, times([30] * 4, [EtaOutcome.ROADS] * 4)):
        assert slots(ranking_of(shortlist, arrivals)) == [10, 20, 30, 40]


def test_the_source_is_asked_for_the_places_where_workers_are():
    columns = columns_of([listed()])
    lat_deg, lng_deg = degrees_of(columns.places_km, columns.origin_deg)
    assert lat_deg == pytest.approx(LAT_DEG + NORTH_DEG, abs=1e-7)
    assert lng_deg == pytest.approx(np.full(4, LNG_DEG), abs=1e-7)
