"""The pages as browsers get them, the headers that they heed, and who may call from another origin."""

from pathlib import Path

import pytest

from api_rest.context import Services
from api_rest.pages import pages_policy
from config.settings import Settings
from tests.integration.api.conftest import BOOKING, Api, Person


@pytest.fixture
def dist(services: Services) -> Path:
    """Built pages."""
    folder = services.pages_dir
    for name in ("index.html", "worker/index.html", "customer/index.html"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<!doctype html><title>{name}</title>")
    (folder / "assets").mkdir()
    (folder / "assets" / "main-4f3a.js").write_text("export {}")
    (folder / "favicon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder.parent / "secret.pem").write_text("a key")
    return folder


@pytest.mark.usefixtures("dist")
async def test_pages_are_revalidated_and_assets_kept_for_ever(api: Api) -> None:
    for path, content_type, cache in [
        ("/", "text/html", "no-cache"),
        ("/worker/", "text/html", "no-cache"),
        ("/customer/", "text/html", "no-cache"),
        ("/assets/main-4f3a.js", "application/javascript", "public, max-age=31536000, immutable"),
        ("/favicon.svg", "image/svg+xml", "no-cache"),
    ]:
        async with api.client.get(path) as response:
            assert response.status == 200, path
            assert response.content_type.replace("text/javascript", "application/javascript") == content_type
            assert response.headers["Cache-Control"] == cache
    async with api.client.get("/worker/") as response:
        assert "worker/index.html" in await response.text()
        etag = response.headers["Etag"]
    async with api.client.get("/worker/", headers={"If-None-Match": etag}) as response:
        assert response.status == 304
    async with api.client.get("/worker", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (301, "/worker/")


async def test_nothing_outside_of_the_pages_is_served(api: Api, dist: Path) -> None:
    (dist / "assets" / "link.pem").symlink_to(dist.parent / "secret.pem")
    for path in (
        "/..%2Fsecret.pem",
        "/%2e%2e/secret.pem",
        "/assets/..%2F..%2Fsecret.pem",
        "/assets/link.pem",
        "/%2Fetc%2Fpasswd",
        "/nothing.js",
        "/assets",
        "/worker/%00",
    ):
        async with api.client.get(path) as response:
            assert response.status == 404, path
            assert response.content_type == "application/problem+json"


async def test_pages_that_are_not_built_say_so(api: Api) -> None:
    async with api.client.get("/") as response:
        assert (response.status, response.content_type) == (503, "text/html")
        assert "not built" in await response.text()


@pytest.mark.usefixtures("dist")
async def test_pages_run_our_scripts_and_reach_our_doors_only(api: Api) -> None:
    async with api.client.get("/") as response:
        headers = response.headers
    rules = dict(rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert rules["worker-src"] == "'self' blob:"
    assert rules["frame-ancestors"] == "'none'"
    assert set(rules["connect-src"].split()) == {
        "'self'",
        "https://clenzy.test",
        "wss://clenzy.test",
        "https://gateway.clenzy.test",
        "wss://gateway.clenzy.test",
        "http://127.0.0.1:1",
        "ws://127.0.0.1:1",
    }
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Permissions-Policy"] == "geolocation=(self), camera=(), microphone=(), payment=()"
    assert "Strict-Transport-Security" not in headers


@pytest.mark.usefixtures("dist")
async def test_phone_pages_may_hear_and_nothing_else_may(api: Api) -> None:
    async def allowance(path: str) -> str:
        async with api.client.get(path, allow_redirects=False) as response:
            rules = dict(rule.split("=") for rule in response.headers["Permissions-Policy"].split(", "))
        assert (rules["camera"], rules["geolocation"]) == ("()", "(self)")
        return rules["microphone"]

    others = ("/", "/worker", "/worker/no.js", "/customer/no.js", "/assets/no.js", "/icon.svg", "/v1/config", "/docs/")
    assert {await allowance(path) for path in ("/worker/", "/customer/")} == {"(self)"}
    assert {await allowance(path) for path in others} == {"()"}


def test_a_foreign_map_style_is_let_through_the_policy(tmp_path: Path) -> None:
    policy = pages_policy(Settings(state_dir=tmp_path, map_style_url="https://tiles.test/style.json"))
    assert "img-src 'self' data: blob: https://tiles.test;" in policy
    assert "https://tiles.test" not in pages_policy(Settings(state_dir=tmp_path))


async def test_our_own_origins_may_call_and_no_other(api: Api) -> None:
    for origin, is_ours in (
        ("https://clenzy.test", True),
        ("https://partner.test", True),
        ("https://evil.test", False),
    ):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        async with api.client.options("/v1/bookings", headers=asked) as response:
            assert response.status == 204
            assert (response.headers.get("Access-Control-Allow-Origin") == origin) == is_ours
            assert ("Access-Control-Allow-Methods" in response.headers) == is_ours
        async with api.client.get("/v1/config", headers={"Origin": origin}) as response:
            assert response.status == 200
            assert (response.headers.get("Access-Control-Allow-Origin") == origin) == is_ours
            assert "Access-Control-Allow-Credentials" not in response.headers
            assert "Origin" in response.headers["Vary"]


async def test_every_answer_carries_its_request_id(api: Api) -> None:
    said = await api.get("/v1/config", headers={"X-Request-Id": "trace-7"})
    assert said.headers["X-Request-Id"] == "trace-7"
    said = await api.get("/v1/me", headers={"X-Request-Id": "no good <id>"})
    assert said.status == 401
    assert len(said.headers["X-Request-Id"]) == 32


async def test_config_tells_the_doors(api: Api) -> None:
    said = await api.get("/v1/config")
    assert said.body["api_url"] == "https://clenzy.test"
    assert said.body["gateway_url"] == "https://gateway.clenzy.test"
    assert said.body["safetap_url"] == "http://127.0.0.1:1"
    assert said.body["map_style_url"] == "builtin"
    assert said.body["mode"] == "demo"
    center = {"lat": 41.15, "lng": -8.61}
    assert said.body["region"] == {"name": "Demo City", "tz": "Europe/Lisbon", "center": center}


async def test_services_are_listed_with_their_prices(api: Api, customer: Person) -> None:
    said = await api.get("/v1/services", by=customer)
    assert [item["code"] for item in said.body["items"]] == ["cleaning", "plumbing", "electrical", "mobile_mechanic"]
    assert {item["currency"] for item in said.body["items"]} == {"EUR"}


async def test_metrics_count_routes_and_the_log_names_no_person(
    api: Api, customer: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await api.post("/v1/bookings", BOOKING, by=customer, key="k")
    await api.get(f"/v1/bookings/{made.body['booking_id']}", by=customer)
    async with api.client.get("/metrics") as response:
        metrics = await response.text()
    counted = 'clenzy_http_requests_total{method="GET",route="/v1/bookings/{booking_id}",status="200"}'
    assert counted in metrics
    assert made.body["booking_id"] not in metrics
    logged = capsys.readouterr()
    assert "request.answered" in logged.out + logged.err
    for private in ("41.15", "8.61", "Flores", str(customer.person_id), customer.token, made.body["booking_id"]):
        assert private not in logged.out + logged.err
