"""Batches of people, repeated and wrong, and the desk's list of workers."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np
import pytest
import redis.asyncio
from aiohttp.test_utils import TestClient, TestServer

from api_rest.app import build_app
from api_rest.context import Services
from clenzy.ports import any_free
from config.limits import PASSWORDS_PER_BATCH_MAX, PEOPLE_PER_BATCH_MAX
from engine.core.ids import PersonId
from engine.core.vocabulary import Role
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cells_of
from engine.geo.fixes import RECORD
from engine.people.people_store import NewPerson, create_people
from engine.people.tokens import AccessTokens
from ops.readiness import Readiness
from tests.fakes import ManualClock
from tests.integration.api.conftest import Api, Cast, Person, Said


async def batch(api: Api, admin: Person, *people: dict[str, Any], key: str = "k") -> Said:
    return await api.post("/v1/people/batch", {"people": list(people)}, by=admin, key=key)


def worker(ref: str, **fields: object) -> dict[str, Any]:
    return {"role": "worker", "full_name": f"Worker {ref}", "external_ref": ref, **fields}


async def test_people_of_every_role_come_into_being_in_order(api: Api, admin: Person, pool: asyncpg.Pool) -> None:
    said = await batch(
        api,
        admin,
        worker("w1", skills=["plumbing", "cleaning"], rating=4.9, experience=1, phone="+351912345678"),
        {"role": "customer", "full_name": "Clio", "email": "Clio@Example.test"},
        {"role": "dispatcher", "full_name": "Desk", "external_ref": "d1", "email": "d@example.test"},
    )
    assert said.status == 200
    first, second, third = said.body["items"]
    assert (first["external_ref"], second["external_ref"], third["external_ref"]) == ("w1", None, "d1")
    row = await pool.fetchrow("SELECT * FROM worker WHERE worker_id = $1", UUID(first["person_id"]))
    assert (row["slot"], row["skills"], round(row["rating"], 1), row["experience"]) == (1, 0b11, 4.9, 1)
    row = await pool.fetchrow("SELECT email, role, tz FROM person WHERE person_id = $1", UUID(second["person_id"]))
    assert tuple(row) == ("clio@example.test", "customer", "Europe/Lisbon")


async def test_a_known_reference_is_updated_and_keeps_what_is_not_said(
    api: Api, admin: Person, pool: asyncpg.Pool
) -> None:
    first = await batch(api, admin, worker("w1", skills=["plumbing"], rating=3, phone="+351912345678"), key="1")
    again = await batch(api, admin, worker("w1", full_name="Renamed", experience=0.5), worker("w2"), key="2")
    assert again.body["items"][0]["person_id"] == first.body["items"][0]["person_id"]
    assert again.body["items"][0]["enrolment_code"] != first.body["items"][0]["enrolment_code"]
    row = await pool.fetchrow(
        """SELECT full_name, ROW(k.wrapped, phone_sealed, phone)::sealed_text AS phone, skills, rating, experience, slot
             FROM person JOIN worker ON worker_id = person_id JOIN person_key k USING (person_id)"""
        " WHERE external_ref = 'w1'"
    )
    assert tuple(row) == ("Renamed", "+351912345678", 2, 3.0, 0.5, 1)
    slots = await pool.fetch("SELECT slot FROM worker ORDER BY slot")
    assert [row["slot"] for row in slots] == [0, 1, 2]


async def test_two_at_once_agree_and_burn_no_slots(api: Api, admin: Person, pool: asyncpg.Pool) -> None:
    refs = [f"w{number}" for number in range(20)]
    forwards, backwards = [worker(ref) for ref in refs], [worker(ref) for ref in reversed(refs)]
    said = await asyncio.gather(
        *(batch(api, admin, *people, key=key) for key, people in enumerate_keys([forwards, backwards] * 2))
    )
    assert [one.status for one in said] == [200] * 4
    found = {frozenset((item["external_ref"], item["person_id"]) for item in one.body["items"]) for one in said}
    assert len(found) == 1
    assert await pool.fetchval("SELECT max(slot) FROM worker") == 20


def enumerate_keys(batches: list[list[dict[str, Any]]]) -> list[tuple[str, list[dict[str, Any]]]]:
    return [(str(number), people) for number, people in enumerate(batches)]


async def test_a_batch_costs_a_few_statements(
    api: Api, admin: Person, pool: asyncpg.Pool, access_tokens: AccessTokens, clock: ManualClock
) -> None:
    assert api
    principal = access_tokens.verify(admin.token, clock.now_ms())
    statements: list[str] = []
    counts = []
    async with pool.acquire() as conn:
        for size in (2, 1, PEOPLE_PER_BATCH_MAX):  # the first also asks for the types of the columns
            people = [
                NewPerson(
                    person_id=PersonId(UUID(int=size * 1000 + number)),
                    role=Role.WORKER,
                    full_name="W",
                    external_ref=f"{size}-{number}",
                    skills=("cleaning",),
                )
                for number in range(size)
            ]
            statements.clear()
            with conn.query_logger(lambda record: statements.append(record.query)):
                created = await create_people(conn, people, admin=principal, now_ms=clock.now_ms())
            assert len({person.enrolment_code for person in created}) == size
            counts.append(len(statements))
    assert counts[1] == counts[2] <= 12


async def test_a_password_works_and_ends_older_sessions(api: Api, admin: Person, clock: ManualClock) -> None:
    person = {"role": "customer", "full_name": "P", "email": "p@example.test", "external_ref": "p"}
    await batch(api, admin, person | {"password": "first password"}, key="1")
    old = await api.post("/v1/auth/sign-in", {"email": "p@example.test", "password": "first password"})
    assert old.status == 200
    clock.step_ms(10)
    await batch(api, admin, person | {"password": "second password"}, key="2")
    headers = {"Authorization": f"Bearer {old.body['access_token']}"}
    assert (await api.get("/v1/me", headers=headers)).status == 401
    assert (await api.post("/v1/auth/refresh", {"refresh_token": old.body["refresh_token"]})).status == 401
    new = await api.post("/v1/auth/sign-in", {"email": "p@example.test", "password": "second password"})
    assert new.status == 200


async def test_what_is_wrong_in_a_batch_is_named_and_nobody_is_created(
    api: Api, admin: Person, pool: asyncpg.Pool
) -> None:
    before = await pool.fetchval("SELECT count(*) FROM person")
    fine = {"role": "customer", "full_name": "Fine"}
    taken = "dispatcher@demo.clenzy.test"
    many = [{**fine, "email": f"{n}@a.test", "password": "long enough"} for n in range(PASSWORDS_PER_BATCH_MAX + 1)]
    wrong: list[tuple[list[dict[str, Any]], int, str]] = [
        ([], 422, "people"),
        ([fine] * (PEOPLE_PER_BATCH_MAX + 1), 422, "people"),
        (many, 422, ""),
        ([fine, worker("a", skills=["gardening"])], 422, "people.1.skills"),
        ([worker("a"), worker("a")], 422, "people.1.external_ref"),
        ([{**fine, "email": "x@a.test"}, {**fine, "email": "X@a.test"}], 422, "people.1.email"),
        ([fine, {**fine, "email": taken}], 409, "people.1.email"),
        ([fine, {**fine, "role": "king"}], 422, "people.1.role"),
        ([fine, {**fine, "rating": 4}], 422, "people.1"),
        ([{**fine, "password": "long enough"}], 422, "people.0"),
        ([{**fine, "email": "a@b.test", "password": "short"}], 422, "people.0.password"),
        ([{**fine, "email": "no address"}], 422, "people.0.email"),
        ([{**fine, "phone": "0912"}], 422, "people.0.phone"),
        ([worker("a", rating=5.1)], 422, "people.0.rating"),
        ([worker("a", experience=-1)], 422, "people.0.experience"),
        ([{**fine, "is_demo": True}], 422, "people.0.is_demo"),
    ]
    for people, status, field in wrong:
        said = await batch(api, admin, *people)
        assert (said.status, said.body.get("field", "")) == (status, field), said.body
    assert await pool.fetchval("SELECT count(*) FROM person") == before


async def test_a_reference_keeps_its_role(api: Api, admin: Person) -> None:
    await batch(api, admin, worker("r"), key="1")
    said = await batch(api, admin, {"role": "admin", "full_name": "R", "external_ref": "r"}, key="2")
    assert (said.status, said.code, said.body["field"]) == (409, "conflict", "people.0.role")


async def test_references_are_each_organisations_own(api: Api, admin: Person, cast: Cast, pool: asyncpg.Pool) -> None:
    other = await cast.in_another_org(Role.ADMIN)
    await batch(api, admin, {"role": "customer", "full_name": "Ours", "external_ref": "r"})
    await batch(api, other, {"role": "customer", "full_name": "Theirs", "external_ref": "r"})
    rows = await pool.fetch("SELECT full_name FROM person WHERE external_ref = 'r' ORDER BY full_name")
    assert [row["full_name"] for row in rows] == ["Ours", "Theirs"]


async def test_the_desk_lists_its_own_workers_by_slot(
    api: Api, admin: Person, dispatcher: Person, cast: Cast, redis: "redis.asyncio.Redis", clock: ManualClock
) -> None:
    await batch(api, admin, *(worker(f"w{number}", skills=["cleaning"]) for number in range(5)))
    await cast.in_another_org(Role.WORKER)
    record = np.zeros(1, RECORD)
    record["ts_ms"] = clock.now_ms() - 5_000
    await CellIndex(redis).move(np.array([3]), record)
    seen: list[dict[str, Any]] = []
    path = "/v1/workers?limit=4"
    while True:
        page = (await api.get(path, by=dispatcher)).body
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        path = f"/v1/workers?limit=4&cursor={page['next_cursor']}"
    assert [item["slot"] for item in seen] == [0, 1, 2, 3, 4, 5]
    assert seen[0]["skills"] == ["cleaning", "plumbing", "electrical", "mobile_mechanic"]
    assert [item.get("last_seen_ms") for item in seen] == [None, None, None, clock.now_ms() - 5_000, None, None]
    assert all("booking_id" not in item for item in seen)


async def test_the_list_is_worth_showing_without_redis(services: Services, api: Api, dispatcher: Person) -> None:
    nowhere = redis.asyncio.Redis(port=any_free(), socket_connect_timeout=1)
    app = build_app(replace(services, redis=nowhere), Readiness())
    async with TestClient(TestServer(app)) as client:
        said = await Api(client).get("/v1/workers", by=dispatcher)
    await nowhere.aclose()
    assert (await api.get("/v1/workers", by=dispatcher)).body == said.body
    assert [item["slot"] for item in said.body["items"]] == [0]


async def test_who_is_near_a_worker_or_a_point(
    api: Api, admin: Person, dispatcher: Person, cast: Cast, redis: "redis.asyncio.Redis", clock: ManualClock
) -> None:
    made = await batch(api, admin, *(worker(f"w{number}") for number in range(5)))
    await cast.in_another_org(Role.WORKER)
    records = np.zeros(6, RECORD)
    records["ts_ms"] = clock.now_ms() - 5_000
    # Slot 5 lies in a neighbouring cell; slot 6 is of another organisation; slot 4 has no place.
    records["lat_e7"] = 411_500_000 + np.array([0, 9_000, 45_000, 90_000, 0, 1_000])
    records["lng_e7"] = -86_100_000
    records["cell"] = cells_of(records["lat_e7"], records["lng_e7"])
    records["cell"][4] = 0
    await CellIndex(redis).move(np.array([1, 2, 3, 5, 4, 6]), records)
    path = "/v1/workers/nearby"

    around = (await api.get(f"{path}?lat=41.15&lng=-8.61", by=dispatcher)).body["items"]
    assert [(item["slot"], item["distance_m"]) for item in around] == [(1, 0), (2, 100), (3, 501)]
    assert around[0]["last_seen_ms"] == clock.now_ms() - 5_000
    wide = (await api.get(f"{path}?lat=41.15&lng=-8.61&radius_m=1100", by=dispatcher)).body["items"]
    assert [item["slot"] for item in wide] == [1, 2, 3, 5]
    few = (await api.get(f"{path}?lat=41.15&lng=-8.61&limit=1", by=dispatcher)).body["items"]
    assert [item["slot"] for item in few] == [1]
    people = {item["slot"]: item["worker_id"] for item in wide}
    beside = (await api.get(f"{path}?worker_id={people[2]}&radius_m=450", by=dispatcher)).body["items"]
    assert [(item["slot"], item["distance_m"]) for item in beside] == [(1, 100), (3, 401)]

    assert made
    nowhere = await api.get(f"{path}?worker_id={await placeless(api, dispatcher)}", by=dispatcher)
    assert nowhere.status == 404
    stranger = await cast.in_another_org(Role.WORKER)
    assert (await api.get(f"{path}?worker_id={stranger.person_id}", by=dispatcher)).status == 404


async def placeless(api: Api, dispatcher: Person) -> str:
    workers = (await api.get("/v1/workers", by=dispatcher)).body["items"]
    return next(each["worker_id"] for each in workers if each["slot"] == 4)


@pytest.mark.parametrize("query", ["", "lat=41", "lng=1&worker_id=0", "lat=1&lng=1&radius_m=5001", "lat=91&lng=0"])
async def test_nearby_names_one_place_within_reach(api: Api, dispatcher: Person, query: str) -> None:
    assert (await api.get(f"/v1/workers/nearby?{query}", by=dispatcher)).status == 422
