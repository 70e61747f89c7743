"""Which workers a matcher's regions can need: those in them and around them, as wide as a booking is searched. Pure.

The copy of all places stays whole in every matcher: it hears of every move anyway, to sort them out costs more than to
take them over, and a region that changes hands needs nothing to be read. What is kept small is the frame, for that is
built anew every second and scored for every booking.
"""

import math
from collections.abc import Iterable
from typing import Final

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray

from config.limits import REGION_BORDER_M, REGION_RESOLUTION_MAX, SLAB_PAGE_SLOTS
from engine.geo.cells import CellArray, cell_of, disk, parent_of, parents_of
from engine.geo.fixes import RecordArray, SlotArray

BoolArray = NDArray[np.bool_]

FINER: Final = 2
"""The border is drawn in cells this many resolutions below the regions', or it would be a region wide."""
RING_REACH: Final = 0.9
"""Guaranteed radius of a disk of k rings, in k x edge: the smallest cells and the worst direction."""
SLOTS_AT_START: Final = 1_024


class RegionCover:
    """Which slots can be left out of a frame. It listens to the feed of the cells, before the frames do."""

    def __init__(self, *, resolution: int = REGION_RESOLUTION_MAX) -> None:
        self.resolution = resolution
        self.regions: frozenset[int] | None = None
        """What is covered: cells of the resolution, or `None` for every place."""
        self._cells: CellArray = np.zeros(0, np.uint64)
        self._cell_of_slot: CellArray = np.zeros(SLOTS_AT_START, np.uint64)
        self.version = 0
        """Counts how often it has changed."""

    def moved(self, slots: SlotArray, records: RecordArray) -> None:
        """Take that workers moved."""
        highest = int(slots.max(initial=-1))
        if highest >= len(self._cell_of_slot):
            more = (1 << highest.bit_length()) - len(self._cell_of_slot)
            self._cell_of_slot = np.concatenate([self._cell_of_slot, np.zeros(more, np.uint64)])
        self._cell_of_slot[slots] = records["cell"]

    def replaced(self, page: int, slots: SlotArray, records: RecordArray) -> None:
        """Take that a page of the index was read anew."""
        self._cell_of_slot[page * SLAB_PAGE_SLOTS : (page + 1) * SLAB_PAGE_SLOTS] = 0
        self.moved(slots, records)

    def change(self, regions: frozenset[int] | None, cells: CellArray) -> None:
        """Cover these regions from now on, with their `covering` cells; `None`: every place."""
        self.regions, self._cells = regions, cells
        self.version += 1

    def has(self, lat_deg: float, lng_deg: float) -> bool:
        """Whether everybody whom a booking at this pin can need is covered."""
        return self.regions is None or parent_of(cell_of(lat_deg, lng_deg), self.resolution) in self.regions

    def of(self, slots: SlotArray) -> SlotArray:
        """Return those of `slots` that are covered; without a place everybody is."""
        if self.regions is None:
            return slots
        cells = np.zeros(len(slots), np.uint64)
        is_placed = slots < len(self._cell_of_slot)
        cells[is_placed] = self._cell_of_slot[slots[is_placed]]
        covered: SlotArray = slots[(cells == 0) | _is_in(parents_of(cells, self.resolution + FINER), self._cells)]
        return covered


def covering(regions: Iterable[int], *, resolution: int, border_m: float = REGION_BORDER_M) -> CellArray:
    """Return the cells, `FINER` than the regions, that hold every place within `border_m` of a place in a region."""
    finer = resolution + FINER
    rings = math.ceil(border_m / (RING_REACH * h3.average_hexagon_edge_length(finer, unit="m")))
    ours = (region for region in regions if h3.get_resolution(region) == resolution)  # the setting may have changed
    cells = {int(child) for region in ours for child in h3.cell_to_children(region, finer)}
    outermost = cells
    for _ in range(rings):
        outermost = {near for cell in outermost for near in disk(cell, 1)} - cells
        cells |= outermost
    return np.unique(np.fromiter(cells, np.uint64))


def _is_in(cells: CellArray, ascending: CellArray) -> BoolArray:
    if not len(ascending):
        return np.zeros(len(cells), np.bool_)
    at = np.minimum(np.searchsorted(ascending, cells), len(ascending) - 1)
    is_in: BoolArray = ascending[at] == cells
    return is_in
