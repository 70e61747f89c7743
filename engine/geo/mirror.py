"""A copy of the cell index in the memory of a process, for questions that Redis answers a hundred times slower.

`engine.geo.feed_follower` keeps it: whole pages where it has to read them, moves as they are written. It takes over
what it is told, so its order is the feed's. 64 bytes a worker with a place and 13 a slot; no Python object stands for a
worker. One thread at a time.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from config.limits import CANDIDATES_MAX, PAIRS_MAX, SLAB_PAGE_SLOTS, SLOTS_MAX
from engine.core.errors import NotAllowed
from engine.geo import mirror_kernels as kernels
from engine.geo import mirror_layout as layout
from engine.geo.cells import CellArray, parents_of
from engine.geo.fixes import RECORD, RecordArray, SlotArray

_ROWS_AT_START: Final = 1_024
_SLOTS_AT_START: Final = 1_024
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
    group: int = 0
    """Whose workers, by a number of the caller's; 0: anybody's."""

    @property
    def mask(self) -> layout.Mask:
        """The same as the kernels take it."""
        return self.skills, self.statuses, self.since_ms, self.group


ANYBODY: Final = Wanted()


class Near(NamedTuple):
    """An answer of fixed size: of `slots` and `distances_m` the first `found` count; then -1 and infinity follow."""

    found: int
    slots: SlotArray
    distances_m: NDArray[np.float64]


class NearMany(NamedTuple):
    """The answers to many questions: `found` by question, the others by question and rank, as in `Near`."""

    found: NDArray[np.int64]
    slots: SlotArray
    distances_m: NDArray[np.float64]


class Pairs(NamedTuple):
    """Workers near one another: `slots` (n, 2), the lower slot first, in ascending order of both."""

    found: int
    """How many there are; beyond `limits.PAIRS_MAX` only so many are told."""
    slots: SlotArray
    distances_m: NDArray[np.float64]


class Region:
    """Coarse cells: a mirror of a region keeps nobody outside of them."""

    def __init__(self, cells: Iterable[int], *, resolution: int) -> None:
        self._cells: CellArray = np.unique(np.fromiter(cells, np.uint64))
        self._resolution = resolution

    def clip(self, records: RecordArray) -> RecordArray:
        """Return `records` without the place of who is elsewhere."""
        is_outside = ~np.isin(parents_of(records["cell"], self._resolution), self._cells)
        if not is_outside.any():
            return records
        clipped = records.copy()
        clipped["cell"][is_outside] = 0
        return clipped


class Mirror:
    """Who is where, by slot; answers are exact, by great-circle distance on the sphere that the engine measures on."""

    def __init__(self, region: Region | None = None) -> None:
        self._region = region
        self._columns = kernels.grid_columns()
        self._counts = np.array([0, layout.NOBODY, 0], np.int64)
        self._rows = np.zeros(_ROWS_AT_START, layout.ROW)
        self._rows["bucket"] = layout.NOBODY
        self._heads = np.full(_ROWS_AT_START, layout.NOBODY, np.int32)
        self._by_slot: layout.BySlot = _by_slot(_SLOTS_AT_START)

    def __len__(self) -> int:
        """Return how many workers have a place."""
        return int(self._counts[layout.WORKERS])

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(each.nbytes for each in (self._rows, self._heads, self._columns, *self._by_slot))

    def moved(self, slots: SlotArray, records: RecordArray) -> None:
        """Put workers where their records say, whatever was known; later ones of a batch win.

        A record without a cell takes its worker off the map.

        Raises:
            NotAllowed: a slot is beyond what this build has tables for; nothing was taken over.
        """
        assert len(slots) == len(records)
        self._ensure_slots(slots)
        if self._region is not None:
            records = self._region.clip(records)
        is_new = (self._by_slot[0][slots] == layout.NOBODY) & (records["cell"] != 0)
        self._ensure_rows(int(np.count_nonzero(is_new)))
        kernels.place(self._grid, self._counts, self._by_slot, slots, records)

    def replaced(self, page: int, slots: SlotArray, records: RecordArray) -> None:
        """Take over a page of the index: of its slots, whoever is missing here has no place."""
        first = page * SLAB_PAGE_SLOTS
        row_of = self._by_slot[0][first : first + SLAB_PAGE_SLOTS]
        known = np.flatnonzero(row_of != layout.NOBODY) + first
        self.removed(np.setdiff1d(known, slots))
        self.moved(slots, records)

    def removed(self, slots: SlotArray) -> None:
        """Take workers off the map."""
        self._ensure_slots(slots)
        kernels.remove(self._rows, self._heads, self._counts, self._by_slot, slots)

    def describe(
        self,
        slots: SlotArray,
        *,
        skills: NDArray[np.int32],
        statuses: NDArray[np.uint8],
        groups: NDArray[np.int32] | None = None,
    ) -> None:
        """Set what workers can do, whether they are free and whose they are.

        A slot never described has no skill, status 0 and group 0.
        """
        assert not len(statuses) or int(statuses.max()) < _STATUSES
        self._ensure_slots(slots)
        self._by_slot[1][slots], self._by_slot[2][slots] = skills, statuses
        self._by_slot[3][slots] = 0 if groups is None else groups
        kernels.describe(self._rows, self._by_slot, slots)

    def rebuild(self, slots: SlotArray, records: RecordArray) -> None:
        """Forget every place and take these over: what the cell index holds now. Skills and statuses stay."""
        self.removed(np.flatnonzero(self._by_slot[0] != layout.NOBODY))
        self.moved(slots, records)

    def places(self, slots: SlotArray) -> RecordArray:
        """Return the place and the time of the last fix of each slot, as records; without a place all zero.

        `cell` is 1 where there is a place; the other fields are zero.
        """
        found = np.zeros(len(slots), RECORD)
        kernels.places(self._rows, self._by_slot[0], slots, found)
        return found

    def nearest(self, lat_deg: float, lng_deg: float, *, k: int, radius_m: float, wanted: Wanted = ANYBODY) -> Near:
        """Return the `k` nearest within `radius_m`, nearest first; of equal distances the lower slot comes first."""
        assert 0 < k <= CANDIDATES_MAX
        slots, distances_m = np.empty(k, np.int64), np.empty(k)
        found = self._search(lat_deg, lng_deg, radius_m, wanted, slots, distances_m)
        return Near(found, slots, distances_m)

    def nearest_many(
        self, places_deg: NDArray[np.float64], *, k: int, radius_m: float, wanted: Wanted = ANYBODY
    ) -> NearMany:
        """Answer `nearest` for many places at once: rows of latitude and longitude."""
        assert 0 < k <= CANDIDATES_MAX
        n = len(places_deg)
        many = NearMany(np.empty(n, np.int64), np.empty((n, k), np.int64), np.empty((n, k)))
        kernels.nearest_many(
            self._grid,
            int(self._counts[layout.USED]),
            np.radians(np.ascontiguousarray(places_deg)),
            radius_m / kernels.SPHERE_RADIUS_M,
            wanted.mask,
            (many.found, many.slots, many.distances_m),
        )
        return many

    def within(self, lat_deg: float, lng_deg: float, *, radius_m: float, wanted: Wanted = ANYBODY) -> SlotArray:
        """Return the slots of everybody within `radius_m`, ascending.

        Beyond `limits.CANDIDATES_MAX` of them those farthest away are left out.
        """
        slots, distances_m = np.empty(CANDIDATES_MAX, np.int64), np.empty(CANDIDATES_MAX)
        found = self._search(lat_deg, lng_deg, radius_m, wanted, slots, distances_m)
        return np.sort(slots[:found])

    def pairs_within(self, radius_m: float, *, wanted: Wanted = ANYBODY) -> Pairs:
        """Return every two workers, both wanted, that are at most `radius_m` apart."""
        slots, distances_m = np.empty((PAIRS_MAX, 2), np.int64), np.empty(PAIRS_MAX)
        angle = min(radius_m / kernels.SPHERE_RADIUS_M, math.pi)
        used = int(self._counts[layout.USED])
        found = kernels.pairs_within(self._grid, used, angle, wanted.mask, slots, distances_m)
        told = min(found, PAIRS_MAX)
        order = np.lexsort((slots[:told, 1], slots[:told, 0]))
        return Pairs(found, slots[order], distances_m[order])

    @property
    def _grid(self) -> layout.Grid:
        return self._rows, self._heads, self._columns

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
        used = int(self._counts[layout.USED])
        return kernels.nearest(self._grid, used, cap, wanted.mask, slots, distances_m)

    def _ensure_slots(self, slots: SlotArray) -> None:
        highest = int(slots.max(initial=-1))
        if highest >= SLOTS_MAX:
            raise NotAllowed(f"slots go up to {SLOTS_MAX - 1}")
        if highest >= len(self._by_slot[0]):
            self._by_slot = _by_slot(1 << highest.bit_length(), self._by_slot)

    def _ensure_rows(self, new: int) -> None:
        rows = int(self._counts[layout.USED]) + new
        if rows <= len(self._rows):
            return
        more = np.zeros((1 << (rows - 1).bit_length()) - len(self._rows), layout.ROW)
        more["bucket"] = layout.NOBODY
        self._rows = np.concatenate([self._rows, more])
        self._heads = np.full(len(self._rows), layout.NOBODY, np.int32)
        kernels.relink(self._rows, self._heads, int(self._counts[layout.USED]))


def warm_up() -> None:
    """Compile the kernels that follow and search, or read them from their cache: once, before the process is ready.

    `nearest_many` and `pairs_within` are compiled by the first who asks.
    """
    mirror = Mirror()
    record = np.zeros(1, RECORD)
    record["ts_ms"] = record["cell"] = 1
    first = np.zeros(1, np.int64)
    mirror.moved(first, record)
    mirror.moved(np.arange(_ROWS_AT_START + 1), record.repeat(_ROWS_AT_START + 1))
    mirror.describe(first, skills=np.zeros(1, np.int32), statuses=np.zeros(1, np.uint8))
    mirror.nearest(0, 0, k=1, radius_m=1)
    mirror.places(first)
    mirror.replaced(0, first[:0], record[:0])


def _by_slot(length: int, known: layout.BySlot | None = None) -> layout.BySlot:
    """Return columns of `length` slots that begin with what is `known`."""
    row_of, skills, statuses, groups = columns = (
        np.full(length, layout.NOBODY, np.int32),
        np.zeros(length, np.int32),
        np.zeros(length, np.uint8),
        np.zeros(length, np.int32),
    )
    if known is not None:
        before = len(known[0])
        row_of[:before], skills[:before], statuses[:before], groups[:before] = known
    return columns
