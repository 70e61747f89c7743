"""Checks every worker's cell in the configured Redis, with `--repair` after mending; `clenzy geo verify` runs it.

Prints what was looked at. Exit code 1: a worker is in a wrong cell, in none, or in several; 2: Redis did not answer.
"""

import asyncio
import sys

from redis.exceptions import RedisError

from config.limits import REPAIR_GRACE_MS
from config.settings import Settings
from engine.core.clock import Clock, SystemClock
from engine.core.redis_store import RedisClient
from engine.geo.repair import Mended, Repair
from engine.geo.verify import VerifyReport, verify
from engine.wiring import open_redis

LOOKS_MAX = 3
"""A fleet that moves while it is looked at can look wrong: only who is wrong at every look is."""
SLOTS_SHOWN_MAX = 10


async def look(redis: RedisClient) -> VerifyReport:
    """Return the report of the last look; what was not wrong at every look is not in it.

    Raises:
        RedisError: Redis did not answer.
    """
    report = await verify(redis)
    for _ in range(LOOKS_MAX - 1):
        if report.is_right:
            break
        before, report = report, await verify(redis)
        report.wrong_cell = _in_both(before.wrong_cell, report.wrong_cell)
        report.not_in_cell = _in_both(before.not_in_cell, report.not_in_cell)
        report.in_several = _in_both(before.in_several, report.in_several)
        report.unlisted_pages = _in_both(before.unlisted_pages, report.unlisted_pages)
    return report


def describe(report: VerifyReport) -> str:
    """Return what a person reads: what was looked at, then each fault with its first slots."""
    lines = [
        f"looked at {report.slots} workers with a place, {report.off_duty} without one, and {report.cells} cells",
        *_fault("whose record names a cell other than H3 gives for its place", report.wrong_cell),
        *_fault("missing from the cell that their record names", report.not_in_cell),
        *_fault("in a cell where they do not belong", report.in_several),
        *([f"WRONG: pages that nobody knows of: {report.unlisted_pages}"] if report.unlisted_pages else []),
    ]
    return "\n".join([*lines, *(["every worker is in exactly the right cell"] if report.is_right else [])])


def _in_both(before: list[int], now: list[int]) -> list[int]:
    return sorted({*before} & {*now})


def _fault(what: str, slots: list[int]) -> list[str]:
    if not slots:
        return []
    more = ", ..." if len(slots) > SLOTS_SHOWN_MAX else ""
    return [f"WRONG: {len(slots)} workers {what}: slots {', '.join(map(str, slots[:SLOTS_SHOWN_MAX]))}{more}"]


async def mend(redis: RedisClient, clock: Clock) -> Mended:
    """Mend what is wrong; waits once where an entry may be of a write under way.

    Raises:
        RedisError: Redis did not answer.
    """
    repair = Repair(redis)
    mended = await repair.run_pass(clock.now_ms())
    if mended.waiting:
        await clock.sleep_ms(REPAIR_GRACE_MS)
        second = await repair.run_pass(clock.now_ms())
        mended.missing += second.missing
        mended.extra += second.extra
    return mended


async def _main(settings: Settings, *, must_repair: bool) -> VerifyReport:
    redis = open_redis(settings)
    try:
        if must_repair:
            mended = await mend(redis, SystemClock())
            print(  # noqa: T201 - the answer of a command
                f"mended: {mended.missing} workers missing from their cell, {mended.extra} entries too many, "
                f"{mended.unlisted_pages} pages that nobody knew of"
            )
        return await look(redis)
    finally:
        await redis.aclose()


if __name__ == "__main__":
    try:
        found = asyncio.run(_main(Settings(), must_repair="--repair" in sys.argv[1:]))
    except (RedisError, OSError, ValueError) as error:
        print(f"cannot look: {error}", file=sys.stderr)  # noqa: T201 - the answer of a command
        sys.exit(2)
    print(describe(found))  # noqa: T201 - the answer of a command
    sys.exit(0 if found.is_right else 1)
