"""Which places lie in which zones: all fixes of a flush against all zones of their organisations in one call. Pure.

The edge of a zone belongs to it. Places and corners are whole 1e-7 degrees and edges are straight between them on a map
of degrees (RFC 7946), so the answer is exact.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray

from engine.core.ids import OrgId, ZoneId
from engine.core.units import DEG_E7, METRES_PER_DEG
from engine.core.vocabulary import ZoneKind
from engine.geo.cells import CellArray, parents_of
from engine.geo.fixes import RecordArray
from engine.geo.zone_cover import COARSE_RESOLUTION, Cover, cover_of
from engine.geo.zone_geometry import ZonePolygon

Indices: TypeAlias = NDArray[np.int64]
NO_INDICES: Final[Indices] = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Zone:
    """An area of an organisation, and what it is for."""

    zone_id: ZoneId
    org_id: OrgId
    kind: ZoneKind
    name: str
    dwell_ms: int | None
    """How long a worker is in it before that is told; `None`: never."""
    version: int
    polygon: ZonePolygon


@dataclass(frozen=True)
class CoveredZone:
    """A zone with what asking about it needs. Made once for each version: `cover_of` takes its time."""

    zone: Zone
    cover: Cover
    polygon_m: ZonePolygon = field(repr=False)
    """The polygon in metres, flat around its middle latitude: for distances of some hundred metres."""

    @classmethod
    def of(cls, zone: Zone) -> "CoveredZone":
        """Return `zone` with its cells."""
        _, south, _, north = zone.polygon.bounds
        metres = _metres_per_e7((south + north) / 2)
        return cls(zone, cover_of(zone.polygon), shapely.transform(zone.polygon, lambda corners: corners * metres))

    @cached_property
    def metres_per_e7(self) -> NDArray[np.float64]:
        """Metres in 1e-7 degrees of longitude and latitude, in the middle of the zone."""
        _, south, _, north = self.zone.polygon.bounds
        return _metres_per_e7((south + north) / 2)


class _CellTable:
    """Which zones belong to a cell."""

    def __init__(self, rows: Iterable[tuple[CellArray, int]]) -> None:
        pairs = list(rows)
        cells = np.concatenate([np.zeros(0, np.uint64), *(cells for cells, _ in pairs)])
        zones = np.repeat([zone for _, zone in pairs] or [0], [len(cells) for cells, _ in pairs] or [0])
        order = np.argsort(cells, kind="stable")
        self._zones: Indices = zones[order].astype(np.int64)
        self._cells, first = np.unique(cells[order], return_index=True)
        self._first: Indices = np.append(first, len(cells)).astype(np.int64)

    def find(self, cells: CellArray) -> tuple[Indices, Indices]:
        """Return every pair of an element of `cells` and a zone of that cell, as two columns."""
        if not len(self._cells):
            return NO_INDICES, NO_INDICES
        at = np.minimum(np.searchsorted(self._cells, cells), len(self._cells) - 1)
        found = np.flatnonzero(self._cells[at] == cells)
        first = self._first[at[found]]
        counts = self._first[at[found] + 1] - first
        step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(found, counts), self._zones[np.repeat(first, counts) + step]


class ZoneMap:
    """All zones that count, of every organisation. A zone is its row here, an organisation its number."""

    def __init__(self, zones: Sequence[CoveredZone] = ()) -> None:
        self.zones = tuple(each.zone for each in zones)
        self._numbers: dict[OrgId, int] = {}
        self._orgs = np.array(
            [self._numbers.setdefault(zone.org_id, len(self._numbers)) for zone in self.zones], np.int64
        )
        self.dwell_ms: Indices = np.array([zone.dwell_ms or 0 for zone in self.zones], np.int64)
        """By zone: how long until a dwell is told; 0: never."""
        self._rows = {zone.zone_id: row for row, zone in enumerate(self.zones)}
        self._polygons = _objects([zone.polygon for zone in self.zones])
        self._bounds = np.array([zone.polygon.bounds for zone in self.zones], np.int32).reshape(-1, 4)
        self._polygons_m = _objects([each.polygon_m for each in zones])
        self._metres = np.array([each.metres_per_e7 for each in zones]).reshape(-1, 2)
        shapely.prepare(self._polygons)
        self._whole_coarse = _CellTable((each.cover.whole_coarse, row) for row, each in enumerate(zones))
        self._whole = _CellTable((each.cover.whole, row) for row, each in enumerate(zones))
        self._edge = _CellTable((each.cover.edge, row) for row, each in enumerate(zones))

    def row(self, zone_id: ZoneId) -> int | None:
        """Return the row of a zone; `None`: it does not count here."""
        return self._rows.get(zone_id)

    def org_number(self, org_id: OrgId) -> int:
        """Return the number of an organisation; -1: it has no zones."""
        return self._numbers.get(org_id, -1)

    def inside(self, places: RecordArray, orgs: Indices) -> tuple[Indices, Indices]:
        """Return every pair of a place and a zone of its organisation in which it lies, by place and then by zone.

        Args:
            places: records with their cells.
            orgs: the number of the organisation of each place; negative: of none.

        Returns:
            Two columns: rows of `places`, rows of zones.
        """
        asked = np.flatnonzero((orgs >= 0) & (places["cell"] != 0))
        cells = np.ascontiguousarray(places["cell"][asked])
        coarse = self._own(asked, orgs, *self._whole_coarse.find(parents_of(cells, COARSE_RESOLUTION)))
        whole = self._own(asked, orgs, *self._whole.find(cells))
        at, zone = self._in_box(places, *self._own(asked, orgs, *self._edge.find(cells)))
        # Also on the edge: `contains` would leave it out.
        is_in = shapely.intersects_xy(self._polygons[zone], places["lng_e7"][at], places["lat_e7"][at])
        ats = np.concatenate([coarse[0], whole[0], at[is_in]])
        zones = np.concatenate([coarse[1], whole[1], zone[is_in]])
        order = np.lexsort((zones, ats))
        return ats[order], zones[order]

    def distance_m(self, places: RecordArray, zones: Indices) -> NDArray[np.float64]:
        """Return how far each place is from the zone beside it, 0 inside; exact to a percent up to some kilometres."""
        x_m = places["lng_e7"] * self._metres[zones, 0]
        y_m = places["lat_e7"] * self._metres[zones, 1]
        return np.asarray(shapely.distance(self._polygons_m[zones], shapely.points(x_m, y_m)), np.float64)

    def mask(self, places: RecordArray, org_id: OrgId, kinds: Collection[ZoneKind]) -> NDArray[np.bool_]:
        """Return for each place whether it lies in any zone of an organisation of one of these kinds.

        For those who choose among workers: no-go areas rule out, service areas let in.
        """
        found = np.zeros(len(places), np.bool_)
        at, zone = self.inside(places, np.full(len(places), self.org_number(org_id), np.int64))
        is_of_kind = np.array([each.kind in kinds for each in self.zones], np.bool_)
        found[at[is_of_kind[zone]]] = True
        return found

    def _in_box(self, places: RecordArray, at: Indices, zones: Indices) -> tuple[Indices, Indices]:
        """Return the pairs whose place is in the bounding box of the zone: four comparisons before a polygon's many."""
        west, south, east, north = self._bounds[zones].T
        lat_e7, lng_e7 = places["lat_e7"][at], places["lng_e7"][at]
        is_near = (west <= lng_e7) & (lng_e7 <= east) & (south <= lat_e7) & (lat_e7 <= north)
        return at[is_near], zones[is_near]

    def _own(self, asked: Indices, orgs: Indices, at: Indices, zones: Indices) -> tuple[Indices, Indices]:
        """Return the pairs of one organisation among pairs of a row of `asked` and a zone."""
        rows = asked[at]
        is_own = self._orgs[zones] == orgs[rows]
        return rows[is_own], zones[is_own]


def _metres_per_e7(lat_e7: float) -> NDArray[np.float64]:
    lat_m = METRES_PER_DEG / DEG_E7
    return np.array([lat_m * np.cos(np.radians(lat_e7 / DEG_E7)), lat_m])


def _objects(values: Sequence[object]) -> NDArray[np.object_]:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array
