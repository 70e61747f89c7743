"""The road nearest to a place: a uniform grid over the pieces that roads are drawn of. Leaves and their index. Pure."""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.jit import kernel
from engine.core.units import METRES_PER_DEG
from engine.eta.road_graph import Ints, RoadGraph

CELL_M_MIN: Final = 100.0
CELLS_A_PIECE: Final = 2
"""Cells beyond this many a piece would only be empty: a wide country gets wider cells."""
E7: Final = 1e7
M_PER_E7: Final = METRES_PER_DEG / E7

Frame: TypeAlias = NDArray[np.float64]
"""South-west corner (lat, lng in e7), height and width of a cell (e7)."""


@dataclass(frozen=True, slots=True)
class SnapGrid:
    """Which pieces lie in each cell of a grid, row by row from the south-west."""

    frame: Frame
    shape: Ints
    """Rows and columns."""
    first: Ints
    piece: Ints


def snap_grid(graph: RoadGraph) -> SnapGrid:
    """Return the grid over a graph's pieces."""
    lat, lng = graph.piece_e7[:, 0::2], graph.piece_e7[:, 1::2]
    south, west, north, east = int(lat.min()), int(lng.min()), int(lat.max()), int(lng.max())
    m_per_e7_east = M_PER_E7 * float(np.cos(np.radians((south + north) / 2 / E7)))
    height_m, width_m = (north - south) * M_PER_E7, (east - west) * m_per_e7_east
    cells_max = CELLS_A_PIECE * len(graph.piece_edge) + 1
    cell_m = max(CELL_M_MIN, float(np.sqrt(height_m * width_m / cells_max)), max(height_m, width_m) / cells_max)
    frame = np.array([south, west, cell_m / M_PER_E7, cell_m / m_per_e7_east])
    shape = np.array([int(height_m // cell_m) + 1, int(width_m // cell_m) + 1], np.int32)
    counts = np.zeros(int(shape[0]) * int(shape[1]) + 1, np.int32)
    _fill(graph.piece_e7, frame, shape, counts, np.empty(0, np.int32))
    first = np.zeros(len(counts), np.int32)
    np.cumsum(counts[:-1], out=first[1:])
    piece = np.empty(int(first[-1]), np.int32)
    _fill(graph.piece_e7, frame, shape, first[:-1].copy(), piece)
    return SnapGrid(frame, shape, first, piece)


@kernel
def _fill(piece_e7: Ints, frame: Frame, shape: Ints, at: Ints, piece: Ints) -> None:
    """Count the pieces whose box touches each cell into `at`; where there is room, write them from `at` on."""
    for p in range(piece_e7.shape[0]):
        row_a = int((piece_e7[p, 0] - frame[0]) / frame[2])
        row_b = int((piece_e7[p, 2] - frame[0]) / frame[2])
        column_a = int((piece_e7[p, 1] - frame[1]) / frame[3])
        column_b = int((piece_e7[p, 3] - frame[1]) / frame[3])
        for row in range(min(row_a, row_b), min(max(row_a, row_b), shape[0] - 1) + 1):
            for column in range(min(column_a, column_b), min(max(column_a, column_b), shape[1] - 1) + 1):
                cell = row * shape[1] + column
                if piece.shape[0] > 0:
                    piece[at[cell]] = p
                at[cell] += 1


@kernel
def nearest_piece(  # noqa: C901 - one loop: calls in it would cost what they tidy
    lat_deg: float,
    lng_deg: float,
    limit_m: float,
    grid: tuple[Frame, Ints, Ints, Ints],
    piece_e7: Ints,
) -> tuple[int, float, float]:
    """Return the nearest piece within `limit_m` (-1: none), how far along it (0 to 1), and the metres to it.

    `grid` is frame, shape, first, piece. Rings of cells around the place are read outwards until no nearer piece
    can come, or none is left. Of equally near ones the lowest wins. A place may be anything, a pole or no number too.
    """
    frame, shape, first, pieces = grid
    lat_e7, lng_e7 = lat_deg * E7, lng_deg * E7
    beyond_e7 = max(frame[0] - lat_e7, lat_e7 - frame[0] - shape[0] * frame[2])
    if not beyond_e7 * M_PER_E7 <= limit_m:
        return -1, 0.0, limit_m  # towards a pole a cell's width is nothing, and its rings would reach nowhere
    m_east = M_PER_E7 * np.cos(np.radians(lat_deg))
    cell_m = min(frame[2] * M_PER_E7, frame[3] * m_east)
    row_at = int(np.floor((lat_e7 - frame[0]) / frame[2]))
    column_at = int(np.floor((lng_e7 - frame[1]) / frame[3]))
    best, best_along, best_m2 = -1, 0.0, limit_m * limit_m
    ring = 0
    while True:
        for row in range(max(row_at - ring, 0), min(row_at + ring, shape[0] - 1) + 1):
            is_rim = abs(row - row_at) == ring
            step = 1 if is_rim or ring == 0 else 2 * ring
            for column in range(column_at - ring, column_at + ring + 1, step):
                if column < 0 or column >= shape[1]:
                    continue
                cell = row * shape[1] + column
                for i in range(first[cell], first[cell + 1]):
                    p = pieces[i]
                    north = (piece_e7[p, 0] - lat_e7) * M_PER_E7
                    east = (piece_e7[p, 1] - lng_e7) * m_east
                    d_north = (piece_e7[p, 2] - piece_e7[p, 0]) * M_PER_E7
                    d_east = (piece_e7[p, 3] - piece_e7[p, 1]) * m_east
                    length2 = d_north * d_north + d_east * d_east
                    along = 0.0
                    if length2 > 0:
                        along = min(max(-(north * d_north + east * d_east) / length2, 0.0), 1.0)
                    north, east = north + along * d_north, east + along * d_east
                    m2 = north * north + east * east
                    if m2 < best_m2 or (m2 == best_m2 and (best < 0 or p < best)):
                        best, best_along, best_m2 = p, along, m2
        reach_m = ring * cell_m
        has_all_rows = row_at - ring <= 0 and row_at + ring >= shape[0] - 1
        has_all = has_all_rows and column_at - ring <= 0 and column_at + ring >= shape[1] - 1
        if has_all or reach_m * reach_m >= best_m2:
            return best, best_along, np.sqrt(best_m2)
        ring += 1
