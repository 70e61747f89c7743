"""Draws a city from a seed: warped blocks, arterials, two avenues across them, a ring, a river with few bridges.

Not a map of any place. It has what makes routes differ from straight lines: blocks of unequal size, streets that
miss, one-way pairs in the centre, water that can only be crossed in some places, and speeds that make detours pay.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.city.projection import Floats, Projection
from sim.city.streets import StreetClass, Streets, build_streets

ARTERIAL_EVERY: Final = 6
COLLECTOR_EVERY: Final = 3
RIM: Final = 1.05
"""No junction lies further out than this share of half the city's size."""

Links = dict[tuple[int, int], StreetClass]


@dataclass(frozen=True, slots=True)
class CityPlan:
    """How large the city is and how regular. The defaults give about 9 x 8 km and 1,500 junctions."""

    columns: int = 44
    rows: int = 40
    block_m: float = 210.0
    rotation_deg: float = 17.0
    warp_m: float = 160.0
    jitter_m: float = 32.0
    missing_junctions: float = 0.06
    missing_streets: float = 0.08
    river_half_width_m: float = 150.0
    oneway_radius_m: float = 1_900.0
    ring_radius_m: float = 3_100.0
    edge_loss: float = 0.25
    """Share of junctions lost towards the rim, so that the city has no straight border."""


def draw_city(lat_deg: float, lng_deg: float, *, seed: int, plan: CityPlan | None = None) -> Streets:
    """Return the city around a centre; the same seed gives the same streets."""
    return _Draughtsman(plan or CityPlan(), np.random.default_rng(seed)).draw(Projection(lat_deg, lng_deg))


class _Draughtsman:
    """One drawing: the junctions of the lattice, and the links that grow on them."""

    def __init__(self, plan: CityPlan, rng: np.random.Generator) -> None:
        self.plan = plan
        self.rng = rng
        self.arterial_offset = int(rng.integers(0, ARTERIAL_EVERY))
        self.phases = rng.uniform(0, 2 * math.pi, 6)
        self.places = self._junctions()
        self.kept = self._kept()
        self.links: Links = {}

    def draw(self, projection: Projection) -> Streets:
        self._lattice()
        self._bridges()
        self._line((-0.48, -0.18), (0.42, 0.46), StreetClass.ARTERIAL)
        self._line((-0.44, 0.40), (0.30, -0.12), StreetClass.ARTERIAL)
        self._ring()
        return build_streets(projection, self.places.reshape(-1, 2), self.links)

    def _junctions(self) -> Floats:
        """Return `rows x columns x 2` places: a rotated lattice, bent by slow waves and shaken."""
        plan = self.plan
        row, column = np.mgrid[0 : plan.rows, 0 : plan.columns].astype(float)
        east = (column - (plan.columns - 1) / 2) * plan.block_m
        north = (row - (plan.rows - 1) / 2) * plan.block_m
        wave = 2 * math.pi / (plan.columns * plan.block_m)
        bent_east = east + plan.warp_m * np.sin(1.7 * wave * north + self.phases[0]) * np.cos(
            wave * east + self.phases[1]
        )
        bent_north = north + plan.warp_m * np.sin(1.3 * wave * east + self.phases[2]) * np.cos(
            wave * north + self.phases[3]
        )
        turn = math.radians(plan.rotation_deg)
        places = np.stack(
            [
                bent_east * math.cos(turn) - bent_north * math.sin(turn),
                bent_east * math.sin(turn) + bent_north * math.cos(turn),
            ],
            axis=-1,
        )
        shaken: Floats = places + self.rng.normal(0, plan.jitter_m, places.shape)
        return shaken

    def _kept(self) -> npt.NDArray[np.bool_]:
        """Return which junctions exist: none in the river, fewer towards the rim, all on arterials elsewhere."""
        plan = self.plan
        half_m = max(plan.columns, plan.rows) * plan.block_m / 2
        radius = np.hypot(self.places[..., 0], self.places[..., 1]) / half_m
        lost = plan.missing_junctions + plan.edge_loss * np.clip((radius - 0.75) / 0.25, 0, 1)
        row, column = np.mgrid[0 : plan.rows, 0 : plan.columns]
        is_arterial = self._is_arterial(row) | self._is_arterial(column)
        stays = (self.rng.random(radius.shape) >= lost) | is_arterial
        dry = np.abs(self._above_river(self.places)) > plan.river_half_width_m
        kept: npt.NDArray[np.bool_] = stays & dry & (radius < RIM)
        return kept

    def _above_river(self, places: Floats) -> Floats:
        """Return how many metres north of the river's middle each place lies."""
        east, north = places[..., 0], places[..., 1]
        middle = -1_350 + 420 * np.sin(east / 1_900 + self.phases[4]) + 160 * np.sin(east / 620 + self.phases[5])
        above: Floats = north - middle
        return above

    def _is_arterial(self, index: npt.NDArray[np.int_]) -> npt.NDArray[np.bool_]:
        is_arterial: npt.NDArray[np.bool_] = (index + self.arterial_offset) % ARTERIAL_EVERY == 0
        return is_arterial

    def _class_of(self, index: int) -> StreetClass:
        if (index + self.arterial_offset) % ARTERIAL_EVERY == 0:
            return StreetClass.ARTERIAL
        if (index + self.arterial_offset) % COLLECTOR_EVERY == 0:
            return StreetClass.COLLECTOR
        return StreetClass.LOCAL

    def _lattice(self) -> None:
        for row in range(self.plan.rows):
            for column in range(self.plan.columns):
                if column + 1 < self.plan.columns:
                    self._block_side((row, column), (row, column + 1), row)
                if row + 1 < self.plan.rows:
                    self._block_side((row, column), (row + 1, column), column)

    def _block_side(self, a: tuple[int, int], b: tuple[int, int], street: int) -> None:
        kind = self._class_of(street)
        if not (self.kept[a] and self.kept[b]) or self._crosses_river(a, b):
            return
        if kind is StreetClass.LOCAL and self.rng.random() < self.plan.missing_streets:
            return
        tail, head = self._number(a), self._number(b)
        middle = (self.places[a] + self.places[b]) / 2
        if kind is StreetClass.LOCAL and float(np.hypot(*middle)) < self.plan.oneway_radius_m:
            # Neighbouring streets run in opposite directions, as a pair.
            self._link(*((tail, head) if street % 2 else (head, tail)), kind)
        else:
            self._street(tail, head, kind)

    def _bridges(self) -> None:
        """Carry every arterial column over the water."""
        for column in range(self.plan.columns):
            if self._class_of(column) is not StreetClass.ARTERIAL:
                continue
            kept_rows = np.flatnonzero(self.kept[:, column]).tolist()
            for below, above in pairwise(kept_rows):
                if self._crosses_river((below, column), (above, column)):
                    self._street(self._number((below, column)), self._number((above, column)), StreetClass.ARTERIAL)

    def _line(self, start: tuple[float, float], end: tuple[float, float], kind: StreetClass) -> None:
        """Lay an avenue over the lattice, from and to shares of the city's width and height; it ends at the water."""
        size = np.array([self.plan.columns, self.plan.rows]) * self.plan.block_m
        a, b = np.array(start) * size, np.array(end) * size
        steps = int(np.hypot(*(b - a)) / (1.4 * self.plan.block_m))
        self._path([a + (b - a) * step / steps for step in range(steps + 1)], kind, over_water=False)

    def _ring(self) -> None:
        around = np.linspace(0, 2 * math.pi, 60)
        radius_m = self.plan.ring_radius_m
        self._path(
            [np.array([radius_m * math.cos(turn), 0.92 * radius_m * math.sin(turn)]) for turn in around],
            StreetClass.RING,
            over_water=True,
        )

    def _path(self, points: list[Floats], kind: StreetClass, *, over_water: bool) -> None:
        """Join the junctions nearest to `points`, one after the other."""
        numbers = np.flatnonzero(self.kept.ravel())
        places = self.places.reshape(-1, 2)
        stops = [int(numbers[np.argmin(((places[numbers] - point) ** 2).sum(axis=1))]) for point in points]
        for tail, head in pairwise(stops):
            wet = float(self._above_river(places[tail])) * float(self._above_river(places[head])) < 0
            if tail != head and (over_water or not wet):
                self._street(tail, head, kind)

    def _crosses_river(self, a: tuple[int, int], b: tuple[int, int]) -> bool:
        return float(self._above_river(self.places[a])) * float(self._above_river(self.places[b])) < 0

    def _number(self, place: tuple[int, int]) -> int:
        return place[0] * self.plan.columns + place[1]

    def _street(self, tail: int, head: int, kind: StreetClass) -> None:
        self._link(tail, head, kind)
        self._link(head, tail, kind)

    def _link(self, tail: int, head: int, kind: StreetClass) -> None:
        self.links[(tail, head)] = max(kind, self.links.get((tail, head), kind))
