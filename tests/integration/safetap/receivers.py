"""What notices are sent to: a real SMTP server and a real webhook receiver, both of the test's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message

from aiohttp import web
from aiohttp.test_utils import TestServer
from aiosmtpd.smtp import SMTP, Envelope, Session
from standardwebhooks.webhooks import Webhook


@dataclass
class Mailbox:
    """Takes mail, unless told what else to answer."""

    answer: str = "250 taken"
    mails: list[Message] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd
        if self.answer.startswith("250"):
            assert isinstance(envelope.original_content, bytes)
            self.mails.append(message_from_bytes(envelope.original_content))
            self.recipients += envelope.rcpt_tos
            self.arrived.set()
        return self.answer

    async def has(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.mails) < count:
                self.arrived.clear()
                await self.arrived.wait()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"


@asynccontextmanager
async def open_mailbox() -> AsyncIterator[Mailbox]:
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, loop=loop, hostname="test"), "127.0.0.1", 0)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        await server.wait_closed()


@dataclass
class HookReceiver:
    """Verifies each request as the Standard Webhooks library does, and answers as told."""

    secret: str
    status: int = 204
    is_hung: bool = False
    bodies: list[dict[str, object]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    redirected: int = 0
    url: str = ""
    called: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def hook(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bodies.append(Webhook(self.secret).verify(body, dict(request.headers)))
        self.ids.append(request.headers["webhook-id"])
        self.called.set()
        if self.is_hung:
            await self.released.wait()
        headers = {"Location": "/elsewhere"} if 300 <= self.status < 400 else {}
        return web.Response(status=self.status, headers=headers)

    async def elsewhere(self, _request: web.Request) -> web.Response:
        self.redirected += 1
        return web.Response()


@asynccontextmanager
async def open_receiver(secret: str) -> AsyncIterator[HookReceiver]:
    receiver = HookReceiver(secret)
    app = web.Application()
    app.router.add_post("/hook", receiver.hook)
    app.router.add_route("*", "/elsewhere", receiver.elsewhere)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/hook"))
        try:
            yield receiver
        finally:
            receiver.released.set()
