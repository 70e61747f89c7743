import os
from pathlib import Path

import numpy as np
import pytest

from engine.matcher.assignment.sparse import UNASSIGNED, CostRows, assign

DATA = Path(os.environ.get("CLENZY_DATA", Path(__file__).parents[4] / "shared" / "data")) / "assignment"


def rows(start: list[int], worker: list[int], cost: list[float], unassigned: list[float], workers: int) -> CostRows:
    return CostRows(
        np.array(start, np.int32), np.array(worker, np.int32), np.array(cost), np.array(unassigned), workers
    )


@pytest.mark.parametrize(("name", "optimum"), [("assign100", 305), ("assign500", 991)])
def test_or_library_optimum(name: str, optimum: int) -> None:
    path = DATA / f"{name}.txt"
    if not path.exists():
        pytest.skip(f"needs OR-Library's {path} (set CLENZY_DATA to the folder above)")
    numbers = np.array(path.read_text().split(), np.float64)
    size, costs = int(numbers[0]), numbers[1:]
    start = np.arange(0, size * size + 1, size, dtype=np.int32)
    worker = np.tile(np.arange(size, dtype=np.int32), size)
    found = assign(CostRows(start, worker, costs, np.full(size, 1e5), size))
    assert found.total_min == optimum
    assert sorted(found.worker.tolist()) == list(range(size))


def test_the_nearer_booking_gives_way_when_that_is_cheaper_for_all() -> None:
    # Nearest-first would send worker 0 to booking 0 (1 min) and leave booking 1 with 40 min.
    found = assign(rows([0, 2, 4], [0, 1, 0, 1], [1.0, 3.0, 2.0, 40.0], [60.0, 60.0], 2))
    assert found.worker.tolist() == [1, 0]
    assert found.total_min == 5.0


def test_waiting_may_be_cheaper_than_anybody() -> None:
    found = assign(rows([0, 1], [0], [30.0], [20.0], 1))
    assert found.worker.tolist() == [UNASSIGNED]
    assert found.total_min == 20.0


def test_nobody_at_all() -> None:
    assert assign(rows([0], [], [], [], 0)).total_min == 0
    assert assign(rows([0, 0], [], [], [7.0], 0)).worker.tolist() == [UNASSIGNED]


def test_an_infinite_cost_forbids_the_pair() -> None:
    found = assign(rows([0, 1, 3], [0, 0, 1], [np.inf, 5.0, 6.0], [9.0, 9.0], 2))
    assert found.worker.tolist() == [UNASSIGNED, 0]
    assert found.entry.tolist()[1] == 1


@pytest.mark.parametrize(
    ("start", "worker", "cost", "unassigned", "complaint"),
    [
        ([0, 2], [0], [1.0], [5.0], "cover"),
        ([0, 2, 1], [0], [1.0], [5.0, 5.0], "descend"),
        ([0, 1], [2], [1.0], [5.0], "outside"),
        ([0, 1], [-1], [1.0], [5.0], "outside"),
        ([0, 1], [0], [np.nan], [5.0], "number"),
        ([0, 1], [0], [-np.inf], [5.0], "number"),
        ([0, 1], [0], [1.0], [np.inf], "finite"),
        ([0, 1], [0], [1.0, 2.0], [5.0], "one cost"),
    ],
)
def test_rows_that_make_no_sense_are_refused(
    start: list[int], worker: list[int], cost: list[float], unassigned: list[float], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        rows(start, worker, cost, unassigned, 2)
