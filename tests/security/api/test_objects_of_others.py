"""Line 10, object by object: the role is right, the thing is somebody else's. Generated from the table of routes."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import orjson
import pytest

from api_rest.route import AnyRoute
from api_rest.table import TABLE
from engine.core.vocabulary import Role
from tests.fakes import ManualClock
from tests.integration.api.conftest import Api, Cast, Person, Said
from tests.security.api.holdings import LADDER, PERSONAL, Holdings, hold, rows_of_everything

NAMING = [route for route in TABLE if route.id_names]
"""The routes that name a thing."""


def place(route: AnyRoute) -> str:
    return f"{route.method} {route.path}"


@pytest.fixture
async def held(api: Api, cast: Cast, pool: asyncpg.Pool, clock: ManualClock) -> AsyncIterator[Holdings]:
    return await hold(api, cast, pool, clock)


async def ask(api: Api, held: Holdings, route: AnyRoute, by: Person) -> Said:
    """Ask as a client would that has the right ids."""
    body, query = held.request(route)
    headers = {"Authorization": f"Bearer {by.token}", "Idempotency-Key": uuid4().hex}
    async with api.client.request(route.method, held.path(route), json=body, headers=headers, params=query) as response:
        raw = await response.read()
        is_json = "json" in response.content_type
        return Said(response.status, orjson.loads(raw) if raw and is_json else raw, response.headers.copy())


async def test_line_10_what_is_another_organisations_does_not_exist(
    api: Api, held: Holdings, cast: Cast, pool: asyncpg.Pool
) -> None:
    strangers = {role: await cast.in_another_org(role) for role in Role}
    before = await rows_of_everything(pool)
    for route in NAMING:
        for role in route.access:
            said = await ask(api, held, route, strangers[role])
            assert said.status == 404, (place(route), role, said.body)
    assert await rows_of_everything(pool) == before


async def test_line_10_what_is_a_colleagues_own_is_not_to_be_seen_or_touched(
    api: Api, held: Holdings, cast: Cast, pool: asyncpg.Pool
) -> None:
    colleagues = {role: await cast.another(role) for role in Role}
    before = await rows_of_everything(pool)
    asked = 0
    for route in NAMING:
        for role in route.access & PERSONAL.get(route.id_names[-1], frozenset()):
            said = await ask(api, held, route, colleagues[role])
            assert said.status == 404, (place(route), role, said.body)
            asked += 1
    assert asked >= 12
    assert await rows_of_everything(pool) == before


async def test_line_10_the_rightful_reach_every_one_of_them(api: Api, held: Holdings) -> None:
    """Else the two tests above would hold for things that are not there."""
    last = [route for route in NAMING if route.method == "DELETE" or place(route).endswith("/close")]
    last.sort(key=lambda route: -len(route.id_names))  # what is part of a thing goes before the thing
    for route in [*(one for one in NAMING if one not in last), *last]:
        statuses = [(await ask(api, held, route, held.people[role])).status for role in sorted(route.access)]
        assert not {422, 400, 500, 503} & set(statuses), (place(route), statuses)
        assert set(statuses) - {404}, (place(route), statuses)


@pytest.mark.parametrize(
    ("path", "by", "body"),
    [("/v1/devices", Role.ADMIN, {"kind": "osmand", "worker_id": ""}),
     ("/v1/drills", Role.DISPATCHER, {"person_id": ""})],
)  # fmt: skip
async def test_line_10_nor_does_it_exist_where_a_body_names_it(
    api: Api, cast: Cast, path: str, by: Role, body: dict[str, str]
) -> None:
    stranger = await cast.in_another_org(Role.WORKER)
    named = {name: value or str(stranger.person_id) for name, value in body.items()}
    said = await api.post(path, named, by=cast.demo(by), key=uuid4().hex)
    assert said.status in (404, 422), said.body


async def test_line_10_a_rehearsal_tells_no_contact_of_another_organisations_people(api: Api, cast: Cast) -> None:
    mine, theirs = cast.demo(Role.WORKER), await cast.in_another_org(Role.WORKER)
    contact = {"name": "Sister", "phone": "+351912345678", "email": None, "may_be_at_address": False}
    told = {}
    for person in (mine, theirs):
        setup = {"contact_mode": "none", "contacts": [contact]}
        kept = await api.call("PUT", "/v1/me/safety", setup, by=person)
        assert kept.status == 200, kept.body
        step = {"delay_s": 0, "notify": [{"target": "contacts", "channels": ["sms"]}]}
        body = {"policy": LADDER | {"steps": [step]}, "person_id": str(person.person_id)}
        said = await api.post("/v1/policies/dry-run", body, by=cast.demo(Role.DISPATCHER))
        assert said.status == 200, said.body
        told[person.person_id] = "contact:" in str(said.body)
    assert told == {mine.person_id: True, theirs.person_id: False}


async def test_line_10_a_worker_of_another_organisation_has_no_neighbours(api: Api, cast: Cast) -> None:
    stranger = await cast.in_another_org(Role.WORKER)
    query = {"worker_id": str(stranger.person_id)}
    assert (await api.get("/v1/workers/nearby", by=cast.demo(Role.ADMIN), query=query)).status == 404
