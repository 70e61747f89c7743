"""The built web pages: console at `/`, the phones' at `/worker/` and `/customer/`, a shared trip at `/trip/`."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from api_rest.context import SERVICES
from api_rest.middlewares import PHONE_PERMISSIONS
from api_rest.static import file_below
from config.settings import Settings

PAGES: Final = ("", "worker/", "customer/", "trip/")
"""Folders with an `index.html` of their own."""

PHONE_PAGES: Final = ("worker/", "customer/")
"""Those that people call for help from, and the only ones that may use a microphone."""

IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""Assets carry a hash of their content in their name."""
REVALIDATE: Final = "no-cache"

NOT_BUILT: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Clenzy: the pages are not built</title>
<h1>The pages are not built</h1>
<p>The API works, and <a href="/docs/">describes itself</a>. The web pages are built with <code>make pages</code>.</p>
</html>
"""


def pages_folder() -> Path:
    """Return where the built pages are: beside this package, in a checkout as in an installed wheel."""
    return Path(__file__).parent.parent / "console" / "dist"


def pages_policy(settings: Settings) -> str:
    """Return the content security policy: our own scripts, and connections to our own doors."""
    doors = " ".join(sorted({address for url in _door_urls(settings) for address in _http_and_socket(url)}))
    style = urlsplit(settings.map_style_url)
    tiles = f" {style.scheme}://{style.netloc}" if style.scheme in ("http", "https") else ""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:{tiles}; "
        f"font-src 'self'; connect-src 'self' {doors}{tiles}; worker-src 'self' blob:; child-src blob:; "
        "manifest-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def add_pages_routes(app: web.Application, settings: Settings) -> None:
    """Give `app` the pages; must come after every other route, because it answers every GET."""
    policy = pages_policy(settings)

    async def bare(request: web.Request) -> web.Response:
        raise web.HTTPMovedPermanently(request.path + "/")

    async def page(request: web.Request) -> web.StreamResponse:
        return _page(request, request.path.lstrip("/"), policy)

    async def asset(request: web.Request) -> web.StreamResponse:
        pages_dir = request.app[SERVICES].pages_dir
        return file_below(pages_dir / "assets", request.match_info["file"], cache=IMMUTABLE, policy=policy)

    async def other(request: web.Request) -> web.StreamResponse:
        pages_dir = request.app[SERVICES].pages_dir
        return file_below(pages_dir, request.match_info["file"], cache=REVALIDATE, policy=policy)

    for folder in PAGES:
        app.router.add_get(f"/{folder}", page)
        if folder:
            app.router.add_get(f"/{folder.rstrip('/')}", bare)
    app.router.add_get("/assets/{file:.+}", asset)
    # Not below /v1: there an unknown path is unknown, and a known one with another method says so.
    app.router.add_get("/{file:(?!v1/).+}", other)


def _page(request: web.Request, folder: str, policy: str) -> web.StreamResponse:
    pages_dir = request.app[SERVICES].pages_dir
    if not (pages_dir / folder / "index.html").is_file():
        return web.Response(status=503, text=NOT_BUILT, content_type="text/html", headers={"Cache-Control": "no-store"})
    response = file_below(pages_dir, f"{folder}index.html", cache=REVALIDATE, policy=policy)
    if folder in PHONE_PAGES:
        response.headers["Permissions-Policy"] = PHONE_PERMISSIONS
    return response


def _door_urls(settings: Settings) -> tuple[str, ...]:
    return settings.api_url, settings.gateway_url, settings.safetap_url


def _http_and_socket(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    socket_scheme = "wss" if parts.scheme == "https" else "ws"
    return f"{parts.scheme}://{parts.netloc}", f"{socket_scheme}://{parts.netloc}"
