"""Errors as `application/problem+json` (RFC 9457): the one place where what went wrong becomes an answer."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import asyncpg
import orjson
import structlog
from aiohttp import web
from pydantic import BaseModel, Field, ValidationError
from redis.exceptions import RedisError

from engine.core.database import CONNECTION_LOST
from engine.core.errors import BodyTooLarge, ClenzyError, InvalidInput, NoSuchMethod, NotFound, Unavailable
from engine.core.problem import PROBLEM_TYPE, problem_fields, problem_headers

# A statement that took too long counts as a store that is away, and so does one that Postgres asks us to try again.
STORE_AWAY: Final = (RedisError, *CONNECTION_LOST, asyncpg.exceptions.TransactionRollbackError)

log = structlog.get_logger(__name__)


class MalformedBody(InvalidInput):
    """The body is not JSON."""

    code = "malformed_body"
    status = 400


class UnsupportedMediaType(InvalidInput):
    """Send `Content-Type: application/json`, not compressed."""

    code = "unsupported_media_type"
    status = 415


class BrokenRules(InvalidInput):
    """Fields break their rules."""

    def __init__(self, errors: Sequence[Mapping[str, str]]) -> None:
        self.errors = tuple(errors)
        first = errors[0]
        super().__init__(f"{first['field'] or 'The body'}: {first['rule']}", field=first["field"] or None)

    @classmethod
    def from_validation(cls, error: ValidationError) -> "BrokenRules":
        """Return every broken rule by the field's path (`pin.lat`, `people.3.role`)."""
        return cls(
            [
                {"field": ".".join(map(str, one["loc"])), "rule": one["msg"]}
                for one in error.errors(include_url=False, include_context=False, include_input=False)
            ]
        )


REFUSED_BY_AIOHTTP: Final[dict[int, type[ClenzyError]]] = {
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.METHOD_NOT_ALLOWED: NoSuchMethod,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: BodyTooLarge,
}


class BrokenRule(BaseModel):
    """One field and the rule that it breaks."""

    field: str
    rule: str


class Problem(BaseModel):
    """Why a request was refused. `code` is stable, the texts are for people."""

    type: str = Field(default="about:blank")
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    errors: list[BrokenRule] | None = None


def error_of(error: Exception) -> ClenzyError:
    """Return the error of our tree that `error` means; what nobody foresaw is logged and becomes `internal`."""
    if isinstance(error, ClenzyError):
        return error
    if isinstance(error, web.HTTPException):
        return REFUSED_BY_AIOHTTP.get(error.status, ClenzyError)()
    # asyncpg also calls a value that does not fit its column an interface error: that is our mistake, not an absence.
    if isinstance(error, STORE_AWAY) and not isinstance(error, ValueError):
        log.warning("store.away", error=type(error).__name__)
        return Unavailable()
    log.error("request.failed", exc_info=error)
    return ClenzyError()


def problem_body(error: ClenzyError) -> bytes:
    """Return the JSON that tells of a refusal."""
    fields = problem_fields(error)
    if isinstance(error, BrokenRules):
        fields["errors"] = error.errors
    return orjson.dumps(fields)


def problem_response(error: ClenzyError) -> web.Response:
    """Return the answer to a refused request."""
    return web.Response(
        status=error.status, body=problem_body(error), content_type=PROBLEM_TYPE, headers=problem_headers(error)
    )
