"""Who is near a place, read from the cells in Redis: for a question now and then, in a process without a mirror."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.core.units import DEG_E7, METRES_PER_DEG
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cell_of, disk, rings_for
from engine.geo.fixes import RecordArray, SlotArray

_SPHERE_DIAMETER_M = 2 * METRES_PER_DEG * 180 / np.pi


@dataclass(frozen=True, slots=True)
class Nearby:
    """Workers around a place, nearest first."""

    slots: SlotArray
    distances_m: NDArray[np.float64]
    seen_ms: NDArray[np.int64]
    """When each was last heard of, Unix ms."""


async def workers_near(index: CellIndex, lat_deg: float, lng_deg: float, *, radius_m: float) -> Nearby:
    """Return everybody with a place within `radius_m`, by great-circle distance; two reads of Redis.

    Raises:
        RedisError: Redis did not answer.
    """
    members = await index.cell_members(disk(cell_of(lat_deg, lng_deg), rings_for(radius_m)))
    slots = np.unique(np.fromiter((slot for each in members.values() for slot in each), np.int64))
    records = await index.records(slots)
    distances_m = _distances_m(lat_deg, lng_deg, records)
    near = np.flatnonzero((records["cell"] != 0) & (distances_m <= radius_m))
    near = near[np.lexsort((slots[near], distances_m[near]))]
    return Nearby(slots[near], distances_m[near], records["ts_ms"][near])


def _distances_m(lat_deg: float, lng_deg: float, records: RecordArray) -> NDArray[np.float64]:
    """The haversine."""
    lats, lngs = np.radians(records["lat_e7"] / DEG_E7), np.radians(records["lng_e7"] / DEG_E7)
    lat, lng = np.radians(lat_deg), np.radians(lng_deg)
    share = np.sin((lats - lat) / 2) ** 2 + np.cos(lat) * np.cos(lats) * np.sin((lngs - lng) / 2) ** 2
    distances_m: NDArray[np.float64] = _SPHERE_DIAMETER_M * np.arcsin(np.sqrt(np.minimum(share, 1)))
    return distances_m
