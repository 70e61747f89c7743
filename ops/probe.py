"""Keeps a readiness check true to what a store answers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Never

from config.limits import READY_PROBE_MS
from ops.readiness import Readiness


async def keep_checked(
    readiness: Readiness,
    check: str,
    ask: Callable[[], Awaitable[object]],
    *,
    errors: tuple[type[Exception], ...],
    sleep_ms: Callable[[float], Awaitable[None]],
) -> Never:
    """Ask a store every `limits.READY_PROBE_MS` and record in `check` whether it answered, until cancelled."""
    while True:
        try:
            await ask()
        except errors as error:
            readiness.set(check, ok=False, detail=type(error).__name__)
        else:
            readiness.set(check, ok=True)
        # A connection that is lost meanwhile may fail in place of the cancellation, or swallow it.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        await sleep_ms(READY_PROBE_MS)
