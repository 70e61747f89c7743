"""What makes a trip slower or faster than its base time, as smooth tables: its length, the hour, its two ends. Pure.

log(real / base) is the city's median and a sum of tables: length of the trip by hour of the week; the cell it begins
in, and the one it ends in; the wider cells of both ends together; and each wider cell by hour of the week. How far a
trip speaks for others like it (`Belief`) is the prior. It was set by hand, is the same in every city, and twice or
half of any of it changes scores on real trips by a hundredth. Without trips every table is 0: the base stays.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from config.limits import LEARNED_CELLS_MAX, LEARNED_WIDE_CELLS_MAX
from engine.core.units import METRES_PER_DEG
from engine.eta.smooth_grids import Axis, Term, bell, smooth_tables
from engine.eta.source import Floats
from engine.geo.cells import centres_of, disk, parents_of

Keys: TypeAlias = NDArray[np.int64]

HOURS: Final = 24
DAYS: Final = 7
WEEK_HOURS: Final = HOURS * DAYS
SATURDAY: Final = 5
LENGTH_LOG_MIN: Final = 3.0
LENGTH_LOG_STEP: Final = 0.15
LENGTHS: Final = 46
"""Base times from 20 s to 5 h, each 16 % longer than the one before."""
WIDE_RESOLUTION: Final = 7
"""Hexagons of 5 km2: pairs of ends are too many for the cells themselves."""
RINGS: Final = 2
"""Cells so near to one with trips have entries too: what is known there reaches them."""
LOG_RATIO_MAX: Final = 1.4
"""A trip that took over 4 times as long, or under a quarter, says no more than that: it waited, or is a bad record."""
DIGITS: Final = 5
"""Of a logarithm: files hold exactly what was learned."""


@dataclass(frozen=True, slots=True)
class Belief:
    """Variances of log ratios, and how far a trip speaks for others: in log length, hours and metres."""

    noise: float = 0.12
    length: float = 0.02
    length_reach: float = 0.8
    hour: float = 0.012
    hour_reach_h: float = 2.5
    length_hour: float = 0.008
    length_hour_reach: tuple[float, float] = (1.0, 1.5)
    begin: float = 0.003
    end: float = 0.004
    end_reach_m: float = 1_500.0
    pair: float = 0.006
    pair_reach_m: float = 1_500.0
    wide_pair: float = 0.009
    wide_pair_reach_m: float = 5_000.0
    cell_hour: float = 0.003
    cell_hour_reach: tuple[float, float] = (2_000.0, 2.0)
    own: float = 0.1
    """The share of a place or an hour that is its own and of nothing near it: a bridge, the end of school."""
    same_kind: float = 0.6
    """Of two days that are both work days, or both of the weekend, beside a share that all days have in common."""
    same_day: float = 0.1


BELIEF: Final = Belief()


@dataclass(frozen=True, slots=True)
class Trips:
    """What is known before a trip: base seconds, local hour of the week (0-167), and the coarse cells of its ends."""

    base_s: Floats
    hour: Keys
    from_cell: Keys
    to_cell: Keys

    def chosen(self, rows: NDArray[Any]) -> "Trips":
        """Return some of the trips."""
        return Trips(self.base_s[rows], self.hour[rows], self.from_cell[rows], self.to_cell[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """Where cells are in the tables of `TripEffects`: in those by cell, and in those by wider cell."""

    near: Keys
    wide: Keys

    def chosen(self, rows: NDArray[Any]) -> "Ends":
        """Return some of them, as often as they are named."""
        return Ends(self.near[rows], self.wide[rows])


@dataclass(frozen=True, slots=True, eq=False)
class TripEffects:
    """Log ratios by group. Cells ascend; the last entry of an axis of cells is for all others, and 0."""

    city: float
    cells: Keys
    wide_cells: Keys
    length_hour: Floats
    """Shape (lengths, hours of the week)."""
    begin: Floats
    end: Floats
    """Shape (cells + 1)."""
    pair: Floats
    """Shape (wide cells + 1, wide cells + 1): from, to."""
    begin_hour: Floats
    end_hour: Floats
    """Shape (wide cells + 1, hours of the week)."""

    def log_ratio(self, trips: Trips) -> Floats:
        """Return log(real / base) of each trip."""
        return self.between(trips.base_s, trips.hour, self.ends(trips.from_cell), self.ends(trips.to_cell))

    def ends(self, cells: Keys) -> Ends:
        """Return where each cell is in the tables."""
        return Ends(_places(self.cells, cells), _places(self.wide_cells, _wider(cells)))

    def between(self, base_s: Floats, hour: Keys, begin: Ends, end: Ends) -> Floats:
        """Return `log_ratio` of trips whose ends were looked up: once for many trips of one place."""
        found: Floats = (
            self.city
            + self.length_hour[lengths_of(base_s), hour]
            + self.begin[begin.near]
            + self.end[end.near]
            + self.pair[begin.wide, end.wide]
            + self.begin_hour[begin.wide, hour]
            + self.end_hour[end.wide, hour]
        )
        return found


def no_effects(city: float = 0.0) -> TripEffects:
    """Return what is believed before any trip."""
    none = np.empty(0, np.int64)
    by_hour, by_cell = np.zeros((1, WEEK_HOURS)), np.zeros(1)
    lengths = np.zeros((LENGTHS, WEEK_HOURS))
    return TripEffects(city, none, none, lengths, by_cell, by_cell, np.zeros((1, 1)), by_hour, by_hour)


def fit_effects(trips: Trips, real_s: Floats, belief: Belief = BELIEF) -> TripEffects:
    """Return what trips teach."""
    log_ratio = np.log(real_s / trips.base_s)
    city = round(float(np.median(log_ratio)), DIGITS)
    cells = _known(np.concatenate([trips.from_cell, trips.to_cell]), LEARNED_CELLS_MAX)
    wide_cells = _known(_wider(np.concatenate([trips.from_cell, trips.to_cell])), LEARNED_WIDE_CELLS_MAX)
    left = np.clip(log_ratio - city, -LOG_RATIO_MAX, LOG_RATIO_MAX)
    tables = smooth_tables(_terms(trips, cells, wide_cells, belief), left, noise=belief.noise)
    length, hour, length_hour, begin, end, pair, wide_pair, begin_hour, end_hour = tables
    by_length_and_hour, by_pair = length[:, None] + hour + length_hour, pair + wide_pair
    kept = (by_length_and_hour, begin, end, by_pair, begin_hour, end_hour)
    return TripEffects(city, cells, wide_cells, *(np.ascontiguousarray(np.round(each, DIGITS)) for each in kept))


def lengths_of(base_s: Floats) -> NDArray[np.int64]:
    """Return the entry of each base time on the axis of lengths."""
    steps = (np.log(base_s) - LENGTH_LOG_MIN) / LENGTH_LOG_STEP
    return np.clip(np.rint(steps), 0, LENGTHS - 1).astype(np.int64)


def _terms(trips: Trips, cells: Keys, wide_cells: Keys, belief: Belief) -> tuple[Term, ...]:
    apart_log = LENGTH_LOG_STEP * np.abs(np.subtract.outer(np.arange(LENGTHS), np.arange(LENGTHS)))
    apart_m, wide_apart_m = _apart_m(cells), _apart_m(wide_cells)
    ends = trips.from_cell, trips.to_cell
    length, (begin, end) = lengths_of(trips.base_s), (_places(cells, each) for each in ends)
    wide_begin, wide_end = (_places(wide_cells, _wider(each)) for each in ends)
    week = Axis(trips.hour, _week(belief.hour_reach_h, belief))
    near = _with_own(bell(apart_m, belief.end_reach_m), belief)
    pair, wide = (bell(wide_apart_m, reach) for reach in (belief.pair_reach_m, belief.wide_pair_reach_m))
    log_reach, log_reach_h = belief.length_hour_reach
    cell_reach_m, cell_reach_h = belief.cell_hour_reach
    by_cell, by_hour = bell(wide_apart_m, cell_reach_m), Axis(trips.hour, _week(cell_reach_h, belief))
    return (
        Term((Axis(length, bell(apart_log, belief.length_reach)),), belief.length),
        Term((week,), belief.hour),
        Term(
            (Axis(length, bell(apart_log, log_reach)), Axis(trips.hour, _week(log_reach_h, belief))), belief.length_hour
        ),
        Term((Axis(begin, near),), belief.begin),
        Term((Axis(end, near),), belief.end),
        Term((Axis(wide_begin, pair), Axis(wide_end, pair)), belief.pair),
        Term((Axis(wide_begin, wide), Axis(wide_end, wide)), belief.wide_pair),
        Term((Axis(wide_begin, by_cell), by_hour), belief.cell_hour),
        Term((Axis(wide_end, by_cell), by_hour), belief.cell_hour),
    )


def _week(reach_h: float, belief: Belief) -> Floats:
    """Return how the hours of a week covary: near ones of a day, the same ones of others, more if of the same kind."""
    hours, days = np.arange(HOURS), np.arange(DAYS)
    apart_h = np.abs(np.subtract.outer(hours, hours))
    is_weekend = days >= SATURDAY
    same_kind = is_weekend[:, None] == is_weekend
    in_common = 1 - belief.same_kind - belief.same_day
    of_days = in_common + belief.same_kind * same_kind + belief.same_day * np.eye(DAYS)
    of_hours = bell(np.minimum(apart_h, HOURS - apart_h).astype(np.float64), reach_h)
    return np.kron(of_days, _with_own(of_hours, belief))


def _with_own(covariance: Floats, belief: Belief) -> Floats:
    return (1 - belief.own) * covariance + belief.own * np.diag(np.diag(covariance))


def _apart_m(cells: Keys) -> Floats:
    """Return the metres between cells; the last row and column, for what is no cell of these, are infinite."""
    lat_deg, lng_deg = centres_of(cells.astype(np.uint64))
    east_deg = (np.subtract.outer(lng_deg, lng_deg) + 180) % 360 - 180
    east_deg *= np.cos(np.radians(np.add.outer(lat_deg, lat_deg) / 2))
    apart = np.full((len(cells) + 1, len(cells) + 1), np.inf)
    apart[:-1, :-1] = METRES_PER_DEG * np.hypot(np.subtract.outer(lat_deg, lat_deg), east_deg)
    return apart


def _known(of_trips: Keys, most: int) -> Keys:
    """Return the cells that get entries, ascending: those with the most trips, and then their neighbours."""
    cells, trips = np.unique(of_trips, return_counts=True)
    busy = cells[np.argsort(-trips, kind="stable")][:most]
    known = dict.fromkeys(busy.tolist())
    for cell in busy.tolist():
        if len(known) >= most:
            break
        known.update(dict.fromkeys(disk(cell, RINGS)))
    return np.array(sorted(list(known)[:most]), np.int64)


def _wider(cells: Keys) -> Keys:
    return parents_of(cells.astype(np.uint64), WIDE_RESOLUTION).astype(np.int64)


def _places(known: Keys, cells: Keys) -> NDArray[np.int64]:
    """Return where each cell is among the known ones; their number: it is not."""
    if not len(known):
        return np.zeros(len(cells), np.int64)
    at = np.minimum(np.searchsorted(known, cells), len(known) - 1)
    return np.where(known[at] == cells, at, len(known))
