"""Firebase as a sender sees it: a token server that checks the service account's assertion, and the HTTP v1 API."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PROJECT = "clenzy-test"
EMAIL = "sender@clenzy-test.iam.gserviceaccount.com"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass
class FakeFcm:
    """The project."""

    url: str = ""
    status: int = 200
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    tokens: list[str] = field(default_factory=list)
    """Access tokens handed out; the last one is good."""
    messages: list[dict[str, object]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    def credentials(self, folder: Path) -> Path:
        """Write the file that Firebase's console hands out."""
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        file = folder / "firebase.json"
        fields = {"type": "service_account", "project_id": PROJECT, "client_email": EMAIL, "private_key": pem}
        file.write_bytes(orjson.dumps(fields | {"token_uri": f"{self.url}/token"}))
        return file

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["grant_type"] == GRANT
        claims = jwt.decode(
            str(form["assertion"]), self.key.public_key(), algorithms=["RS256"], audience=f"{self.url}/token"
        )
        assert claims["iss"] == EMAIL
        assert claims["scope"] == "https://www.googleapis.com/auth/firebase.messaging"
        assert 0 < claims["exp"] - claims["iat"] <= 3_600
        assert abs(claims["iat"] - time.time()) < 60
        self.tokens.append(f"access-{len(self.tokens)}")
        return web.json_response({"access_token": self.tokens[-1], "expires_in": 3_599, "token_type": "Bearer"})

    async def send(self, request: web.Request) -> web.Response:
        if not self.tokens or request.headers["Authorization"] != f"Bearer {self.tokens[-1]}":
            return self.refuse(401, "UNAUTHENTICATED")
        if self.status != 200:
            return self.refuse(self.status, "QUOTA_EXCEEDED")
        message = (await request.json())["message"]
        if message["token"] in self.gone:
            return self.refuse(404, "UNREGISTERED")
        self.messages.append(message)
        return web.json_response({"name": f"projects/{PROJECT}/messages/{len(self.messages)}"})

    def refuse(self, status: int, code: str) -> web.Response:
        details = [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}]
        return web.json_response({"error": {"code": status, "status": code, "details": details}}, status=status)


@asynccontextmanager
async def open_fcm() -> AsyncIterator[FakeFcm]:
    fcm = FakeFcm()
    app = web.Application()
    app.router.add_post("/token", fcm.token)
    app.router.add_post(f"/v1/projects/{PROJECT}/messages:send", fcm.send)
    async with TestServer(app) as server:
        fcm.url = str(server.make_url("")).rstrip("/")
        yield fcm
