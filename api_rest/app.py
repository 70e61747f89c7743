"""Builds the web application from the services that a composition root (or a test) has opened."""

from aiohttp import web

from api_rest.context import SERVICES, Services
from api_rest.docs import add_docs_routes
from api_rest.middlewares import answer_errors, observe, secure
from api_rest.pages import add_pages_routes
from api_rest.pipeline import handler_of
from api_rest.table import TABLE
from config.limits import BODY_BYTES_MAX
from ops.http import add_ops_routes
from ops.readiness import Readiness


def build_app(services: Services, readiness: Readiness) -> web.Application:
    """Return the application; `services` stay the caller's to close."""
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[observe, secure, answer_errors])
    app[SERVICES] = services
    add_ops_routes(app, readiness)
    for route in TABLE:
        app.router.add_route(route.method, route.path, handler_of(route))
    add_docs_routes(app, TABLE, server_url=services.settings.api_url)
    add_pages_routes(app, services.settings)
    return app
