"""Thousands of movers on the streets, stepped together as arrays. Knows neither workers nor the wire."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.city.projection import Floats
from sim.city.routes import Routes
from sim.city.streets import Streets

PARKED: Final = -1
RED_LIGHT_SHARE: Final = 0.12
RED_LIGHT_S: Final = (2.0, 14.0)
CROSSINGS_MAX: Final = 10_000
"""Junctions that one step may pass; far more than any real step does."""
FLOW_NOISE: Final = 0.08

Index = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where some movers are: degrees, metres a second, degrees clockwise from north."""

    lat_deg: Floats
    lng_deg: Floats
    speed_mps: Floats
    heading_deg: Floats


class Traffic:
    """Movers by number. Each follows its destination's routes edge by edge, or stands at a kerb."""

    def __init__(self, streets: Streets, routes: Routes, *, movers: int, rng: np.random.Generator) -> None:
        self._streets = streets
        self._routes = routes
        self._rng = rng
        self._edge = rng.integers(0, streets.edges, movers).astype(np.int32)
        self._offset_m = rng.random(movers) * streets.edge_length_m[self._edge]
        self._pace = np.clip(rng.lognormal(-0.05, 0.14, movers), 0.6, 1.35)
        """How fast somebody drives, as a share of the street's free flow."""
        self._speed_mps = np.zeros(movers)
        self._hold_s = np.zeros(movers)
        self._destination = np.full(movers, PARKED, np.int32)
        self._field = np.zeros(movers, np.int32)
        self._fields = np.zeros((64, streets.junctions), np.int32)
        self._field_of: dict[int, int] = {}
        self._bound_for: Counter[int] = Counter()
        self._free_fields = list(range(len(self._fields) - 1, -1, -1))

    def put(self, mover: int, lat_deg: float, lng_deg: float) -> None:
        """Let `mover` stand in the street, at the point closest to a place."""
        self.park(mover)
        self._edge[mover], self._offset_m[mover] = self._streets.nearest_point(lat_deg, lng_deg)

    def send(self, mover: int, junction: int) -> None:
        """Let `mover` drive to `junction`, from wherever it is."""
        self.park(mover)
        self._field[mover] = self._field_row(junction)
        self._destination[mover] = junction
        self._bound_for[junction] += 1

    def park(self, mover: int) -> None:
        """Let `mover` stop where it is."""
        junction = int(self._destination[mover])
        self._destination[mover] = PARKED
        if junction != PARKED:
            self._leave_field(junction)

    def is_parked(self, mover: int) -> bool:
        """Whether `mover` stands."""
        return bool(self._destination[mover] == PARKED)

    def junction_ahead(self, mover: int) -> int:
        """Return the junction that `mover` reaches next, or stands at."""
        return int(self._streets.edge_to[self._edge[mover]])

    def step(self, movers: Index, elapsed_s: Floats) -> Index:
        """Move each of `movers` by its own `elapsed_s`; return those that arrived and now stand."""
        standing = np.minimum(self._hold_s[movers], elapsed_s)
        self._hold_s[movers] -= standing
        drives = self._destination[movers] != PARKED
        self._speed_mps[movers[~drives]] = 0.0
        movers, budget_s = movers[drives], (elapsed_s - standing)[drives]
        arrived: list[Index] = []
        for _ in range(CROSSINGS_MAX):
            if not len(movers):
                break
            movers, budget_s, there = self._cross(movers, budget_s)
            arrived.append(there)
        for mover in (parked := np.concatenate([*arrived, np.zeros(0, np.intp)])):
            self.park(int(mover))
        self._speed_mps[parked] = 0.0
        return parked

    def whereabouts(self, movers: Index) -> Whereabouts:
        """Return where `movers` are and how they move."""
        streets, edge = self._streets, self._edge[movers]
        share = self._offset_m[movers] / streets.edge_length_m[edge]
        tail, head = streets.edge_from[edge], streets.edge_to[edge]
        east_m = streets.east_m[tail] + share * (streets.east_m[head] - streets.east_m[tail])
        north_m = streets.north_m[tail] + share * (streets.north_m[head] - streets.north_m[tail])
        lat_deg, lng_deg = streets.projection.to_degrees(east_m, north_m)
        return Whereabouts(lat_deg, lng_deg, self._speed_mps[movers], streets.edge_heading_deg[edge])

    def _cross(self, movers: Index, budget_s: Floats) -> tuple[Index, Floats, Index]:
        """Drive each mover to its edge's end at most; return who goes on, with what time is left, and who arrived."""
        streets, edge = self._streets, self._edge[movers]
        flow = self._pace[movers] * (1 + FLOW_NOISE * self._rng.standard_normal(len(movers)).clip(-2, 2))
        speed_mps = streets.edge_speed_mps[edge] * flow
        needed_s = (streets.edge_length_m[edge] - self._offset_m[movers]) / speed_mps
        crosses = needed_s <= budget_s
        stays = movers[~crosses]
        self._offset_m[stays] += (budget_s * speed_mps)[~crosses]
        self._speed_mps[stays] = np.where(budget_s[~crosses] > 0, speed_mps[~crosses], 0.0)
        movers, budget_s = movers[crosses], (budget_s - needed_s)[crosses]
        junction = streets.edge_to[edge[crosses]]
        self._offset_m[movers] = streets.edge_length_m[edge[crosses]]
        there = junction == self._destination[movers]
        onward = movers[~there]
        self._edge[onward] = self._fields[self._field[onward], junction[~there]]
        self._offset_m[onward] = 0.0
        return onward, self._wait_at_lights(onward, budget_s[~there]), movers[there]

    def _wait_at_lights(self, movers: Index, budget_s: Floats) -> Floats:
        red_s = self._rng.uniform(*RED_LIGHT_S, len(movers)) * (self._rng.random(len(movers)) < RED_LIGHT_SHARE)
        waited_s = np.minimum(red_s, budget_s)
        self._hold_s[movers] = red_s - waited_s
        left: Floats = budget_s - waited_s
        return left

    def _field_row(self, junction: int) -> int:
        row = self._field_of.get(junction)
        if row is None:
            if not self._free_fields:
                taken = len(self._fields)
                self._fields = np.vstack([self._fields, np.zeros_like(self._fields)])
                self._free_fields = list(range(2 * taken - 1, taken - 1, -1))
            row = self._field_of[junction] = self._free_fields.pop()
            self._fields[row] = self._routes.next_edges(junction)
        return row

    def _leave_field(self, junction: int) -> None:
        self._bound_for[junction] -= 1
        if not self._bound_for[junction]:
            del self._bound_for[junction]
            self._free_fields.append(self._field_of.pop(junction))
