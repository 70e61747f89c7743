import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from engine.matcher.assignment.sparse import UNASSIGNED, Assignment, CostRows, assign

FORBIDDEN = 1e7
"""A cost that no optimal choice takes, in the dense twin of sparse rows."""


def sparse(lists: list[list[tuple[int, float]]], unassigned: list[float], workers: int) -> CostRows:
    start = np.concatenate(([0], np.cumsum([len(each) for each in lists]))).astype(np.int32)
    entries = [entry for each in lists for entry in each]
    return CostRows(
        start,
        np.array([worker for worker, _ in entries], np.int32),
        np.array([cost for _, cost in entries], np.float64),
        np.array(unassigned, np.float64),
        workers,
    )


def least_min(rows: CostRows) -> float:
    """The oracle: every booking with a column of its own for staying without."""
    count = len(rows.unassigned_min)
    dense = np.full((count, rows.workers + count), FORBIDDEN)
    np.minimum.at(dense, (rows.row, rows.worker), np.minimum(rows.cost_min, FORBIDDEN))
    dense[np.arange(count), rows.workers + np.arange(count)] = rows.unassigned_min
    return float(dense[linear_sum_assignment(dense)].sum())


def check(rows: CostRows) -> Assignment:
    found = assign(rows)
    got = found.worker != UNASSIGNED
    assert len(set(found.worker[got].tolist())) == got.sum(), "a worker was given away twice"
    assert (rows.row[found.entry[got]] == np.flatnonzero(got)).all()
    assert (rows.worker[found.entry[got]] == found.worker[got]).all()
    assert found.total_min == pytest.approx(least_min(rows), abs=1e-6)
    proves_itself(rows, found)
    return found


def proves_itself(rows: CostRows, found: Assignment) -> None:
    """No entry beats the prices of its ends, and the prices add up to the cost: nothing cheaper exists."""
    usable = np.isfinite(rows.cost_min)
    gap = rows.cost_min - found.row_price[rows.row] - found.worker_price[rows.worker]
    assert (gap[usable] >= -1e-6).all()
    assert (found.worker_price <= 0).all()
    assert (found.row_price <= rows.unassigned_min + 1e-9).all()
    assert found.row_price.sum() + found.worker_price.sum() == pytest.approx(found.total_min, abs=1e-6)


COSTS = st.floats(-50, 500) | st.integers(0, 4).map(float) | st.just(float("inf"))


@st.composite
def instances(draw: st.DrawFn) -> CostRows:
    workers = draw(st.integers(1, 12))
    one = st.lists(st.tuples(st.integers(0, workers - 1), COSTS), max_size=8)
    lists = draw(st.lists(one, max_size=14))
    unassigned = draw(st.lists(st.floats(-10, 200), min_size=len(lists), max_size=len(lists)))
    return sparse(lists, unassigned, workers)


@given(instances())
def test_no_assignment_is_cheaper(rows: CostRows) -> None:
    check(rows)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_with_ties_everywhere(bookings: int, workers: int, values: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    lists = [[(w, float(random.integers(0, values))) for w in range(workers)] for _ in range(bookings)]
    check(sparse(lists, [float(values)] * bookings, workers))


@given(st.integers(0, 2**32 - 1))
def test_a_crowd_around_few_workers(seed: int) -> None:
    random = np.random.default_rng(seed)
    lists = [[(int(w), float(random.normal(10, 0.01))) for w in random.permutation(12)[:10]] for _ in range(60)]
    lists += [[(int(w), float(random.uniform(0, 60))) for w in random.permutation(40)[:10]] for _ in range(30)]
    found = check(sparse(lists, [60.0] * 90, 40))
    assert (found.worker < 0).sum() >= 50


@given(instances())
def test_the_same_rows_give_the_same_assignment(rows: CostRows) -> None:
    assert assign(rows).entry.tolist() == assign(rows).entry.tolist()


def test_a_large_one_equals_scipy() -> None:
    random = np.random.default_rng(5)
    homes, places = random.random((900, 2)) * 20, random.normal(10, 3, (300, 2))
    far = np.hypot(*(places[:, None] - homes[None]).transpose(2, 0, 1))
    near = np.argsort(far, axis=1)[:, :25]
    lists = [[(int(w), float(far[i, w] * 3)) for w in near[i]] for i in range(300)]
    check(sparse(lists, [120.0] * 300, 900))
