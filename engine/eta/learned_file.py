"""Learned times on disk (JSON), and the table of trips that they are learned from."""

import csv
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import orjson

from engine.core.units import MS_PER_S
from engine.eta.learned_times import BAND_EDGES_S, DAY_PARTS, LearnedTimes, learn
from engine.eta.road_source import BASE_S_MIN
from engine.eta.road_times import OFF_GRAPH_MS, RoadTimes
from engine.eta.source import Floats
from engine.eta.trip_cells import coarse_cells, hour_of_week
from engine.eta.trip_effects import LENGTHS, WEEK_HOURS, TripEffects, Trips
from engine.eta.trip_table import TripTable

VERSION: Final = 2
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
        "effects": asdict(learned.effects),
        "low": learned.low,
        "high": learned.high,
    }
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY))
    partial.replace(path)


def read(path: Path) -> LearnedTimes:
    """Return what a file says.

    Raises:
        LearnedFileError: It is not there, of another version, or not whole.
    """
    try:
        told = orjson.loads(path.read_bytes())
        _check_version(told)
        return LearnedTimes(_effects(told), _ratios(told["low"]), _ratios(told["high"]), int(told["trips"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise LearnedFileError(f"{path}: {error}: make it again with `clenzy roads learn`") from error


def read_trips(path: Path) -> TripTable:
    """Return the trips of a CSV: `begin_ms,from_lat,from_lng,to_lat,to_lng,seconds`, one a row.

    Raises:
        LearnedFileError: A column is missing, or a number is none.
    """
    try:
        with path.open() as file:
            names = ("begin_ms", "from_lat", "from_lng", "to_lat", "to_lng", "seconds")
            rows = np.array([[float(row[name]) for name in names] for row in csv.DictReader(file)]).reshape(-1, 6)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise LearnedFileError(f"{path}: {error!r}") from error
    return TripTable.of(rows)


def learned_of(
    table: TripTable, times: RoadTimes, zone: ZoneInfo, progress: Callable[[int], None] = lambda _done: None
) -> Lesson:
    """Return what trips teach; `progress` is told how many of them were looked up on the roads.

    Raises:
        LearnedFileError: Too few of them lie on the roads.
    """
    base_ms = _base_ms(times, table, progress)
    is_used = (base_ms != OFF_GRAPH_MS) & (table.seconds >= SECONDS[0]) & (table.seconds <= SECONDS[1])
    used, base_s = table.chosen(is_used), np.maximum(base_ms[is_used] / MS_PER_S, BASE_S_MIN)
    if len(used) < TRIPS_MIN:
        raise LearnedFileError(f"{len(used)} usable trips, at least {TRIPS_MIN} are needed")
    begin = coarse_cells(used.from_lat_deg, used.from_lng_deg)
    end = coarse_cells(used.to_lat_deg, used.to_lng_deg)
    trips = Trips(base_s, used.hours(partial(hour_of_week, zone=zone)), begin, end)
    return Lesson(learn(trips, used.seconds), len(used), int((~is_used).sum()))


def _base_ms(times: RoadTimes, table: TripTable, progress: Callable[[int], None]) -> Floats:
    base_ms = np.empty(len(table))
    for row, goal in enumerate(zip(table.to_lat_deg.tolist(), table.to_lng_deg.tolist(), strict=True)):
        here = slice(row, row + 1)
        base_ms[here] = times.milliseconds(table.from_lat_deg[here], table.from_lng_deg[here], *goal)
        progress(row + 1)
    return base_ms


def _check_version(told: dict[str, Any]) -> None:
    if told["version"] != VERSION:
        raise ValueError(f"version {told['version']}, this build reads {VERSION}")


def _effects(told: dict[str, Any]) -> TripEffects:
    of = told["effects"]
    cells, wide_cells = (np.array(of[name], np.int64) for name in ("cells", "wide_cells"))
    near, wide = len(cells) + 1, len(wide_cells) + 1
    shapes = {
        "length_hour": (LENGTHS, WEEK_HOURS),
        "begin": (near,),
        "end": (near,),
        "pair": (wide, wide),
        "begin_hour": (wide, WEEK_HOURS),
        "end_hour": (wide, WEEK_HOURS),
    }
    tables = {name: np.array(of[name], np.float64) for name in shapes}
    if any(tables[name].shape != shape for name, shape in shapes.items()):
        raise ValueError("a table is not whole")
    if any((np.diff(each) <= 0).any() for each in (cells, wide_cells)):
        raise ValueError("its cells do not ascend")
    return TripEffects(float(of["city"]), cells, wide_cells, **tables)


def _ratios(rows: Any) -> Floats:  # noqa: ANN401 - JSON
    ratios = np.array(rows, np.float64)
    if ratios.shape != (len(BAND_EDGES_S) + 1, DAY_PARTS) or not (ratios > 0).all():
        raise ValueError("the interval's table is not whole")
    return ratios
