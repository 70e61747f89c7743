"""Whom notices reach: an SMTP server, a webhook receiver that verifies, a phone provider; each notes what it took."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from uuid import UUID

from aiohttp import web
from aiohttp.test_utils import TestServer
from aiosmtpd.smtp import SMTP, Envelope, Session
from standardwebhooks.webhooks import Webhook

from engine.core.ids import OrgId
from engine.safetap.channels.webhook import org_secret
from tests.acceptance.safetap_chaos.history import Delivery
from tests.acceptance.safetap_chaos.victims import wall_ms
from tests.peers.twilio import ACCOUNT, NUMBER, SECRET, FakeTwilio, Sent


@dataclass
class Receivers:
    """All three. `on_alarm` hears of each incident that a webhook tells of, `on_text` of each message."""

    deliveries: list[Delivery]
    org_id: OrgId
    master_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    on_alarm: Callable[[UUID], None] = lambda _: None
    on_text: Callable[[Sent], None] = lambda _: None
    smtp_port: int = 0
    phone: "NotingTwilio" = field(init=False)
    hook_url: str = ""

    def __post_init__(self) -> None:
        self.phone = NotingTwilio(receivers=self)
        self._webhook = Webhook(org_secret(self.master_secret, self.org_id))

    def took(self, key: str) -> None:
        self.deliveries.append(Delivery(key, wall_ms()))

    @property
    def settings(self) -> dict[str, str]:
        """What tells the product of them."""
        return {
            "CLENZY_SMTP_URL": f"smtp://127.0.0.1:{self.smtp_port}",
            "CLENZY_WEBHOOK_SECRET": self.master_secret,
            "CLENZY_WEBHOOK_PRIVATE_NETWORKS": "true",
            "CLENZY_PHONE_API_URL": self.phone.url,
            "CLENZY_PHONE_ACCOUNT": ACCOUNT,
            "CLENZY_PHONE_SECRET": SECRET,
            "CLENZY_PHONE_SENDER": NUMBER,
        }

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd
        assert isinstance(envelope.original_content, bytes)
        mail = message_from_bytes(envelope.original_content)
        self.took(mail["Message-ID"].strip("<>").partition("@")[0])
        return "250 taken"

    async def hook(self, request: web.Request) -> web.Response:
        event = self._webhook.verify(await request.read(), dict(request.headers))
        self.took(request.headers["webhook-id"])
        self.on_alarm(UUID(event["data"]["incident"]["incident_id"]))
        return web.Response(status=204)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        mail = await loop.create_server(lambda: SMTP(self, loop=loop, hostname="test"), "127.0.0.1", 0)
        self.smtp_port = mail.sockets[0].getsockname()[1]
        app = web.Application()
        app.router.add_post("/hook", self.hook)
        for resource in ("Messages", "Calls"):
            app.router.add_post(f"/2010-04-01/Accounts/{ACCOUNT}/{resource}.json", self.phone.create)
        async with AsyncExitStack() as stack:
            stack.callback(mail.close)
            server = await stack.enter_async_context(TestServer(app))
            self.hook_url = str(server.make_url("/hook"))
            self.phone.url = str(server.make_url("")).rstrip("/")
            yield


@dataclass
class NotingTwilio(FakeTwilio):
    """A provider that says when it took what."""

    receivers: Receivers = field(kw_only=True)

    async def create(self, request: web.Request) -> web.StreamResponse:
        answer = await super().create(request)
        if answer.status == 201:
            kept = self.calls if request.path.endswith("/Calls.json") else self.messages
            self.receivers.took(kept[-1].key)  # the one just added: nobody else ran in between
            if kept is self.messages:
                self.receivers.on_text(kept[-1])
        return answer
