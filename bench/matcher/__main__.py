"""`make bench-matcher`: the matcher beside its anchors, in one run; `--quality` adds a city in virtual time."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from rich.console import Console

from bench.matcher.assignment import assignment_rows
from bench.matcher.claims import claim_rows
from bench.matcher.offer_latency import latency_rows
from bench.matcher.quality import quality_rows
from bench.matcher.records import record_rows
from bench.matcher.scoring import scoring_rows
from bench.matcher.tasks import gmission_rows, technician_rows
from bench.matcher.tick import tick_rows
from bench.report import Row, exit_code, save, show

PARTS: Final[dict[str, Callable[[np.random.Generator], list[Row]]]] = {
    "scoring": scoring_rows,
    "assignment": assignment_rows,
    "claims": lambda _: claim_rows(),
    "records": record_rows,
    "tick": tick_rows,
    "latency": latency_rows,
    "gmission": lambda _: gmission_rows(),
    "technicians": lambda _: technician_rows(),
}
"""Each part returns its rows; `--only` runs some of them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench.matcher", description=__doc__)
    parser.add_argument("--only", choices=[*PARTS, "quality"], action="append", help="this part; may be repeated")
    parser.add_argument("--quality", action="store_true", help="also simulate dispatch quality (minutes)")
    parser.add_argument("--workers", type=int, default=2_000, help="of the simulation (default: %(default)s)")
    parser.add_argument("--hours", type=float, default=3.0, help="of the simulation (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="of the simulation, averaged (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    only = options.only or list(PARTS)
    rows = [row for part in PARTS if part in only for row in PARTS[part](np.random.default_rng(options.seed))]
    if options.quality or "quality" in only:
        seeds = range(options.seed, options.seed + options.seeds)
        rows += quality_rows(workers=options.workers, hours=options.hours, seeds=seeds)
    console = Console(width=None if sys.stdout.isatty() else 200)
    show("Matcher", rows, console)
    console.print(f"written to {save('matcher', rows)}")
    return exit_code(rows)


if __name__ == "__main__":
    sys.exit(main())
