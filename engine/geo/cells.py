"""H3 as pure functions: a cell is an unsigned 64-bit integer, never text, inside the engine."""

import math
from collections.abc import Iterable
from typing import Final, TypeAlias

import h3.api.basic_int as h3
import numpy as np
from h3ronpy.vector import coordinates_to_cells
from numpy.typing import NDArray

from config.limits import CELL_RESOLUTION, SEARCH_RINGS_MAX
from engine.core.units import DEG_E7

CellArray: TypeAlias = NDArray[np.uint64]

_EDGE_M: Final = float(h3.average_hexagon_edge_length(CELL_RESOLUTION, unit="m"))
_RING_REACH: Final = 0.9
"""Guaranteed radius of a disk of k rings, in k x edge: the smallest cells and the worst direction. Measured."""
_RESOLUTION_SHIFT: Final = 52
_VECTOR_PLACES: Final = 100
"""From so many places on the vectorised library is faster: 10 us however few they are, then a fifth less each."""


def cell_of(lat_deg: float, lng_deg: float) -> int:
    """Return the index cell of a place."""
    return int(h3.latlng_to_cell(lat_deg, lng_deg, CELL_RESOLUTION))


def cells_of(lat_e7: NDArray[np.int32], lng_e7: NDArray[np.int32]) -> CellArray:
    """Return the index cell of each place."""
    if len(lat_e7) >= _VECTOR_PLACES:
        cells: CellArray = np.asarray(coordinates_to_cells(lat_e7 / DEG_E7, lng_e7 / DEG_E7, CELL_RESOLUTION))
        return cells
    lats_deg = (lat_e7 / DEG_E7).tolist()
    lngs_deg = (lng_e7 / DEG_E7).tolist()
    to_cell = h3.latlng_to_cell
    return np.array(
        [to_cell(lat, lng, CELL_RESOLUTION) for lat, lng in zip(lats_deg, lngs_deg, strict=True)], np.uint64
    )


def parents_of(cells: CellArray, resolution: int) -> CellArray:
    """Return the ancestor of each cell at `resolution`; 0 stays 0."""
    clear, fill = map(np.uint64, ancestor_bits(resolution))
    return np.where(cells == 0, np.uint64(0), (cells & clear) | fill)


def ancestor_bits(resolution: int) -> tuple[int, int]:
    """Return `clear` and `fill`: `cell & clear | fill` is the ancestor of a cell at `resolution`. Both are below 2^63.

    The bits of an H3 index: clear the resolution's four, set the wanted one, fill the unused digits with 7.
    Source: https://h3geo.org/docs/core-library/h3Indexing
    """
    clear = ~(0xF << _RESOLUTION_SHIFT) & (2**63 - 1)
    return clear, (resolution << _RESOLUTION_SHIFT) | ((1 << 3 * (15 - resolution)) - 1)


def parent_of(cell: int, resolution: int) -> int:
    """Return the ancestor of one cell at `resolution`."""
    return int(h3.cell_to_parent(cell, resolution))


def centres_of(cells: CellArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the middle of each cell, in degrees north and east."""
    places = np.array([h3.cell_to_latlng(cell) for cell in cells.tolist()], np.float64).reshape(-1, 2)
    return places[:, 0], places[:, 1]


def disk(cell: int, rings: int) -> list[int]:
    """Return `cell` and its neighbours up to `rings` steps away."""
    return [int(each) for each in h3.grid_disk(cell, rings)]


def rings_for(radius_m: float) -> int:
    """Return how many rings around a cell surely hold every place within `radius_m` of a place in it.

    At most `SEARCH_RINGS_MAX`.
    """
    return min(math.ceil(radius_m / (_RING_REACH * _EDGE_M)) if radius_m > 0 else 0, SEARCH_RINGS_MAX)


def cover(west_deg: float, south_deg: float, east_deg: float, north_deg: float, resolution: int) -> set[int]:
    """Return cells of `resolution` that hold every worker of a bounding box.

    One ring more than the cells that touch the box: a child of a cell may stick out of it, so a worker inside the box
    can belong to a neighbour of the cells that cover it.
    """
    box = h3.LatLngPoly([(south_deg, west_deg), (south_deg, east_deg), (north_deg, east_deg), (north_deg, west_deg)])
    touched: Iterable[int] = h3.h3shape_to_cells_experimental(box, resolution, contain="overlap")
    return {int(near) for cell in touched for near in h3.grid_disk(cell, 1)}


def text_of(cell: int) -> str:
    """Return the cell as lowercase hexadecimal, as Redis keys carry it."""
    return f"{cell:x}"
