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

    def at_ms(self, wall_ms: int) -> int:
        """Return what `now_ms` says when the machine's clock shows `wall_ms`."""
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

    def at_ms(self, wall_ms: int) -> int:
        """Return `wall_ms`."""
        return wall_ms

    async def sleep_ms(self, delay_ms: float) -> None:
        """Wait on the running event loop."""
        await asyncio.sleep(delay_ms / 1000)


class ScaledClock:
    """A clock that runs `scale` times as fast as another from `epoch_ms` on.

    The time of fixes in a replay: recorded speeds, ages and jumps stay what they were while the wall runs faster.
    """

    def __init__(self, base: Clock, *, scale: float, epoch_ms: int) -> None:
        assert scale > 0
        self._base = base
        self._scale = scale
        self._epoch_ms = epoch_ms

    def now_ms(self) -> int:
        """Return scaled Unix time in milliseconds."""
        return self.at_ms(self._base.now_ms())

    def at_ms(self, wall_ms: int) -> int:
        """Return the scaled time of an instant of the base."""
        return self._epoch_ms + round((wall_ms - self._epoch_ms) * self._scale)

    def steady_ns(self) -> int:
        """Return the base's steady counter, unscaled: it measures how long our own work takes."""
        return self._base.steady_ns()

    async def sleep_ms(self, delay_ms: float) -> None:
        """Wait for `delay_ms` of scaled time."""
        await self._base.sleep_ms(delay_ms / self._scale)
