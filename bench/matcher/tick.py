"""A whole tick: workers move, 1,000 open bookings find their candidates, are priced by road, and are given out exactly.

Ours is the product's own path: kept frame, kernel, near losers for the record, hub labels with learned times, exact
solver, decisions. The anchor is how one would write it with NumPy and scipy: all costs as one matrix from a distance
matrix of the straight line (no roads at all), the 30 cheapest of each row, `linear_sum_assignment`.
"""

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis
from scipy.optimize import linear_sum_assignment

from bench.eta.cities import made_city
from bench.report import Row, less_is_better
from config.limits import GC_OBJECTS
from engine.core.clock import SystemClock
from engine.core.ids import BookingId, OrgId, PersonId, WorkerSlot
from engine.core.units import DEG_E7, MS_PER_S
from engine.eta.hub_labels import label
from engine.eta.hub_order import importance_order
from engine.eta.learned_times import LearnedTimes, learn
from engine.eta.road_graph import RoadGraph
from engine.eta.road_snap import snap_grid
from engine.eta.road_source import BASE_S_MIN, RoadSource
from engine.eta.road_times import RoadIndex, RoadTimes
from engine.eta.source import EtaSource, Question
from engine.eta.trip_cells import trips_of
from engine.eta.trip_effects import WEEK_HOURS
from engine.eta.trip_places import places_of
from engine.geo import mirror
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cells_of
from engine.geo.fixes import RECORD, RecordArray
from engine.geo.mirror import Mirror
from engine.matcher import decision
from engine.matcher.ask import Wants
from engine.matcher.assignment import sparse
from engine.matcher.candidate_search import CandidateSearch
from engine.matcher.chooser import Chooser, Job
from engine.matcher.cost_policy import DEFAULT_WEIGHTS as W
from engine.matcher.decision import Decision
from engine.matcher.dispatch_store import Claim
from engine.matcher.finishing import Soon
from engine.matcher.frame import KM_PER_DEG, MIN_PER_ROOT_KM, STARS_MAX
from engine.matcher.live_frame import LiveFrames
from engine.matcher.offer_policy import DEFAULT_OFFER_POLICY
from engine.matcher.offers import next_round
from engine.matcher.worker_table import WorkerRow, WorkerStatus, WorkerTable
from engine.risk.surface import NEUTRAL
from ops.garbage import collect_seldom

BOOKINGS: Final = 1_000
WORKERS: Final = 3_000
JUNCTIONS: Final = 5_000
TICKS: Final = 40
MOVED: Final = 300
"""Workers who have moved since the tick before: each sends a fix in some ten seconds."""
TICK_MS_MAX: Final = 100.0
MONDAY_NOON: Final = 12
GOALS: Final = 2_000
TRIPS_PER_GOAL: Final = 10
MATRIX_CANDIDATES: Final = 30
ORG: Final = OrgId(UUID(int=1))
LIMIT: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Tick:
    """What one took, what the anchor took of the same bookings, and whether its plan is right."""

    ms: float
    anchor_ms: float
    is_right: bool


def tick_rows(random: np.random.Generator) -> list[Row]:
    """Return the row of the tick's 99th percentile; a dearer plan than scipy's, or a worker given twice, fails it."""
    decision.warm_up()
    mirror.warm_up()
    sparse.warm_up()
    graph = made_city(JUNCTIONS)
    collect_seldom(GC_OBJECTS)  # as every process of the product does
    ticks = asyncio.run(_ticks(graph, random))
    ours = np.array([tick.ms for tick in ticks])
    print(f"  tick: p50 {np.percentile(ours, 50):.1f} ms, p99 {np.percentile(ours, 99):.1f} ms of {len(ours)}")
    return [
        less_is_better(
            f"tick: {BOOKINGS:,} bookings x {WORKERS:,} workers, p99",
            float(np.percentile(ours, 99)),
            float(np.percentile([tick.anchor_ms for tick in ticks], 99)),
            anchor_name="NumPy + scipy linear_sum_assignment by the straight line, same run",
            unit="ms",
            most=TICK_MS_MAX,
            gate=all(tick.is_right for tick in ticks),
        )
    ]


class City:
    """Workers on a road graph as a matcher holds them."""

    def __init__(self, graph: RoadGraph, random: np.random.Generator) -> None:
        self.graph = graph
        self.random = random
        self.table, self.mirror = WorkerTable(), Mirror()
        self.frames = LiveFrames(self.table, self.mirror)
        rows = [
            WorkerRow(
                slot=WorkerSlot(slot), worker_id=PersonId(uuid4()), org_id=ORG, skills=1, status=WorkerStatus.FREE,
                is_held=False, rating=float(random.uniform(3, 5)), experience=1.0, idle_since_ms=1,
            )
            for slot in range(WORKERS)
        ]  # fmt: skip
        self.ratings = np.array([row.rating for row in rows])
        self.table.apply(rows)
        self.node = random.integers(0, graph.nodes, WORKERS)

    def move(self, slots: NDArray[np.int64], now_ms: int) -> None:
        """Let these workers be heard from another junction."""
        self.node[slots] = self.random.integers(0, self.graph.nodes, len(slots))
        records = self._records(slots, now_ms)
        self.mirror.moved(slots, records)
        self.frames.moved(slots, records)

    def place(self, nodes: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the degrees of junctions."""
        return self.graph.node_lat_e7[nodes] / DEG_E7, self.graph.node_lng_e7[nodes] / DEG_E7

    def _records(self, slots: NDArray[np.int64], now_ms: int) -> RecordArray:
        found = np.zeros(len(slots), RECORD)
        nodes = self.node[slots]
        found["ts_ms"] = now_ms
        found["lat_e7"], found["lng_e7"] = self.graph.node_lat_e7[nodes], self.graph.node_lng_e7[nodes]
        found["cell"] = cells_of(found["lat_e7"], found["lng_e7"])
        return found


def roads(graph: RoadGraph, random: np.random.Generator) -> EtaSource:
    """Return the product's source over this graph, which trips across it have taught."""
    times = RoadTimes(RoadIndex(graph, label(graph, importance_order(graph)), snap_grid(graph)))
    times.warm_up()
    return RoadSource(times, _learned(graph, times, random), lambda _: MONDAY_NOON)


def _learned(graph: RoadGraph, times: RoadTimes, random: np.random.Generator) -> LearnedTimes:
    """Return what made trips teach, from `TRIPS_PER_GOAL` junctions to each goal at any hour."""
    lat_deg, lng_deg = graph.node_lat_e7 / DEG_E7, graph.node_lng_e7 / DEG_E7
    begin = random.integers(0, graph.nodes, (GOALS, TRIPS_PER_GOAL))
    goals = random.integers(0, graph.nodes, GOALS).tolist()
    places = places_of(
        [
            Question(lat_deg[some], lng_deg[some], lat_deg[to], lng_deg[to])
            for some, to in zip(begin, goals, strict=True)
        ]
    )
    trips = trips_of(np.maximum(times.of_trips(places) / MS_PER_S, BASE_S_MIN), places, MONDAY_NOON)
    trips = replace(trips, hour=random.integers(0, WEEK_HOURS, len(trips.base_s)))
    return learn(trips, trips.base_s * np.exp(random.normal(0.2, 0.4, len(trips.base_s))))


async def _ticks(graph: RoadGraph, random: np.random.Generator) -> list[Tick]:
    ticks: list[Tick] = []
    clock, city = SystemClock(), City(graph, random)
    chooser = Chooser(eta=roads(graph, random), clock=clock, surface=NEUTRAL)
    redis: Redis = Redis.from_url("redis://127.0.0.1:1")  # never asked: the kept frame answers
    search = CandidateSearch(CellIndex(redis), city.table, clock=clock, fix_clock=clock, frames=city.frames)
    city.move(np.arange(WORKERS), clock.now_ms())
    for number in range(TICKS + 2):
        pins = random.integers(0, graph.nodes, BOOKINGS)
        jobs = _jobs(city, pins, search, clock)
        began_ns = time.perf_counter_ns()
        city.move(np.sort(random.choice(WORKERS, MOVED, replace=False)), clock.now_ms())
        opened = await chooser.seen(jobs, Soon.nobody())
        decisions = await chooser.together(opened, Soon.nobody(), window_ms=0)
        took_ms = (time.perf_counter_ns() - began_ns) / 1e6
        if number >= 2:  # noqa: PLR2004 - the first ones touch new memory
            ticks.append(Tick(took_ms, _anchor_ms(city, pins), _is_right(decisions)))
    await redis.aclose()
    return ticks


def _jobs(city: City, pins: NDArray[np.int64], search: CandidateSearch, clock: SystemClock) -> list[Job]:
    now_ms = clock.now_ms()
    lats, lngs = city.place(pins)
    return [
        Job(
            claim=Claim(
                booking_id=BookingId(uuid4()), org_id=ORG, version=1, fence=1, created_at_ms=now_ms,
                search_until_ms=now_ms + 60_000, tz="Europe/Berlin", skill_bit=0, lat_deg=lat, lng_deg=lng,
                is_held=False,
            ),
            past=[],
            asking=next_round(DEFAULT_OFFER_POLICY, []),
            wants=Wants(duration_min=60),
            search=search,
            started_ns=clock.steady_ns(),
        )
        for lat, lng in zip(lats.tolist(), lngs.tolist(), strict=True)
    ]  # fmt: skip


def _anchor_ms(city: City, pins: NDArray[np.int64]) -> float:
    began_ns = time.perf_counter_ns()
    (lat, lng), (to_lat, to_lng) = city.place(city.node), city.place(pins)
    north_km = (lat[None, :] - to_lat[:, None]) * KM_PER_DEG
    east_km = (lng[None, :] - to_lng[:, None]) * KM_PER_DEG * np.cos(np.radians(to_lat))[:, None]
    cost = MIN_PER_ROOT_KM * np.sqrt(np.hypot(north_km, east_km))
    cost += W.rating_min_per_star * (STARS_MAX - city.ratings)
    far = np.argpartition(cost, MATRIX_CANDIDATES, axis=1)[:, MATRIX_CANDIDATES:]
    np.put_along_axis(cost, far, LIMIT**-1, axis=1)
    linear_sum_assignment(cost)
    return (time.perf_counter_ns() - began_ns) / 1e6


def _is_right(decisions: list[Decision]) -> bool:
    """Return whether nobody was given twice and the plan is scipy's to the last cent."""
    problem, plan = decisions[0].share.problem, decisions[0].share.plan
    assert problem is not None
    assert plan is not None
    given_out = [each.to_ask[0].slot for each in decisions if each.to_ask]
    bookings, workers = len(decisions), problem.workers.count
    cost = np.full((bookings, workers + bookings), 1 / LIMIT)
    seat = np.repeat(np.arange(bookings), np.diff(problem.candidates.start))
    cost[seat, problem.candidates.worker] = problem.candidates.cost_min
    cost[np.arange(bookings), workers + np.arange(bookings)] = problem.seats.unassigned_min
    best = cost[linear_sum_assignment(cost)].sum()
    return len(set(given_out)) == len(given_out) and abs(plan.total_min - best) <= LIMIT * best
