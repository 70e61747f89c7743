"""Servers under test as processes of their own, each kept on one core."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.stream.rig import pin

STOP_S_MAX: Final = 15
ROOT: Final = Path(__file__).parents[2]
"""Where the packages are."""


@dataclass(frozen=True, slots=True)
class Server:
    """One that runs."""

    port: int
    pid: int

    def memory_bytes(self) -> int:
        """Return what it holds in memory now."""
        return int(psutil.Process(self.pid).memory_info().rss)


@contextmanager
def started(module: str, *arguments: str, cpu: int, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run `python -m module`, which prints its port when it serves.

    Raises:
        RuntimeError: it ended instead.
    """
    process = subprocess.Popen(  # noqa: S603 - a program of our own
        (sys.executable, "-m", module, *arguments),
        stdout=subprocess.PIPE,
        text=True,
        env=None if env is None else dict(env),
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        if not (line := process.stdout.readline().strip()).isdigit():
            raise RuntimeError(f"{module} does not serve: {line}")
        pin([process.pid], cpu)
        yield Server(int(line), process.pid)
    finally:
        process.terminate()
        process.wait(STOP_S_MAX)
        if process.stdout is not None:
            process.stdout.close()
