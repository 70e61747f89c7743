"""REST: one call, its errors, retries where they are safe, and accounts whose tokens stay fresh."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import aiohttp
import orjson

from sim.client.backoff import Backoff
from sim.client.clock import wall_ms
from sim.client.errors import Disconnected, Refused, SignedOut

TIMEOUT_S: Final = 10.0
RETRIES_MAX: Final = 4
REFRESH_MARGIN_MS: Final = 90_000
"""A token that expires within this is exchanged before it is used."""
AWAY: Final = frozenset({429, 502, 503, 504})
"""Answers that mean "not now": a request that is safe to repeat is repeated."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What sign-in, enrolment and refresh answer."""

    access_token: str
    expires_at_ms: int
    refresh_token: str
    person_id: str
    role: str

    @classmethod
    def from_body(cls, body: Mapping[str, Any], *, now_ms: int) -> "Tokens":
        """Return the tokens of an answer received at `now_ms`."""
        return cls(
            access_token=body["access_token"],
            expires_at_ms=now_ms + int(float(body["expires_in_s"]) * 1000),
            refresh_token=body["refresh_token"],
            person_id=body["person_id"],
            role=body["role"],
        )


class Rest:
    """The REST door of one server.

    GETs, and POSTs with their idempotency key, are repeated while the server is away, so that a restart of it costs
    a caller time and not an answer.
    """

    def __init__(self, http: aiohttp.ClientSession, base_url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._http = http
        self.base_url = base_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def get(self, path: str, *, account: "Account | None" = None, query: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return the decoded JSON of a GET; raises as `call` does."""
        return await self.call("GET", path, account=account, query=query)

    async def post(
        self, path: str, body: Mapping[str, Any], *, account: "Account | None" = None, key: str | None = None
    ) -> Any:  # noqa: ANN401 - JSON
        """Return the decoded JSON of a POST under `key` (default: a fresh one); raises as `call` does."""
        return await self.call("POST", path, body=body, account=account, key=key or uuid4().hex)

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        account: "Account | None" = None,
        key: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 - JSON
        """Return the decoded JSON answer, None for an empty one.

        Raises:
            Refused: the server answered with a problem.
            SignedOut: the account cannot be refreshed.
            Disconnected: nobody answered, after all retries.
        """
        backoff = Backoff(base_s=0.2, cap_s=2.0)
        for _ in range(RETRIES_MAX):
            try:
                return await self._signed(method, path, body=body, account=account, key=key, query=query)
            except Disconnected:
                await asyncio.sleep(backoff.next_s())
            except Refused as refusal:
                if refusal.status not in AWAY:
                    raise
                await asyncio.sleep(backoff.next_s())
        return await self._signed(method, path, body=body, account=account, key=key, query=query)

    async def _signed(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None,
        account: "Account | None",
        key: str | None,
        query: Mapping[str, str] | None,
    ) -> Any:  # noqa: ANN401 - JSON
        token = await account.access_token() if account else None
        try:
            return await self._once(method, path, body=body, token=token, key=key, query=query)
        except Refused as refusal:
            if account is None or refusal.status != 401:  # noqa: PLR2004 - HTTP's own number
                raise
        token = await account.refreshed(instead_of=token)
        return await self._once(method, path, body=body, token=token, key=key, query=query)

    async def _once(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None,
        token: str | None,
        key: str | None,
        query: Mapping[str, str] | None,
    ) -> Any:  # noqa: ANN401 - JSON
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if key is not None:
            headers["Idempotency-Key"] = key
        data = None if body is None else orjson.dumps(body)
        url = self.base_url + path
        try:
            async with self._http.request(
                method, url, data=data, headers=headers, params=query, timeout=self._timeout
            ) as response:
                return _answer(response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Disconnected(f"{method} {path}: {error!r}") from error


def _answer(status: int, raw: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        body = orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError:
        body = {"code": "not_json", "detail": f"an answer of {len(raw)} bytes that is not JSON"}
        status = max(status, 500)
    if status >= 400:  # noqa: PLR2004 - HTTP's own number
        raise Refused.from_body(body if isinstance(body, dict) else {}, status=status)
    return body


async def sign_in(rest: Rest, email: str, password: str) -> "Account":
    """Return the account behind an e-mail address and a password; raises as `Rest.call` does."""
    body = await rest.post("/v1/auth/sign-in", {"email": email, "password": password})
    return Account(rest, Tokens.from_body(body, now_ms=wall_ms()))


async def enrol(rest: Rest, code: str) -> "Account":
    """Return the account that an enrolment code opens; raises as `Rest.call` does."""
    body = await rest.post("/v1/auth/enrol", {"code": code})
    return Account(rest, Tokens.from_body(body, now_ms=wall_ms()))


Recovery = Callable[[], Awaitable[Tokens]]


@dataclass(slots=True)
class Account:
    """Somebody who is signed in: their tokens, exchanged before they expire, one exchange at a time."""

    rest: Rest
    tokens: Tokens
    recovery: Recovery | None = None
    """How to come back once the refresh token is dead (a new enrolment); without it `SignedOut` is raised."""
    exchanges: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def person_id(self) -> str:
        """The person's id."""
        return self.tokens.person_id

    async def access_token(self) -> str:
        """Return an access token that still lives for a while; raises as `refreshed` does."""
        if self.tokens.expires_at_ms - wall_ms() > REFRESH_MARGIN_MS:
            return self.tokens.access_token
        return await self.refreshed(instead_of=self.tokens.access_token)

    async def refreshed(self, *, instead_of: str | None) -> str:
        """Return another access token than `instead_of`: the present one if it already is, else a fresh one.

        Raises:
            SignedOut: the refresh token is dead and there is no recovery.
            Disconnected: nobody answered.
        """
        async with self._lock:
            if self.tokens.access_token == instead_of:
                self.tokens = await self._exchange()
                self.exchanges += 1
            return self.tokens.access_token

    async def _exchange(self) -> Tokens:
        try:
            body = await self.rest.post("/v1/auth/refresh", {"refresh_token": self.tokens.refresh_token})
        except Refused as refusal:
            if refusal.status not in {401, 403}:
                raise
            if self.recovery is None:
                raise SignedOut(refusal.code, refusal.detail, status=refusal.status) from refusal
            return await self.recovery()
        return Tokens.from_body(body, now_ms=wall_ms())
