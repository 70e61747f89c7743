"""The order in which `pytest -n 2` gives out files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from tests.lanes import OneProductAtATime

FILES = {
    "tests/unit/test_large.py": 9,
    "tests/unit/test_small.py": 1,
    "tests/unit/test_tiny.py": 1,
    "tests/acceptance/test_world.py": 1,
    "tests/browser/test_desk.py": 2,
    "tests/browser/test_phone.py": 1,
}
ITEMS = [f"{file}::test_{n}" for file, count in FILES.items() for n in range(count)]


@dataclass(eq=False)
class Worker:
    """Notes what it is told to run."""

    gateway: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(id="gw"))
    told: list[str] = field(default_factory=list)
    shutting_down: bool = False

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        self.told += [ITEMS[index] for index in indices]

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(item.partition("::")[0] for item in self.told))


@pytest.fixture
def schedule(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> OneProductAtATime:
    monkeypatch.setattr(pytestconfig.option, "loadscopereorder", True, raising=False)
    monkeypatch.setattr(pytestconfig.option, "tx", ["popen", "popen"])
    return OneProductAtATime(pytestconfig)


def started(schedule: OneProductAtATime) -> tuple[Worker, Worker]:
    workers = Worker(), Worker()
    for worker in workers:
        schedule.add_node(worker)
        schedule.add_node_collection(worker, ITEMS)
    schedule.schedule()
    return workers


def test_one_worker_has_all_whole_products_and_the_other_what_is_small(schedule: OneProductAtATime) -> None:
    lane, other = started(schedule)
    assert other.files == ["tests/unit/test_large.py"]
    for item in lane.told:  # grows
        schedule.mark_test_complete(lane, ITEMS.index(item))
        if item.startswith("tests/acceptance"):
            break
    assert lane.files[:3] == [
        "tests/browser/test_desk.py",
        "tests/browser/test_phone.py",
        "tests/acceptance/test_world.py",
    ]
    assert set(lane.files[3:]) <= {"tests/unit/test_small.py", "tests/unit/test_tiny.py"}


def test_everything_runs_once_even_if_only_whole_products_are_left(schedule: OneProductAtATime) -> None:
    lane, other = started(schedule)
    for item in other.told:
        schedule.mark_test_complete(other, ITEMS.index(item))
    for item in lane.told:
        schedule.mark_test_complete(lane, ITEMS.index(item))
    assert sorted(lane.told + other.told) == sorted(ITEMS)
    assert schedule.tests_finished
    assert not schedule.has_pending
    assert (lane.shutting_down, other.shutting_down) == (True, True)
