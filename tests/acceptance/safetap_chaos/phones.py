"""Phones in danger: each press is sent to one door after the other until it is `committed`, whatever happens meanwhile.

Open loop: presses come by the clock, not when the doors have time. A few people press again and again before a human
closes their incident, so that most presses join one.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import aiohttp

from sim.client.rest import Rest
from sim.client.safetap import Door, api_door, direct_door, raise_alarm
from sim.client.worker_socket import WorkerSocket
from tests.acceptance.safetap_chaos.history import History, Press
from tests.acceptance.safetap_chaos.population import Minted, Population

IN_TURN = 40
"""People who press at the same time."""
PRESSES_MEAN = 12
UNDER_WAY_MAX = 1_500
"""Presses that wait to be committed; beyond it the next one waits."""
THROUGH_API = 0.1
SOCKET_PRESS_S = 1.0


class SilentListener:
    """A worker's phone that only calls for help."""

    def on_welcome(self, _state: Mapping[str, Any]) -> None: ...
    def on_event(self, _name: str, _body: Mapping[str, Any]) -> None: ...
    def on_ack(self, _seq: int, _fixes: int, _latency_ms: float) -> None: ...


@dataclass
class Doors:
    """Where a phone can turn to. `api_url` and `gateway_url` only where they run."""

    urls: list[str]
    api_url: str | None = None
    gateway_url: str | None = None


@dataclass
class Crowd:
    """Everybody who presses."""

    http: aiohttp.ClientSession
    doors: Doors
    population: Population
    history: History
    rng: random.Random
    under_way: int = 0
    spooled_at: dict[int, set[UUID]] = field(default_factory=dict)
    """Triggers that each door said it had on its disk."""

    async def press(self, per_s: float, stop: asyncio.Event) -> None:
        """Press at that pace until told to stop; return when every press is committed."""
        turns = [self._newcomer() for _ in range(IN_TURN)]
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with asyncio.TaskGroup() as presses:
            while not stop.is_set():
                due += 1 / per_s
                await asyncio.sleep(max(0.0, due - loop.time()))
                while self.under_way >= UNDER_WAY_MAX:
                    await asyncio.sleep(0.05)
                    due = loop.time()
                at = self.rng.randrange(IN_TURN)
                person, left = turns[at]
                turns[at] = (person, left - 1) if left > 1 else self._newcomer()
                presses.create_task(self._one(person))

    async def press_on_sockets(self, stop: asyncio.Event) -> None:
        """Let workers call through the gateway until told to stop; a press under way is finished."""
        async with asyncio.TaskGroup() as phones:
            for account in self.population.on_sockets:
                phones.create_task(self._socket_phone(account, stop))

    def _newcomer(self) -> tuple[Minted, int]:
        presses = 1 + int(self.rng.expovariate(1 / PRESSES_MEAN))
        return self.rng.choice(self.population.in_danger), presses

    async def _one(self, person: Minted) -> None:
        trigger_id = uuid4()
        press = self.history.presses[trigger_id] = Press(UUID(person.person_id))
        self.under_way += 1
        try:
            await raise_alarm(self._doors(person, press), kind="button", trigger_id=trigger_id)
        finally:
            self.under_way -= 1

    def _doors(self, person: Minted, press: Press) -> dict[str, Door]:
        """Return the doors in the order in which this phone tries them."""
        found: dict[str, Door] = {
            f"door-{number}": self._noting(number, direct_door(self.http, url, person), press)
            for number, url in enumerate(self.doors.urls)
        }
        if self.doors.api_url is not None and self.rng.random() < THROUGH_API:
            rest = Rest(self.http, self.doors.api_url)
            found["api"] = self._noting(0, api_door(rest, person), press)
        order = self.rng.sample(sorted(found), len(found))
        return {name: found[name] for name in order}

    def _noting(self, number: int, door: Door, press: Press) -> Door:
        async def send(body: Mapping[str, Any]) -> Mapping[str, Any]:
            answer = await door(body)
            press.told.append(str(answer.get("state")))
            if answer.get("state") == "spooled":
                self.spooled_at.setdefault(number, set()).add(UUID(body["trigger_id"]))
            return answer

        return send

    async def _socket_phone(self, account: Minted, stop: asyncio.Event) -> None:
        assert self.doors.gateway_url is not None
        socket = WorkerSocket(
            http=self.http, gateway_url=self.doors.gateway_url, account=account, listener=SilentListener()
        )
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(socket.run())
            while not stop.is_set():
                trigger_id = uuid4()
                press = self.history.presses[trigger_id] = Press(UUID(account.person_id))
                await socket.raise_alarm("button", trigger_id=trigger_id)
                press.told.append("committed")
                await asyncio.sleep(SOCKET_PRESS_S * self.rng.uniform(0.5, 1.5))
            running.cancel()
