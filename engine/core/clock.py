"""The one home of time: shells take a `Clock`, cores take `now_ms`."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time in Unix milliseconds, a steady counter, and sleep."""

    def now_ms(self) -> int:
        """Return Unix time in milliseconds (UTC)."""
        ...

    def steady_ns(self) -> int:
        """Return a counter that never goes back, in nanoseconds."""
        ...

    async def sleep_ms(self, delay_ms: float) -> None:
        """Wait for `delay_ms` milliseconds of this clock."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Return Unix time in milliseconds (UTC)."""
        return time.time_ns() // 1_000_000

    def steady_ns(self) -> int:
        """Return `time.monotonic_ns`."""
        return time.monotonic_ns()

    async def sleep_ms(self, delay_ms: float) -> None:
        """Wait on the running event loop."""
        await asyncio.sleep(delay_ms / 1000)
