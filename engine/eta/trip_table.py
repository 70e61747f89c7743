"""Trips that are over: when they began, between which places, and how long they took. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.eta.source import Floats


@dataclass(frozen=True, slots=True, eq=False)
class TripTable:
    """One row a trip, in the order in which they began. Unix ms, degrees, seconds."""

    begin_ms: NDArray[np.int64]
    from_lat_deg: Floats
    from_lng_deg: Floats
    to_lat_deg: Floats
    to_lng_deg: Floats
    seconds: Floats

    def __len__(self) -> int:
        """Return how many trips there are."""
        return len(self.seconds)

    @classmethod
    def of(cls, rows: Floats) -> "TripTable":
        """Return the table of rows of these six columns, in any order."""
        columns = rows[np.argsort(rows[:, 0], kind="stable")].T
        return cls(columns[0].astype(np.int64), *columns[1:])

    def chosen(self, rows: NDArray[np.bool_]) -> "TripTable":
        """Return some of the trips."""
        return TripTable(*(getattr(self, name)[rows] for name in self.__slots__))

    def hours(self, hour_of_week: Callable[[int], int]) -> NDArray[np.int64]:
        """Return the local hour of the week in which each trip began."""
        return np.array([hour_of_week(each) for each in self.begin_ms.tolist()], np.int64)
