"""A trail as it is shown: broken where the phone was silent, with fewer points where they make no difference. Pure."""

import math
from typing import Final, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray

from engine.core.units import DEG_E7, METRES_PER_DEG

TRAIL_FIX: Final = np.dtype(
    [
        ("at_ms", "<i8"),
        ("lat_e7", "<i4"),
        ("lng_e7", "<i4"),
        ("accuracy_dm", "<i2"),
        ("speed_cm_s", "<i2"),
        ("heading_ddeg", "<i2"),
    ]
)
"""A stored fix; accuracy, speed and heading are -1 where the phone did not tell them."""
TrailArray: TypeAlias = NDArray[np.void]
"""One dimension of `TRAIL_FIX`, in the order of time."""

_POINTS_MIN: Final = 3
_TURN_E7: Final = 360 * DEG_E7


def segments(trail: TrailArray, *, gap_ms: int) -> list[TrailArray]:
    """Return the pieces between silences longer than `gap_ms`."""
    if not len(trail):
        return []
    return np.split(trail, np.nonzero(np.diff(trail["at_ms"]) > gap_ms)[0] + 1)


def simplified(trail: TrailArray, *, tolerance_m: float) -> TrailArray:
    """Return those fixes of one piece that a line needs to stay within `tolerance_m` metres (Douglas-Peucker).

    Kept fixes are the stored ones, with their times; the first and the last are always among them. Distances are those
    of a plane at the piece's first latitude: for display, exact to some per mille within a city.
    """
    if tolerance_m <= 0 or len(trail) < _POINTS_MIN:
        return trail
    shortest_way = (trail["lng_e7"].astype(np.int64) - int(trail["lng_e7"][0]) + _TURN_E7 // 2) % _TURN_E7
    metres_per_e7 = METRES_PER_DEG / DEG_E7
    north_m = trail["lat_e7"] * metres_per_e7
    east_m = shortest_way * metres_per_e7 * math.cos(math.radians(int(trail["lat_e7"][0]) / DEG_E7))
    # The third coordinate is the row: the algorithm looks at two and carries the third along.
    line = shapely.LineString(np.column_stack([east_m, north_m, np.arange(len(trail))]))
    kept = shapely.simplify(line, tolerance_m, preserve_topology=False)
    rows: NDArray[np.int64] = shapely.get_coordinates(kept, include_z=True)[:, 2].astype(np.int64)
    return trail[rows]
