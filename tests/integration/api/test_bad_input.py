"""Everything that can be wrong with a request has a name, a field and a rule; nothing wrong is an error of ours."""

import asyncio
import base64
import zlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from api_rest import reading
from config.limits import BODY_BYTES_MAX, TEXT_CHARS_MAX
from tests.integration.api.conftest import BOOKING, Api, Person

KEY = {"Idempotency-Key": "k"}


def changed(path: str, value: object) -> dict[str, Any]:
    """`BOOKING` with one field set, by dotted path."""
    body: dict[str, Any] = {name: dict(part) if isinstance(part, dict) else part for name, part in BOOKING.items()}
    *parents, last = path.split(".")
    place = body
    for parent in parents:
        place = place[parent]
    place[last] = value
    return body


BROKEN_RULES = [
    (changed("pin.lat", 90.01), "pin.lat"),
    (changed("pin.lng", -180.5), "pin.lng"),
    (changed("pin.lat", "41"), "pin.lat"),
    (changed("pin.lat", None), "pin.lat"),
    (changed("pin.lat", True), "pin.lat"),
    (changed("pin.alt", 3), "pin.alt"),
    (changed("service_code", 7), "service_code"),
    (changed("service_code", ""), "service_code"),
    (changed("service_code", "gardening"), "service_code"),
    (changed("address.line", "   "), "address.line"),
    (changed("address.line", "x" * 201), "address.line"),
    (changed("address.line", "a\x00b"), "address.line"),
    (changed("notes", "x" * (TEXT_CHARS_MAX + 1)), "notes"),
    (changed("notes", "bell\x07"), "notes"),
    (changed("price_minor", 1), "price_minor"),
    (changed("pin", [41, -8]), "pin"),
    ({}, "service_code"),
]


async def test_a_broken_rule_is_named(api: Api, customer: Person) -> None:
    for body, field in BROKEN_RULES:
        said = await api.post("/v1/bookings", body, by=customer, key="k")
        assert (said.status, said.code) == (422, "invalid_input"), body
        assert said.body["field"] == field
        assert said.body["errors"][0]["field"] == field
        assert said.body["errors"][0]["rule"]


async def test_a_sign_in_with_an_address_that_no_store_can_hold_is_refused(api: Api) -> None:
    for email in ("\x00", "a\x00b@example.org", "bell\x07@example.org"):
        said = await api.post("/v1/auth/sign-in", {"email": email, "password": "x"})
        assert (said.status, said.code, said.body["field"]) == (422, "invalid_input", "email")


async def test_every_broken_rule_is_named_at_once(api: Api, customer: Person) -> None:
    body = {"service_code": "", "pin": {"lat": 91, "lng": 181}, "address": {}, "extra": 1}
    said = await api.post("/v1/bookings", body, by=customer, key="k")
    fields = {error["field"] for error in said.body["errors"]}
    assert fields == {"service_code", "pin.lat", "pin.lng", "address.line", "extra"}


async def test_a_pin_that_is_not_set_is_refused(api: Api, customer: Person) -> None:
    said = await api.post("/v1/bookings", changed("pin", {"lat": 0, "lng": 0}), by=customer, key="k")
    assert said.status == 422
    assert "0/0" in said.body["detail"]


async def test_what_is_not_json_is_refused(api: Api, customer: Person) -> None:
    headers = KEY | {"Content-Type": "application/json"}
    surrogate = b'{"notes": "\xed\xa0\x80"}'
    for raw in (b"{", b"not json", b'{"notes": "a"} trailing', b"\xff\xfe", surrogate, b"[" * 100_000):
        said = await api.call("POST", "/v1/bookings", raw, by=customer, headers=headers)
        assert (said.status, said.code) == (400, "malformed_body"), raw[:20]


async def test_json_that_is_not_what_is_wanted_is_refused(api: Api, customer: Person) -> None:
    headers = KEY | {"Content-Type": "application/json"}
    for raw in (b"", b"[]", b"null", b"1", b'"text"', b'{"pin": {"lat": NaN, "lng": Infinity}}'):
        said = await api.call("POST", "/v1/bookings", raw, by=customer, headers=headers)
        assert (said.status, said.code) == (422, "invalid_input"), raw


async def test_another_content_type_is_refused(api: Api, customer: Person) -> None:
    form, parts = "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
    for content_type in ("text/plain", form, parts, "application/json; charset=utf-16"):
        headers = KEY | {"Content-Type": content_type}
        said = await api.call("POST", "/v1/bookings", b"{}", by=customer, headers=headers)
        assert (said.status, said.code) == (415, "unsupported_media_type"), content_type


async def test_a_body_that_is_too_large_is_refused(api: Api, customer: Person) -> None:
    raw = b'{"notes": "' + b"x" * BODY_BYTES_MAX + b'"}'
    said = await api.call("POST", "/v1/bookings", raw, by=customer, headers=KEY)
    assert (said.status, said.code) == (413, "body_too_large")


async def test_a_compressed_body_is_not_unpacked(api: Api, customer: Person) -> None:
    bomb = zlib.compress(b"0" * 50_000_000)
    assert len(bomb) < BODY_BYTES_MAX
    said = await api.call("POST", "/v1/bookings", bomb, by=customer, headers=KEY | {"Content-Encoding": "deflate"})
    assert (said.status, said.code) == (415, "unsupported_media_type")


BAD_QUERIES = [
    ("limit=0", "limit"),
    ("limit=201", "limit"),
    ("limit=ten", "limit"),
    ("limit=5&limit=6", "limit"),
    ("state=lost", "state"),
    ("sort=name", "sort"),
    ("cursor=", "cursor"),
    ("cursor=!!!", "cursor"),
    ("cursor=YWJj", "cursor"),
    ("cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5fDE", "cursor"),  # a year beyond every calendar
]


async def test_a_bad_query_is_refused(api: Api, customer: Person) -> None:
    for query, field in BAD_QUERIES:
        said = await api.get(f"/v1/bookings?{query}", by=customer)
        assert (said.status, said.code, said.body["field"]) == (422, "invalid_input", field), query


@pytest.mark.parametrize("cursor", ["", "nonsense", "bm9uZQ==", "MjAyMy0wMS0wMSB4"])
async def test_a_bad_incident_cursor_is_refused(api: Api, dispatcher: Person, cursor: str) -> None:
    said = await api.get("/v1/incidents", by=dispatcher, query={"cursor": cursor})
    assert (said.status, said.code, said.body["field"]) == (422, "invalid_input", "cursor")


async def test_a_bad_worker_cursor_is_refused(api: Api, dispatcher: Person) -> None:
    for text in ("-1", "9" * 12, "abc", "\N{SUBSCRIPT ONE}", ""):
        cursor = base64.urlsafe_b64encode(text.encode()).decode() or "="
        said = await api.get("/v1/workers", by=dispatcher, query={"cursor": cursor})
        assert (said.status, said.body["field"]) == (422, "cursor"), text


WRONG_PLACES = [
    ("GET", "/v1/nothing", (404, "not_found")),
    ("POST", "/v1/nothing", (404, "not_found")),
    ("GET", "/v1/bookings/not-an-id", (404, "not_found")),
    ("GET", "/v1/bookings/00000000-0000-0000-0000-000000000000", (404, "not_found")),
    ("GET", "/v1/auth/sign-in", (405, "method_not_allowed")),
    ("DELETE", "/v1/bookings", (405, "method_not_allowed")),
]


async def test_what_does_not_exist_is_a_problem_too(api: Api, customer: Person) -> None:
    for method, path, expected in WRONG_PLACES:
        said = await api.call(method, path, by=customer)
        assert (said.status, said.code) == expected, (method, path)
        assert ("Allow" in said.headers) == (said.status == 405)


async def test_a_body_where_none_belongs_is_refused(api: Api, worker: Person) -> None:
    said = await api.post("/v1/offers/00000000-0000-0000-0000-000000000000/accept", {"force": True}, by=worker)
    assert (said.status, said.body["field"]) == (422, "force")


async def test_our_own_mistakes_tell_nothing_of_the_inside(api: Api, dispatcher: Person, pool: asyncpg.Pool) -> None:
    await pool.execute("DROP TABLE incident CASCADE")
    said = await api.get("/v1/incidents", by=dispatcher)
    assert (said.status, said.code) == (500, "internal")
    assert said.body["detail"] == "Something went wrong."


async def test_a_body_that_never_ends_is_given_up(api: Api, customer: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BODY_READ_MS", 50)
    ended = asyncio.Event()

    async def drip() -> AsyncIterator[bytes]:
        yield b'{"service_code": '
        await ended.wait()

    headers = KEY | {"Authorization": f"Bearer {customer.token}", "Content-Type": "application/json"}
    async with api.client.post("/v1/bookings", data=drip(), headers=headers) as response:
        assert response.status == 408
        assert (await response.json(content_type=None))["code"] == "body_too_slow"
    ended.set()
