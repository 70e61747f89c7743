"""Hand-written stand-ins for what a test must control."""

import asyncio
import heapq
from itertools import count


class ManualClock:
    """A `Clock` whose time moves only when the test says so; sleepers wake in the order of their deadlines."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._steady_ns = 0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        return int(self._now_ms)

    def steady_ns(self) -> int:
        return self._steady_ns

    def at_ms(self, wall_ms: int) -> int:
        return wall_ms

    async def sleep_ms(self, delay_ms: float) -> None:
        if delay_ms <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_ms + delay_ms, next(self._order), woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many tasks wait for this clock."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance_ms(self, delay_ms: int) -> None:
        """Move on, stopping at each deadline on the way so that who wakes may sleep again within the span."""
        until_ms = self._now_ms + delay_ms
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= until_ms:
            due_ms, _, woken = heapq.heappop(self._sleepers)
            self._move_to(max(self._now_ms, due_ms))
            if not woken.done():
                woken.set_result(None)
                await self.settle()
        self._move_to(until_ms)

    async def settle(self) -> None:
        """Let every task that can run do so: what needs no I/O is done afterwards."""
        for _ in range(20):
            await asyncio.sleep(0)

    def step_ms(self, delay_ms: int) -> None:
        """Move on without waking anybody; for code that only reads the time."""
        self._move_to(self._now_ms + delay_ms)

    def _move_to(self, now_ms: float) -> None:
        self._steady_ns += int((now_ms - self._now_ms) * 1_000_000)
        self._now_ms = now_ms
