"""Learns travel times from our own workers' trips: `python -m engine.run_learn ROADS OUT DAYS`.

`clenzy roads learn` runs it with the terminal. The trips are read, learned from and forgotten: no file of places is
written. Exit code 1: too few of them, or the stores did not answer.
"""

import asyncio
import sys
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import Progress

from config.limits import OWN_TRIPS_MAX
from config.settings import Settings
from engine.core.clock import SystemClock
from engine.core.units import MS_PER_DAY
from engine.eta import learned_file, road_file
from engine.eta.own_trips import read_own_trips
from engine.eta.road_times import RoadTimes
from engine.eta.trip_table import TripTable
from engine.wiring import open_database


async def own_trips(settings: Settings, days: int) -> TripTable:
    """Return the trips of so many days."""
    now_ms = SystemClock().now_ms()
    pool = await open_database(settings, pool_max=1)
    try:
        async with pool.acquire() as conn:
            since_ms = now_ms - days * MS_PER_DAY
            return (await read_own_trips(conn, since_ms=since_ms, until_ms=now_ms, limit=OWN_TRIPS_MAX)).table
    finally:
        await pool.close()


def main(settings: Settings, roads: Path, out: Path, days: int) -> str:
    """Write what the trips teach; return what to say about it.

    Raises:
        RoadFileError, LearnedFileError: The roads cannot be used, or too few trips lie on them.
        OSError, ValueError: The database is not there.
    """
    index, _ = road_file.read(roads)
    with Progress(console=Console(stderr=True)) as bars:
        reading = bars.add_task("reading trips", total=None)
        table = asyncio.run(own_trips(settings, days))
        bars.update(reading, total=1, completed=1)
        following = partial(bars.update, bars.add_task("following trips", total=len(table)))
        zone = ZoneInfo(settings.eta_time_zone)
        lesson = learned_file.learned_of(table, RoadTimes(index), zone, lambda done: following(completed=done))
    learned_file.write(lesson.learned, out)
    return f"{lesson.used:,} trips of our own taught, {lesson.passed_over:,} passed over: {out}"


if __name__ == "__main__":
    try:
        told = main(Settings(), Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    except (road_file.RoadFileError, learned_file.LearnedFileError, OSError, ValueError) as error:
        sys.exit(f"cannot learn: {error}")
    print(told)  # noqa: T201 - the answer of a command
