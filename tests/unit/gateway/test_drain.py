"""The waves in which a stopping gateway sends its clients away."""

import asyncio
import random
from itertools import pairwise
from typing import Any, cast

import pytest

from config.limits import CONNECTIONS_MAX, DRAIN_MS, DRAIN_RETRY_MS_MAX, DRAIN_WAVE_CLIENTS, DRAIN_WAVE_MS
from gateway_ws.closing import Close
from gateway_ws.drain import Drain, wave_clients
from gateway_ws.registry import Registry, Session
from tests.fakes import ManualClock


class Leaver:
    """A session that remembers when it was sent away, and how."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.left: list[tuple[int, Close, int | None]] = []

    def close(self, reason: Close, detail: str = "", *, retry_after_ms: int | None = None) -> None:
        assert not detail
        self.left.append((self._clock.now_ms(), reason, retry_after_ms))


class Leavers:
    """A registry with so many of them."""

    def __init__(self, clock: ManualClock, count: int) -> None:
        self.all = [Leaver(clock) for _ in range(count)]

    def registry(self) -> Registry:
        return cast("Registry", self)

    def __iter__(self) -> Any:
        return iter(cast("list[Session]", self.all))


@pytest.mark.parametrize("clients", [0, 1, DRAIN_WAVE_CLIENTS, 299, 10_000, CONNECTIONS_MAX])
@pytest.mark.parametrize("within_ms", [0, 1, DRAIN_MS, 600_000])
def test_waves_end_in_time_and_are_no_larger_than_that_needs(clients: int, within_ms: int) -> None:
    size = wave_clients(clients, within_ms)
    waves = -(-clients // size)
    assert waves * DRAIN_WAVE_MS <= max(within_ms, DRAIN_WAVE_MS)
    smaller = size - 1
    assert size == DRAIN_WAVE_CLIENTS or -(-clients // smaller) > max(1, within_ms // DRAIN_WAVE_MS)


async def test_clients_leave_once_in_jittered_waves_with_a_time_to_come_back(clock: ManualClock) -> None:
    crowd = Leavers(clock, 950)
    began_ms = clock.now_ms()
    work = asyncio.create_task(
        Drain(crowd.registry(), clock=clock, rng=random.Random(1)).run(DRAIN_MS, asyncio.Event())
    )
    await clock.advance_ms(DRAIN_MS)
    await work
    assert all(len(one.left) == 1 for one in crowd.all)
    (times, reasons, hints) = zip(*(one.left[0] for one in crowd.all), strict=True)
    instants = sorted(set(times))
    assert [times.count(at_ms) for at_ms in instants] == [100] * 9 + [50]
    assert instants[0] == began_ms, "the first wave does not wait"
    gaps = [later - earlier for earlier, later in pairwise(instants)]
    assert all(DRAIN_WAVE_MS / 2 - 1 <= gap <= DRAIN_WAVE_MS * 1.5 + 1 for gap in gaps)
    assert len(set(gaps)) > 3, "jittered"
    assert set(reasons) == {Close.GOING_AWAY}
    assert all(hint is not None and 0 <= hint <= DRAIN_RETRY_MS_MAX for hint in hints)
    assert len(set(hints)) > 100, "each has a time of its own"


async def test_a_second_wish_to_stop_ends_the_waiting(clock: ManualClock) -> None:
    crowd, at_once = Leavers(clock, 950), asyncio.Event()
    work = asyncio.create_task(Drain(crowd.registry(), clock=clock, rng=random.Random(1)).run(DRAIN_MS, at_once))
    await clock.settle()
    assert sum(len(one.left) for one in crowd.all) == DRAIN_WAVE_CLIENTS
    at_once.set()
    await work
    assert all(len(one.left) == 1 for one in crowd.all)
