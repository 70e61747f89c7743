"""Real trips from open data, as start, end, begin and seconds; the files are not part of this repository."""

import csv
import gzip
import lzma
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from engine.eta.road_graph import RoadGraph, assemble
from engine.eta.source import Floats
from engine.eta.straight_line import straight_m
from engine.eta.street_files import DirectedEdges, paired

FIX_S: Final = 15
SPEED_MPS_MAX: Final = 45.0
SECONDS: Final = (120, 3_600)
STRAIGHT_M_MIN: Final = 300.0
PORTO_KMH: Final = (90, 70, 48, 42, 36, 30, 26, 24, 20)
"""By the number of the road class in the file, motorways first: a choice; what trips teach scales it."""


def open_data() -> Path:
    """Return the folder of open data: `CLENZY_DATA`, or the one beside the checkout."""
    return Path(os.environ.get("CLENZY_DATA", Path(__file__).parents[3] / "shared" / "data"))


@dataclass(frozen=True, slots=True)
class RealTrips:
    """Trips in the order they began."""

    who: NDArray[np.int64]
    begin_s: NDArray[np.int64]
    from_lat: Floats
    from_lng: Floats
    to_lat: Floats
    to_lng: Floats
    seconds: Floats

    def chosen(self, rows: NDArray[Any]) -> "RealTrips":
        """Return some of the trips."""
        return RealTrips(*(getattr(self, name)[rows] for name in self.__slots__))


def porto(folder: Path) -> RealTrips:
    """Return the whole trips of the taxis: 2-60 minutes, 300 m or more, no jump faster than 45 m/s."""
    return _sorted(list(_porto_rows(folder / "traces" / "porto_taxis_2013.csv.xz")))


def chicago(folder: Path) -> RealTrips:
    """Return the trips with both ends: centroids of areas, whole minutes, local time."""
    return _sorted(list(_chicago_rows(folder / "demand" / "chicago_trips_2013_2014.csv.gz")))


def porto_roads(folder: Path) -> RoadGraph:
    """Return the roads of Porto; two segments meet where they have an end in common."""
    number: dict[tuple[float, float], int] = {}
    tail, head, seconds, metres, shapes = [], [], [], [], []
    with lzma.open(folder / "roads" / "porto_segments.csv.xz", "rt") as file:
        for row in csv.DictReader(file):
            line = [(lat, lng) for lng, lat in orjson.loads(row["coordinates"])]
            tail.append(number.setdefault(line[0], len(number)))
            head.append(number.setdefault(line[-1], len(number)))
            metres.append(float(row["length"]))
            kmh = PORTO_KMH[min(int(float(row["highway"])), len(PORTO_KMH) - 1)]
            seconds.append(metres[-1] / kmh * 3.6)
            shapes.append(line)
    place = np.array(list(number))
    ends = np.array([tail, head], np.int32)
    edges = DirectedEdges(place[:, 0], place[:, 1], ends[0], ends[1], np.array(seconds), np.array(metres), shapes)
    return assemble(paired(edges))


def _sorted(rows: list[tuple[float, ...]]) -> RealTrips:
    rows.sort(key=lambda row: row[1])
    columns = np.array(rows).T
    return RealTrips(columns[0].astype(np.int64), columns[1].astype(np.int64), *columns[2:])


def _porto_rows(path: Path) -> Iterator[tuple[float, ...]]:
    with lzma.open(path, "rt") as file:
        for row in csv.DictReader(file):
            line = orjson.loads(row["POLYLINE"])
            seconds = FIX_S * (len(line) - 1)
            if not SECONDS[0] <= seconds <= SECONDS[1]:
                continue
            steps = [straight_m(a[1], a[0], b[1], b[0]) for a, b in pairwise(line)]
            (from_lng, from_lat), (to_lng, to_lat) = line[0], line[-1]
            if max(steps) > SPEED_MPS_MAX * FIX_S or straight_m(from_lat, from_lng, to_lat, to_lng) < STRAIGHT_M_MIN:
                continue
            yield float(row["TAXI_ID"]), float(row["TIMESTAMP"]), from_lat, from_lng, to_lat, to_lng, float(seconds)


def _chicago_rows(path: Path) -> Iterator[tuple[float, ...]]:
    ends = ("pickup_latitude", "pickup_longitude", "dropoff_latitude", "dropoff_longitude")
    with gzip.open(path, "rt") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if not all(row[name] for name in (*ends, "trip_seconds")):
                continue
            places, seconds = [float(row[name]) for name in ends], float(row["trip_seconds"])
            if SECONDS[0] <= seconds <= SECONDS[1] and straight_m(*places) >= STRAIGHT_M_MIN:
                yield float(number), float(row["trip_start_timestamp"]), *places, seconds
