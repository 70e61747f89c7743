import dataclasses
from collections import Counter

import numpy as np
import pytest

from bench.fleet import DATA
from bench.matcher import online_tasks, technicians
from bench.matcher.city import Scenario
from bench.matcher.online_tasks import Arrival
from bench.matcher.quality import as_shipped, gini, nearest, planned
from bench.matcher.technicians import Request, Technician

ORDERS = sorted((DATA / "tasks" / "gmission").glob("data_*.txt"))
INSTANCES = sorted((DATA / "tasks" / "technicians").glob("*.xml.gz"))
ARRIVALS = 500
"""Of each order; all of it is a row of the bench."""


def test_the_window_keeps_a_worker_for_the_better_task_that_comes_later() -> None:
    worker = Arrival(is_worker=True, x=0, y=0, stays=2, value=1.0, radius=1.0)
    poor, rich = (Arrival(is_worker=False, x=0, y=0, stays=2, value=pay) for pay in (1.0, 9.0))
    too_far = dataclasses.replace(rich, x=2.0)
    assert online_tasks.greedy([worker, poor, rich]) == 1.0
    assert online_tasks.window([worker, poor, rich]) == 9.0
    assert online_tasks.window([worker, poor, too_far]) == 1.0
    assert online_tasks.window([dataclasses.replace(worker, stays=0), poor, rich]) == 0.0


@pytest.mark.skipif(not ORDERS, reason=f"needs gMission's orders below {DATA} (set CLENZY_DATA)")
@pytest.mark.parametrize("path", ORDERS, ids=lambda path: path.stem)
def test_gmission_utility_is_at_least_greedy(path) -> None:
    order = [dataclasses.replace(each, stays=60) for each in online_tasks.read_order(path)[:ARRIVALS]]
    assert online_tasks.window(order) >= online_tasks.greedy(order) > 0


@pytest.mark.skipif(not INSTANCES, reason=f"needs the technician instances below {DATA} (set CLENZY_DATA)")
@pytest.mark.parametrize("path", INSTANCES, ids=lambda path: path.name[:4])
def test_technicians_break_no_rule_and_serve_at_least_what_greedy_serves(path) -> None:
    solomon = DATA / "tasks" / "solomon" / f"{path.name[:4]}.txt"
    requests = technicians.read_requests(path, solomon if solomon.exists() else None)
    assert any(each.released > 0 for each in requests)
    teams = {planner: technicians.read_team(path) for planner in (technicians.window, technicians.greedy)}
    served = {planner: technicians.run_day(team, requests, planner) for planner, team in teams.items()}
    assert [technicians.violations(team) for team in teams.values()] == [[], []]
    assert served[technicians.window] >= served[technicians.greedy] > 0


def visit(number: int, **more: object) -> Request:
    plain = Request(number, (3.0, 4.0), 0.0, 50.0, 10.0, 1, frozenset({0}), Counter({5: 1}), 0.0)
    return dataclasses.replace(plain, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("visits", "rule"),
    [
        ([(visit(1, skill=2), 0, 5)], "skill"),
        ([(visit(1, tools=frozenset({1})), 0, 5)], "tools"),
        ([(visit(1, parts=Counter({5: 2})), 0, 5)], "parts"),
        ([(visit(1, released=1.0), 0, 5)], "used before its release"),
        ([(visit(1, closes=4.0), 0, 5)], "window"),
        ([(visit(1), 0, 4)], "two places at once"),
        ([(visit(1, parts=Counter()), 0, 5), (visit(1), 15, 15)], "twice"),
        ([(visit(1, closes=99.0), 90, 95)], "day's end"),
    ],
)
def test_every_broken_rule_is_seen(visits: list[tuple[Request, float, float]], rule: str) -> None:
    technician = Technician((0.0, 0.0), frozenset({1}), frozenset({0}), Counter({5: 1}), 100.0, fixed=visits)
    (complaint,) = technicians.violations([technician])
    assert rule in complaint
    honest = dataclasses.replace(technician, fixed=[(visit(1), 0, 5)])
    assert technicians.violations([honest]) == []


def test_a_small_city_gains_by_windows() -> None:
    scenario = Scenario(workers=150, hours=1.75, load=1.15, seed=3)
    ours, theirs = planned(scenario), nearest(scenario)
    assert ours.empty_km < 0.85 * theirs.empty_km
    assert ours.served_pct > theirs.served_pct - 2
    assert planned(scenario) == ours
    assert as_shipped(scenario) != ours, "customers who are told nothing give up"


def test_gini() -> None:
    assert gini(np.array([2.0, 2.0])) == 0
    assert gini(np.array([0.0, 0.0, 0.0, 8.0])) == pytest.approx(0.75)
    assert gini(np.zeros(3)) == 0
