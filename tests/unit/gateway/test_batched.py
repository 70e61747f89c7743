"""One question for many askers."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway_ws.batched import Batched


class Oracle:
    """Doubles numbers when it is let, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, keys: Sequence[int]) -> list[int]:
        self.asked.append(list(keys))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [2 * key for key in keys]


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_single_asker_does_not_wait_and_those_who_come_meanwhile_share_the_next_question() -> None:
    oracle = Oracle()
    double = Batched(oracle, keys_max=50)
    askers = [asyncio.create_task(double(key)) for key in range(101)]
    await _settle()
    assert oracle.asked == [[0]]
    oracle.gate.set()
    assert await asyncio.gather(*askers) == [2 * key for key in range(101)]
    assert [len(keys) for keys in oracle.asked] == [1, 50, 50], "all that wait, up to the limit"
    assert await double(7) == 14


async def test_an_error_is_everybodys_who_was_part_of_it_and_nobody_elses() -> None:
    oracle = Oracle()
    double = Batched(oracle, keys_max=2)
    oracle.gate.set()
    oracle.error = OSError("away")
    failed = await asyncio.gather(double(1), double(2), return_exceptions=True)
    assert all(isinstance(each, OSError) for each in failed)
    oracle.error = None
    assert await double(3) == 6


async def test_an_asker_who_goes_away_takes_nobody_along() -> None:
    oracle = Oracle()
    double = Batched(oracle, keys_max=50)
    askers = [asyncio.create_task(double(key)) for key in range(3)]
    await _settle()
    askers[0].cancel()
    oracle.gate.set()
    assert await asyncio.gather(*askers[1:]) == [2, 4]
    assert oracle.asked == [[0], [1, 2]]
    with pytest.raises(asyncio.CancelledError):
        await askers[0]


async def test_a_waiting_asker_who_goes_away_is_not_asked_for() -> None:
    oracle = Oracle()
    double = Batched(oracle, keys_max=1)
    askers = [asyncio.create_task(double(key)) for key in range(3)]
    await _settle()
    askers[1].cancel()
    await _settle()
    oracle.gate.set()
    assert await asyncio.gather(askers[0], askers[2]) == [0, 4]
    assert oracle.asked == [[0], [2]]
