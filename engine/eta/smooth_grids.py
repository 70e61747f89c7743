"""Smooth effects on grids: Gaussian-process regression where every input is one of a few values. Pure.

What is left over of each trip is a sum of terms and noise. A term is a table over one or two axes (lengths, hours of
the week, cells), believed to be near 0 and smooth: its entries covary as the product of one covariance an axis says.
The tables that are likeliest after n trips follow from one linear system of n unknowns, which is never written down:
conjugate gradients need only its products, and these go through the tables (a trip lies on one entry of each), so that
the work grows with n and not with its cube.
Source: Rasmussen, Williams, "Gaussian processes for machine learning", 2006, sections 2.2 and 8.3.6 (products by
structure); Hestenes, Stiefel, "Methods of conjugate gradients", 1952.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.core.jit import kernel
from engine.eta.source import Floats

STEPS_MAX: Final = 80
"""The matrix is noise and something smooth: 30 steps do on real trips."""
NOTHING: Final = 1e-6
"""A covariance below this is none: most cells of a city have nothing to do with each other."""
ENOUGH: Final = 1e-3
"""Of the first error: what is left then is far below the noise."""


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """Where each trip lies on one axis, and how the values of this axis covary (symmetric, 1 on the diagonal).

    A value whose row and column are 0 stands for what is not on the axis: it learns and tells nothing.
    """

    at: NDArray[np.int64]
    covariance: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """A table over one or two `axes`; `variance` is what is believed of one entry before any trip."""

    axes: tuple[Axis, ...]
    variance: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the size of the table."""
        return tuple(len(axis.covariance) for axis in self.axes)

    def entries(self) -> NDArray[np.int64]:
        """Return the entry of each trip, in the flat table."""
        found: NDArray[np.int64] = np.ravel_multi_index(tuple(axis.at for axis in self.axes), self.shape)
        return found


def smooth_tables(terms: Sequence[Term], left: Floats, *, noise: float) -> list[Floats]:
    """Return the likeliest table of each term, given what is left over of each trip and the variance of its noise."""
    entries = [term.entries() for term in terms]
    weights = np.zeros(len(left))
    off = left.astype(np.float64)
    direction, square = off.copy(), float(off @ off)
    enough = ENOUGH**2 * square
    for _ in range(STEPS_MAX):
        if square <= enough:
            break
        product = noise * direction
        for term, at in zip(terms, entries, strict=True):
            product += _table(term, at, direction).ravel()[at]
        step = square / float(direction @ product)
        weights += step * direction
        off -= step * product
        before, square = square, float(off @ off)
        direction = off + square / before * direction
    return [_table(term, at, weights) for term, at in zip(terms, entries, strict=True)]


def _table(term: Term, entries: NDArray[np.int64], weights: Floats) -> Floats:
    """Return what weights of trips say about every entry: their sums, spread by the covariance of each axis."""
    first, second = (*term.shape, 1)[:2]
    table: Floats = np.asarray(np.bincount(entries, weights, first * second), np.float64).reshape(first, second)
    table = _product(term.axes[0].covariance, table)
    for axis in term.axes[1:]:
        table = _product(axis.covariance, np.ascontiguousarray(table.T)).T
    spread: Floats = term.variance * table.reshape(term.shape)
    return spread


@kernel
def _product(covariance: Floats, table: Floats) -> Floats:
    """Return the matrix product, always the same to the bit; BLAS's threads starve each other on a busy machine."""
    product = np.zeros((covariance.shape[0], table.shape[1]))
    for row in range(covariance.shape[0]):
        for inner in range(covariance.shape[1]):
            weight = covariance[row, inner]
            if weight == 0:
                continue
            for column in range(table.shape[1]):
                product[row, column] += weight * table[inner, column]
    return product


def bell(distance: Floats, reach: float) -> Floats:
    """Return the covariance of values so far apart: 1 at 0, 0.61 at `reach`, nothing at three times that."""
    covariance: Floats = np.exp(-((distance / reach) ** 2) / 2)
    return np.where(covariance < NOTHING, 0.0, covariance)
