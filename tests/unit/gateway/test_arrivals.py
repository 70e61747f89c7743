"""Sessions open a few at a time; whoever is sent away gets an appointment after those who were sent away before."""

import asyncio
import random

import pytest

from config.limits import OPENING_RETRY_MS_MAX, OPENING_RETRY_MS_MIN
from engine.core.clock import SystemClock
from engine.core.errors import Unavailable
from gateway_ws import arrivals as arrivals_module
from gateway_ws.arrivals import Appointments, Arrivals


def arrivals() -> Arrivals:
    return Arrivals(SystemClock(), random.Random(1))


async def test_no_more_open_at_once_than_there_are_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals_module, "OPENING_SESSIONS_MAX", 3)
    monkeypatch.setattr(arrivals_module, "OPENING_WAITING_MAX", 5)
    door, inside, most = arrivals(), 0, 0
    let_go = asyncio.Event()

    async def open_one() -> None:
        nonlocal inside, most
        async with door.place():
            inside += 1
            most = max(most, inside)
            await let_go.wait()
            inside -= 1

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        for _ in range(8):
            assert not door.is_full
            tasks.create_task(open_one())
            await asyncio.sleep(0)
        assert door.is_full, "three inside, five at the door"
        let_go.set()
    assert (most, inside, door.is_full) == (3, 0, False)


async def test_who_waits_too_long_is_refused_and_leaves_no_place_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals_module, "OPENING_SESSIONS_MAX", 1)
    monkeypatch.setattr(arrivals_module, "OPENING_WAIT_MS", 20)
    door = arrivals()
    async with asyncio.timeout(5):
        async with door.place():
            with pytest.raises(Unavailable):
                await door.place().__aenter__()
        async with door.place():
            pass


def test_appointments_follow_one_another_at_the_pace_of_opening() -> None:
    book = Appointments(random.Random(1))
    for at_ms in range(0, 20_000, 20):  # one session in 20 ms
        book.opened(at_ms + 1, is_busy=True)
    delays_ms = [book.delay_ms(20_000) for _ in range(200)]
    assert min(delays_ms) >= 0.75 * OPENING_RETRY_MS_MIN
    early, late = sum(delays_ms[:50]) / 50, sum(delays_ms[150:]) / 50
    assert 2_500 < late - early < 3_500, "150 sessions later: 3 s"


def test_nobody_is_told_to_stay_away_for_long() -> None:
    book = Appointments(random.Random(1))
    assert max(book.delay_ms(0) for _ in range(100_000)) <= 1.25 * OPENING_RETRY_MS_MAX
