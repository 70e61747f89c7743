"""A provider of text messages and calls: takes, loses, delays and refuses them, calls back signed, hands answers on.

It speaks what https://www.twilio.com/docs/messaging/api/message-resource, .../voice/api/call-resource and
.../usage/security describe, and signs with code of its own.
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

WAIT_S = 40
"""The sender may be a process that is still starting."""
ACCOUNT = "AC00000000000000000000000000000000"
SECRET = "the account's secret"
NUMBER = "+15005550006"
SIGN_IN = "Basic " + base64.b64encode(f"{ACCOUNT}:{SECRET}".encode()).decode()


class Fault(Enum):
    """What goes wrong with the next requests."""

    HANG = auto()
    """Takes the request and never answers."""
    LOSE = auto()
    """Takes the message, then hangs up before it answers: the sender cannot know."""
    BUSY = 429
    BROKEN = 500


@dataclass
class Sent:
    """One message or call that the provider has taken."""

    sid: str
    key: str
    fields: dict[str, str]

    @property
    def to(self) -> str:
        return self.fields["To"]

    @property
    def text(self) -> str:
        return self.fields["Body"]

    @property
    def code(self) -> str:
        """The code in the text."""
        return self.text.partition("ACK ")[2][:4]

    @property
    def script(self) -> ET.Element:
        return ET.fromstring(self.fields["Twiml"])


@dataclass
class FakeTwilio:
    """The provider. `door_url` is what its console holds as the address for incoming messages and calls."""

    url: str = ""
    door_url: str = ""
    secret: str = SECRET
    fault: Fault | None = None
    delay_ms: int = 0
    messages: list[Sent] = field(default_factory=list)
    calls: list[Sent] = field(default_factory=list)
    requests: int = 0
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def create(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        if request.headers.get("Authorization") != SIGN_IN:
            return web.json_response({"code": 20003, "message": "Authenticate"}, status=401)
        form = await request.post()
        fields = {name: str(value) for name, value in form.items()}
        self.called.set()
        if self.fault is Fault.HANG:
            await self.released.wait()
        if isinstance(self.fault, Fault) and isinstance(self.fault.value, int) and self.fault.value >= 400:
            return web.json_response({"code": 20000 + self.fault.value}, status=self.fault.value)
        if not fields["To"].startswith("+") or fields["To"].endswith("0000"):
            return web.json_response({"code": 21211, "message": f"Invalid 'To' {fields['To']}"}, status=400)
        await asyncio.sleep(self.delay_ms / 1000)
        is_call = request.path.endswith("/Calls.json")
        kept = self.calls if is_call else self.messages
        sent = Sent(f"{'CA' if is_call else 'SM'}{len(kept):032d}", request.headers.get("Idempotency-Key", ""), fields)
        kept.append(sent)
        self.taken.set()
        if self.fault is Fault.LOSE:
            assert request.transport is not None
            request.transport.close()
        return web.json_response({"sid": sent.sid, "status": "queued"}, status=201)

    async def was_asked(self, count: int) -> None:
        """Wait for so many requests, whatever becomes of them."""
        async with asyncio.timeout(WAIT_S):
            while self.requests < count:
                self.called.clear()
                await self.called.wait()

    async def has(self, count: int) -> None:
        """Wait for so many messages and calls."""
        async with asyncio.timeout(WAIT_S):
            while len(self.messages) + len(self.calls) < count:
                self.taken.clear()
                await self.taken.wait()

    async def tell(self, sent: Sent, status: str, **extra: str) -> int:
        """Call back with a status, as the provider does on every change; return what was answered."""
        kind = "Message" if sent.sid.startswith("SM") else "Call"
        fields = {f"{kind}Sid": sent.sid, f"{kind}Status": status, "To": sent.to, "From": NUMBER, **extra}
        return (await self.post(sent.fields["StatusCallback"], fields))[0]

    async def press(self, call: Sent, digit: str, *, to: str | None = None) -> tuple[int, str]:
        """Press a key during a call; return what the door wants said."""
        keys = call.script.find("Gather")
        assert keys is not None
        fields = {"CallSid": call.sid, "Digits": digit, "To": to or call.to, "From": NUMBER}
        return await self.post(keys.attrib["action"], fields)

    async def text_in(self, sender: str, text: str, *, sid: str = "SMin", secret: str | None = None) -> tuple[int, str]:
        """Hand on a text message that somebody sent to our number."""
        fields = {"MessageSid": sid, "From": sender, "To": NUMBER, "Body": text, "NumMedia": "0"}
        return await self.post(f"{self.door_url}/v1/safetap/doors/sms", fields, secret=secret)

    async def call_in(self, caller: str, *, sid: str = "CAin") -> tuple[int, str]:
        """Put through a call to our number."""
        fields = {"CallSid": sid, "From": caller, "To": NUMBER, "CallStatus": "ringing", "Direction": "inbound"}
        return await self.post(f"{self.door_url}/v1/safetap/doors/voice", fields)

    async def post(self, url: str, fields: dict[str, str], *, secret: str | None = None) -> tuple[int, str]:
        signed = url + "".join(name + fields[name] for name in sorted(fields))
        digest = hmac.new((secret or self.secret).encode(), signed.encode(), hashlib.sha1).digest()
        headers = {"X-Twilio-Signature": base64.b64encode(digest).decode()}
        async with aiohttp.ClientSession() as session, session.post(url, data=fields, headers=headers) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def open_twilio(*, door_url: str = "") -> AsyncIterator[FakeTwilio]:
    twilio = FakeTwilio(door_url=door_url)
    app = web.Application()
    for resource in ("Messages", "Calls"):
        app.router.add_post(f"/2010-04-01/Accounts/{ACCOUNT}/{resource}.json", twilio.create)
    async with TestServer(app) as server:
        twilio.url = str(server.make_url("")).rstrip("/")
        assert urlsplit(twilio.url).hostname == "127.0.0.1"
        try:
            yield twilio
        finally:
            twilio.released.set()
