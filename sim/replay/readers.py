"""Reads recorded traces: Porto's taxi trips (ECML/PKDD 2015), CSV with one fix a line, GPX. Plain, .gz or .xz."""

import csv
import gzip
import itertools
import lzma
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Final, cast

import orjson

from sim.replay.gpx import read_gpx
from sim.replay.recording import Recording, RecordingBuilder, Trip
from sim.replay.times import parse_time_ms

PORTO_PERIOD_MS: Final = 15_000
"""`POLYLINE[i]` was taken `i` times this after `TIMESTAMP`."""
FIXES_MAX: Final = 5_000_000
"""Fixes of one file; what follows is not read."""
CELL_CHARS_MAX: Final = 4_000_000
"""The longest cell of a CSV: a polyline of a whole day is far below."""

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "worker": (
        "worker",
        "worker_id",
        "driver",
        "driver_id",
        "vehicle",
        "vehicle_id",
        "taxi_id",
        "cab",
        "device",
        "uid",
        "id",
    ),
    "ts": ("ts_ms", "ts", "timestamp", "unix_s", "unix_ms", "time", "datetime", "date_time"),
    "lat": ("lat", "latitude", "lat_deg", "y"),
    "lng": ("lng", "lon", "long", "longitude", "lng_deg", "x"),
    "accuracy": ("accuracy_m", "accuracy", "acc"),
    "speed": ("speed_mps", "speed"),
    "heading": ("heading_deg", "heading", "course", "bearing"),
    "occupied": ("occupied", "on_trip", "busy"),
}
"""Names that a column of the generic CSV may have, in lower case; the first that is there counts."""
REQUIRED: Final = ("ts", "lat", "lng")


def read_recording(path: Path, *, as_is: bool = False) -> Recording:
    """Return the recording in `path`, whose kind is told by its name and, for CSV, by its header.

    `as_is` keeps the fixes of a CSV in the order of the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a trace, or there is nothing in it.
    """
    if ".gpx" in path.suffixes:
        with open_bytes(path) as file:
            return read_gpx(file, source=path.name)
    csv.field_size_limit(CELL_CHARS_MAX)
    with open_bytes(path) as file:
        lines = (line.decode("utf-8-sig", "replace") for line in file)
        reader = csv.DictReader(lines)
        names = {name.strip().lower() for name in reader.fieldnames or ()}
        if {"polyline", "taxi_id", "timestamp"} <= names:
            return _read_porto(reader, RecordingBuilder(path.name, as_is=as_is))
        return _read_csv(reader, path.name, RecordingBuilder(path.name, as_is=as_is))


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, unpacked where its name ends in `.gz` or `.xz`."""
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if path.suffix == ".xz":
        return cast("IO[bytes]", lzma.open(path, "rb"))
    return path.open("rb")


def _read_porto(lines: Iterable[Mapping[str, str]], builder: RecordingBuilder) -> Recording:
    for line in lines:
        if builder.fixes >= FIXES_MAX:
            builder.skipped["beyond the limit"] += 1
            continue
        try:
            start_ms = int(line["TIMESTAMP"]) * 1000
            polyline = [(float(lat), float(lng)) for lng, lat in orjson.loads(line["POLYLINE"])]
        except (ValueError, TypeError, KeyError):
            builder.skipped["unreadable trip"] += 1
            continue
        if not polyline:
            builder.skipped["trip without a fix"] += 1
            continue
        worker = builder.worker(line["TAXI_ID"])
        for place, (lat_deg, lng_deg) in enumerate(polyline):
            builder.add(worker, start_ms + place * PORTO_PERIOD_MS, lat_deg, lng_deg)
        end_ms = start_ms + (len(polyline) - 1) * PORTO_PERIOD_MS
        builder.add_trip(Trip(line["TRIP_ID"], worker, start_ms, end_ms, *polyline[0], *polyline[-1]))
    return builder.build()


def _read_csv(reader: "csv.DictReader[str]", source: str, builder: RecordingBuilder) -> Recording:
    columns = _columns(reader.fieldnames or (), source)
    for line in itertools.islice(_readable(reader, builder), FIXES_MAX):
        try:
            ts_ms = parse_time_ms(line[columns["ts"]])
            lat_deg, lng_deg = float(line[columns["lat"]]), float(line[columns["lng"]])
        except (ValueError, TypeError):
            builder.skipped["unreadable line"] += 1
            continue
        worker = builder.worker(line[columns["worker"]] if "worker" in columns else source)
        taken = builder.add(
            worker,
            ts_ms,
            lat_deg,
            lng_deg,
            accuracy_m=_number(line, columns.get("accuracy")),
            speed_mps=_number(line, columns.get("speed")),
            heading_deg=_number(line, columns.get("heading")),
        )
        if taken:
            on_trip = (
                (line[columns["occupied"]] or "").strip().lower() in {"1", "true", "t", "yes"}
                if "occupied" in columns
                else True
            )
            builder.mark(worker, ts_ms, lat_deg, lng_deg, on_trip=on_trip)
    return builder.build()


def _readable(reader: "csv.DictReader[str]", builder: RecordingBuilder) -> Iterator[dict[str, str]]:
    """Pass the lines on that are CSV at all."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            builder.skipped["not CSV"] += 1


def _columns(names: Iterable[str], source: str) -> dict[str, str]:
    by_lower = {name.strip().lower(): name for name in names}
    found = {
        meaning: by_lower[next(name for name in accepted if name in by_lower)]
        for meaning, accepted in COLUMNS.items()
        if any(name in by_lower for name in accepted)
    }
    missing = [meaning for meaning in REQUIRED if meaning not in found]
    if missing:
        raise ValueError(f"{source}: no column for {', '.join(missing)} among {sorted(by_lower)}")
    return found


def _number(line: Mapping[str, str], column: str | None) -> float | None:
    try:
        return float(line[column]) if column else None
    except (ValueError, TypeError):
        return None
