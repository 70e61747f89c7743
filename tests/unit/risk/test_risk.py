"""The surface shrinks where little is known, the score is the sum of its terms."""

import math
from datetime import UTC, datetime

import h3.api.basic_int as h3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.units import ms_from_utc
from engine.geo.cells import cell_of
from engine.risk.score import RATIO_OF_ONE, booking_risks, contextual_risk, log_hour_factor
from engine.risk.surface import NEUTRAL, RiskSurface, fit_surface, shrink

HOUSTON = cell_of(29.76, -95.37)
CELLS = np.array(h3.grid_disk(HOUSTON, 12), np.uint64)
NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def test_without_data_every_place_is_like_every_other():
    assert NEUTRAL.ratio(HOUSTON) == 1
    assert fit_surface(CELLS, np.zeros(len(CELLS)), np.ones(len(CELLS))) is NEUTRAL


def test_recovers_known_rates_better_than_plain_counts():
    random = np.random.default_rng(4)
    # Districts (parents) differ by more than their cells do, as towns are.
    parents = np.array([h3.cell_to_parent(int(cell), 6) for cell in CELLS])
    district = {parent: random.gamma(1.5, 1 / 1.5) for parent in np.unique(parents)}
    truth = np.array([district[parent] for parent in parents]) * random.gamma(6, 1 / 6, len(CELLS))
    exposure = np.full(len(CELLS), 4.0)
    counts = random.poisson(truth * exposure).astype(float)

    surface = fit_surface(CELLS, counts, exposure)

    mean = counts.sum() / exposure.sum()
    ours = np.array([surface.ratio(int(cell)) for cell in CELLS]) * mean
    assert np.mean((ours - truth) ** 2) < 0.7 * np.mean((counts / exposure - truth) ** 2)
    assert np.mean((ours - truth) ** 2) < 0.7 * np.mean((mean - truth) ** 2)


def test_a_cell_never_watched_takes_its_nearest_ancestors_rate():
    parent = h3.cell_to_parent(HOUSTON, 7)
    watched = RiskSurface({parent: 3.0, h3.cell_to_parent(HOUSTON, 6): 2.0})
    assert watched.ratio(HOUSTON) == 3
    cousin = next(
        child
        for child in h3.cell_to_children(h3.cell_to_parent(HOUSTON, 6), 8)
        if h3.cell_to_parent(child, 7) != parent
    )
    assert watched.ratio(cousin) == 2


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0.1, 100)), min_size=2, max_size=40), st.floats(0.01, 10))
def test_shrinking_lies_between_the_prior_and_the_count(units: list[tuple[int, float]], prior: float):
    counts = np.array([count for count, _ in units], float)
    exposure = np.array([watched for _, watched in units])
    rates = shrink(counts, exposure, np.full(len(units), prior))
    plain = counts / exposure
    assert np.all(rates >= np.minimum(plain, prior) - 1e-9)
    assert np.all(rates <= np.maximum(plain, prior) + 1e-9)


@given(st.floats(0.01, 100), st.integers(0, 23), st.integers(0, 59))
def test_the_score_is_its_terms(area_ratio: float, hour: int, minute: int):
    risk = contextual_risk(area_ratio=area_ratio, log_hour=log_hour_factor(NOON.replace(hour=hour, minute=minute)))
    assert 0 <= risk.score <= 1
    assert math.isclose(risk.score, min(max(sum(risk.terms.values()), 0), 1), abs_tol=1e-6)


def test_night_and_a_bad_area_raise_it():
    def score(ratio: float, hour: int) -> float:
        return contextual_risk(area_ratio=ratio, log_hour=log_hour_factor(NOON.replace(hour=hour))).score

    assert score(1, 7) == score(1, 12) == 0
    assert score(1, 22) > score(1, 18) > 0
    assert score(3, 22) > score(1, 22)
    assert score(RATIO_OF_ONE * 4, 22) == 1


@pytest.mark.parametrize(("tz", "hour"), [("Europe/Lisbon", 22), ("America/New_York", 17), ("Asia/Tokyo", 6)])
def test_the_hour_is_the_places_own(tz: str, hour: int):
    at = datetime(2026, 6, 1, 21, 0, tzinfo=UTC)
    risk, other = booking_risks(NEUTRAL, [(0, 0, tz), (0, 0, "UTC")], at_ms=ms_from_utc(at))
    assert risk == contextual_risk(area_ratio=1, log_hour=log_hour_factor(NOON.replace(hour=hour)))
    assert other == contextual_risk(area_ratio=1, log_hour=log_hour_factor(NOON.replace(hour=21)))
