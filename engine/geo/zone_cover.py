"""The H3 cells of a zone: those surely inside, and those in which a fix has to be compared with its edge. Pure.

A fix brings its index cell along, so a look-up of that cell decides most fixes. A cell's own edges are arcs where its
polygon has straight lines, and children stick out of their parents; polygons are widened by more than that before they
are judged, so that no fix is on the wrong side of what its cell promises.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import h3.api.basic_int as h3
import numpy as np
import shapely

from config.limits import CELL_RESOLUTION
from engine.core.units import DEG_E7
from engine.geo.cells import CellArray
from engine.geo.zone_geometry import ZonePolygon, area_m2

COARSE_RESOLUTION: Final = 5
"""Of a large zone, whole cells of this resolution stand for their 343 index cells."""
COARSE_FROM_M2: Final = 5e8
"""Bounding box from which a zone counts as large: about 700 index cells."""
ARC_MARGIN: Final = 1.01
"""How much an index cell is widened. An edge of 461 m at 80 degrees bends by 2 cm, a hundredth of it is metres."""
CHILD_MARGIN: Final = 1.35
"""How much a coarse cell is widened. A child reaches 0.167 edges over its parent's side, its child 0.378 of that and so
on: 0.27 edges in all, which is 1.31 of the distance from centre to side."""
_NO_CELLS: Final = np.zeros(0, np.uint64)


@dataclass(frozen=True, slots=True)
class Cover:
    """The cells of one zone. No place of the zone lies outside of them."""

    whole_coarse: CellArray
    """Cells of `COARSE_RESOLUTION` that lie in the zone with everything that descends from them."""
    whole: CellArray
    """Index cells that lie in the zone."""
    edge: CellArray
    """Index cells that are partly in the zone."""


def cover_of(polygon: ZonePolygon) -> Cover:
    """Return the cells of a zone; takes a millisecond for a block of houses, half a second for a country."""
    shapely.prepare(polygon)
    box = shapely.box(*polygon.bounds)
    if area_m2(box) < COARSE_FROM_M2:
        whole, edge = _sorted_out(polygon, _touching(polygon, CELL_RESOLUTION), ARC_MARGIN)
        return Cover(_NO_CELLS, whole, edge)
    whole_coarse, edge_coarse = _sorted_out(polygon, _touching(polygon, COARSE_RESOLUTION), CHILD_MARGIN)
    children = [h3.cell_to_children(int(cell), CELL_RESOLUTION) for cell in edge_coarse]
    whole, edge = _sorted_out(polygon, list(chain.from_iterable(children)), ARC_MARGIN)
    return Cover(whole_coarse, whole, edge)


def _touching(polygon: ZonePolygon, resolution: int) -> Sequence[int]:
    """Return the cells that touch the zone's bounding box, and their neighbours."""
    west, south, east, north = (bound / DEG_E7 for bound in polygon.bounds)
    box = h3.LatLngPoly([(south, west), (south, east), (north, east), (north, west)])
    touched = h3.h3shape_to_cells_experimental(box, resolution, contain="overlap")
    return list({near for cell in touched for near in h3.grid_disk(cell, 1)})


def _sorted_out(polygon: ZonePolygon, cells: Sequence[int], margin: float) -> tuple[CellArray, CellArray]:
    """Return which of `cells`, widened by `margin`, lie in the zone, and which only touch it."""
    if not cells:
        return _NO_CELLS, _NO_CELLS
    hexagons = _hexagons(cells, margin)
    ids = np.array(cells, np.uint64)
    is_touched = shapely.intersects(polygon, hexagons)
    is_whole = np.zeros(len(ids), np.bool_)
    is_whole[is_touched] = shapely.contains_properly(polygon, hexagons[is_touched])
    return ids[is_whole], ids[is_touched & ~is_whole]


def _hexagons(cells: Sequence[int], margin: float) -> Any:  # noqa: ANN401 - shapely is untyped
    boundaries = [h3.cell_to_boundary(cell) for cell in cells]
    counts = np.fromiter(map(len, boundaries), np.int64, len(boundaries))
    corners = np.array([*chain.from_iterable(boundaries)])[:, ::-1] * DEG_E7
    owner = np.repeat(np.arange(len(cells)), counts)
    centres = np.add.reduceat(corners, np.cumsum(counts) - counts) / counts[:, np.newaxis]
    widened = centres[owner] + (corners - centres[owner]) * margin
    return shapely.polygons(shapely.linearrings(widened, indices=owner))
