"""`make bench-geo`: the cell index and the mirror beside Redis' own geo commands, on the embedded Redis."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

import numpy as np
from redis.asyncio import Redis
from rich.console import Console

from bench.embedded_redis import embedded_redis
from bench.fleet import Fleet, fleet
from bench.geo_queries import query_rows
from bench.geo_updates import update_rows
from bench.report import Row, exit_code, save, show
from engine.geo import mirror as mirror_module
from engine.geo.cell_index import CellIndex
from engine.geo.mirror import Mirror

ROUNDS = 5


async def _updated(url: str, driven: Fleet, random: np.random.Generator) -> tuple[list[Row], Mirror]:
    """Return the rows of updates and a mirror of what Redis holds after them."""
    redis: Redis = Redis.from_url(url, protocol=2, socket_timeout=10)
    try:
        updates = await update_rows(redis, url, driven, random)
        mirror = Mirror()
        mirror.rebuild(*await CellIndex(redis).all_records())
    finally:
        await redis.aclose()
    return updates, mirror


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench.geo", description=__doc__)
    parser.add_argument("--workers", type=int, default=50_000, help="size of the fleet (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    random = np.random.default_rng(options.seed)
    driven = fleet(options.workers, ROUNDS, random)
    console.print(driven.source)
    mirror_module.warm_up()
    with embedded_redis() as url:
        updates, mirror = asyncio.run(_updated(url, driven, random))
        rows = [*updates, *query_rows(url, driven, mirror, random)]
    show(f"Geo, {driven.workers:,} workers", rows, console)
    console.print(f"written to {save('geo', rows)}")
    return exit_code(rows)


if __name__ == "__main__":
    sys.exit(main())
