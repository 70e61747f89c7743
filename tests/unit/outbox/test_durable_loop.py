"""The outer loop pauses while a store is away, and ends with a defect; a claim that fails holds up no other."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from config.limits import RESTART_BACKOFF_MS_MAX, RESTART_BACKOFF_MS_MIN
from engine.outbox.durable_loop import backoff_ms, keep_running, together_or_alone
from engine.outbox.listener import Wake
from tests.fakes import ManualClock


class AwayError(Exception):
    """A store did not answer."""


async def test_pauses_longer_with_each_failure_and_starts_over_after_a_success(clock: ManualClock):
    outcomes = iter([AwayError, AwayError, AwayError, None, AwayError])
    rounds: list[int] = []
    start_ms = clock.now_ms()
    stuck = asyncio.Event()

    async def step() -> None:
        rounds.append(clock.now_ms() - start_ms)
        outcome = next(outcomes, stuck)
        if outcome is stuck:
            await stuck.wait()
        elif outcome is not None:
            raise outcome

    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(keep_running(step, name="test", clock=clock, errors=(AwayError,)))
        await clock.advance_ms(60_000)
        loop.cancel()
    least = RESTART_BACKOFF_MS_MIN
    assert rounds == [0, least, 3 * least, 7 * least, 7 * least, 8 * least]


async def test_a_defect_ends_it(clock: ManualClock):
    async def step() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await keep_running(step, name="test", clock=clock, errors=(AwayError,))


async def test_a_cancellation_that_a_lost_connection_hides_still_ends_it(clock: ManualClock):
    rounds = asyncio.Event()

    async def step() -> None:
        rounds.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise AwayError  # as leaving a transaction does, when its connection has just been lost

    loop = asyncio.create_task(keep_running(step, name="test", clock=clock, errors=(AwayError,)))
    await rounds.wait()
    loop.cancel()
    done, _ = await asyncio.wait({loop}, timeout=5)
    assert done
    assert loop.cancelled()


async def test_a_cancellation_that_a_client_drops_still_ends_it(clock: ManualClock):
    started = asyncio.Event()

    async def step() -> None:
        started.set()
        with suppress(asyncio.CancelledError):  # as `asyncio.wait_for` does when the answer comes at that moment
            await asyncio.Event().wait()
        await Wake().wait(60_000)

    loop = asyncio.create_task(keep_running(step, name="test", clock=clock, errors=(AwayError,)))
    await started.wait()
    loop.cancel()
    done, _ = await asyncio.wait({loop}, timeout=5)
    assert done
    assert loop.cancelled()


def test_backoff_is_bounded():
    pauses = [backoff_ms(failures) for failures in range(1, 100)]
    assert pauses[0] == RESTART_BACKOFF_MS_MIN
    assert pauses == sorted(pauses)
    assert pauses[-1] == RESTART_BACKOFF_MS_MAX


async def test_a_wake_before_the_wait_is_not_lost_and_counts_once():
    wake = Wake()
    wake.set("anything")
    wake.set()
    async with asyncio.timeout(5):
        await wake.wait(60_000)
    waiting = asyncio.ensure_future(wake.wait(60_000))
    await asyncio.sleep(0)
    assert not waiting.done()
    wake.set()
    async with asyncio.timeout(5):
        await waiting


async def test_without_a_wake_the_poll_ends_the_wait():
    async with asyncio.timeout(5):
        await Wake().wait(1)


async def test_a_claim_that_fails_holds_up_no_other_and_a_lost_connection_ends_the_batch():
    taken: list[list[int]] = []

    async def take(claims: Sequence[int], lost: int | None = None) -> None:
        if lost in claims and len(claims) == 1:
            raise ConnectionResetError
        if 2 in claims:
            raise AwayError
        taken.append(list(claims))

    def named(claim: int) -> dict[str, str]:
        told.append(claim)
        return {"claim": str(claim)}

    told: list[int] = []
    words = {"batch_failed": "test.batch_failed", "claim_failed": "test.claim_failed"}
    await together_or_alone(take, [4, 5], named=named, **words)
    await together_or_alone(take, [1, 2, 3], named=named, **words)
    assert (taken, told) == ([[4, 5], [1], [3]], [2])
    with pytest.raises(ConnectionResetError):
        await together_or_alone(lambda claims: take(claims, lost=1), [1, 2, 3], named=named, **words)
    assert (taken[3:], told) == ([], [2])
