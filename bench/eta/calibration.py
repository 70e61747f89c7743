"""Learned times and their intervals beside the straight line's, on real trips that nothing was fitted on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.eta.trips import RealTrips, chicago, porto, porto_roads
from bench.report import Row, less_is_better
from engine.eta.hub_labels import label
from engine.eta.hub_order import importance_order
from engine.eta.learned_times import COVERED, learn
from engine.eta.road_snap import snap_grid
from engine.eta.road_source import BASE_S_MIN
from engine.eta.road_times import OFF_GRAPH_MS, RoadIndex, RoadTimes
from engine.eta.source import Floats
from engine.eta.straight_line import seconds_of, straight_metres
from engine.eta.trip_cells import coarse_cells
from engine.eta.trip_effects import HOURS, WEEK_HOURS, Trips

PORTO_SUMMER_H: Final = 1
ANCHOR: Final = "straight line, global quantiles"
MEDIAN_ERROR_PCT: Final = 26.0
"""Of a straight line on the taxis of Porto, as others measured it; another fit of the same data gives 23 %."""
Split: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]
LATER: Final = 0.7
"""The share of the trips, by time, that is learned from; the later ones are the test."""
WINKLER_SHARE_MAX: Final = 0.9
COVERAGE_OFF_MAX: Final = 0.03
EPOCH_WEEKDAY_H: Final = 3 * HOURS
"""1 January 1970 was a Thursday."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How good times and intervals were on the test's trips."""

    mean_error_s: float
    median_error: float
    coverage: float
    winkler_s: float


def judged(real_s: Floats, eta_s: Floats, low_s: Floats, high_s: Floats) -> Judged:
    """Return the errors; Winkler's score is the interval's length and 2/alpha times what it misses by."""
    missed = np.maximum(low_s - real_s, 0) + np.maximum(real_s - high_s, 0)
    off = np.abs(eta_s - real_s)
    inside = (low_s <= real_s) & (real_s <= high_s)
    winkler = (high_s - low_s) + 2 / (1 - COVERED) * missed
    return Judged(float(off.mean()), float(np.median(off / real_s)), float(inside.mean()), float(winkler.mean()))


def straight_base(trips: RealTrips) -> Floats:
    """Return the straight line's seconds of each trip."""
    rows = range(len(trips.seconds))
    ends = ((trips.from_lat[i : i + 1], trips.from_lng[i : i + 1], trips.to_lat[i], trips.to_lng[i]) for i in rows)
    return np.concatenate([seconds_of(straight_metres(*each)) for each in ends])


def calibration_rows(folder: Path) -> Iterator[Row]:
    """Yield the rows of each file that is there."""
    if (folder / "traces" / "porto_taxis_2013.csv.xz").exists():
        trips = porto(folder)
        halves = np.flatnonzero(trips.who % 2 == 0), np.flatnonzero(trips.who % 2 == 1)
        for name, base in (("straight line", straight_base(trips)), ("roads", _road_base(trips, folder))):
            yield from _rows(f"Porto, {name}, later trips", trips, base, _earlier_and_later(trips), PORTO_SUMMER_H)
            yield from _rows(f"Porto, {name}, other taxis", trips, base, halves, PORTO_SUMMER_H)
    if (folder / "demand" / "chicago_trips_2013_2014.csv.gz").exists():
        trips = chicago(folder)
        yield from _rows(
            "Chicago, straight line, later trips", trips, straight_base(trips), _earlier_and_later(trips), 0
        )


def _earlier_and_later(trips: RealTrips) -> Split:
    end = int(LATER * len(trips.seconds))
    return np.arange(end), np.arange(end, len(trips.seconds))


def _rows(name: str, trips: RealTrips, base_s: Floats, split: Split, zone_h: int) -> Iterator[Row]:
    """Yield how good a fit on the first of `split` is on the second; Winkler's score has a target on later trips."""
    fit, test = split
    hour = (trips.begin_s // 3600 + zone_h + EPOCH_WEEKDAY_H) % WEEK_HOURS
    known = Trips(base_s, hour, coarse_cells(trips.from_lat, trips.from_lng), coarse_cells(trips.to_lat, trips.to_lng))
    learned = learn(known.chosen(fit), trips.seconds[fit])
    eta_s = learned.seconds(known.chosen(test))
    ours = judged(trips.seconds[test], eta_s, *learned.interval(known.chosen(test), eta_s))
    anchor = _global_quantiles(trips, fit, test)
    yield less_is_better(
        f"{name}: median error",
        100 * ours.median_error,
        100 * anchor.median_error,
        unit="%",
        most=max(MEDIAN_ERROR_PCT, round(100 * anchor.median_error, 1)),
        anchor_name=ANCHOR,
    )
    yield less_is_better(f"{name}: mean error", ours.mean_error_s, anchor.mean_error_s, unit="s", anchor_name=ANCHOR)
    yield less_is_better(
        f"{name}: Winkler score",
        ours.winkler_s,
        anchor.winkler_s,
        unit="s",
        most=round(WINKLER_SHARE_MAX * anchor.winkler_s) if "later" in name else None,
        anchor_name=ANCHOR,
    )
    yield less_is_better(
        f"{name}: coverage off {COVERED:.0%} by",
        100 * abs(ours.coverage - COVERED),
        100 * abs(anchor.coverage - COVERED),
        unit="points",
        most=100 * COVERAGE_OFF_MAX,
        anchor_name=ANCHOR,
    )


def _global_quantiles(trips: RealTrips, fit: NDArray[Any], test: NDArray[Any]) -> Judged:
    base_s = straight_base(trips)
    eta_s = base_s * np.median(trips.seconds[fit] / base_s[fit])
    low, high = np.quantile(trips.seconds[fit] / eta_s[fit], [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return judged(trips.seconds[test], eta_s[test], eta_s[test] * low, eta_s[test] * high)


def _road_base(trips: RealTrips, folder: Path) -> Floats:
    """Return the road seconds of each trip; the straight line's where an end is off the roads."""
    graph = porto_roads(folder)
    times = RoadTimes(RoadIndex(graph, label(graph, importance_order(graph)), snap_grid(graph)))
    rows = range(len(trips.seconds))
    ends = ((trips.from_lat[i : i + 1], trips.from_lng[i : i + 1], trips.to_lat[i], trips.to_lng[i]) for i in rows)
    ms = np.concatenate([times.milliseconds(*each) for each in ends])
    return np.where(ms == OFF_GRAPH_MS, straight_base(trips), np.maximum(ms / 1e3, BASE_S_MIN))
