"""Ways through the streets: for a destination, the edge to take next from every junction.

One backward search serves everybody who drives to the same place, and following it costs one table look-up a
junction; that is what lets one process move thousands of workers.
"""

import heapq
import math
from collections import OrderedDict
from typing import Final

import numpy as np

from sim.city.projection import Floats
from sim.city.streets import Ints, Streets

CACHE_MAX: Final = 512
"""Destinations kept; the one not used for longest is forgotten."""


class Routes:
    """Fastest ways by free-flow time (Dijkstra, backward from the destination), cached by destination."""

    def __init__(self, streets: Streets) -> None:
        self._streets = streets
        self._seconds = (streets.edge_length_m / streets.edge_speed_mps).tolist()
        self._tails = streets.edge_from.tolist()
        self._edges_into: list[list[int]] = [[] for _ in range(streets.junctions)]
        for edge, head in enumerate(streets.edge_to.tolist()):
            self._edges_into[head].append(edge)
        self._cache: OrderedDict[int, tuple[Ints, Floats]] = OrderedDict()
        self.searches = 0

    def next_edges(self, destination: int) -> Ints:
        """Return, for every junction, the edge to take towards `destination`; -1 at the destination itself."""
        return self._field(destination)[0]

    def seconds(self, destination: int) -> Floats:
        """Return, for every junction, the free-flow seconds to `destination`."""
        return self._field(destination)[1]

    def route(self, origin: int, destination: int) -> list[int]:
        """Return the edges from `origin` to `destination`, in order."""
        next_edges = self.next_edges(destination)
        route: list[int] = []
        junction = origin
        while junction != destination:
            edge = int(next_edges[junction])
            route.append(edge)
            junction = int(self._streets.edge_to[edge])
        return route

    def _field(self, destination: int) -> tuple[Ints, Floats]:
        found = self._cache.get(destination)
        if found is None:
            found = self._cache[destination] = self._search(destination)
            if len(self._cache) > CACHE_MAX:
                self._cache.popitem(last=False)
        self._cache.move_to_end(destination)
        return found

    def _search(self, destination: int) -> tuple[Ints, Floats]:
        self.searches += 1
        cost_s = [math.inf] * self._streets.junctions
        next_edge = [-1] * self._streets.junctions
        cost_s[destination] = 0.0
        queue = [(0.0, destination)]
        while queue:
            so_far_s, head = heapq.heappop(queue)
            if so_far_s > cost_s[head]:
                continue
            for edge in self._edges_into[head]:
                tail, there_s = self._tails[edge], so_far_s + self._seconds[edge]
                if there_s < cost_s[tail]:
                    cost_s[tail] = there_s
                    next_edge[tail] = edge
                    heapq.heappush(queue, (there_s, tail))
        return np.array(next_edge, np.int32), np.array(cost_s)
