"""Humans who answer: at the desk or by text message, soon, late, or only when the ladder has been exhausted."""

import asyncio
import random
from dataclasses import dataclass, field
from uuid import UUID

import aiohttp

from tests.acceptance.safetap_chaos.history import History
from tests.acceptance.safetap_chaos.population import FOLLOW_UP_S, REPEAT_S, Minted
from tests.acceptance.safetap_chaos.receivers import Receivers
from tests.peers.twilio import Sent

AGAIN_S = 0.3
REPLIES = 0.5
CONFIRMED = 0.3
"""Shares of text messages that are answered, and of which the provider tells that they arrived."""
TIMEOUT = aiohttp.ClientTimeout(total=3)


@dataclass
class Responders:
    """Everybody who acts on incidents."""

    http: aiohttp.ClientSession
    urls: list[str]
    """SafeTap's doors."""
    account: Minted
    history: History
    receivers: Receivers
    rng: random.Random
    answered: int = 0
    _tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    _known: set[UUID] = field(default_factory=set)

    async def work(self) -> None:
        """Listen and act until cancelled."""
        self.receivers.on_alarm = self._alarm
        self.receivers.on_text = self._text
        self.receivers.phone.door_url = self.urls[0]
        try:
            async with self._tasks:
                await asyncio.Event().wait()
        finally:
            self.receivers.on_alarm = self.receivers.on_text = lambda _: None

    def _alarm(self, incident_id: UUID) -> None:
        if incident_id not in self._known:
            self._known.add(incident_id)
            self._tasks.create_task(self._work(incident_id))

    def _text(self, sent: Sent) -> None:
        if self.rng.random() < CONFIRMED:
            self._tasks.create_task(self._tell(sent))
        if self.rng.random() < REPLIES:
            self._tasks.create_task(self._reply(sent))

    async def _work(self, incident_id: UUID) -> None:
        chance = self.rng.random()
        if chance < 0.6:
            await asyncio.sleep(self.rng.uniform(0.2, 3))
            await self._act(incident_id, "acknowledge", {})
            await asyncio.sleep(self.rng.uniform(0.2, 3))
        elif chance < 0.9:
            await asyncio.sleep(self.rng.uniform(3, 7))
        elif chance < 0.95:
            await self._act(incident_id, "acknowledge", {})
            await asyncio.sleep(FOLLOW_UP_S + self.rng.uniform(1, 4))
        else:
            await asyncio.sleep(4 + REPEAT_S + self.rng.uniform(1, 4))
        if await self._act(incident_id, "close", {"reason": "reviewed: somebody was there"}):
            self.history.closed.add(incident_id)

    async def _act(self, incident_id: UUID, verb: str, body: dict[str, str]) -> bool:
        """Try one door after the other until one has done it; return whether this act did it."""
        while True:
            url = self.rng.choice(self.urls)
            headers = {"Authorization": f"Bearer {self.account.tokens.access_token}"}
            try:
                path = f"{url}/v1/incidents/{incident_id}/{verb}"
                async with self.http.post(path, json=body, headers=headers, timeout=TIMEOUT) as answer:
                    if answer.status in {200, 409}:  # 409: it was closed meanwhile
                        self.answered += 1
                        return answer.status == 200
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            await asyncio.sleep(AGAIN_S)

    async def _reply(self, sent: Sent) -> None:
        await asyncio.sleep(self.rng.uniform(0.1, 1))
        try:
            await self.receivers.phone.text_in(sent.to, f"ACK {sent.code}", sid=f"in-{sent.sid}")
        except (aiohttp.ClientError, OSError, TimeoutError):
            return  # whoever answered believes that they have; the ladder goes on

    async def _tell(self, sent: Sent) -> None:
        await asyncio.sleep(self.rng.uniform(0.05, 0.5))
        try:
            await self.receivers.phone.tell(sent, "delivered")
        except (aiohttp.ClientError, OSError, TimeoutError):
            return
