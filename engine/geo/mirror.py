"""A copy of the cell index in the memory of a process, for questions that Redis answers a hundred times slower.

Everything is rebuilt from `CellIndex.all_records()`; from then on newer records and removals are applied as they come.
64 bytes a slot and 4 a list; no Python object stands for a worker. One thread at a time.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from config.limits import CANDIDATES_MAX, SLOTS_MAX
from engine.core.errors import NotAllowed
from engine.geo import mirror_kernels as kernels
from engine.geo.fixes import RECORD, RecordArray, SlotArray

_ROWS_AT_START: Final = 1_024
_ANY_STATUS: Final = 0xFF
_STATUSES: Final = 8
"""A status is a bit of a mask of eight."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whom a question is about."""

    skills: int = 0
    """Bits that a worker must all have."""
    statuses: int = _ANY_STATUS
    """Bit `1 << status` of each status that will do."""
    since_ms: int = 0
    """Unix ms of the oldest fix that still counts."""


ANYBODY: Final = Wanted()


class Near(NamedTuple):
    """An answer of fixed size: of `slots` and `distances_m` the first `found` count; then -1 and infinity follow."""

    found: int
    slots: SlotArray
    distances_m: NDArray[np.float64]


class Mirror:
    """Who is where, by slot; answers are exact, by great-circle distance on the sphere that the engine measures on."""

    def __init__(self) -> None:
        self._columns = kernels.grid_columns()
        self._rows = _empty_rows(_ROWS_AT_START)
        self._heads = np.full(_ROWS_AT_START, kernels.NOBODY, np.int32)

    def __len__(self) -> int:
        """Return how many workers have a place."""
        return int(np.count_nonzero(self._rows["bucket"] != kernels.NOBODY))

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return self._rows.nbytes + self._heads.nbytes + self._columns.nbytes

    def apply(self, slots: SlotArray, records: RecordArray) -> int:
        """Take over the records that are newer than what is known; return how many were.

        Later ones of the same batch meet earlier ones. A record without a cell takes its worker off the map.

        Raises:
            NotAllowed: a slot is beyond what this build has tables for; nothing was applied.
        """
        assert len(slots) == len(records)
        self._ensure(slots)
        return kernels.apply(self._rows, self._heads, self._columns, slots, records)

    def remove(self, slots: SlotArray) -> None:
        """Take workers off the map; a record older than the last one known stays refused."""
        self._ensure(slots)
        kernels.remove(self._rows, self._heads, slots)

    def describe(self, slots: SlotArray, *, skills: NDArray[np.int64], statuses: NDArray[np.uint8]) -> None:
        """Set what workers can do and whether they are free; a slot never described has no skill and status 0."""
        assert not len(statuses) or int(statuses.max()) < _STATUSES
        self._ensure(slots)
        self._rows["skills"][slots] = skills
        self._rows["status"][slots] = statuses

    def rebuild(self, slots: SlotArray, records: RecordArray) -> None:
        """Forget every place and time and take these over: what the cell index holds now. Skills and statuses stay."""
        self._rows["ts_ms"] = 0
        self._rows["bucket"] = kernels.NOBODY
        self._heads.fill(kernels.NOBODY)
        self.apply(slots, records)

    def nearest(self, lat_deg: float, lng_deg: float, *, k: int, radius_m: float, wanted: Wanted = ANYBODY) -> Near:
        """Return the `k` nearest within `radius_m`, nearest first; of equal distances the lower slot comes first."""
        assert 0 < k <= CANDIDATES_MAX
        slots, distances_m = np.empty(k, np.int64), np.empty(k)
        found = self._search(lat_deg, lng_deg, radius_m, wanted, slots, distances_m)
        return Near(found, slots, distances_m)

    def within(self, lat_deg: float, lng_deg: float, *, radius_m: float, wanted: Wanted = ANYBODY) -> SlotArray:
        """Return the slots of everybody within `radius_m`, ascending.

        Beyond `limits.CANDIDATES_MAX` of them those farthest away are left out.
        """
        slots, distances_m = np.empty(CANDIDATES_MAX, np.int64), np.empty(CANDIDATES_MAX)
        found = self._search(lat_deg, lng_deg, radius_m, wanted, slots, distances_m)
        return np.sort(slots[:found])

    def _search(
        self,
        lat_deg: float,
        lng_deg: float,
        radius_m: float,
        wanted: Wanted,
        slots: SlotArray,
        distances_m: NDArray[np.float64],
    ) -> int:
        cap = (math.radians(lat_deg), math.radians(lng_deg), radius_m / kernels.SPHERE_RADIUS_M)
        mask = (wanted.skills, wanted.statuses, wanted.since_ms)
        return kernels.nearest(self._rows, self._heads, self._columns, cap, mask, slots, distances_m)

    def _ensure(self, slots: SlotArray) -> None:
        if not len(slots):
            return
        lowest, highest = int(slots.min()), int(slots.max())
        if lowest < 0 or highest >= SLOTS_MAX:
            raise NotAllowed(f"slots go up to {SLOTS_MAX - 1}")
        if highest < len(self._rows):
            return
        length = 1 << highest.bit_length()
        self._rows = np.concatenate([self._rows, _empty_rows(length - len(self._rows))])
        self._heads = np.full(length, kernels.NOBODY, np.int32)
        kernels.relink(self._rows, self._heads)


def warm_up() -> None:
    """Compile the kernels, or read them from their cache: once, before the process is ready."""
    mirror = Mirror()
    record = np.zeros(1, RECORD)
    record["ts_ms"] = record["cell"] = 1
    first = np.zeros(1, np.int64)
    mirror.apply(first, record)
    mirror.nearest(0, 0, k=1, radius_m=1)
    mirror.remove(first)
    mirror.remove(np.array([_ROWS_AT_START]))


def _empty_rows(length: int) -> kernels.RowArray:
    rows = np.zeros(length, kernels.ROW)
    rows["bucket"] = rows["next"] = rows["previous"] = kernels.NOBODY
    return rows
