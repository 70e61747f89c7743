"""What every group of rows is given, and the form it has."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bench.report import Row


@dataclass(frozen=True, slots=True)
class Rig:
    """How long each figure is taken, and who runs on which core."""

    seconds: float
    """Length of one measurement; figures of several kinds take it each."""
    server_cpu: int
    """The server under test has this core for itself."""
    client_cpu: int
    """Clients and stores share this one."""
    seed: int


Part: TypeAlias = Callable[[Rig], Sequence[Row]]
"""Measures one group of rows. It starts its own servers and clients as processes, and ends them."""


def rig(*, seconds: float, seed: int) -> Rig:
    """Return a rig on the first two cores that this process may use; with one core both are the same."""
    cores = sorted(os.sched_getaffinity(0))
    return Rig(seconds, cores[0], cores[1 % len(cores)], seed)


def pin(pids: Iterable[int], cpu: int) -> None:
    """Keep processes, with every thread that they have already, on one core."""
    for pid in pids:
        with suppress(FileNotFoundError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {cpu})
