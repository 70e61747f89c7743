"""Line 19: what browsers heed, on every page, file and refusal; and over TLS that they come back over TLS."""

import dataclasses
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from api_rest.app import build_app
from api_rest.context import Services
from ops.http import add_guards
from ops.readiness import Readiness

PAGES = ("/", "/worker/", "/customer/", "/trip/", "/docs/")
FILES = ("/assets/main.js", "/icon.svg", "/docs/start.js", "/docs/swagger-ui.css", "/openapi.json")
REFUSED = ("/nothing", "/assets/nothing.js", "/..%2Fetc/passwd", "/v1/me", "/v1/nothing", "/docs/nothing", "/worker/x")
MOVED = ("/worker", "/customer", "/docs")

DIRECTIVES = {"default-src": "'none'", "frame-ancestors": "'none'", "base-uri": "'none'"}
EVERYWHERE = {
    "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-site",
}  # fmt: skip


@pytest.fixture
def built(services: Services) -> Services:
    """Services with pages: what is in them does not matter here, how they are served does."""
    for name in (
        "index.html",
        "worker/index.html",
        "customer/index.html",
        "trip/index.html",
        "assets/main.js",
        "icon.svg",
    ):
        file = services.pages_dir / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("<!doctype html>")
    return services


def over_tls(services: Services) -> Services:
    with_tls = services.settings.model_copy(update={"tls_cert_file": Path("cert.pem")})
    return dataclasses.replace(services, settings=with_tls)


def policy_of(text: str) -> dict[str, str]:
    return dict(rule.strip().partition(" ")[::2] for rule in text.split(";"))


@pytest.mark.parametrize("is_tls", [False, True])
async def test_line_19_every_page_file_and_refusal_is_guarded(built: Services, *, is_tls: bool) -> None:
    services = over_tls(built) if is_tls else built
    async with TestClient(TestServer(build_app(services, Readiness()))) as client:
        for path in (*PAGES, *FILES, *REFUSED, *MOVED, "/healthz", "/metrics"):
            async with client.get(path, allow_redirects=False) as answer:
                expected = 301 if path in MOVED else None if path in REFUSED else 200
                assert expected is None or answer.status == expected, path
                assert answer.status < 500, path
                assert {name: answer.headers.get(name) for name in EVERYWHERE} == EVERYWHERE, path
                policy = policy_of(answer.headers["Content-Security-Policy"])
                assert policy["default-src"] == policy["frame-ancestors"] == "'none'", path
                assert ("max-age=" in answer.headers.get("Strict-Transport-Security", "")) == is_tls, path
                assert "Set-Cookie" not in answer.headers


async def test_line_19_no_page_runs_or_styles_what_is_written_into_it(built: Services) -> None:
    async with TestClient(TestServer(build_app(built, Readiness()))) as client:
        for path in PAGES:
            async with client.get(path) as answer:
                policy = policy_of(answer.headers["Content-Security-Policy"])
            assert policy["script-src"] == "'self'", path
            assert policy["style-src"] == "'self'", path
            assert {name: policy.get(name) for name in DIRECTIVES} == DIRECTIVES, path
            text = " ".join(policy.values())
            assert not {"*", "http:", "https:", "ws:", "wss:"} & set(text.split()), path
            assert "unsafe" not in text, path


async def test_line_19_pages_that_are_not_built_and_defects_are_guarded_too(services: Services) -> None:
    app = build_app(services, Readiness())
    async with TestClient(TestServer(app)) as client:
        async with client.get("/") as answer:
            assert answer.status == 503
            assert policy_of(answer.headers["Content-Security-Policy"])["default-src"] == "'none'"
        await services.pool.execute("DROP TABLE service CASCADE")
        async with client.post("/v1/auth/sign-in", json={"email": "a@b.c", "password": "x"}) as answer:
            assert answer.headers["Cache-Control"] == "no-store"


async def test_line_19_over_tls_the_other_ports_say_so_too() -> None:
    for is_tls in (False, True):
        app = web.Application()
        add_guards(app, is_tls=is_tls)
        async with TestClient(TestServer(app)) as client, client.get("/nothing") as answer:
            assert ("Strict-Transport-Security" in answer.headers) == is_tls
