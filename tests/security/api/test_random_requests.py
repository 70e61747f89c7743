"""Hostile requests drawn from the published document: whatever comes, each route answers, and none fails with 500."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from api_rest.openapi import openapi_document
from api_rest.route import AnyRoute, Key
from api_rest.table import TABLE
from engine.core.vocabulary import Role
from tests.fakes import ManualClock
from tests.integration.api.conftest import Api, Cast
from tests.security.api.holdings import Holdings, hold

CASES = 200
SCHEMAS: dict[str, Any] = orjson.loads(openapi_document(TABLE, server_url="http://x"))["components"]["schemas"]
SLOW = {"POST /v1/safetap/cancel", "PUT /v1/me/safety/pins", "POST /v1/auth/sign-in", "POST /v1/people/batch"}
"""Hash what they are given, which takes its time on purpose; a few of each are drawn elsewhere."""
ROUTES = [route for route in TABLE if f"{route.method} {route.path}" not in SLOW]

NASTY = [
    "", " ", "\x00", "\ud7ff", "\U0010ffff", "a" * 3_000, "' OR 1=1 --", "${jndi:ldap://x}", "../../etc/passwd", "null",
    "NaN", "1e999", "-1", "9" * 30, "2026-02-30T25:61:61Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
    "+1 (555) 0100", "<script>", "%00", "\u202e", "://", "http://[::1", "\r\nSet-Cookie: x=y", "P1Y", "\uff11",
]  # fmt: skip
ODD = [None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**400, 1.5, 1e308, -0.0, [], {}, [[]]]
odd = st.sampled_from(NASTY) | st.sampled_from(ODD) | st.text(max_size=20) | st.integers()


def of_schema(schema: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Draw what a schema wants, or something near it that it does not want."""
    if "$ref" in schema:
        return of_schema(SCHEMAS[schema["$ref"].rpartition("/")[2]], depth)
    if depth > 5:
        return odd
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return st.one_of([of_schema(one, depth + 1) for one in schema[several]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"]) | odd
    return {
        "object": lambda: of_object(schema, depth),
        "array": lambda: st.lists(of_schema(schema.get("items", {}), depth + 1), max_size=3) | odd,
        "string": lambda: of_text(schema.get("format", "")),
        "integer": lambda: st.sampled_from([schema.get("minimum", 0), schema.get("maximum", 1), 1]) | odd,
        "number": lambda: st.floats(-200, 200) | odd,
        "boolean": lambda: st.booleans() | odd,
    }.get(schema.get("type", ""), lambda: odd)()


def of_text(kind: str) -> st.SearchStrategy[Any]:
    likely = {
        "uuid": st.just("00000000-0000-4000-8000-000000000001"),
        "date-time": st.sampled_from(["2023-11-14T22:13:20Z", "0001-01-01T00:00:00+14:00", NASTY[16]]),
        "date": st.sampled_from(["2023-11-14", "0001-01-01", "9999-12-31"]),
    }.get(kind, st.sampled_from(["desk", "a text", "cleaning", "+351912345678", "https://x.test/a"]))
    return likely | likely | odd


def of_object(schema: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    drawn = {name: of_schema(one, depth + 1) for name, one in schema.get("properties", {}).items()}
    required = {name: drawn[name] for name in schema.get("required", []) if name in drawn}
    optional = {name: one for name, one in drawn.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional) | odd


@st.composite
def requests(draw: st.DrawFn) -> tuple[AnyRoute, Role, object, dict[str, str], bool]:
    """A route, somebody who may ask, a body, a query, and whether the ids are those of things that are there."""
    route = draw(st.sampled_from(ROUTES))
    role = draw(st.sampled_from(sorted(route.access if isinstance(route.access, frozenset) else Role)))
    body: object = None
    if route.takes_body:
        body = draw(of_schema(SCHEMAS.get(route.body.__name__, {}), 0) if route.body is not None else odd)
    query: dict[str, str] = {}
    for name, one in (route.query.model_fields if route.query else {}).items():
        if one.is_required() or draw(st.booleans()):
            query[one.alias or name] = draw(st.sampled_from([*NASTY, "2023-11-14T22:13:20Z", "1", "json", "why"]))
    return route, role, body, query, draw(st.booleans())


async def attack(api: Api, held: Holdings, case: tuple[AnyRoute, Role, object, dict[str, str], bool]) -> None:
    route, role, body, query, is_real = case
    path = held.path(route) if is_real else route.path.format_map(dict.fromkeys(held.ids, UUID(int=7)))
    headers = {"Authorization": f"Bearer {held.people[role].token}", "Content-Type": "application/json"}
    if route.key is not Key.NONE:
        headers["Idempotency-Key"] = uuid4().hex
    data = None if body is None else orjson_or_json(body)
    params = {name: value.encode(errors="ignore").decode() for name, value in query.items()}
    async with api.client.request(route.method, path, data=data, headers=headers, params=params) as answer:
        text = await answer.read()
        is_shut = route.path.startswith("/v1/safetap") or "/drills" in route.path  # SafeTap's process does not run here
        allowed = {503} if is_shut else set()
        assert answer.status < 500 or answer.status in allowed, (route.method, path, body, query, text)
        assert b"Traceback" not in text


def orjson_or_json(body: object) -> bytes:
    try:
        return orjson.dumps(body)
    except (TypeError, orjson.JSONEncodeError):
        return repr(body).replace("'", '"').replace("None", "null").encode(errors="replace")


@pytest.mark.timeout(120)
async def test_line_11_no_request_that_the_document_suggests_makes_us_fail(
    api: Api, cast: Cast, pool: asyncpg.Pool, clock: ManualClock
) -> None:
    held = await hold(api, cast, pool, clock)
    cases: list[Any] = []

    @settings(max_examples=CASES, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(requests())
    def collect(case: Any) -> None:
        cases.append(case)

    collect()
    # Deletions last: what is gone can be attacked no more.
    cases.sort(key=lambda case: case[0].method == "DELETE")
    for start in range(0, len(cases), 8):
        await asyncio.gather(*(attack(api, held, case) for case in cases[start : start + 8]))
    assert len(cases) >= CASES


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z"])
async def test_line_11_a_time_beyond_every_calendar_is_refused(
    api: Api, cast: Cast, pool: asyncpg.Pool, clock: ManualClock, at: str
) -> None:
    held = await hold(api, cast, pool, clock)
    desk = held.people[Role.DISPATCHER]
    path = f"/v1/schedules/{held.ids['schedule_id']}"
    for said in (
        await api.get(f"{path}/on-call", by=desk, query={"at": at}),
        await api.post("/v1/policies/dry-run", {"at": at}, by=desk),
        await api.post(f"{path}/overrides", {"starts_at": at, "ends_at": at}, by=desk, key=uuid4().hex),
    ):
        assert (said.status, said.code) == (422, "invalid_input"), said.body
