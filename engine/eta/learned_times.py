"""How long trips really take: the base time (roads without traffic, or the straight line) as learned, and how surely.

The median is the base times what `trip_effects` knows of the trip's length, hour and ends. The interval holds 8 of 10
trips: quantiles of the real over the learned time, by band of length and part of the day, each taken from trips that
the effects were not fitted on, and with the conformal (n + 1) rank (Vovk, Gammerman, Shafer, 2005); a small group leans
on all trips.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.eta.source import Floats
from engine.eta.trip_effects import HOURS, Ends, Keys, TripEffects, Trips, fit_effects, no_effects

BAND_EDGES_S: Final = (120, 240, 360, 480, 660, 900, 1_200, 1_800)
"""Seconds that divide short trips from long ones."""
DAY_PART_OF_HOUR: Final = np.array([0] * 7 + [1] * 3 + [2] * 6 + [3] * 4 + [0] * 4)
"""Night, morning rush, day, evening rush: too few trips tell 24 intervals apart."""
DAY_PARTS: Final = 4
FOLDS: Final = 5
"""Each fifth is judged by what the others teach: fits on half of the trips would make intervals too wide."""
COVERED: Final = 0.8
LEAN_TRIPS: Final = 60
"""An interval group of so many trips is half its own, half everybody's."""
PRIOR_LOW: Final = 0.65
PRIOR_HIGH: Final = 1.66
"""The interval before anything is learned: the straight line's."""


@dataclass(frozen=True, slots=True)
class LearnedTimes:
    """What trips have taught: the median by `effects`, low and high ratios by band and part of the day."""

    effects: TripEffects
    low: Floats
    """Shape (bands, day parts)."""
    high: Floats
    trips: int

    def seconds(self, trips: Trips) -> Floats:
        """Return the learned median seconds."""
        seconds: Floats = trips.base_s * np.exp(self.effects.log_ratio(trips))
        return seconds

    def times(self, base_s: Floats, hour: Keys, begin: Ends, end: Ends) -> tuple[Floats, Floats, Floats]:
        """Return `seconds` and `interval` of trips between ends that `effects` has looked up."""
        eta_s = base_s * np.exp(self.effects.between(base_s, hour, begin, end))
        return eta_s, *self._interval(hour, eta_s)

    def interval(self, trips: Trips, eta_s: Floats) -> tuple[Floats, Floats]:
        """Return the seconds that 8 of 10 trips lie between."""
        return self._interval(trips.hour, eta_s)

    def _interval(self, hour: Keys, eta_s: Floats) -> tuple[Floats, Floats]:
        cell = np.searchsorted(BAND_EDGES_S, eta_s), DAY_PART_OF_HOUR[hour % HOURS]
        return eta_s * self.low[cell], eta_s * self.high[cell]


def unlearned(ratio: float = 1.0) -> LearnedTimes:
    """Return what is believed before any trip: the base, times one ratio."""
    shape = len(BAND_EDGES_S) + 1, DAY_PARTS
    return LearnedTimes(no_effects(float(np.log(ratio))), np.full(shape, PRIOR_LOW), np.full(shape, PRIOR_HIGH), 0)


def learn(trips: Trips, real_s: Floats) -> LearnedTimes:
    """Return what trips teach: effects from all of them, intervals from trips that stayed out of a fit."""
    everybody = np.arange(len(real_s))
    held_out = np.empty(len(real_s))
    for fold in range(FOLDS):
        is_outside = everybody % FOLDS == fold
        inside, outside = trips.chosen(~is_outside), trips.chosen(is_outside)
        effects = fit_effects(inside, real_s[~is_outside])
        held_out[is_outside] = outside.base_s * np.exp(effects.log_ratio(outside))
    low, high = _quantiles(held_out, trips.hour, real_s / held_out)
    return LearnedTimes(fit_effects(trips, real_s), low, high, len(real_s))


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
