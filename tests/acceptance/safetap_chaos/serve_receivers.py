"""The receivers as a process of their own: what phones cost where they are played is not to be their slowness.

The arguments are the organisation and the master secret of webhooks. The first line that is written says where they
listen, each further one what they took (`Taken`). It ends with its standard input.
"""

import asyncio
import sys
from dataclasses import dataclass, field
from email import message_from_bytes
from uuid import UUID

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiosmtpd.smtp import SMTP, Envelope, Session
from standardwebhooks.webhooks import Webhook

from engine.core.ids import OrgId
from engine.safetap.channels.webhook import org_secret
from tests.acceptance.safetap_chaos.victims import wall_ms
from tests.peers.twilio import ACCOUNT, FakeTwilio, Sent


@dataclass(frozen=True)
class Places:
    """Where they listen."""

    smtp_port: int
    hook_url: str
    phone_url: str


@dataclass(frozen=True)
class Taken:
    """One notice, known by `key`; of a webhook its incident, of a text message the whole of it."""

    key: str
    at_ms: int
    incident_id: str | None = None
    text: Sent | None = None


@dataclass
class Takers:
    """An SMTP server, a webhook receiver that verifies, a phone provider."""

    webhook: Webhook
    said: asyncio.StreamWriter
    phone: "NotingTwilio" = field(init=False)

    def __post_init__(self) -> None:
        self.phone = NotingTwilio(takers=self)

    def say(self, what: Places | Taken) -> None:
        self.said.write(orjson.dumps(what) + b"\n")

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd
        assert isinstance(envelope.original_content, bytes)
        mail = message_from_bytes(envelope.original_content)
        self.say(Taken(mail["Message-ID"].strip("<>").partition("@")[0], wall_ms()))
        return "250 taken"

    async def hook(self, request: web.Request) -> web.Response:
        event = self.webhook.verify(await request.read(), dict(request.headers))
        self.say(Taken(request.headers["webhook-id"], wall_ms(), incident_id=event["data"]["incident"]["incident_id"]))
        return web.Response(status=204)


@dataclass
class NotingTwilio(FakeTwilio):
    """A provider that says when it took what."""

    takers: Takers = field(kw_only=True)

    async def create(self, request: web.Request) -> web.StreamResponse:
        answer = await super().create(request)
        if answer.status == 201:
            kept = self.calls if request.path.endswith("/Calls.json") else self.messages
            sent = kept[-1]  # the one just added: nobody else ran in between
            self.takers.say(Taken(sent.key, wall_ms(), text=sent if kept is self.messages else None))
        return answer


async def serve(org_id: OrgId, master_secret: str) -> None:
    """Take what comes until standard input ends."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)
    transport.set_write_buffer_limits(0)  # to drain it at the end is to have said everything
    takers = Takers(Webhook(org_secret(master_secret, org_id)), asyncio.StreamWriter(transport, protocol, None, loop))
    mail = await loop.create_server(lambda: SMTP(takers, loop=loop, hostname="test"), "127.0.0.1", 0)
    app = web.Application()
    app.router.add_post("/hook", takers.hook)
    for resource in ("Messages", "Calls"):
        app.router.add_post(f"/2010-04-01/Accounts/{ACCOUNT}/{resource}.json", takers.phone.create)
    async with mail, TestServer(app) as server:
        phone_url = str(server.make_url("")).rstrip("/")
        takers.say(Places(mail.sockets[0].getsockname()[1], str(server.make_url("/hook")), phone_url))
        ended = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ended), sys.stdin)
        await ended.read()
        await takers.said.drain()


if __name__ == "__main__":
    asyncio.run(serve(OrgId(UUID(sys.argv[1])), sys.argv[2]))
