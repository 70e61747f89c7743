"""How often incidents happen around a place, relative to the whole area. Pure: counts in, rates out.

Few incidents in one cell say little, so each cell's rate is drawn towards its parent's, the more the less time it was
watched: a Gamma prior around the parent's rate, a Poisson count (empirical Bayes; Clayton & Kaldor, Biometrics 1987).
Recorded incidents are also biased by where people report. A surface therefore moves one thing only: how much a
worker's experience counts. It never refuses a booking and never enters a price.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from config.limits import CELL_RESOLUTION
from engine.geo.cells import CellArray, ancestor_bits, parents_of

RateArray: TypeAlias = NDArray[np.float64]

PARENT_RESOLUTIONS: Final = (CELL_RESOLUTION - 1, CELL_RESOLUTION - 2)
"""Where a cell's rate leans: on its parent, that one on its own parent, the last on the whole area."""

VARIANCE_MIN: Final = 1e-6
"""Below this relative variance between siblings they count as equal and take their parent's rate."""


@dataclass(frozen=True, slots=True)
class RiskSurface:
    """Incident rate by cell (index resolution and parents), as a multiple of the mean of the area; 1 where unknown."""

    ratios: Mapping[int, float]

    def ratio(self, cell: int) -> float:
        """Return the ratio of a cell of the index resolution; a cell never watched takes its nearest ancestor's."""
        if not self.ratios:
            return 1.0
        ancestors = ((cell & clear) | fill for clear, fill in map(ancestor_bits, PARENT_RESOLUTIONS))
        known = (self.ratios[each] for each in (cell, *ancestors) if each in self.ratios)
        return next(known, 1.0)


NEUTRAL: Final = RiskSurface({})
"""No data: every place is like every other."""


def fit_surface(cells: CellArray, counts: RateArray, exposure: RateArray) -> RiskSurface:
    """Return the surface of incidents counted per cell.

    Args:
        cells: distinct cells of the index resolution, with those in which nothing happened.
        counts: incidents in each; may be decayed with age, then decay the exposure alike.
        exposure: how long each was watched, in any unit of time.
    """
    assert len(cells) == len(counts) == len(exposure)
    if counts.sum() <= 0:
        return NEUTRAL
    mean_rate = counts.sum() / exposure.sum()
    ratios: dict[int, float] = {}
    rate_of: dict[int, float] = {}
    for resolution in (*reversed(PARENT_RESOLUTIONS), CELL_RESOLUTION):
        units, members = np.unique(parents_of(cells, resolution), return_inverse=True)
        above = parents_of(units, resolution - 1).tolist()
        prior = np.array([rate_of.get(parent, mean_rate) for parent in above])
        rates = shrink(_sum_by(members, counts), _sum_by(members, exposure), prior)
        rate_of = dict(zip(units.tolist(), rates.tolist(), strict=True))
        ratios |= {unit: rate / mean_rate for unit, rate in rate_of.items()}
    return RiskSurface(ratios)


def shrink(counts: RateArray, exposure: RateArray, prior_rate: RateArray) -> RateArray:
    """Return the posterior mean rate of each unit, given the rate that is expected of it.

    The strength of the prior is estimated from the units themselves (method of moments): siblings that differ no more
    than chance explains are drawn together wholly.
    """
    expected = prior_rate * exposure
    variance = ((counts - expected) ** 2 - expected).sum() / (expected**2).sum()
    strength = 1 / max(float(variance), VARIANCE_MIN)
    rates: RateArray = prior_rate * (strength + counts) / (strength + expected)
    return rates


def _sum_by(members: NDArray[np.intp], values: RateArray) -> RateArray:
    return np.asarray(np.bincount(members, values), np.float64)
