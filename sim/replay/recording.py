"""What was recorded: who was where when, and the trips in it. Pure."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.client.wire import FIX_DTYPE, UNKNOWN_BATTERY, UNKNOWN_U16

ROW_DTYPE: Final = np.dtype(
    [
        ("worker", "<i4"),
        ("ts_ms", "<i8"),
        ("lat_e7", "<i4"),
        ("lng_e7", "<i4"),
        ("accuracy_dm", "<u2"),
        ("speed_cm_s", "<u2"),
        ("heading_cdeg", "<u2"),
    ]
)
I32_DEG_MAX: Final = 214.0
"""Degrees that an i32 of 1e-7 degrees can carry; a value beyond cannot even be sent to be refused."""
TRIP_GAP_MS: Final = 300_000
"""Without a mark of their own, trips are what lies between silences longer than this."""

Rows = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Trip:
    """One recorded trip of one worker, as its first and last fix."""

    trip_id: str
    worker: int
    start_ms: int
    end_ms: int
    start_lat_deg: float
    start_lng_deg: float
    end_lat_deg: float
    end_lng_deg: float

    @property
    def duration_s(self) -> float:
        """Recorded seconds from the first to the last fix."""
        return (self.end_ms - self.start_ms) / 1000


@dataclass(frozen=True, slots=True)
class Recording:
    """Rows of `ROW_DTYPE` in the order of their time (equal times: in the file's order), trips by their start."""

    source: str
    workers: tuple[str, ...]
    rows: Rows
    trips: tuple[Trip, ...]
    skipped: dict[str, int] = field(default_factory=dict)
    """What could not be read, by reason; it is never sent."""
    is_as_it_stands: bool = False
    """The rows are in the file's order throughout, and are sent in it."""

    @property
    def first_ms(self) -> int:
        """Recorded time (Unix ms) of the oldest fix."""
        return int(self.rows["ts_ms"].min())

    @property
    def span_ms(self) -> int:
        """Recorded milliseconds from the oldest to the newest fix."""
        return int(self.rows["ts_ms"].max()) - self.first_ms

    def newest_first(self) -> "Recording":
        """Return the same fixes in the order that out-of-order handling fears most, to be sent as they stand."""
        rows = self.rows[np.argsort(-self.rows["ts_ms"], kind="stable")]
        return Recording(self.source, self.workers, rows, self.trips, self.skipped, is_as_it_stands=True)

    def first_hours(self, hours: float) -> "Recording":
        """Return the beginning of the recording; trips that end within it stay."""
        until_ms = self.first_ms + round(hours * 3_600_000)
        rows = self.rows[self.rows["ts_ms"] <= until_ms]
        trips = tuple(trip for trip in self.trips if trip.end_ms <= until_ms)
        return Recording(self.source, self.workers, rows, trips, self.skipped, self.is_as_it_stands)


class RecordingBuilder:
    """Collects fixes as a reader meets them, in any order."""

    def __init__(self, source: str, *, as_is: bool = False) -> None:
        self._source = source
        self._as_is = as_is
        self._workers: dict[str, int] = {}
        self._rows: list[tuple[int, int, int, int, int, int, int]] = []
        self._trips: list[Trip] = []
        self._marked: dict[int, list[tuple[int, float, float, bool]]] = defaultdict(list)
        self.skipped: Counter[str] = Counter()

    @property
    def fixes(self) -> int:
        """How many fixes were taken so far."""
        return len(self._rows)

    def worker(self, name: str) -> int:
        """Return the number of a worker by name."""
        return self._workers.setdefault(name, len(self._workers))

    def add(
        self,
        worker: int,
        ts_ms: int,
        lat_deg: float,
        lng_deg: float,
        *,
        accuracy_m: float | None = None,
        speed_mps: float | None = None,
        heading_deg: float | None = None,
    ) -> bool:
        """Take one fix; False and a counted reason where it cannot be put on the wire at all."""
        if not (abs(lat_deg) < I32_DEG_MAX and abs(lng_deg) < I32_DEG_MAX):
            self.skipped["not a place"] += 1
            return False
        self._rows.append(
            (
                worker,
                ts_ms,
                round(lat_deg * 1e7),
                round(lng_deg * 1e7),
                _u16(accuracy_m, 10),
                _u16(speed_mps, 100),
                UNKNOWN_U16 if heading_deg is None else _u16(heading_deg % 360, 100),
            )
        )
        return True

    def add_trip(self, trip: Trip) -> None:
        """Take a trip that the file itself tells of."""
        self._trips.append(trip)

    def mark(self, worker: int, ts_ms: int, lat_deg: float, lng_deg: float, *, on_trip: bool = True) -> None:
        """Note that a worker was, or was not, on a trip at a fix; `build` makes trips of it."""
        self._marked[worker].append((ts_ms, lat_deg, lng_deg, on_trip))

    def build(self) -> Recording:
        """Return the recording.

        Raises:
            ValueError: there is not a single fix in it.
        """
        if not self._rows:
            raise ValueError(f"{self._source}: no fix could be read ({dict(self.skipped) or 'the file is empty'})")
        rows = np.array(self._rows, ROW_DTYPE)
        if not self._as_is:
            rows = rows[np.argsort(rows["ts_ms"], kind="stable")]
        trips = [*self._trips, *self._marked_trips()]
        trips.sort(key=lambda trip: (trip.start_ms, trip.trip_id))
        return Recording(self._source, tuple(self._workers), rows, tuple(trips), dict(self.skipped), self._as_is)

    def _marked_trips(self) -> Iterable[Trip]:
        for worker, marks in self._marked.items():
            run: list[tuple[int, float, float, bool]] = []
            for mark in sorted(marks):
                if run and (mark[0] - run[-1][0] > TRIP_GAP_MS or not mark[3]):
                    yield from _trip_of(worker, run)
                    run = []
                if mark[3]:
                    run.append(mark)
            yield from _trip_of(worker, run)


def _trip_of(worker: int, run: list[tuple[int, float, float, bool]]) -> Iterable[Trip]:
    if len(run) > 1:
        (start_ms, start_lat, start_lng, _), (end_ms, end_lat, end_lng, _) = run[0], run[-1]
        yield Trip(f"{worker}-{start_ms}", worker, start_ms, end_ms, start_lat, start_lng, end_lat, end_lng)


def _u16(value: float | None, scale: int) -> int:
    if value is None or not math.isfinite(value) or value < 0:
        return UNKNOWN_U16
    return min(UNKNOWN_U16 - 1, round(value * scale))


def wire_records(rows: Rows, *, shift_ms: int) -> np.ndarray:
    """Return `rows` as wire records whose times are moved by `shift_ms`."""
    records = np.zeros(len(rows), FIX_DTYPE)
    for name in ("lat_e7", "lng_e7", "accuracy_dm", "speed_cm_s", "heading_cdeg"):
        records[name] = rows[name]
    records["ts_ms"] = rows["ts_ms"] + shift_ms
    records["battery_pct"] = UNKNOWN_BATTERY
    return records
