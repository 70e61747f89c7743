"""`make bench-eta`: travel times over roads beside Dijkstra and other routers, label sizes, and real trips."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import Progress
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from bench.eta.calibration import calibration_rows
from bench.eta.cities import made_city
from bench.eta.trips import open_data
from bench.report import Row, exit_code, less_is_better, save, show
from engine.eta.hub_labels import label
from engine.eta.hub_order import importance_order
from engine.eta.road_graph import RoadGraph, assemble
from engine.eta.road_snap import snap_grid
from engine.eta.road_times import RoadIndex, RoadTimes
from engine.eta.street_files import read_csv

WORKERS: Final = 50
OFF_ROAD_DEG: Final = 2e-4
OSRM_RECORDED_US: Final = 7_100.0
PANDANA_RECORDED_US: Final = 2_900.0
QUERY_US_MAX: Final = 100.0
DIJKSTRA_OFF_MS_MAX: Final = 1_000
SIZES: Final = (5_000, 20_000, 100_000)
HUGE: Final = 300_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench.eta", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="junctions of made cities")
    parser.add_argument("--huge", action="store_true", help=f"also {HUGE:,} junctions: minutes and some GB")
    parser.add_argument("--rounds", type=int, default=2_000, help="questions of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    random = np.random.default_rng(options.seed)
    rows = list(_query_rows(random, options.rounds))
    for size in [*options.sizes, *([HUGE] if options.huge else [])]:
        rows += _size_rows(size, options.seed, console)
    rows += calibration_rows(open_data())
    show("Travel times", rows, console)
    console.print(f"written to {save('eta', rows)}")
    return exit_code(rows)


def _query_rows(random: np.random.Generator, rounds: int) -> Iterator[Row]:
    name, graph = _city()
    times = RoadTimes(RoadIndex(graph, label(graph, importance_order(graph)), snap_grid(graph)))
    lat, lng = graph.node_lat_e7 / 1e7, graph.node_lng_e7 / 1e7
    backwards = _fastest(graph).T.tocsr()
    times.warm_up()
    questions = [
        (sources, int(random.integers(graph.nodes)), *random.normal(0, OFF_ROAD_DEG, (2, WORKERS)))
        for sources in random.integers(0, graph.nodes, (rounds, WORKERS))
    ]
    ours_us = _median_us(
        lambda at: times.milliseconds(
            lat[questions[at][0]] + questions[at][2],
            lng[questions[at][0]] + questions[at][3],
            lat[questions[at][1]],
            lng[questions[at][1]],
        ),
        rounds,
    )
    again = questions[0]
    known_us = _median_us(
        lambda at: times.milliseconds(
            lat[again[0]] + again[2], lng[again[0]] + again[3], lat[questions[at][1]], lng[questions[at][1]]
        ),
        rounds,
    )
    searches = max(rounds // 20, 1)
    scipy_us = _median_us(lambda at: dijkstra(backwards, indices=questions[at][1]), searches)
    off_ms = 0.0
    for sources, target, _, _ in questions[:200]:
        found = times.milliseconds(lat[sources], lng[sources], lat[target], lng[target])
        off_ms = max(off_ms, float(np.abs(found - dijkstra(backwards, indices=target)[sources]).max()))
    what, is_right = f"{name}: {WORKERS} workers to 1 booking, snapped", off_ms < DIJKSTRA_OFF_MS_MAX
    anchors = [
        (scipy_us, "scipy Dijkstra, run beside it, no snapping"),
        (PANDANA_RECORDED_US, "pandana, recorded elsewhere on 5,467 junctions"),
        (OSRM_RECORDED_US, "osrm-routed over HTTP, recorded elsewhere on 5,467 junctions"),
    ]
    for anchor_us, told in anchors:
        yield less_is_better(what, ours_us, anchor_us, anchor_name=told, unit="us", most=QUERY_US_MAX, gate=is_right)
    yield less_is_better(
        f"{name}: the same where the {WORKERS} stand still",
        known_us,
        ours_us,
        anchor_name="all at new places, snapped",
        unit="us",
    )


def _size_rows(size: int, seed: int, console: Console) -> Iterator[Row]:
    graph = made_city(size, seed)
    console.print(f"{graph.nodes:,} junctions, {graph.edges:,} edges")
    began = time.perf_counter()
    with Progress(console=console, transient=True) as bars:
        bar = bars.add_task("labelling", total=graph.nodes)
        labels = label(graph, importance_order(graph, seed=seed), lambda done: bars.update(bar, completed=done))
    seconds = time.perf_counter() - began
    all_pairs = 4.0 * graph.nodes**2
    name = f"made city, {graph.nodes:,} junctions"
    yield less_is_better(
        f"{name}: labels", labels.bytes / 1e6, all_pairs / 1e6, anchor_name="a table of all pairs, counted", unit="MB"
    )
    yield Row(f"{name}: hubs of a junction", labels.mean_length, None, "", "hubs", None, "", None, None)
    yield Row(f"{name}: build", seconds, None, "", "s", None, "", None, None)


def _city() -> tuple[str, RoadGraph]:
    folder = open_data() / "roads"
    nodes = folder / "munich_nodes.csv.gz"
    if nodes.exists():
        return "Munich", assemble(read_csv(nodes, folder / "munich_edges.csv.gz"))
    return "made city", made_city(SIZES[0])


def _fastest(graph: RoadGraph) -> csr_matrix:
    """Return the graph for scipy, which would add parallel edges up: the fastest of each counts."""
    order = np.lexsort((-graph.edge_ms, graph.edge_to, graph.edge_from))
    fastest = {(graph.edge_from[e], graph.edge_to[e]): max(float(graph.edge_ms[e]), 1e-9) for e in order.tolist()}
    ends = np.array(list(fastest)).T
    return csr_matrix((list(fastest.values()), (ends[0], ends[1])), shape=(graph.nodes, graph.nodes))


def _median_us(ask: Callable[[int], object], rounds: int) -> float:
    taken = []
    for at in range(rounds):
        began = time.perf_counter()
        ask(at)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) * 1e6


if __name__ == "__main__":
    sys.exit(main())
