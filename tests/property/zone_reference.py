"""What zones mean, one place and one move at a time, with whole numbers and without shapely."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

METRES_PER_E7 = 111_319.49079327358 / 1e7
SILENT_MS = 60_000

Corner = tuple[int, int]
Ring = list[Corner]


def is_inside(x: int, y: int, rings: list[Ring]) -> bool:
    """Even-odd over all rings; an edge belongs to the zone. Exact: all numbers are whole."""
    crossings = False
    for ring in rings:
        for (x0, y0), (x1, y1) in pairwise(ring):
            turn = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
            if turn == 0 and min(x0, x1) <= x <= max(x0, x1) and min(y0, y1) <= y <= max(y0, y1):
                return True
            if (y0 > y) != (y1 > y) and (turn > 0) == (y1 > y0):
                crossings = not crossings
    return crossings


def distance_m(x: int, y: int, rings: list[Ring]) -> float:
    """To the nearest edge, on a map that is flat around the middle latitude of the zone."""
    ys = [corner[1] for ring in rings for corner in ring]
    east = METRES_PER_E7 * math.cos(math.radians((min(ys) + max(ys)) / 2 / 1e7))
    nearest = math.inf
    for ring in rings:
        for (x0, y0), (x1, y1) in pairwise(ring):
            ax, ay = (x0 - x) * east, (y0 - y) * METRES_PER_E7
            bx, by = (x1 - x) * east, (y1 - y) * METRES_PER_E7
            length = (bx - ax) ** 2 + (by - ay) ** 2
            share = 0.0 if length == 0 else min(1.0, max(0.0, -(ax * (bx - ax) + ay * (by - ay)) / length))
            nearest = min(nearest, math.hypot(ax + share * (bx - ax), ay + share * (by - ay)))
    return nearest


@dataclass
class PlainZone:
    name: str
    org: str
    rings: list[Ring]
    dwell_ms: int | None = None


@dataclass
class PlainMove:
    worker: int
    ts_ms: int
    x: int
    y: int
    accuracy_dm: int
    is_off: bool = False


@dataclass
class PlainWatch:
    """Judges one move after the other."""

    zones: list[PlainZone]
    org_of: dict[int, str]
    since: dict[tuple[int, str], int] = field(default_factory=dict)
    told: set[tuple[int, str]] = field(default_factory=set)
    newest: dict[int, PlainMove] = field(default_factory=dict)

    def take(self, move: PlainMove) -> list[tuple[int, str, str, int, str]]:
        """Return the events: worker, kind, zone, time, reason; dwells, then exits, then enters."""
        prior = self.newest.get(move.worker)
        if prior is not None and move.ts_ms < prior.ts_ms and not move.is_off:
            return []
        at_ms = max(move.ts_ms, prior.ts_ms if prior else 0)
        self.newest[move.worker] = PlainMove(move.worker, at_ms, move.x, move.y, move.accuracy_dm, move.is_off)
        dwells, exits, enters = [], [], []
        for zone in self.zones:
            pair = move.worker, zone.name
            if pair in self.since:
                is_out = move.is_off or self._has_left(move, zone)
                due_ms = self.since[pair] + (zone.dwell_ms or 0)
                if zone.dwell_ms and pair not in self.told and due_ms <= at_ms:
                    heard_ms = prior.ts_ms if is_out and prior else at_ms
                    if heard_ms >= due_ms - SILENT_MS:
                        self.told.add(pair)
                        dwells.append((move.worker, "dwell", zone.name, due_ms, "moved"))
                if is_out:
                    del self.since[pair]
                    self.told.discard(pair)
                    exits.append((move.worker, "exit", zone.name, at_ms, "off_duty" if move.is_off else "moved"))
            elif not move.is_off and zone.org == self.org_of[move.worker] and is_inside(move.x, move.y, zone.rings):
                self.since[pair] = at_ms
                enters.append((move.worker, "enter", zone.name, at_ms, "moved"))
        return [*dwells, *exits, *enters]

    @staticmethod
    def _has_left(move: PlainMove, zone: PlainZone) -> bool:
        if is_inside(move.x, move.y, zone.rings):
            return False
        accuracy_m = 0.0 if move.accuracy_dm == 65_535 else move.accuracy_dm / 10
        return distance_m(move.x, move.y, zone.rings) > min(150.0, max(25.0, 2 * accuracy_m))
