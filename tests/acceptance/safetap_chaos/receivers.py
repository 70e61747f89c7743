"""Whom notices reach, as the run sees them: what they took, and who is to hear of it. They are served by themselves."""

import asyncio
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import orjson

from engine.core.ids import OrgId
from tests.acceptance.safetap_chaos import serve_receivers
from tests.acceptance.safetap_chaos.history import Delivery
from tests.acceptance.safetap_chaos.serve_receivers import Places
from tests.peers.twilio import ACCOUNT, NUMBER, SECRET, FakeTwilio, Sent

LINE_BYTES_MAX = 1 << 20


@dataclass
class Receivers:
    """All three. `on_alarm` hears of each incident that a webhook tells of, `on_text` of each message."""

    deliveries: list[Delivery]
    org_id: OrgId
    master_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    on_alarm: Callable[[UUID], None] = lambda _: None
    on_text: Callable[[Sent], None] = lambda _: None
    phone: FakeTwilio = field(default_factory=FakeTwilio)
    """The provider's other half: what it hands on to us."""
    places: Places = field(init=False)
    _process: Process = field(init=False)
    _hearing: asyncio.Task[None] = field(init=False)

    @property
    def settings(self) -> dict[str, str]:
        """What tells the product of them."""
        return {
            "CLENZY_SMTP_URL": f"smtp://127.0.0.1:{self.places.smtp_port}",
            "CLENZY_WEBHOOK_SECRET": self.master_secret,
            "CLENZY_WEBHOOK_PRIVATE_NETWORKS": "true",
            "CLENZY_PHONE_API_URL": self.places.phone_url,
            "CLENZY_PHONE_ACCOUNT": ACCOUNT,
            "CLENZY_PHONE_SECRET": SECRET,
            "CLENZY_PHONE_SENDER": NUMBER,
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", serve_receivers.__name__, str(self.org_id), self.master_secret,
            stdin=PIPE, stdout=PIPE, limit=LINE_BYTES_MAX,
        )  # fmt: skip
        try:
            assert self._process.stdout is not None
            self.places = Places(**orjson.loads(await self._process.stdout.readline()))
            self._hearing = asyncio.create_task(self._hear(self._process.stdout))
            yield
            await self.ended()
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    async def ended(self) -> None:
        """Let them end, and hear all that they took."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._hearing
        await self._process.wait()

    async def _hear(self, said: asyncio.StreamReader) -> None:
        async for line in said:
            taken = orjson.loads(line)
            self.deliveries.append(Delivery(taken["key"], taken["at_ms"]))
            if taken["incident_id"] is not None:
                self.on_alarm(UUID(taken["incident_id"]))
            if taken["text"] is not None:
                self.on_text(Sent(**taken["text"]))
