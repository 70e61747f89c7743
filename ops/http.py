"""What every HTTP server of ours shares: its runner, its headers, `/healthz`, `/readyz`, `/metrics`."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from config.limits import CONNECTION_IDLE_MS
from config.settings import Settings
from ops.readiness import Readiness

READINESS = web.AppKey("readiness", Readiness)

TRANSPORT_SECURITY: Final = "max-age=31536000; includeSubDomains"
GUARDS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""What a browser heeds in the answers of a server without pages."""


def add_ops_routes(app: web.Application, readiness: Readiness) -> None:
    """Give `app` the three routes that every process answers."""
    app[READINESS] = readiness
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/metrics", _metrics)


def app_runner(app: web.Application, *, stop_ms: int) -> web.AppRunner:
    """Return what serves `app`; at its end requests under way have `stop_ms` milliseconds.

    aiohttp itself would wait an hour for a peer that connects and sends nothing, or half of a head, and unpack what
    comes compressed, also what nobody reads: a stranger's 100 kB would be 100 MB of work.
    """
    return web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=CONNECTION_IDLE_MS / 1000,
        shutdown_timeout=stop_ms / 1000,
    )


@asynccontextmanager
async def ops_server(readiness: Readiness, host: str, port: int | None) -> AsyncIterator[None]:
    """Serve the three routes on a port of their own; without a port, serve nothing."""
    if port is None:
        yield
        return
    app = web.Application()
    add_ops_routes(app, readiness)
    runner = app_runner(app, stop_ms=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


def guards(*, is_tls: bool) -> Mapping[str, str]:
    """Return the headers of every answer of a server without pages."""
    return {**GUARDS, "Strict-Transport-Security": TRANSPORT_SECURITY} if is_tls else GUARDS


def add_guards(app: web.Application, *, is_tls: bool) -> None:
    """Give every answer of `app` the headers of `GUARDS`; what a handler has set itself is left alone."""
    headers = guards(is_tls=is_tls)

    async def guard(_request: web.Request, response: web.StreamResponse) -> None:
        for name, value in headers.items():
            response.headers.setdefault(name, value)

    app.on_response_prepare.append(guard)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the server's TLS context where a certificate is set."""
    if settings.tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    return context


async def _healthz(_request: web.Request) -> web.Response:
    return web.json_response({"alive": True})


async def _readyz(request: web.Request) -> web.Response:
    readiness = request.app[READINESS]
    return web.json_response(readiness.report(), status=200 if readiness.is_ready else 503)


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
