"""The places that many questions are about, each of them once. Pure.

Of a window's bookings every second one asks about the same workers: what a place costs, its road and its cell, is paid
for once and not for each trip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.core.jit import kernel
from engine.eta.road_graph import Ints
from engine.eta.source import Floats, Question, Questions

ROOM: Final = 2
"""Places of the hash table for each trip, at least."""
MIX_LAT, MIX_LNG = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
SHIFT: Final = np.uint64(32)

Bits = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class TripPlaces:
    """Trips of m questions, one after the other, n in all, from p distinct places. Degrees.

    Shapes: lat_deg, lng_deg (p), place (n), first (m + 1), to_lat_deg, to_lng_deg (m).
    """

    lat_deg: Floats
    lng_deg: Floats
    place: Ints
    """Where each trip begins."""
    first: Ints
    """Question i has the trips `first[i]:first[i + 1]`."""
    to_lat_deg: Floats
    to_lng_deg: Floats

    @property
    def goal(self) -> NDArray[np.int64]:
        """Return which question each trip is of."""
        return np.repeat(np.arange(len(self.to_lat_deg)), np.diff(self.first))


def places_of(questions: Sequence[Question]) -> TripPlaces:
    """Return the trips of all questions; of one question the places are taken as they are."""
    asked = Questions.of(questions)
    lat_deg, lng_deg, first = asked.from_lat_deg, asked.from_lng_deg, asked.first
    goals = asked.to_lat_deg, asked.to_lng_deg
    if len(asked) == 1:
        return TripPlaces(lat_deg, lng_deg, np.arange(first[-1], dtype=np.int32), first, *goals)
    place, began = np.empty(first[-1], np.int32), np.empty(first[-1], np.int32)
    table = np.full(1 << int(ROOM * len(place)).bit_length(), -1, np.int32)
    count = _distinct(lat_deg.view(np.uint64), lng_deg.view(np.uint64), table, place, began)
    kept = began[:count]
    return TripPlaces(lat_deg[kept], lng_deg[kept], place, first, *goals)


@kernel
def _distinct(lat: Bits, lng: Bits, table: Ints, place: Ints, began: Ints) -> int:
    """Number the places in the order in which they come: `place` of each trip, and in `began` who was first there.

    `table` is full of -1, a power of two long and longer than there are trips.
    """
    last = np.uint64(table.shape[0] - 1)
    count = 0
    for i in range(lat.shape[0]):
        mixed = (lat[i] * MIX_LAT) ^ (lng[i] * MIX_LNG)
        at = np.int64((mixed ^ (mixed >> SHIFT)) & last)
        while table[at] >= 0 and (lat[began[table[at]]] != lat[i] or lng[began[table[at]]] != lng[i]):
            at = (at + 1) & np.int64(last)
        if table[at] < 0:
            table[at] = count
            began[count] = i
            count += 1
        place[i] = table[at]
    return count
