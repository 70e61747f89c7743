"""Which nodes are on many fastest ways: the order in which hub labels are made. Pure.

Sampled betweenness: Dijkstra trees from random roots, each node counted once for every node behind it. The same graph
and seed give the same order.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.core.jit import kernel
from engine.eta.hub_labels import FAR, pop, push
from engine.eta.road_graph import Ints, RoadGraph

TREES: Final = 400
"""More give smaller labels and take longer; beyond this a city's labels shrink by less than a hundredth."""
TREES_A_BATCH: Final = 8


def importance_order(
    graph: RoadGraph, *, trees: int = TREES, seed: int = 7, progress: Callable[[int], None] = lambda _done: None
) -> Ints:
    """Return the nodes, those on the most sampled ways first; `progress` is told how many trees are done."""
    trees = min(trees, graph.nodes)
    roots = np.random.default_rng(seed).choice(graph.nodes, trees, replace=False).astype(np.int32)
    behind = np.zeros(graph.nodes, np.int64)
    for start in range(0, trees, TREES_A_BATCH):
        _count_behind(graph.first_edge, graph.edge_to, graph.edge_ms, roots[start : start + TREES_A_BATCH], behind)
        progress(min(start + TREES_A_BATCH, trees))
    return np.argsort(-behind, kind="stable").astype(np.int32)


@kernel
def _count_behind(first_edge: Ints, edge_to: Ints, edge_ms: Ints, roots: Ints, behind: NDArray[np.int64]) -> None:
    n = first_edge.shape[0] - 1
    keys, heap = np.empty(edge_to.shape[0] + 1, np.int32), np.empty(edge_to.shape[0] + 1, np.int32)
    parent, settled = np.empty(n, np.int32), np.empty(n, np.int32)
    for root in roots:
        distance = np.full(n, FAR, np.int32)
        count = np.ones(n, np.int64)
        distance[root] = 0
        parent[root] = -1
        size, done = push(keys, heap, 0, 0, int(root)), 0
        while size > 0:
            ms, node = keys[0], heap[0]
            size = pop(keys, heap, size)
            if ms > distance[node]:
                continue
            settled[done] = node
            done += 1
            for edge in range(first_edge[node], first_edge[node + 1]):
                head, through = edge_to[edge], ms + edge_ms[edge]
                if through < distance[head]:
                    distance[head] = through
                    parent[head] = node
                    size = push(keys, heap, size, through, int(head))
        for i in range(done - 1, -1, -1):
            node = settled[i]
            behind[node] += count[node]
            if parent[node] >= 0:
                count[parent[node]] += count[node]
