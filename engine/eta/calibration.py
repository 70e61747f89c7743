"""How often real arrivals fall into the interval that is told: by hour and by area. Asks the source and knows no store.

The interval is to hold `COVERED` of the trips. Each finished trip is asked about once more, as it was when it began;
so the figures are those of the source as it is set now, whatever was told then.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.core.clock import Clock
from engine.eta.source import EtaSource, Floats, Question
from engine.eta.trip_cells import coarse_cells
from engine.eta.trip_effects import HOURS, WIDE_RESOLUTION
from engine.eta.trip_table import TripTable
from engine.geo.cells import parents_of, text_of

TRIPS_A_TURN: Final = 32
"""Asked of a road graph one after the other: then others of the same event loop have their turn."""


@dataclass(frozen=True, slots=True)
class Held:
    """Of so many trips so many ended sooner than the interval, inside it, and later."""

    early: int
    inside: int
    late: int

    @property
    def trips(self) -> int:
        """All of them."""
        return self.early + self.inside + self.late

    @property
    def share(self) -> float:
        """How many of them were inside, 0 to 1; of none: 0."""
        return self.inside / max(self.trips, 1)


@dataclass(frozen=True, slots=True)
class Calibration:
    """All trips, each local hour of the day (0-23), and each area (H3 cell, resolution 7, in which trips end)."""

    since_ms: int | None
    """When the first of them began; `None`: there are none."""
    city: Held
    by_hour: dict[int, Held]
    by_area: dict[str, Held]
    median_error: float
    """Median of |told - real| / real."""


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What a source says of each of some trips, in seconds."""

    eta_s: Floats
    low_s: Floats
    high_s: Floats

    def chosen(self, rows: NDArray[np.bool_]) -> "Told":
        """Return what it says of some of them."""
        return Told(self.eta_s[rows], self.low_s[rows], self.high_s[rows])


async def told_of(trips: TripTable, source: EtaSource, *, clock: Clock) -> Told:
    """Return what `source` says of these trips now, as of when each began."""
    told = np.zeros((3, len(trips)))
    for row in range(len(trips)):
        here = slice(row, row + 1)
        goal = float(trips.to_lat_deg[row]), float(trips.to_lng_deg[row])
        question = Question(trips.from_lat_deg[here], trips.from_lng_deg[here], *goal)
        (found,) = await source.answers([question], at_ms=int(trips.begin_ms[row]))
        told[:, row] = found.eta_s[0], found.low_s[0], found.high_s[0]
        if row % TRIPS_A_TURN == 0:
            await clock.sleep_ms(0)
    return Told(*told)


def calibration_of(trips: TripTable, told: Told, hour_of_week: Callable[[int], int]) -> Calibration:
    """Return how well these trips were told."""
    place = np.where(trips.seconds < told.low_s, 0, np.where(trips.seconds > told.high_s, 2, 1))
    hours = trips.hours(hour_of_week) % HOURS
    areas = parents_of(coarse_cells(trips.to_lat_deg, trips.to_lng_deg).astype(np.uint64), WIDE_RESOLUTION)
    error = float(np.median(np.abs(told.eta_s / trips.seconds - 1))) if len(trips) else 0.0
    return Calibration(
        int(trips.begin_ms[0]) if len(trips) else None,
        _held(place),
        {int(hour): _held(place[hours == hour]) for hour in np.unique(hours)},
        {text_of(int(area)): _held(place[areas == area]) for area in np.unique(areas)},
        error,
    )


def _held(place: NDArray[np.int64]) -> Held:
    early, inside, late = np.bincount(place, minlength=3).tolist()
    return Held(early, inside, late)
