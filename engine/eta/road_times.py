"""Travel times over a road graph: snap both ends to the nearest road, then ask the hub labels. Pure."""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from config.limits import ROAD_PLACES_KEPT, ROAD_SNAP_M_MAX
from engine.core.jit import kernel
from engine.eta.hub_labels import FAR, HubLabels
from engine.eta.road_graph import Ints, RoadGraph, Shares
from engine.eta.road_snap import Frame, SnapGrid, nearest_piece
from engine.eta.source import Floats, Question
from engine.eta.trip_places import MIX_LAT, MIX_LNG, SHIFT, Bits, TripPlaces, places_of

OFF_GRAPH_MS: Final = -1.0
"""Instead of a time: one end is further than the limit from every road."""

AT_NODE_M: Final = 2.0
"""A place this near to the closed end of a one-way road may also leave, or be reached, by that end's node."""

Places: TypeAlias = NDArray[np.float64]
GridArrays: TypeAlias = tuple[Frame, Ints, Ints, Ints]
RoadArrays: TypeAlias = tuple[Ints, Ints, Ints, Ints, Ints, Ints, Ints, Shares]
KeptSnaps: TypeAlias = tuple[Bits, Bits, Ints, Places]
"""Latitude and longitude as bits, the edge, and how far along it: of each place its own row, by its bits."""
NO_PLACE: Final = np.uint64(0x7FF8000000000000)
"""The bits of a latitude that is no number."""
TripArrays: TypeAlias = tuple[Places, Places, Ints, Ints, Places, Places]
LabelArrays: TypeAlias = tuple[Ints, Ints, Ints, Ints, Ints, Ints]


@dataclass(frozen=True, slots=True)
class RoadIndex:
    """A graph, its labels and its grid: what a road file holds."""

    graph: RoadGraph
    labels: HubLabels
    grid: SnapGrid


class RoadTimes:
    """Answers for one index. Not for two threads at once: calls share a row of scratch."""

    def __init__(self, index: RoadIndex, snap_m_max: float = ROAD_SNAP_M_MAX) -> None:
        graph, labels, grid = index.graph, index.labels, index.grid
        self.index = index
        self._snap_m_max = float(snap_m_max)
        self._grid: GridArrays = grid.frame, grid.shape, grid.first, grid.piece
        self._roads: RoadArrays = (
            graph.edge_from,
            graph.edge_to,
            graph.edge_ms,
            graph.edge_m,
            graph.edge_twin,
            graph.piece_edge,
            graph.piece_e7,
            graph.piece_share,
        )
        self._labels: LabelArrays = (
            labels.out_first,
            labels.out_hub,
            labels.out_ms,
            labels.in_first,
            labels.in_hub,
            labels.in_ms,
        )
        self._by_hub = np.full(graph.nodes, FAR, np.int32)
        no_place = np.full(ROAD_PLACES_KEPT, NO_PLACE)
        self._kept: KeptSnaps = (
            no_place,
            no_place.copy(),
            np.full(ROAD_PLACES_KEPT, -1, np.int32),
            np.zeros(ROAD_PLACES_KEPT),
        )

    def milliseconds(self, from_lat_deg: Floats, from_lng_deg: Floats, to_lat_deg: float, to_lng_deg: float) -> Floats:
        """Return the free-flow milliseconds from many places to one, or `OFF_GRAPH_MS`."""
        return self.of_trips(places_of([Question(from_lat_deg, from_lng_deg, to_lat_deg, to_lng_deg)]))

    def of_trips(self, trips: TripPlaces) -> Floats:
        """Return the free-flow milliseconds of each trip, or `OFF_GRAPH_MS`; a place is snapped when it is new."""
        found = np.empty(len(trips.place))
        _trip_times(
            (trips.lat_deg, trips.lng_deg, trips.place, trips.first, trips.to_lat_deg, trips.to_lng_deg),
            self._snap_m_max,
            self._grid,
            self._roads,
            self._labels,
            self._by_hub,
            self._kept,
            found,
        )
        return found

    def warm_up(self) -> None:
        """Compile, or read the compiled kernels; call it before readiness."""
        node = self.index.graph.node_lat_e7[:1] / 1e7, self.index.graph.node_lng_e7[:1] / 1e7
        self.of_trips(places_of([Question(*node, float(node[0][0]), float(node[1][0]))] * 2))

    def between_nodes(self, from_node: int, to_node: int) -> int:
        """Return the milliseconds between two nodes of the graph."""
        labels = self.index.labels
        out = slice(labels.out_first[from_node], labels.out_first[from_node + 1])
        into = slice(labels.in_first[to_node], labels.in_first[to_node + 1])
        _, here, there = np.intersect1d(
            labels.out_hub[out], labels.in_hub[into], assume_unique=True, return_indices=True
        )
        return int((labels.out_ms[out][here] + labels.in_ms[into][there]).min())


@kernel
def _snapped(lat_deg: float, lng_deg: float, limit_m: float, grid: GridArrays, roads: RoadArrays) -> tuple[int, float]:
    """Return the edge nearest to a place (-1: none within the limit) and how far along it, 0 to 1."""
    _, _, _, _, _, piece_edge, piece_e7, piece_share = roads
    piece, along, _ = nearest_piece(lat_deg, lng_deg, limit_m, grid, piece_e7)
    if piece < 0:
        return -1, 0.0
    return piece_edge[piece], piece_share[piece, 0] + along * (piece_share[piece, 1] - piece_share[piece, 0])


@kernel
def _snap_all(  # noqa: PLR0913, PLR0917 - a leaf takes its arrays one by one
    lat_deg: Places,
    lng_deg: Places,
    limit_m: float,
    grid: GridArrays,
    roads: RoadArrays,
    kept: KeptSnaps,
    edge: Ints,
    share: Places,
) -> None:
    """Write the edge of each place and how far along it, from what is kept of it or anew.

    Workers stand, or are asked about many times between two fixes. Where two places have the same row the newer stays.
    """
    kept_lat, kept_lng, kept_edge, kept_share = kept
    lat, lng = lat_deg.view(np.uint64), lng_deg.view(np.uint64)
    last = np.uint64(kept_lat.shape[0] - 1)
    for p in range(lat_deg.shape[0]):
        mixed = (lat[p] * MIX_LAT) ^ (lng[p] * MIX_LNG)
        at = np.int64((mixed ^ (mixed >> SHIFT)) & last)
        if kept_lat[at] != lat[p] or kept_lng[at] != lng[p]:
            kept_edge[at], kept_share[at] = _snapped(lat_deg[p], lng_deg[p], limit_m, grid, roads)
            kept_lat[at], kept_lng[at] = lat[p], lng[p]
        edge[p], share[p] = kept_edge[at], kept_share[at]


@kernel
def _trip_times(  # noqa: PLR0913, PLR0917 - a leaf takes its arrays one by one
    trips: TripArrays,
    limit_m: float,
    grid: GridArrays,
    roads: RoadArrays,
    labels: LabelArrays,
    by_hub: Ints,
    kept: KeptSnaps,
    found_ms: Places,
) -> None:
    """Write the milliseconds of each trip to `found_ms`. `by_hub` is FAR everywhere, before and after."""
    lat_deg, lng_deg, place, first, to_lat_deg, to_lng_deg = trips
    edge, share = np.empty(lat_deg.shape[0], np.int32), np.empty(lat_deg.shape[0])
    _snap_all(lat_deg, lng_deg, limit_m, grid, roads, kept, edge, share)
    for goal in range(to_lat_deg.shape[0]):
        to_edge, to_share = _snapped(to_lat_deg[goal], to_lng_deg[goal], limit_m, grid, roads)
        here = slice(first[goal], first[goal + 1])
        _many_to_one(edge, share, place[here], to_edge, to_share, roads, labels, by_hub, found_ms[here])


@kernel
def _many_to_one(  # noqa: PLR0913, PLR0917 - a leaf takes its arrays one by one
    edges: Ints,
    shares: Places,
    place: Ints,
    to_edge: int,
    to_share: float,
    roads: RoadArrays,
    labels: LabelArrays,
    by_hub: Ints,
    found_ms: Places,
) -> None:
    """Write the milliseconds from some of the places, each as an edge and how far along it, to one.

    A two-way road is left and entered at both of its ends; on one and the same road the way along it counts too.
    """
    if to_edge < 0:
        found_ms[:] = OFF_GRAPH_MS
        return
    tail, onward_ms, head, back_ms = _ends(to_edge, to_share, roads, True)  # noqa: FBT003 - as `_ends` says
    _spread(tail, onward_ms, labels, by_hub)
    if head >= 0:
        _spread(head, back_ms, labels, by_hub)
    for i in range(place.shape[0]):
        edge, share = edges[place[i]], shares[place[i]]
        if edge < 0:
            found_ms[i] = OFF_GRAPH_MS
            continue
        ahead, ahead_ms, behind, behind_ms = _ends(edge, share, roads, False)  # noqa: FBT003 - as above
        best = ahead_ms + _best(ahead, labels, by_hub)
        if behind >= 0:
            best = min(best, behind_ms + _best(behind, labels, by_hub))
        if edge == to_edge:
            best = min(best, _along(edge, share, to_share, roads))
        found_ms[i] = best
    _clear(tail, labels, by_hub)
    if head >= 0:
        _clear(head, labels, by_hub)


@kernel
def _ends(edge: int, share: float, roads: RoadArrays, is_target: bool) -> tuple[int, int, int, int]:  # noqa: FBT001 - kernels know no keywords
    """Return by which nodes a place on an edge is left (or reached), and the milliseconds: along, then against it.

    The second node is -1 where nobody may drive against the edge.
    """
    edge_from, edge_to, edge_ms, edge_m, edge_twin, _, _, _ = roads
    tail, head, twin = edge_from[edge], edge_to[edge], edge_twin[edge]
    share_along = share if is_target else 1 - share
    along_ms = round(share_along * edge_ms[edge])
    first, second = (tail, head) if is_target else (head, tail)
    if twin >= 0:
        return first, along_ms, second, round((1 - share_along) * edge_ms[twin])
    if (1 - share_along) * edge_m[edge] < AT_NODE_M:
        return first, along_ms, second, 0
    return first, along_ms, -1, 0


@kernel
def _along(edge: int, share: float, to_share: float, roads: RoadArrays) -> int:
    """Return the milliseconds between two places on one edge without leaving it; FAR: not that way."""
    _, _, edge_ms, _, edge_twin, _, _, _ = roads
    if to_share >= share:
        return int(round((to_share - share) * edge_ms[edge]))  # noqa: RUF046 - numba's `round` gives a float
    if edge_twin[edge] >= 0:
        return int(round((share - to_share) * edge_ms[edge_twin[edge]]))  # noqa: RUF046 - as above
    return int(FAR)


@kernel
def _spread(node: int, onward_ms: int, labels: LabelArrays, by_hub: Ints) -> None:
    _, _, _, in_first, in_hub, in_ms = labels
    for i in range(in_first[node], in_first[node + 1]):
        by_hub[in_hub[i]] = min(by_hub[in_hub[i]], in_ms[i] + onward_ms)


@kernel
def _clear(node: int, labels: LabelArrays, by_hub: Ints) -> None:
    _, _, _, in_first, in_hub, _ = labels
    for i in range(in_first[node], in_first[node + 1]):
        by_hub[in_hub[i]] = FAR


@kernel
def _best(node: int, labels: LabelArrays, by_hub: Ints) -> int:
    out_first, out_hub, out_ms, _, _, _ = labels
    hubs, ms = out_hub[out_first[node] : out_first[node + 1]], out_ms[out_first[node] : out_first[node + 1]]
    best = FAR
    for i in range(hubs.shape[0]):
        # Places without a sign, which need not be looked at for being negative, and 32 bits: twice the lanes.
        best = min(best, np.int32(by_hub[np.uint32(hubs[i])] + ms[i]))
    return int(best)
