"""A rare silent alarm by somebody with a job under way. Whether it is acknowledged is up to the humans at the desk."""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

import aiohttp

from sim.agents.customer import Customer
from sim.agents.fleet import Fleet
from sim.agents.metrics import Tally
from sim.client import safetap
from sim.client.errors import ClientFailure
from sim.client.rest import Rest

KINDS: Final = ("hold", "button", "gesture")


class Alarms:
    """Presses the silent trigger `per_hour` times on average: half by workers, half by customers."""

    def __init__(  # noqa: PLR0913 - what an alarm needs, by keyword
        self,
        *,
        http: aiohttp.ClientSession,
        rest: Rest,
        safetap_url: str,
        fleet: Fleet,
        customers: Sequence[Customer],
        per_hour: float,
        tally: Tally,
        rng: random.Random,
    ) -> None:
        self._http = http
        self._rest = rest
        self._safetap_url = safetap_url
        self._fleet = fleet
        self._customers = customers
        self._per_hour = per_hour
        self._tally = tally
        self._rng = rng

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Press triggers in `group` until cancelled."""
        if self._per_hour <= 0:
            return
        while True:
            await asyncio.sleep(self._rng.expovariate(self._per_hour / 3600))
            group.create_task(self._press())

    async def _press(self) -> None:
        kind = self._rng.choice(KINDS)
        if self._rng.random() < 0.5:  # noqa: PLR2004 - either side
            await self._by_worker(kind)
        else:
            await self._by_customer(kind)

    async def _by_worker(self, kind: str) -> None:
        busy = [worker for worker in self._fleet.workers if worker.is_busy]
        if not busy:
            return
        self._tally.alarms["pressed"] += 1
        worker = self._rng.choice(busy)
        await worker.socket.raise_alarm(kind, record=self._fleet.fix_of(worker.number))
        self._tally.alarms["socket"] += 1

    async def _by_customer(self, kind: str) -> None:
        waiting = [customer for customer in self._customers if customer.booking and customer.booking["booking_id"]]
        if not waiting:
            return
        self._tally.alarms["pressed"] += 1
        customer = self._rng.choice(waiting)
        assert customer.booking is not None
        doors = {
            "direct": safetap.direct_door(self._http, self._safetap_url, customer.account),
            "api": safetap.api_door(self._rest, customer.account),
        }
        try:
            outcome = await safetap.raise_alarm(doors, kind=kind, booking_id=customer.booking["booking_id"])
        except ClientFailure as failure:
            self._tally.alarms[f"failed: {failure}"] += 1
            return
        self._tally.alarms[outcome.door] += 1
