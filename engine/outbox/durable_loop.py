"""Work that must go on: a store that is away costs a pause, a claim that fails only itself, neither the process."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Never, TypeVar

import structlog
from prometheus_client import Counter

from config.limits import RESTART_BACKOFF_MS_MAX, RESTART_BACKOFF_MS_MIN
from engine.core.clock import Clock
from engine.core.database import CONNECTION_LOST

log = structlog.get_logger(__name__)

ClaimT = TypeVar("ClaimT")

LOOP_FAILURES = Counter("clenzy_loop_failures_total", "Rounds of a durable loop that a store cut short.", ["loop"])


async def keep_running(
    step: Callable[[], Awaitable[None]], *, name: str, clock: Clock, errors: tuple[type[Exception], ...]
) -> Never:
    """Run `step` again and again until cancelled; after one of `errors` pause first, longer with each in a row.

    Any other exception is a defect and ends the loop: the process stops loudly and is started anew.
    """
    failures = 0
    while True:
        try:
            await step()
            end_if_cancelled()
            failures = 0
        except errors as error:
            end_if_cancelled()
            failures += 1
            LOOP_FAILURES.labels(name).inc()
            log.warning("loop.store_away", loop=name, error=repr(error), failures=failures)
            await clock.sleep_ms(backoff_ms(failures))


async def together_or_alone(
    take: Callable[[Sequence[ClaimT]], Awaitable[object]],
    claims: Sequence[ClaimT],
    *,
    batch_failed: str,
    claim_failed: str,
    named: Callable[[ClaimT], Mapping[str, str]],
) -> None:
    """Take a batch; when it fails for a reason of its own, each by itself, so that one cannot hold up the rest.

    A failure is logged under the events that are given, a claim with what `named` says of it; its lease runs out and it
    is tried again. A lost connection is the caller's: it says nothing of any claim.
    """
    try:
        await take(claims)
    except CONNECTION_LOST:
        raise
    except Exception:
        log.exception(batch_failed, claims=len(claims))
        for claim in claims:
            try:
                await take([claim])
            except CONNECTION_LOST:
                raise
            except Exception:
                log.exception(claim_failed, **named(claim))


def end_if_cancelled() -> None:
    """End the running task if it was asked to end and has not heard of it.

    A `CancelledError` does not always arrive. Leaving a transaction or giving a connection back fails when the
    connection has just been lost, and that failure takes its place. And `asyncio.wait_for` of Python 3.11, in which
    the stores' clients wait, drops it when the answer comes at the same moment. Who does not ask goes on for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def backoff_ms(failures: int) -> int:
    """Return the pause after so many failures in a row: it doubles up to `limits.RESTART_BACKOFF_MS_MAX`."""
    doublings = min(failures - 1, 16)
    return min(RESTART_BACKOFF_MS_MAX, RESTART_BACKOFF_MS_MIN << doublings)
