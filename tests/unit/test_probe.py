"""Readiness follows what a store answers, and ends when it is told to."""

import asyncio

from ops.probe import keep_checked
from ops.readiness import Readiness
from tests.fakes import ManualClock


class AwayError(Exception):
    """A store did not answer."""


async def test_a_check_follows_the_store():
    readiness, outcomes = Readiness(), iter([AwayError(), None, AwayError()])
    seen: list[bool] = []

    async def ask() -> None:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome

    async def sleep_ms(_ms: float) -> None:
        seen.append(readiness.is_ready)
        if len(seen) == 3:
            raise asyncio.CancelledError

    check = asyncio.create_task(keep_checked(readiness, "store", ask, errors=(AwayError,), sleep_ms=sleep_ms))
    await asyncio.wait({check}, timeout=5)
    assert seen == [False, True, False]


async def test_a_cancellation_that_a_lost_connection_hides_still_ends_it(clock: ManualClock):
    asked = asyncio.Event()

    async def ask() -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise AwayError

    check = asyncio.create_task(keep_checked(Readiness(), "store", ask, errors=(AwayError,), sleep_ms=clock.sleep_ms))
    await asked.wait()
    check.cancel()
    done, _ = await asyncio.wait({check}, timeout=5)
    assert done
    assert check.cancelled()
