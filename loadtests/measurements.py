"""What the people of a load run measured, on its way from their thread to locust's."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measurement:
    """One thing that was done, how long it took, and why it failed if it did."""

    name: str
    duration_ms: float
    failure: Exception | None = None


class Measurements:
    """A queue between two threads: one appends, one drains (both ends of a deque are atomic)."""

    def __init__(self) -> None:
        self._waiting: deque[Measurement] = deque()

    def add(self, name: str, duration_ms: float, failure: Exception | None = None) -> None:
        """Take one measurement."""
        self._waiting.append(Measurement(name, duration_ms, failure))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Measure the block; an exception is a failure and goes on."""
        started_s = time.perf_counter()
        try:
            yield
        except Exception as failure:
            self.add(name, (time.perf_counter() - started_s) * 1000, failure)
            raise
        self.add(name, (time.perf_counter() - started_s) * 1000)

    def drain(self) -> Iterator[Measurement]:
        """Give what waits, oldest first."""
        while self._waiting:
            yield self._waiting.popleft()
