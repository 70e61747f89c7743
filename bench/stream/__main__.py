"""`make bench-stream`: pings in, map out, beside python-socketio, picows and the like in the same run."""

import argparse
import os
import sys
from collections.abc import Sequence

from rich.console import Console

from bench.report import Row, exit_code, save, show
from bench.stream.parts import PARTS
from bench.stream.rig import rig

SECONDS = 3.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench.stream", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), default=list(PARTS), help="these groups alone")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    on = rig(seconds=options.seconds, seed=options.seed)
    os.sched_setaffinity(0, {on.client_cpu})
    rows: list[Row] = []
    for name in options.only:
        console.print(f"{name} ...")
        rows += PARTS[name](on)
    show(f"Stream, server on core {on.server_cpu}, clients and stores on core {on.client_cpu}", rows, console)
    console.print(f"written to {save('stream', rows)}")
    return exit_code(rows)


if __name__ == "__main__":
    sys.exit(main())
