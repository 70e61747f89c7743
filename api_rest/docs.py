"""`/openapi.json` and `/docs`: the document and Swagger UI, from this machine alone."""

from pathlib import Path
from typing import Final

from aiohttp import web
from swagger_ui_bundle import swagger_ui_path

from api_rest.openapi import openapi_document
from api_rest.route import AnyRoute
from api_rest.static import file_below

# Swagger UI draws its icons from data URLs; the styles that it sets by script need no leave.
DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

INDEX: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Clenzy API</title>
<link rel="icon" href="favicon-32x32.png">
<link rel="stylesheet" href="swagger-ui.css">
<div id="swagger-ui"></div>
<script src="swagger-ui-bundle.js"></script>
<script src="start.js"></script>
</html>
"""

# The bundled Swagger UI 4 shows a 3.1 document well but refuses its number.
START: Final = """
fetch("/openapi.json").then((answer) => answer.json()).then((spec) => {
  SwaggerUIBundle({ spec: { ...spec, openapi: "3.0.3" }, dom_id: "#swagger-ui", deepLinking: true });
});
"""


def add_docs_routes(app: web.Application, routes: tuple[AnyRoute, ...], *, server_url: str) -> None:
    """Give `app` the document and the page that shows it."""
    document = openapi_document(routes, server_url=server_url)
    files = Path(str(swagger_ui_path))

    async def openapi(_request: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json", headers={"Cache-Control": "no-cache"})

    async def bare(_request: web.Request) -> web.Response:
        raise web.HTTPMovedPermanently("/docs/")

    async def index(_request: web.Request) -> web.Response:
        return _page(INDEX, "text/html")

    async def start(_request: web.Request) -> web.Response:
        return _page(START, "text/javascript")

    async def asset(request: web.Request) -> web.StreamResponse:
        return file_below(files, request.match_info["file"], cache="public, max-age=86400", policy=DOCS_POLICY)

    app.router.add_get("/openapi.json", openapi)
    app.router.add_get("/docs", bare)
    app.router.add_get("/docs/", index)
    app.router.add_get("/docs/start.js", start)
    app.router.add_get("/docs/{file}", asset)


def _page(text: str, content_type: str) -> web.Response:
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": DOCS_POLICY}
    return web.Response(text=text, content_type=content_type, headers=headers)
