"""Errors as `application/problem+json`, and what a browser of another origin may do. One place for the whole door."""

from typing import Final

import orjson
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from config.limits import CORS_MAX_AGE_S
from engine.core.database import POSTGRES_ERRORS
from engine.core.errors import BodyTooLarge, ClenzyError, NoSuchMethod, NotFound, Unavailable
from engine.core.problem import PROBLEM_TYPE, problem_fields, problem_headers

log = structlog.get_logger(__name__)

ALLOWED_METHODS: Final = "GET, POST"
ALLOWED_HEADERS: Final = "Authorization, Content-Type, Idempotency-Key"


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into a problem document."""
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 - the one place where an error becomes an answer
        return problem_response(error_of(error))


def error_of(error: Exception) -> ClenzyError:
    """Return the error of our tree that `error` means; what nobody foresaw is logged and becomes `internal`."""
    match error:
        case ClenzyError():
            return error
        case web.HTTPRequestEntityTooLarge():
            return BodyTooLarge()
        case web.HTTPNotFound():
            return NotFound()
        case web.HTTPMethodNotAllowed():
            return NoSuchMethod()
        case _ if not isinstance(error, POSTGRES_ERRORS):
            log.error("request.failed", exc_info=error)
            return ClenzyError()
        case _:
            log.warning("request.store_away", error=repr(error))
            return Unavailable()


def problem_response(error: ClenzyError) -> web.Response:
    """Return the answer to a refused request."""
    body = orjson.dumps(problem_fields(error))
    return web.Response(status=error.status, body=body, content_type=PROBLEM_TYPE, headers=problem_headers(error))


def cors(origins: frozenset[str]) -> Middleware:
    """Return a middleware that lets pages of `origins`, and no others, read what the door answers."""

    @web.middleware
    async def allow_origins(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        is_preflight = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        response = web.Response(status=204) if is_preflight else await handler(request)
        if response.prepared:
            return response
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if origin in origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            if is_preflight:
                response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = ALLOWED_METHODS
                response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = ALLOWED_HEADERS
                response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(CORS_MAX_AGE_S)
        return response

    return allow_origins
