"""One question for many askers: whoever asks while one is under way waits, and goes into the next with all others.

Nobody waits for a timer: a single asker is answered at once, and thousands that come back in one second cost some
dozens of questions.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Batched(Generic[Key, Value]):
    """Asks `ask` for many keys at once, one question at a time; its answers stand in the order of the keys."""

    def __init__(self, ask: Callable[[Sequence[Key]], Awaitable[Sequence[Value]]], *, keys_max: int) -> None:
        self._ask = ask
        self._keys_max = keys_max
        self._turn = asyncio.Lock()
        self._waiting: list[tuple[Key, asyncio.Future[Value]]] = []

    async def __call__(self, key: Key) -> Value:
        """Return the answer for `key`; an error of its question is everybody's who was part of it."""
        answer: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        try:
            async with self._turn:
                if not answer.done():
                    await self._ask_next(answer)
            return await answer
        finally:
            answer.cancel()  # where the asker goes away: nobody need ask for this key any more

    async def _ask_next(self, own: "asyncio.Future[Value]") -> None:
        """Ask for the longest waiting keys; `own` is among them, for everybody before it has had a turn."""
        waiting = [entry for entry in self._waiting if not entry[1].done()]
        batch, self._waiting = waiting[: self._keys_max], waiting[self._keys_max :]
        assert any(answer is own for _, answer in batch)
        try:
            values = await self._ask([key for key, _ in batch])
        except asyncio.CancelledError:
            # The asker at work went away: the others' keys wait for the next one's turn.
            self._waiting = [entry for entry in batch if entry[1] is not own] + self._waiting
            raise
        except Exception as error:  # noqa: BLE001 - handed to whom it concerns
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), value in zip(batch, values, strict=True):
            if not answer.done():
                answer.set_result(value)
