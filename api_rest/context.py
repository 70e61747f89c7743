"""What a request is answered with: the process's services, and everything that is known of one call."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from config.jurisdictions import Jurisdictions, load_jurisdictions
from config.limits import STATEMENT_TIMEOUT_MS
from config.settings import Settings
from engine.core.clock import Clock
from engine.core.database import Connection, Pool
from engine.core.errors import ClenzyError
from engine.core.redis_store import RedisClient
from engine.core.units import MS_PER_S
from engine.eta.arrivals import Arrivals
from engine.people.audit import append_audit
from engine.people.passwords import Passwords
from engine.people.tokens import AccessTokens, Principal
from engine.safetap.forwarding import Forwarder


class Body(BaseModel):
    """The base of everything that comes in: unknown fields, numbers as text, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Query(BaseModel):
    """The base of query strings, whose values are all text."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class NoBody(Body):
    """An empty object, or nothing at all."""


class NoQuery(Query):
    """No parameters."""


BodyT = TypeVar("BodyT", bound=Body)
QueryT = TypeVar("QueryT", bound=Query)


@dataclass(frozen=True, slots=True)
class Services:
    """What the composition root opened for the handlers."""

    settings: Settings
    clock: Clock
    pool: Pool
    redis: RedisClient
    tokens: AccessTokens
    passwords: Passwords
    safetap: Forwarder
    arrivals: Arrivals
    """By the installation's travel times, as the matcher and the gateways have them."""
    pages_dir: Path
    """The built web pages; the folder may be absent."""
    jurisdictions: Jurisdictions = field(default_factory=load_jurisdictions)
    """The countries' rules, checked when the process starts."""

    def lend(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection for one request, which waits no longer for it than for a statement."""
        return self.pool.acquire(timeout=STATEMENT_TIMEOUT_MS / MS_PER_S)


SERVICES = web.AppKey("services", Services)


@dataclass(frozen=True, slots=True)
class Call(Generic[BodyT, QueryT]):
    """One authorised request, read and checked."""

    services: Services
    request: web.Request
    now_ms: int
    body: BodyT
    query: QueryT
    raw: bytes
    """The body as it came."""
    ids: Mapping[str, UUID]
    """The ids in the path, by name."""
    speaker: Principal | None = None
    connection: Connection | None = None
    ahead: object = None
    """What the route's `ahead` has found."""

    @property
    def principal(self) -> Principal:
        """Who asks; only for routes that name roles."""
        assert self.speaker is not None, "a public route has no principal"
        return self.speaker

    @property
    def conn(self) -> Connection:
        """The route's connection, inside a transaction where the route declares one."""
        assert self.connection is not None, "this route declares no store"
        return self.connection

    async def note(self, action: str, subject: str, detail: Mapping[str, object] | None = None) -> None:
        """Put on record that who asks did `action` to `subject` (`noun:id`), with all else that the route writes."""
        await append_audit(
            self.conn,
            org_id=self.principal.org_id,
            actor_id=self.principal.person_id,
            action=action,
            subject=subject,
            now_ms=self.now_ms,
            detail=detail,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: JSON, bytes that already are JSON (or what `media_type` says), or nothing.

    `refusal` commits what the handler did and then answers with the error: for acts that must last although the
    person is refused.
    """

    body: Mapping[str, object] | bytes | None = None
    status: int | None = None
    """Default: the route's."""
    media_type: str | None = None
    """Default: JSON. One of the route's `media_types`."""
    refusal: ClenzyError | None = None
