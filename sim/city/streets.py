"""The street graph as flat arrays: junctions, directed edges, and where they are on the map."""

from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sim.city.projection import Floats, Projection

Ints = npt.NDArray[np.int32]


class StreetClass(IntEnum):
    """How wide a street is, and so how fast."""

    LOCAL = 0
    COLLECTOR = 1
    ARTERIAL = 2
    RING = 3


SPEED_MPS: Final = {
    StreetClass.LOCAL: 7.5,
    StreetClass.COLLECTOR: 9.7,
    StreetClass.ARTERIAL: 12.5,
    StreetClass.RING: 18.0,
}
"""Free-flow speed of each class in metres a second: a choice of this city, well below the 45 m/s of a jump."""


@dataclass(frozen=True, slots=True)
class Streets:
    """Junctions `east_m, north_m` and directed edges, sorted by the junction they leave."""

    projection: Projection
    east_m: Floats
    north_m: Floats
    edge_from: Ints
    edge_to: Ints
    edge_class: npt.NDArray[np.uint8]
    edge_length_m: Floats
    edge_speed_mps: Floats
    edge_heading_deg: Floats
    first_edge: Ints
    """Edges of junction `v`: `first_edge[v]` up to, not including, `first_edge[v + 1]`."""

    @property
    def junctions(self) -> int:
        """How many junctions there are."""
        return len(self.east_m)

    @property
    def edges(self) -> int:
        """How many directed edges there are."""
        return len(self.edge_from)

    def nearest_junction(self, lat_deg: float, lng_deg: float) -> int:
        """Return the junction closest to a place."""
        east_m, north_m = self.projection.to_metres(lat_deg, lng_deg)
        return int(np.argmin((self.east_m - east_m) ** 2 + (self.north_m - north_m) ** 2))

    def nearest_point(self, lat_deg: float, lng_deg: float) -> tuple[int, float]:
        """Return the edge closest to a place and the metres along it to the closest point."""
        east_m, north_m = self.projection.to_metres(lat_deg, lng_deg)
        tail_east_m, tail_north_m = self.east_m[self.edge_from], self.north_m[self.edge_from]
        d_east, d_north = self.east_m[self.edge_to] - tail_east_m, self.north_m[self.edge_to] - tail_north_m
        along = ((east_m - tail_east_m) * d_east + (north_m - tail_north_m) * d_north) / self.edge_length_m**2
        share = np.clip(along, 0, 1)
        off_m = np.hypot(tail_east_m + share * d_east - east_m, tail_north_m + share * d_north - north_m)
        edge = int(np.argmin(off_m))
        return edge, float(share[edge] * self.edge_length_m[edge])

    def place_of(self, junction: int) -> tuple[float, float]:
        """Return `(lat_deg, lng_deg)` of a junction."""
        lat_deg, lng_deg = self.projection.to_degrees(self.east_m[junction], self.north_m[junction])
        return float(lat_deg), float(lng_deg)

    def geojson(self) -> dict[str, Any]:
        """Return the streets as a FeatureCollection of lines: `class`, `oneway`, `speed_mps`; two-way streets once."""
        lat_deg, lng_deg = self.projection.to_degrees(self.east_m, self.north_m)
        both = set(zip(self.edge_from.tolist(), self.edge_to.tolist(), strict=True))
        features = []
        for edge, (tail, head) in enumerate(zip(self.edge_from.tolist(), self.edge_to.tolist(), strict=True)):
            is_oneway = (head, tail) not in both
            if not is_oneway and head < tail:
                continue
            line = [[round(float(lng_deg[v]), 7), round(float(lat_deg[v]), 7)] for v in (tail, head)]
            properties = {
                "class": StreetClass(int(self.edge_class[edge])).name.lower(),
                "oneway": is_oneway,
                "speed_mps": float(self.edge_speed_mps[edge]),
            }
            geometry = {"type": "LineString", "coordinates": line}
            features.append({"type": "Feature", "properties": properties, "geometry": geometry})
        return {"type": "FeatureCollection", "features": features}


def build_streets(projection: Projection, places: Floats, links: dict[tuple[int, int], StreetClass]) -> Streets:
    """Return the streets over junction `places` (n x 2, east and north metres) and directed `links`.

    Only what can be reached from the junction nearest to the centre, and from where it can be reached, is kept: every
    junction of the result can be driven to from every other.
    """
    kept = _around(int(np.argmin((places**2).sum(axis=1))), len(places), links)
    renumber = {old: new for new, old in enumerate(kept)}
    rows = sorted(
        (renumber[tail], renumber[head], int(kind))
        for (tail, head), kind in links.items()
        if tail in renumber and head in renumber
    )
    table = np.array(rows, np.int32).reshape(-1, 3)
    east_m, north_m = places[kept, 0].copy(), places[kept, 1].copy()
    tail, head = table[:, 0].copy(), table[:, 1].copy()
    d_east, d_north = east_m[head] - east_m[tail], north_m[head] - north_m[tail]
    return Streets(
        projection=projection,
        east_m=east_m,
        north_m=north_m,
        edge_from=tail,
        edge_to=head,
        edge_class=table[:, 2].astype(np.uint8),
        edge_length_m=np.hypot(d_east, d_north),
        edge_speed_mps=np.array([SPEED_MPS[StreetClass(kind)] for kind in table[:, 2].tolist()]),
        edge_heading_deg=np.degrees(np.arctan2(d_east, d_north)) % 360,
        first_edge=np.searchsorted(tail, np.arange(len(kept) + 1)).astype(np.int32),
    )


def _around(start: int, junctions: int, links: dict[tuple[int, int], StreetClass]) -> list[int]:
    """Return the strongly connected component of `start`: what it reaches and what reaches it."""
    out: list[list[int]] = [[] for _ in range(junctions)]
    back: list[list[int]] = [[] for _ in range(junctions)]
    for tail, head in links:
        out[tail].append(head)
        back[head].append(tail)
    return sorted(_reached(start, out) & _reached(start, back))


def _reached(start: int, neighbours: list[list[int]]) -> set[int]:
    seen, queue = {start}, deque([start])
    while queue:
        for neighbour in neighbours[queue.popleft()]:
            if neighbour not in seen:
                seen.add(neighbour)
                queue.append(neighbour)
    return seen
