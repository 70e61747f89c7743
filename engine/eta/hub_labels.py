"""Exact travel times by hub labels: pruned landmark labelling, directed. Leaves: arrays in, arrays out. Pure.

Every node keeps a short list of hubs that it reaches (out) and of hubs that reach it (in), with milliseconds; the
fastest way between two nodes is the best hub that both name. Hubs are found by one pruned Dijkstra search each way
from every node, the most important node first: a search goes no further where earlier hubs already tell the time.
Source: Akiba, Iwata, Yoshida, "Fast exact shortest-path distance queries on large networks by pruned landmark
labeling", SIGMOD 2013.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.core.jit import kernel
from engine.eta.road_graph import Ints, RoadGraph, transposed

FAR: Final = np.int32(2**30)
"""Milliseconds (12 days) that no way reaches; two of them still fit."""
HUBS_A_BATCH: Final = 64
ROOM_FIRST: Final = 64


@dataclass(frozen=True, slots=True)
class HubLabels:
    """Labels by node: `out_first[v]` up to `out_first[v + 1]`, and the same for `in`; hubs ascend."""

    out_first: Ints
    out_hub: Ints
    out_ms: Ints
    in_first: Ints
    in_hub: Ints
    in_ms: Ints

    @property
    def bytes(self) -> int:
        """How much memory the labels take."""
        arrays = (self.out_first, self.out_hub, self.out_ms, self.in_first, self.in_hub, self.in_ms)
        return sum(array.nbytes for array in arrays)

    @property
    def mean_length(self) -> float:
        """Hubs of a node in one direction, on average."""
        return (len(self.out_hub) + len(self.in_hub)) / 2 / max(len(self.out_first) - 1, 1)


def label(graph: RoadGraph, order: Ints, progress: Callable[[int], None] = lambda _done: None) -> HubLabels:
    """Return the labels of a graph; `order` names the nodes, most important first: it decides size, never truth.

    `progress` is told how many nodes are done.
    """
    n = graph.nodes
    in_edges = transposed(graph)
    out_edges = graph.first_edge, graph.edge_to, graph.edge_ms
    room = ROOM_FIRST
    out_hub, out_ms, in_hub, in_ms = (np.empty((n, room), np.int32) for _ in range(4))
    counts = np.zeros((2, n), np.int32)
    scratch = _Scratch.of(n, graph.edges)
    for start in range(0, n, HUBS_A_BATCH):
        stop = min(start + HUBS_A_BATCH, n)
        if int(counts.max()) + HUBS_A_BATCH > room:  # a hub adds one entry to a list at most
            room *= 2
            out_hub, out_ms, in_hub, in_ms = (_widened(each, room) for each in (out_hub, out_ms, in_hub, in_ms))
        lists = (out_hub, out_ms, counts[0], in_hub, in_ms, counts[1])
        _label_batch(start, stop, order, out_edges, in_edges, lists, scratch.arrays)
        progress(stop)
    return HubLabels(*_packed(out_hub, out_ms, counts[0]), *_packed(in_hub, in_ms, counts[1]))


@dataclass(frozen=True, slots=True)
class _Scratch:
    arrays: tuple[Ints, Ints, Ints, Ints, Ints]
    """Distance by node, root's label by hub, touched nodes, heap keys, heap nodes."""

    @classmethod
    def of(cls, nodes: int, edges: int) -> "_Scratch":
        far = np.full((2, nodes), FAR, np.int32)
        return cls((far[0], far[1], *(np.empty(size, np.int32) for size in (nodes, edges + 1, edges + 1))))


def _widened(lists: Ints, room: int) -> Ints:
    wider = np.empty((lists.shape[0], room), np.int32)
    wider[:, : lists.shape[1]] = lists
    return wider


def _packed(hubs: Ints, ms: Ints, counts: Ints) -> tuple[Ints, Ints, Ints]:
    first = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=first[1:])
    packed_hubs, packed_ms = np.empty(first[-1], np.int32), np.empty(first[-1], np.int32)
    _pack(hubs, ms, first, packed_hubs, packed_ms)
    return first, packed_hubs, packed_ms


@kernel
def _pack(hubs: Ints, ms: Ints, first: Ints, packed_hubs: Ints, packed_ms: Ints) -> None:
    for node in range(first.shape[0] - 1):
        for i in range(first[node + 1] - first[node]):
            packed_hubs[first[node] + i] = hubs[node, i]
            packed_ms[first[node] + i] = ms[node, i]


@kernel
def _label_batch(
    start: int,
    stop: int,
    order: Ints,
    out_edges: tuple[Ints, Ints, Ints],
    in_edges: tuple[Ints, Ints, Ints],
    lists: tuple[Ints, Ints, Ints, Ints, Ints, Ints],
    scratch: tuple[Ints, Ints, Ints, Ints, Ints],
) -> None:
    out_hub, out_ms, out_count, in_hub, in_ms, in_count = lists
    for hub in range(start, stop):
        root = order[hub]
        _search(hub, root, out_edges, (out_hub, out_ms, out_count), (in_hub, in_ms, in_count), scratch)
        _search(hub, root, in_edges, (in_hub, in_ms, in_count), (out_hub, out_ms, out_count), scratch)


@kernel
def _search(  # noqa: C901 - one loop: calls in it would cost what they tidy
    hub: int,
    root: int,
    edges: tuple[Ints, Ints, Ints],
    of_root: tuple[Ints, Ints, Ints],
    of_others: tuple[Ints, Ints, Ints],
    scratch: tuple[Ints, Ints, Ints, Ints, Ints],
) -> None:
    """Enter `hub` in the lists of all nodes that `edges` lead to from `root` and no earlier hub explains."""
    first_edge, edge_head, edge_ms = edges
    root_hub, root_ms, root_count = of_root
    other_hub, other_ms, other_count = of_others
    distance, by_hub, touched, keys, nodes = scratch
    for i in range(root_count[root]):
        by_hub[root_hub[root, i]] = root_ms[root, i]
    by_hub[hub] = 0
    distance[root] = 0
    touched[0] = root
    touches = 1
    size = push(keys, nodes, 0, 0, int(root))
    while size > 0:
        ms, node = keys[0], nodes[0]
        size = pop(keys, nodes, size)
        if ms > distance[node]:
            continue
        is_known = False
        for i in range(other_count[node]):
            if by_hub[other_hub[node, i]] + other_ms[node, i] <= ms:
                is_known = True
                break
        if is_known:
            continue
        other_hub[node, other_count[node]] = hub
        other_ms[node, other_count[node]] = ms
        other_count[node] += 1
        for edge in range(first_edge[node], first_edge[node + 1]):
            head, through = edge_head[edge], ms + edge_ms[edge]
            if through < distance[head]:
                if distance[head] == FAR:
                    touched[touches] = head
                    touches += 1
                distance[head] = through
                size = push(keys, nodes, size, through, int(head))
    for i in range(touches):
        distance[touched[i]] = FAR
    for i in range(root_count[root]):
        by_hub[root_hub[root, i]] = FAR
    by_hub[hub] = FAR


@kernel
def push(keys: Ints, nodes: Ints, size: int, key: int, node: int) -> int:
    """Put a node on a binary heap; return the new size."""
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if keys[parent] <= key:
            break
        keys[at], nodes[at] = keys[parent], nodes[parent]
        at = parent
    keys[at], nodes[at] = key, node
    return size + 1


@kernel
def pop(keys: Ints, nodes: Ints, size: int) -> int:
    """Take the nearest node (element 0) from a binary heap; return the new size."""
    size -= 1
    key, node = keys[size], nodes[size]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[at], nodes[at] = keys[child], nodes[child]
        at = child
    keys[at], nodes[at] = key, node
    return size
