"""How real trips differ from a base time (roads without traffic, or the straight line), and how surely. Pure.

log(real / base) is a sum of effects: how long the trip is, the hour, the hour of the week, the cells it begins and
ends in, the pair of them, and a cell at an hour. Each is learned from what the others leave over, and shrunk: a group
of n trips keeps n / (n + k) of its mean, where k is the spread inside the groups over the spread between them
(empirical Bayes; Morris, "Parametric empirical Bayes inference", JASA 1983). What was never seen counts nothing, so
that without a trip the base stays as it is.

The interval holds 8 of 10 trips: quantiles of the real over the learned time, by band of length and part of the day,
each taken from trips that the effects were not fitted on, and with the conformal (n + 1) rank (Vovk, Gammerman, Shafer,
2005); a small group leans on all trips.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.eta.source import Floats
from engine.geo.cells import parents_of

Keys: TypeAlias = NDArray[np.int64]

BAND_EDGES_S: Final = (120, 240, 360, 480, 660, 900, 1_200, 1_800)
"""Base seconds that divide short trips from long ones."""
HOURS: Final = 24
MIX: Final = np.int64(0x1E3779B97F4A7C15)
"""Odd, so that products with it (modulo 2^64) stay different; two groups that meet after the XOR are one in 2^64."""
DAY_PART_OF_HOUR: Final = np.array([0] * 7 + [1] * 3 + [2] * 6 + [3] * 4 + [0] * 4)
"""Night, morning rush, day, evening rush: too few trips tell 24 intervals apart."""
DAY_PARTS: Final = 4
LOG_RATIO_MAX: Final = 1.4
"""A trip that took over 4 times as long, or under a quarter, says no more than that: it waited, or is a bad record."""
FOLDS: Final = 5
"""Each fifth is judged by what the others teach: fits on half of the trips would make intervals too wide."""
ROUNDS: Final = 4
"""The effects are fitted in turn, each to what all others leave over; then they have settled."""
K_MIN: Final = 2.0
K_MAX: Final = 200.0
COVERED: Final = 0.8
LEAN_TRIPS: Final = 60
"""An interval group of so many trips is half its own, half everybody's."""
PRIOR_LOW: Final = 0.65
PRIOR_HIGH: Final = 1.66
"""The interval before anything is learned: the straight line's."""
PAIR_RESOLUTION: Final = 6
"""Hexagons of 36 km2, as wide as a quarter."""
EFFECTS: Final = ("band", "hour", "week_hour", "from_cell", "to_cell", "pair", "cell_hour")


@dataclass(frozen=True, slots=True)
class Trips:
    """What is known before a trip: base seconds, local hour of the week (0-167), and the coarse cells of its ends."""

    base_s: Floats
    hour: Keys
    from_cell: Keys
    to_cell: Keys

    def keys(self) -> dict[str, Keys]:
        """Return the group of each trip in every effect."""
        return {
            "band": np.searchsorted(BAND_EDGES_S, self.base_s).astype(np.int64),
            "hour": self.hour % HOURS,
            "week_hour": self.hour,
            "pair": (_wider(self.from_cell) * MIX) ^ _wider(self.to_cell),
            "from_cell": self.from_cell,
            "to_cell": self.to_cell,
            "cell_hour": (self.to_cell * MIX) ^ (self.hour % HOURS),
        }

    def chosen(self, rows: NDArray[Any]) -> "Trips":
        """Return some of the trips."""
        return Trips(self.base_s[rows], self.hour[rows], self.from_cell[rows], self.to_cell[rows])


def _wider(cells: Keys) -> Keys:
    """Return the cell around each: pairs of ends are too many for the cells themselves."""
    return parents_of(cells.astype(np.uint64), PAIR_RESOLUTION).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Effect:
    """Log ratios of groups, sorted by their key; a group that is not here counts 0."""

    key: Keys
    log_ratio: Floats

    def of(self, keys: Keys) -> Floats:
        """Return the log ratio of each key."""
        if not len(self.key):
            return np.zeros(len(keys))
        at = np.minimum(np.searchsorted(self.key, keys), len(self.key) - 1)
        return np.where(self.key[at] == keys, self.log_ratio[at], 0.0)


@dataclass(frozen=True, slots=True)
class LearnedTimes:
    """Effects in the order of `EFFECTS`, and low and high ratios by band and part of the day."""

    city: float
    effects: tuple[Effect, ...]
    low: Floats
    """Shape (bands, day parts)."""
    high: Floats
    trips: int

    def seconds(self, trips: Trips) -> Floats:
        """Return the learned median seconds."""
        keys = trips.keys()
        log_ratio = np.full(len(trips.base_s), self.city)
        for name, effect in zip(EFFECTS, self.effects, strict=True):
            log_ratio += effect.of(keys[name])
        seconds: Floats = trips.base_s * np.exp(log_ratio)
        return seconds

    def interval(self, trips: Trips, eta_s: Floats) -> tuple[Floats, Floats]:
        """Return the seconds that 8 of 10 trips lie between."""
        cell = np.searchsorted(BAND_EDGES_S, eta_s), DAY_PART_OF_HOUR[trips.hour % HOURS]
        return eta_s * self.low[cell], eta_s * self.high[cell]


def unlearned(ratio: float = 1.0) -> LearnedTimes:
    """Return what is believed before any trip: the base, times one ratio."""
    shape = len(BAND_EDGES_S) + 1, DAY_PARTS
    nothing = tuple(Effect(np.empty(0, np.int64), np.empty(0)) for _ in EFFECTS)
    return LearnedTimes(float(np.log(ratio)), nothing, np.full(shape, PRIOR_LOW), np.full(shape, PRIOR_HIGH), 0)


def learn(trips: Trips, real_s: Floats) -> LearnedTimes:
    """Return what trips teach: effects from all of them, intervals from trips that stayed out of a fit."""
    everybody = np.arange(len(real_s))
    held_out = np.empty(len(real_s))
    for fold in range(FOLDS):
        is_outside = everybody % FOLDS == fold
        inside, outside = everybody[~is_outside], everybody[is_outside]
        city, effects = _effects(trips.chosen(inside), real_s[inside])
        held_out[outside] = _bare(city, effects).seconds(trips.chosen(outside))
    low, high = _quantiles(held_out, trips.hour, real_s / held_out)
    city, effects = _effects(trips, real_s)
    return LearnedTimes(city, effects, low, high, len(real_s))


def _bare(city: float, effects: tuple[Effect, ...]) -> LearnedTimes:
    return LearnedTimes(city, effects, np.empty((0, 0)), np.empty((0, 0)), 0)


def _effects(trips: Trips, real_s: Floats) -> tuple[float, tuple[Effect, ...]]:
    left = np.clip(np.log(real_s / trips.base_s), -LOG_RATIO_MAX, LOG_RATIO_MAX)
    city = float(np.median(left))
    left = left - city
    keys = trips.keys()
    effects = {name: Effect(np.empty(0, np.int64), np.empty(0)) for name in EFFECTS}
    for _ in range(ROUNDS):
        for name in EFFECTS:
            left = left + effects[name].of(keys[name])
            effects[name] = _shrunk(keys[name], left)
            left = left - effects[name].of(keys[name])
    return city, tuple(effects.values())


def _shrunk(keys: Keys, left: Floats) -> Effect:
    groups, group, count = np.unique(keys, return_inverse=True, return_counts=True)
    mean = np.bincount(group, weights=left) / count
    inside = float(np.sum((left - mean[group]) ** 2)) / max(len(left) - len(groups), 1)
    between = float(np.average((mean - np.average(left)) ** 2, weights=count)) - inside * len(groups) / len(left)
    k = np.clip(inside / between, K_MIN, K_MAX) if between > 0 else np.inf
    return Effect(groups.astype(np.int64), mean * count / (count + k))


def _quantiles(eta_s: Floats, hour: Keys, ratio: Floats) -> tuple[Floats, Floats]:
    band, part = np.searchsorted(BAND_EDGES_S, eta_s), DAY_PART_OF_HOUR[hour % HOURS]
    tail = (1 - COVERED) / 2
    found = np.empty((2, len(BAND_EDGES_S) + 1, DAY_PARTS))
    city = _tails(ratio, tail)
    for b in range(found.shape[1]):
        of_band = _leaning(ratio[band == b], city, tail)
        for p in range(DAY_PARTS):
            found[:, b, p] = _leaning(ratio[(band == b) & (part == p)], of_band, tail)
    return found[0], found[1]


def _leaning(ratio: Floats, wider: Floats, tail: float) -> Floats:
    if not len(ratio):
        return wider
    own = len(ratio) / (len(ratio) + LEAN_TRIPS)
    blended: Floats = np.exp(own * np.log(_tails(ratio, tail)) + (1 - own) * np.log(wider))
    return blended


def _tails(ratio: Floats, tail: float) -> Floats:
    """Return the ratios that leave out `tail` on either side, by the (n + 1) rank."""
    ranked, n = np.sort(ratio), len(ratio)
    low = max(int(np.floor(tail * (n + 1))) - 1, 0)
    high = min(int(np.ceil((1 - tail) * (n + 1))) - 1, n - 1)
    return ranked[[low, high]]
