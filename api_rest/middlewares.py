"""What happens around every request: its id, its log line, its count, its errors, the headers that browsers heed."""

import re
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import uuid4

import structlog
from aiohttp import web
from multidict import CIMultiDict
from structlog.contextvars import bound_contextvars

from api_rest.context import SERVICES
from api_rest.metrics import REQUESTS, SECONDS
from api_rest.pipeline import KEY_HEADER, REPLAYED_HEADER
from api_rest.problems import error_of, problem_response
from config.limits import CORS_MAX_AGE_S
from config.settings import Settings
from ops.http import TRANSPORT_SECURITY

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID_HEADER: Final = "X-Request-Id"
REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

API_PATH: Final = "/v1/"
API_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"

PERMISSIONS: Final = "geolocation=(self), camera=(), microphone=(), payment=()"
PHONE_PERMISSIONS: Final = PERMISSIONS.replace("microphone=()", "microphone=(self)")
"""For the pages that may record what is heard during an alarm of their own person, and nothing else."""

ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-site",
    "Permissions-Policy": PERMISSIONS,
}
OPS_ROUTES: Final = frozenset({"/healthz", "/readyz", "/metrics"})

log = structlog.get_logger(__name__)


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, count it and write one line about it: the route's pattern, never the path or a person."""
    given = request.headers.get(REQUEST_ID_HEADER, "")
    request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
    clock = request.app[SERVICES].clock
    started_ns = clock.steady_ns()
    with bound_contextvars(request_id=request_id):
        response = await handler(request)
        seconds = (clock.steady_ns() - started_ns) / 1e9
        route = _pattern(request)
        REQUESTS.labels(request.method, route, response.status).inc()
        SECONDS.labels(request.method, route).observe(seconds)
        say = log.debug if route in OPS_ROUTES else log.info  # the supervisor asks every other second
        say(
            "request.answered",
            method=request.method,
            route=route,
            status=response.status,
            took_ms=round(seconds * 1000, 1),
        )
    response.headers[REQUEST_ID_HEADER] = request_id
    return response


@web.middleware
async def secure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Add the headers that browsers heed; a handler that has set one itself is left alone."""
    response = await handler(request)
    settings = request.app[SERVICES].settings
    _default_headers(response.headers, ALWAYS)
    _default_headers(response.headers, {"Content-Security-Policy": API_POLICY})
    if settings.tls_cert_file is not None:
        _default_headers(response.headers, {"Strict-Transport-Security": TRANSPORT_SECURITY})
    if request.path.startswith(API_PATH):
        _default_headers(response.headers, {"Cache-Control": "no-store"})
        _allow_origin(request, response, settings)
    return response


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever is raised into a problem; redirects pass."""
    if request.method == "OPTIONS" and request.path.startswith(API_PATH):
        return _preflight(request)
    try:
        return await handler(request)
    except web.HTTPRedirection as redirection:
        return web.Response(status=redirection.status, headers={"Location": redirection.headers["Location"]})
    except Exception as error:  # noqa: BLE001 - the one place where errors become answers; unforeseen ones are logged
        response = problem_response(error_of(error))
        if isinstance(error, web.HTTPMethodNotAllowed):
            response.headers["Allow"] = error.headers["Allow"]
        return response


def _preflight(request: web.Request) -> web.Response:
    """Answer a browser that asks whether it may: `secure` adds the origin, and only for the ones we know."""
    response = web.Response(status=204)
    if request.headers.get("Origin") in request.app[SERVICES].settings.origins:
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, DELETE"
        response.headers["Access-Control-Allow-Headers"] = (
            f"Authorization, Content-Type, {KEY_HEADER}, {REQUEST_ID_HEADER}"
        )
        response.headers["Access-Control-Max-Age"] = str(CORS_MAX_AGE_S)
    return response


def _allow_origin(request: web.Request, response: web.StreamResponse, settings: Settings) -> None:
    response.headers.add("Vary", "Origin")
    origin = request.headers.get("Origin")
    if origin is not None and origin in settings.origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = f"{REPLAYED_HEADER}, {REQUEST_ID_HEADER}, Retry-After"


def _default_headers(headers: "CIMultiDict[str]", defaults: dict[str, str]) -> None:
    for name, value in defaults.items():
        headers.setdefault(name, value)


def _pattern(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "none" if resource is None else resource.canonical
