from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.matcher.assignment.crews import JobAssignment, Resource, assign_jobs
from engine.matcher.assignment.sparse import UNASSIGNED, CostRows

STEPS = 2_000


def dense(costs: list[list[float]], unassigned: list[float]) -> CostRows:
    seats, workers = len(costs), len(costs[0])
    return CostRows(
        np.arange(0, seats * workers + 1, workers, dtype=np.int32),
        np.tile(np.arange(workers, dtype=np.int32), seats),
        np.array(costs, np.float64).ravel(),
        np.array(unassigned),
        workers,
    )


def least_min(costs: list[list[float]], unassigned: list[float], job: list[int], resources: list[Resource]) -> float:
    """The oracle: every way to fill the seats."""
    least = float("inf")
    for choice in product([UNASSIGNED, *range(len(costs[0]))], repeat=len(costs)):
        if is_allowed(choice, job, resources):
            each = (unassigned[i] if w == UNASSIGNED else costs[i][w] for i, w in enumerate(choice))
            least = min(least, sum(each))
    return least


def is_allowed(choice: tuple[int, ...], job: list[int], resources: list[Resource]) -> bool:
    sent = [worker for worker in choice if worker != UNASSIGNED]
    served = {j for j, worker in zip(job, choice, strict=True) if worker != UNASSIGNED}
    waits = {j for j, worker in zip(job, choice, strict=True) if worker == UNASSIGNED}
    full = all(len(served.intersection(each.jobs)) <= each.capacity for each in resources)
    return len(sent) == len(set(sent)) and not served & waits and full


@st.composite
def questions(draw: st.DrawFn) -> tuple[list[list[float]], list[float], list[int], list[Resource]]:
    job = sorted(draw(st.lists(st.integers(0, 2), min_size=1, max_size=4)))
    job = [sorted(set(job)).index(each) for each in job]
    workers = draw(st.integers(1, 3))
    cost = st.integers(0, 20).map(float) | st.floats(0, 40) | st.just(float("inf"))
    costs = [draw(st.lists(cost, min_size=workers, max_size=workers)) for _ in job]
    unassigned = [draw(st.floats(1, 40)) for _ in job]
    users = st.sets(st.integers(0, max(job)), min_size=1).map(lambda each: tuple(sorted(each)))
    resources = draw(st.lists(st.builds(Resource, st.just("bay"), users, st.integers(0, 2)), max_size=2))
    return costs, unassigned, job, resources


@given(questions())
def test_crews_and_resources_are_solved_exactly(
    question: tuple[list[list[float]], list[float], list[int], list[Resource]],
) -> None:
    costs, unassigned, job, resources = question
    found = assign_jobs(dense(costs, unassigned), np.array(job, np.int32), tuple(resources), nodes_max=STEPS)
    assert is_allowed(tuple(found.worker.tolist()), job, resources)
    assert found.is_exact
    assert found.total_min == pytest.approx(least_min(costs, unassigned, job, resources), abs=1e-6)


def crowded(seed: int, steps: int) -> JobAssignment:
    """Twenty crews of three who want the same thirty workers, and three bays."""
    random = np.random.default_rng(seed)
    job = np.repeat(np.arange(20, dtype=np.int32), 3)
    rows = dense(random.uniform(1, 30, (60, 30)).tolist(), [25.0] * 60)
    found = assign_jobs(rows, job, (Resource("bay", tuple(range(20)), 3),), nodes_max=steps)
    served = {int(j) for j, w in zip(job, found.worker, strict=True) if w != UNASSIGNED}
    assert is_allowed(tuple(found.worker.tolist()), job.tolist(), [Resource("bay", tuple(range(20)), 3)])
    assert len(served) == 3
    return found


def test_at_the_limit_of_steps_the_best_so_far_is_valid_and_its_bound_true() -> None:
    few, many = crowded(3, 2), crowded(3, 40)
    assert few.steps <= 2
    assert few.bound_min <= many.bound_min + 1e-6
    assert many.bound_min <= many.total_min <= few.total_min
    assert not few.is_exact
