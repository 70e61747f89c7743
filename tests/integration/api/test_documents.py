"""The OpenAPI document is valid and is the server; the pages of the documentation need no network."""

import re

import orjson
from aiohttp.test_utils import TestServer
from openapi_spec_validator import validate

from api_rest.openapi import errors_of, openapi_document
from api_rest.route import Access, Key
from api_rest.table import TABLE
from tests.integration.api.conftest import Api

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


async def served_by(api: Api) -> set[tuple[str, str]]:
    server = api.client.server
    assert isinstance(server, TestServer)
    routes = server.app.router.routes()
    return {
        (route.method, route.resource.canonical)
        for route in routes
        if route.resource is not None and route.resource.canonical.startswith("/v1/") and route.method in METHODS
    }


async def test_the_document_is_valid_and_equals_the_servers_routes(api: Api) -> None:
    async with api.client.get("/openapi.json") as response:
        assert response.content_type == "application/json"
        document = orjson.loads(await response.read())
    validate(document)
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": "https://clenzy.test"}]
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == await served_by(api)
    assert described == {(route.method, route.path) for route in TABLE}


def test_every_operation_says_who_may_what_may_go_wrong_and_which_key() -> None:
    document = orjson.loads(openapi_document(TABLE, server_url="https://clenzy.test"))
    operation_ids = set()
    for route in TABLE:
        operation = document["paths"][route.path][route.method.lower()]
        operation_ids.add(operation["operationId"])
        assert operation["security"] == ([] if route.access is Access.PUBLIC else [{"bearer": []}])
        expected = {str(route.status), *map(str, route.other_statuses)} | {str(e.status) for e in errors_of(route)}
        assert set(operation["responses"]) == expected
        in_path = [one["name"] for one in operation.get("parameters", []) if one["in"] == "path"]
        assert in_path == re.findall(r"{(\w+)}", route.path)
        in_head = [one for one in operation.get("parameters", []) if one["in"] == "header"]
        assert [one.get("required", False) for one in in_head] == (
            [] if route.key is Key.NONE else [route.key is Key.REQUIRED]
        )
        assert ("requestBody" in operation) == (route.body is not None)
    assert len(operation_ids) == len(TABLE)


def test_the_document_knows_the_fields_of_the_protocol() -> None:
    schemas = orjson.loads(openapi_document(TABLE, server_url=""))["components"]["schemas"]
    assert {"from", "to", "version", "actor_role", "reason", "at"} == set(schemas["BookingEvent"]["properties"])
    assert schemas["CreateBooking"]["required"] == ["service_code", "pin", "address"]
    assert schemas["CreateBooking"]["additionalProperties"] is False


async def test_the_documentation_is_served_from_here(api: Api) -> None:
    async with api.client.get("/docs") as response:
        assert response.url.path == "/docs/"
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe-eval" not in policy
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(wanted) >= 4
    for name in wanted:
        assert "//" not in name
        async with api.client.get(f"/docs/{name}") as response:
            assert response.status == 200, name
            assert len(await response.read()) > 100


async def test_the_documentations_folder_has_an_end(api: Api) -> None:
    for name in ("..%2F__init__.py", "%2e%2e/__init__.py", "nothing.js", "..%5C__init__.py"):
        async with api.client.get(f"/docs/{name}") as response:
            assert response.status == 404, name
