"""Line 10 at the API: nothing is served that nobody decided about. Roles on each route: `test_access.py`."""

from aiohttp import web

from api_rest.app import build_app
from api_rest.context import Services
from api_rest.table import TABLE
from ops.readiness import Readiness
from tests.integration.api.conftest import Api, Person

OPEN = {
    "GET /healthz", "GET /readyz", "GET /metrics", "GET /openapi.json", "GET /docs", "GET /docs/", "GET /docs/start.js",
    "GET /docs/{file}", "GET /", "GET /worker", "GET /worker/", "GET /customer", "GET /customer/", "GET /trip",
    "GET /trip/", "GET /assets/{file}", "GET /{file}",
}  # fmt: skip
"""What anybody may read: pages, their files, the documentation, health and counts. None is anybody's data."""


async def test_line_10_every_route_of_the_api_is_in_the_table_or_open_on_purpose(services: Services) -> None:
    app: web.Application = build_app(services, Readiness())
    routes = {f"{one.method} {one.resource.canonical}" for one in app.router.routes() if one.resource}
    table = {f"{route.method} {route.path}" for route in TABLE}
    assert {one for one in routes if not one.startswith("HEAD ")} == table | OPEN


async def test_line_10_what_is_open_tells_of_nobody(api: Api, customer: Person) -> None:
    booking = await api.book(customer)
    secrets = [booking["booking_id"], str(customer.person_id), "41.15", "Rua das Flores", "ring twice", customer.token]
    for route in OPEN:
        async with api.client.get(route.split(" ")[1].replace("{file}", "x"), allow_redirects=False) as answer:
            text = await answer.text()
        assert [one for one in secrets if one in text] == [], route


async def test_line_10_a_method_that_is_not_declared_is_not_served(api: Api, customer: Person) -> None:
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND"):
        headers = {"Authorization": f"Bearer {customer.token}"}
        async with api.client.request(method, "/v1/services", headers=headers) as answer:
            assert answer.status == (404 if method == "CONNECT" else 405), method
