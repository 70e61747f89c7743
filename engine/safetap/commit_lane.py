"""A lane of alarms on their way to Postgres: whoever waits when a transaction begins is in it, each sender in turn.

One trigger alone is committed at once. Many share a transaction: one begins no sooner than a pace after the one before,
because what each costs Postgres, however little is in it, is what a crowd of alarms would wait for. What one sender
brings never delays another by more than its own turn.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from engine.core.clock import Clock
from engine.core.ids import IncidentId
from engine.core.units import NS_PER_MS
from engine.safetap.spool import Delivery

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one trigger, and of which incident it is part."""

    delivery: Delivery
    incident_id: IncidentId | None = None


Commit = Callable[[Sequence[T]], Awaitable[Sequence[Settled]]]
"""Commits a batch and returns what became of each, in its order. Must not raise but for cancellation."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much a lane holds and does at once."""

    waiting_max: int
    waiting_per_sender_max: int
    batch_max: int
    committers: int
    pace_ms: int
    """Between the beginnings of two transactions, at least."""


class CommitLane(Generic[T]):
    """Takes items by `offer`; `run` must run beside. Senders and keys are told from items by the two functions."""

    def __init__(
        self,
        commit: Commit[T],
        *,
        sender_of: Callable[[T], Hashable],
        key_of: Callable[[T], Hashable],
        size: Size,
        clock: Clock,
    ) -> None:
        self._commit = commit
        self._clock = clock
        self._next_ns = 0
        self._sender_of = sender_of
        self._key_of = key_of
        self._size = size
        self._queues: dict[Hashable, deque[tuple[T, asyncio.Future[Settled]]]] = {}
        """Waiting items by sender; the sender at the front has the next turn."""
        self._waiting = 0
        self._under_way: dict[Hashable, asyncio.Future[Settled]] = {}
        """By key: the same trigger that comes again hears what the first one hears."""
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many items no transaction holds yet."""
        return self._waiting

    @property
    def under_way(self) -> int:
        """How many items are not settled yet."""
        return len(self._under_way)

    def offer(self, item: T) -> asyncio.Future[Settled] | None:
        """Let an item wait for its turn; `None`: the lane, or this sender's part of it, is full."""
        key = self._key_of(item)
        if (same := self._under_way.get(key)) is not None:
            return same
        sender = self._sender_of(item)
        queue = self._queues.get(sender)
        if self._waiting >= self._size.waiting_max:
            return None
        if queue is None:
            queue = self._queues[sender] = deque()
        elif len(queue) >= self._size.waiting_per_sender_max:
            return None
        settled: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        settled.add_done_callback(lambda _: self._under_way.pop(key, None))
        self._under_way[key] = settled
        queue.append((item, settled))
        self._waiting += 1
        self._arrived.set()
        return settled

    async def run(self) -> None:
        """Commit what waits, until cancelled."""
        async with asyncio.TaskGroup() as committers:
            for _ in range(self._size.committers):
                committers.create_task(self._committer())

    async def _committer(self) -> None:
        while True:
            await self._arrived.wait()
            while (early_ns := self._next_ns - self._clock.steady_ns()) > 0:
                await self._clock.sleep_ms(early_ns / NS_PER_MS)
            batch = self._next_batch()
            if not batch:
                continue
            self._next_ns = self._clock.steady_ns() + self._size.pace_ms * NS_PER_MS
            outcomes = await self._commit([item for item, _ in batch])
            for (_, settled), outcome in zip(batch, outcomes, strict=True):
                if not settled.done():
                    settled.set_result(outcome)

    def _next_batch(self) -> list[tuple[T, asyncio.Future[Settled]]]:
        """Take one item of each sender; who has more waits behind everybody else."""
        batch: list[tuple[T, asyncio.Future[Settled]]] = []
        for sender in list(self._queues)[: self._size.batch_max]:
            queue = self._queues.pop(sender)
            batch.append(queue.popleft())
            if queue:
                self._queues[sender] = queue
        self._waiting -= len(batch)
        if not self._queues:
            self._arrived.clear()
        return batch
