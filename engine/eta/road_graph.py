"""Roads as flat arrays: nodes, directed edges in rows by the node they leave, and the pieces they are drawn of. Pure.

Times are whole milliseconds, so that sums are exact and every search gives the same answer.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.jit import kernel

Ints: TypeAlias = NDArray[np.int32]
Shares: TypeAlias = NDArray[np.float32]

NONE: Final = -1


@dataclass(frozen=True, slots=True)
class Roads:
    """What a loader reads: stretches between two nodes, with their shape. Degrees are WGS84 times 1e7."""

    node_lat_e7: Ints
    node_lng_e7: Ints
    tail: Ints
    head: Ints
    forward_ms: Ints
    """Time from tail to head; -1: that way is closed."""
    backward_ms: Ints
    metres: Ints
    shape_end: Ints
    """Points of stretch `r`: from the end of `r - 1` (or 0) up to, not including, `shape_end[r]`; both ends count."""
    shape_lat_e7: Ints
    shape_lng_e7: Ints


@dataclass(frozen=True, slots=True)
class RoadGraph:
    """A graph in which every node reaches every other; the edges of node `v` are `first_edge[v]` to `[v + 1]`."""

    node_lat_e7: Ints
    node_lng_e7: Ints
    first_edge: Ints
    edge_from: Ints
    edge_to: Ints
    edge_ms: Ints
    edge_m: Ints
    edge_twin: Ints
    """The edge of the same stretch the other way; -1: one-way."""
    piece_edge: Ints
    """A stretch's pieces name one of its edges."""
    piece_e7: Ints
    """Shape (pieces, 4): lat and lng of the start, lat and lng of the end."""
    piece_share: Shares
    """Shape (pieces, 2): how far along its edge a piece starts and ends, 0 to 1."""

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.node_lat_e7)

    @property
    def edges(self) -> int:
        """How many directed edges there are."""
        return len(self.edge_to)


class EmptyRoadsError(ValueError):
    """The file holds no road that a car could come back on."""


def assemble(roads: Roads) -> RoadGraph:
    """Return the graph of the largest part of the roads in which every node reaches every other.

    Raises:
        EmptyRoadsError: No such part has two nodes.
    """
    stretches = np.arange(len(roads.tail), dtype=np.int32)
    forward, backward = stretches[roads.forward_ms >= 0], stretches[roads.backward_ms >= 0]
    stretch = np.concatenate([forward, backward])
    edge_from = np.concatenate([roads.tail[forward], roads.head[backward]])
    edge_to = np.concatenate([roads.head[forward], roads.tail[backward]])
    edge_ms = np.concatenate([roads.forward_ms[forward], roads.backward_ms[backward]])
    is_forward = np.arange(len(stretch)) < len(forward)
    kept_node = _largest_part(len(roads.node_lat_e7), edge_from, edge_to)
    if kept_node.sum() < 2:  # noqa: PLR2004 - one node is no road
        raise EmptyRoadsError("no two places of these roads reach each other")
    edges = np.flatnonzero(kept_node[edge_from] & kept_node[edge_to])
    edges = edges[np.argsort(edge_from[edges], kind="stable")]
    number = (np.cumsum(kept_node) - 1).astype(np.int32)
    nodes = int(number[-1]) + 1
    edge_from, edge_to = number[edge_from[edges]], number[edge_to[edges]]
    stretch, is_forward = stretch[edges], is_forward[edges]
    by_stretch = np.full((2, len(stretches)), NONE, np.int32)
    by_stretch[is_forward.astype(np.int32), stretch] = np.arange(len(edges), dtype=np.int32)
    piece_edge, piece_e7, piece_share = _pieces(roads, by_stretch)
    return RoadGraph(
        node_lat_e7=roads.node_lat_e7[kept_node],
        node_lng_e7=roads.node_lng_e7[kept_node],
        first_edge=np.searchsorted(edge_from, np.arange(nodes + 1)).astype(np.int32),
        edge_from=edge_from,
        edge_to=edge_to,
        edge_ms=edge_ms[edges],
        edge_m=roads.metres[stretch],
        edge_twin=by_stretch[1 - is_forward.astype(np.int32), stretch],
        piece_edge=piece_edge,
        piece_e7=piece_e7,
        piece_share=piece_share,
    )


def transposed(graph: RoadGraph) -> tuple[Ints, Ints, Ints]:
    """Return the edges by the node they enter: first edge of each node, the node they leave, milliseconds."""
    order = np.argsort(graph.edge_to, kind="stable")
    first = np.searchsorted(graph.edge_to[order], np.arange(graph.nodes + 1)).astype(np.int32)
    return first, graph.edge_from[order], graph.edge_ms[order]


def _pieces(roads: Roads, by_stretch: Ints) -> tuple[Ints, Ints, Shares]:
    """Return the pieces of every kept stretch; a stretch closed in its own direction is drawn the other way round."""
    points = len(roads.shape_lat_e7)
    stretch_of_point = np.searchsorted(roads.shape_end, np.arange(points), side="right").astype(np.int32)
    starts = np.flatnonzero(stretch_of_point[:-1] == stretch_of_point[1:])
    stretch = stretch_of_point[starts]
    lat, lng = roads.shape_lat_e7.astype(np.float64), roads.shape_lng_e7.astype(np.float64)
    east = (lng[starts + 1] - lng[starts]) * np.cos(np.radians(lat[starts] / 1e7))
    length = np.hypot(lat[starts + 1] - lat[starts], east)
    gone = np.cumsum(length)
    whole = np.bincount(stretch, weights=length, minlength=len(roads.tail))
    before = (np.cumsum(whole) - whole)[stretch]
    whole_of_piece = np.maximum(whole[stretch], 1e-9)
    share = np.column_stack([(gone - length - before) / whole_of_piece, (gone - before) / whole_of_piece])
    share = np.clip(share, 0, 1)
    is_forward = by_stretch[1, stretch] != NONE
    edge = np.where(is_forward, by_stretch[1, stretch], by_stretch[0, stretch])
    share[~is_forward] = 1 - share[~is_forward]
    ends = [column[at] for at in (starts, starts + 1) for column in (roads.shape_lat_e7, roads.shape_lng_e7)]
    kept = edge != NONE
    return edge[kept], np.ascontiguousarray(np.column_stack(ends)[kept]), share[kept].astype(np.float32)


def _largest_part(nodes: int, edge_from: Ints, edge_to: Ints) -> NDArray[np.bool_]:
    order = np.argsort(edge_from, kind="stable")
    first = np.searchsorted(edge_from[order], np.arange(nodes + 1)).astype(np.int32)
    part = strong_parts(first, edge_to[order])
    if not len(part):
        return np.zeros(0, np.bool_)
    largest: NDArray[np.bool_] = part == np.bincount(part).argmax()
    return largest


@kernel
def strong_parts(first_edge: Ints, edge_to: Ints) -> Ints:  # noqa: C901 - one loop: calls in it would cost what they tidy
    """Return the number of each node's strongly connected component (Tarjan 1972, without recursion)."""
    n = first_edge.shape[0] - 1
    part = np.full(n, -1, np.int32)
    seen_as = np.full(n, -1, np.int32)
    low = np.empty(n, np.int32)
    edge = first_edge[:-1].copy()
    path, open_nodes = np.empty(n, np.int32), np.empty(n, np.int32)
    seen = parts = opened = 0
    for root in range(n):
        if seen_as[root] >= 0:
            continue
        path[0] = open_nodes[opened] = root
        depth = 1
        opened += 1
        seen_as[root] = low[root] = seen
        seen += 1
        while depth > 0:
            node = path[depth - 1]
            if edge[node] < first_edge[node + 1]:
                head = edge_to[edge[node]]
                edge[node] += 1
                if seen_as[head] < 0:
                    seen_as[head] = low[head] = seen
                    seen += 1
                    path[depth] = open_nodes[opened] = head
                    depth += 1
                    opened += 1
                elif part[head] < 0:
                    low[node] = min(low[node], seen_as[head])
                continue
            depth -= 1
            if depth > 0:
                low[path[depth - 1]] = min(low[path[depth - 1]], low[node])
            if low[node] == seen_as[node]:
                while True:
                    opened -= 1
                    part[open_nodes[opened]] = parts
                    if open_nodes[opened] == node:
                        break
                parts += 1
    return part
