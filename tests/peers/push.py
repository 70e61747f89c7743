"""A browser's push service, and the browser behind it: takes what RFC 8030 says, checks RFC 8292, decrypts RFC 8291.

The decryption is written from the RFC with primitives alone, so that it shares no code with what encrypts.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import jwt
import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def padded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand for at most one block (RFC 5869)."""
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()[:length]


@dataclass
class FakeBrowser:
    """One subscription: the browser's keys, and its push service."""

    url: str = ""
    status: int = 201
    is_redirecting: bool = False
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = field(default_factory=lambda: os.urandom(16))
    shown: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    signers: set[str] = field(default_factory=set)
    redirected: int = 0

    @property
    def point(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def to_json(self) -> dict[str, object]:
        """What the page sends us when it has subscribed."""
        keys = {"p256dh": unpadded(self.point), "auth": unpadded(self.auth)}
        return {"endpoint": self.url, "expirationTime": None, "keys": keys}

    async def push(self, request: web.Request) -> web.Response:
        self._check_sender(request)
        if self.is_redirecting:
            return web.Response(status=307, headers={"Location": "/elsewhere"})
        if self.status >= 300:
            return web.Response(status=self.status)
        self.headers.append(dict(request.headers))
        self.shown.append(orjson.loads(self.decrypt(await request.read())))
        return web.Response(status=self.status, headers={"Location": f"/message/{len(self.shown)}"})

    async def elsewhere(self, _request: web.Request) -> web.Response:
        self.redirected += 1
        return web.Response(status=201)

    def _check_sender(self, request: web.Request) -> None:
        """VAPID, RFC 8292, 2 and 3."""
        scheme, _, rest = request.headers["Authorization"].partition(" ")
        assert scheme == "vapid"
        fields = dict(part.strip().split("=", 1) for part in rest.split(","))
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), padded(fields["k"]))
        claims = jwt.decode(fields["t"], key, algorithms=["ES256"], audience=f"http://{request.host}")
        assert claims["exp"] - claims.get("iat", claims["exp"]) <= 86_400
        self.subjects.append(claims["sub"])
        self.signers.add(fields["k"])

    def decrypt(self, body: bytes) -> bytes:
        """RFC 8188, 2.1 and RFC 8291, 3.4."""
        salt, record_size, id_length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        sender, sealed = body[21 : 21 + id_length], body[21 + id_length :]
        assert 17 <= len(sealed) <= record_size
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        shared = self.key.exchange(ec.ECDH(), public)
        prk = hmac.new(self.auth, shared, hashlib.sha256).digest()
        material = expand(prk, b"WebPush: info\0" + self.point + sender, 32)
        prk = hmac.new(salt, material, hashlib.sha256).digest()
        key = expand(prk, b"Content-Encoding: aes128gcm\0", 16)
        nonce = expand(prk, b"Content-Encoding: nonce\0", 12)
        plain = AESGCM(key).decrypt(nonce, sealed, None).rstrip(b"\0")
        assert plain[-1:] == b"\x02", "the last record's delimiter"
        return plain[:-1]


@asynccontextmanager
async def open_browser() -> AsyncIterator[FakeBrowser]:
    browser = FakeBrowser()
    app = web.Application()
    app.router.add_post("/push/{subscription}", browser.push)
    app.router.add_post("/elsewhere", browser.elsewhere)
    async with TestServer(app) as server:
        browser.url = str(server.make_url("/push/one"))
        yield browser
