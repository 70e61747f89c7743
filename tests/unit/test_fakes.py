"""The clock that other tests rely on."""

import asyncio

from tests.fakes import ManualClock


async def test_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    clock = ManualClock(now_ms=1_000)
    woken: list[tuple[str, int]] = []

    async def sleeper(name: str, delay_ms: int) -> None:
        await clock.sleep_ms(delay_ms)
        woken.append((name, clock.now_ms()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("late", 300))
        group.create_task(sleeper("early", 100))
        await clock.advance_ms(99)
        assert woken == []
        assert clock.sleepers == 2
        await clock.advance_ms(500)
    assert woken == [("early", 1_100), ("late", 1_300)]
    assert clock.now_ms() == 1_599
    assert clock.steady_ns() == 599_000_000


async def test_who_wakes_may_sleep_again_within_the_span() -> None:
    clock = ManualClock(now_ms=0)
    ticks: list[int] = []

    async def ticker() -> None:
        while len(ticks) < 3:
            await clock.sleep_ms(10)
            ticks.append(clock.now_ms())

    async with asyncio.TaskGroup() as group:
        group.create_task(ticker())
        await clock.advance_ms(35)
    assert ticks == [10, 20, 30]
