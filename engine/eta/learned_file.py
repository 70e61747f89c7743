"""Learned times on disk (JSON), and the table of trips that they are learned from."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import orjson

from engine.core.units import MS_PER_S
from engine.eta.learned_times import BAND_EDGES_S, DAY_PARTS, EFFECTS, Effect, LearnedTimes, Trips, learn
from engine.eta.road_source import BASE_S_MIN
from engine.eta.road_times import OFF_GRAPH_MS, RoadTimes
from engine.eta.source import Floats
from engine.eta.trip_cells import coarse_cells, hour_of_week

VERSION: Final = 1
TRIPS_MIN: Final = 50
"""Fewer teach nothing that would hold tomorrow."""
SECONDS: Final = (60, 7_200)
"""Shorter or longer trips are records of something else."""


class LearnedFileError(Exception):
    """A file of trips or of learned times cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a table of trips taught."""

    learned: LearnedTimes
    used: int
    passed_over: int


def write(learned: LearnedTimes, path: Path) -> None:
    """Write what was learned, at once."""
    told = {
        "version": VERSION,
        "trips": learned.trips,
        "city": learned.city,
        "effects": [[effect.key.tolist(), effect.log_ratio.tolist()] for effect in learned.effects],
        "low": learned.low.tolist(),
        "high": learned.high.tolist(),
    }
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(orjson.dumps(told))
    partial.replace(path)


def read(path: Path) -> LearnedTimes:
    """Return what a file says.

    Raises:
        LearnedFileError: It is not there, of another version, or not whole.
    """
    try:
        told = orjson.loads(path.read_bytes())
        _check_version(told)
        effects = tuple(Effect(np.array(key, np.int64), np.array(ratio, np.float64)) for key, ratio in told["effects"])
        low, high = _ratios(told["low"]), _ratios(told["high"])
        return LearnedTimes(float(told["city"]), effects, low, high, int(told["trips"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise LearnedFileError(f"{path}: {error}: make it again with `clenzy roads learn`") from error


def learned_of(path: Path, times: RoadTimes, zone: ZoneInfo) -> Lesson:
    """Return what the trips of a CSV teach: `begin_ms,from_lat,from_lng,to_lat,to_lng,seconds`, one a row.

    Raises:
        LearnedFileError: A column is missing, a number is none, or too few trips lie on the roads.
    """
    try:
        with path.open() as file:
            names = ("begin_ms", "from_lat", "from_lng", "to_lat", "to_lng", "seconds")
            rows = np.array([[float(row[name]) for name in names] for row in csv.DictReader(file)]).reshape(-1, 6)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise LearnedFileError(f"{path}: {error!r}") from error
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    base_ms = _base_ms(times, rows)
    is_used = (base_ms != OFF_GRAPH_MS) & (rows[:, 5] >= SECONDS[0]) & (rows[:, 5] <= SECONDS[1])
    rows, base_s = rows[is_used], np.maximum(base_ms[is_used] / MS_PER_S, BASE_S_MIN)
    if len(rows) < TRIPS_MIN:
        raise LearnedFileError(f"{path}: {len(rows)} usable trips, at least {TRIPS_MIN} are needed")
    hours = np.array([hour_of_week(int(begin), zone) for begin in rows[:, 0]], np.int64)
    trips = Trips(base_s, hours, coarse_cells(rows[:, 1], rows[:, 2]), coarse_cells(rows[:, 3], rows[:, 4]))
    return Lesson(learn(trips, rows[:, 5]), len(rows), int((~is_used).sum()))


def _base_ms(times: RoadTimes, rows: Floats) -> Floats:
    return np.concatenate([times.milliseconds(row[1:2], row[2:3], row[3], row[4]) for row in rows] or [np.empty(0)])


def _check_version(told: dict[str, Any]) -> None:
    if told["version"] != VERSION or len(told["effects"]) != len(EFFECTS):
        raise ValueError(f"version {told['version']}, this build reads {VERSION}")


def _ratios(rows: Any) -> Floats:  # noqa: ANN401 - JSON
    ratios = np.array(rows, np.float64)
    if ratios.shape != (len(BAND_EDGES_S) + 1, DAY_PARTS) or not (ratios > 0).all():
        raise ValueError("the interval's table is not whole")
    return ratios
