"""The simulator's phone at a real gateway: its clock may be wrong, its radio rests while nobody watches."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import numpy as np
import pytest

from engine.core.vocabulary import Role
from engine.geo.cell_index import CellIndex
from engine.geo.fixes import FIX
from sim.client.clock import wall_ms
from sim.client.rest import Account, Rest, Tokens
from sim.client.worker_socket import WorkerSocket
from tests.integration.gateway.harness import PORTO, TIMEOUT_S, City, Stage, eventually

pytestmark = pytest.mark.integration

SLOT = 5
AHEAD_MS = 120_000


class Owner:
    """Keeps what the phone told."""

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}

    def on_welcome(self, state: Mapping[str, Any]) -> None:
        pass

    def on_event(self, name: str, body: Mapping[str, Any]) -> None:
        if name == "fixes.refused":
            self.refused |= body["reasons"]

    def on_ack(self, seq: int, fixes: int, latency_ms: float) -> None:
        pass


@asynccontextmanager
async def phone_on(stage: Stage, city: City, **options: Any) -> AsyncIterator[tuple[WorkerSocket, Owner]]:
    token, owner = stage.token(Role.WORKER, await city.worker(SLOT), slot=SLOT), Owner()
    async with aiohttp.ClientSession() as http:
        account = Account(Rest(http, stage.url), Tokens(token, 2**60, "", "", "worker"))
        phone = WorkerSocket(http=http, gateway_url=stage.url, account=account, listener=owner, **options)
        running = asyncio.ensure_future(phone.run())
        try:
            await phone.connected.wait()
            async with asyncio.timeout(TIMEOUT_S):
                yield phone, owner
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def fix(now_ms: Callable[[], int]) -> bytes:
    made = np.zeros(1, FIX)
    made["ts_ms"] = now_ms()
    made["lat_e7"], made["lng_e7"] = round(PORTO[0] * 1e7), round(PORTO[1] * 1e7)
    return made.tobytes()


def ahead_ms() -> int:
    """Return the time of a phone whose clock is wrong."""
    return wall_ms() + AHEAD_MS


async def test_a_phone_whose_clock_is_ahead_puts_it_right_by_the_welcome(stage: Stage, city: City) -> None:
    async with phone_on(stage, city, now_ms=ahead_ms) as (phone, owner):
        assert abs(phone.clock_behind_ms + AHEAD_MS) < 5_000
        phone.post(fix(ahead_ms))
        await phone.settled()
        (record,) = await CellIndex(stage.redis).records([SLOT])
        assert abs(int(record["ts_ms"]) - wall_ms()) < 5_000
        assert owner.refused == {}


async def test_without_that_its_fixes_are_refused_as_future(stage: Stage, city: City) -> None:
    async with phone_on(stage, city) as (phone, owner):
        assert phone.clock_behind_ms == 0
        phone.post(fix(ahead_ms))
        await phone.settled()
        await eventually(lambda: owner.refused == {"future": 1})


async def test_an_idle_phone_gathers_and_one_on_a_job_does_not(stage: Stage, city: City) -> None:
    async with phone_on(stage, city, gathers=True) as (phone, _):
        phone.post(fix(wall_ms))
        assert (phone.counts.frames_sent, phone.is_settled) == (0, False)
        worker_id = await stage.pool.fetchval("SELECT worker_id FROM worker WHERE slot = $1", SLOT)
        pin = {"lat": PORTO[0], "lng": PORTO[1]}
        customer = {"person_id": str(uuid4())}
        booking = {"booking_id": str(uuid4()), "state": "assigned", "version": 1, "pin": pin, "customer": customer}
        await stage.publish(f"user:{worker_id}", "booking", booking)
        await phone.settled()
        assert phone.batch_ms == phone.cadence_ms
