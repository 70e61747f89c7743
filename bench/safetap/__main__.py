"""`make bench-safetap`: alarms through SafeTap's door beside the same alarm handled in the flooded gateway."""

import argparse
import os
import sys
import time
from collections.abc import Sequence

from rich.console import Console

from bench.report import Row, exit_code, save, show
from bench.safetap.rows import safetap_rows
from bench.stream.rig import rig

SECONDS = 6.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench.safetap", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement (default: %(default)s)")
    parser.add_argument("--triggers", type=int, default=5_200, help="in the flooded rows (default: %(default)s)")
    parser.add_argument("--timers", type=int, default=10_000, help="that are due at once (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    on = rig(seconds=options.seconds, seed=options.seed)
    os.sched_setaffinity(0, {on.client_cpu})
    started = time.perf_counter()

    def say(text: str) -> None:
        console.print(f"{time.perf_counter() - started:5.0f} s  {text}", markup=False, highlight=False)

    rows: list[Row] = []
    try:
        for row in safetap_rows(on, triggers=options.triggers, timers=options.timers, say=say):
            rows.append(row)
            say(f"{row.row}: {row.ours:.1f} {row.unit} {row.target}{' - NOT RIGHT' if row.gate is False else ''}")
    finally:  # what was measured is not lost to what failed afterwards
        show(f"SafeTap, gateway and its flood on core {on.server_cpu}, all else on core {on.client_cpu}", rows, console)
        console.print(f"written to {save('safetap', rows)}")
    return exit_code(rows)


if __name__ == "__main__":
    sys.exit(main())
