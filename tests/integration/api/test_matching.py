"""What the matcher goes by is said once, read back as said, and refused where it is nobody's."""

from uuid import UUID, uuid4

import asyncpg

from engine.people.seed import DEMO_ORG_ID
from tests.integration.api.conftest import Api, Person

KIT = [
    {"code": "gas", "kind": "certificate", "name": "Gas fitter"},
    {"code": "lift", "kind": "tool", "name": "Lift"},
    {"code": "valve", "kind": "part", "name": "Valve"},
    {"code": "pt", "kind": "language", "name": "Português"},
]


async def test_a_kit_is_named_once_and_keeps_its_bits(api: Api, admin: Person, pool: asyncpg.Pool) -> None:
    said = await api.call("PUT", "/v1/kit", {"items": KIT}, by=admin)
    assert said.status == 200, said.body
    bits = dict(await pool.fetch("SELECT code, bit FROM kit_item WHERE org_id = $1", DEMO_ORG_ID))
    assert sorted(bits.values()) == [0, 1, 2, 3]
    await api.call("PUT", "/v1/kit", {"items": [{**KIT[0], "name": "Gas"}, {**KIT[1], "code": "van"}]}, by=admin)
    again = dict(await pool.fetch("SELECT code, bit FROM kit_item WHERE org_id = $1", DEMO_ORG_ID))
    assert again == {**bits, "van": 4}
    said = await api.call("PUT", "/v1/kit", {"items": [{**KIT[0], "kind": "tool"}]}, by=admin)
    assert (said.status, said.body["field"]) == (422, "items")
    many = [{"code": f"x{n}", "kind": "tool", "name": "X"} for n in range(30)]
    assert (await api.call("PUT", "/v1/kit", {"items": many}, by=admin)).status == 422
    assert dict(await pool.fetch("SELECT code, bit FROM kit_item WHERE org_id = $1", DEMO_ORG_ID)) == again


async def test_a_workers_facts_are_read_back_as_said(
    api: Api, admin: Person, dispatcher: Person, worker: Person, customer: Person
) -> None:
    await api.call("PUT", "/v1/kit", {"items": KIT}, by=admin)
    path = f"/v1/workers/{worker.person_id}/matching"
    code = (await api.get("/v1/services", by=admin)).body["items"][0]["code"]
    facts = {
        "kit": [{"code": "gas", "expires_at": "2030-01-01T00:00:00.000Z"}, {"code": "lift", "expires_at": None}],
        "levels": {code: 0.75},
        "shifts": [{"starts_at": "2029-01-01T08:00:00.000Z", "ends_at": "2029-01-01T16:00:00.000Z"}],
        "blocked_customers": [str(customer.person_id)],
    }
    said = await api.call("PUT", path, facts, by=dispatcher)
    assert said.status == 200, said.body
    assert (await api.get(path, by=admin)).body == said.body == {"worker_id": str(worker.person_id), **facts}
    shift = facts["shifts"][0]
    for wrong, field in (
        ({"kit": [{"code": "unknown"}]}, "kit"),
        ({"levels": {"unknown": 1}}, "levels"),
        ({"blocked_customers": [str(uuid4())]}, "blocked_customers"),
        ({"shifts": [{"starts_at": shift["ends_at"], "ends_at": shift["starts_at"]}]}, None),
        ({"shifts": [shift, shift]}, None),
        ({"kit": [{"code": "gas"}, {"code": "gas"}]}, None),
    ):
        said = await api.call("PUT", path, wrong, by=dispatcher)
        assert said.status == 422, wrong
        assert field in (None, said.body.get("field"))
    assert (await api.get(path, by=admin)).body["levels"] == {code: 0.75}, "nothing of a wrong one is kept"
    assert (await api.call("PUT", path, {}, by=dispatcher)).body["kit"] == []


async def test_services_and_working_time_are_read_back_as_said(api: Api, admin: Person) -> None:
    await api.call("PUT", "/v1/kit", {"items": KIT}, by=admin)
    service_id = (await api.get("/v1/services", by=admin)).body["items"][0]["service_id"]
    path = f"/v1/services/{service_id}/matching"
    said = await api.call("PUT", path, {"level_wanted": 0.5, "kit": ["valve", "gas"]}, by=admin)
    assert (said.status, said.body) == (200, {"service_id": service_id, "level_wanted": 0.5, "kit": ["gas", "valve"]})
    assert (await api.call("PUT", path, {"kit": ["unknown"]}, by=admin)).status == 422
    assert (await api.get(path, by=admin)).body == said.body
    rule = {"daily_min": 600, "weekly_min": None, "rest_min": 660}
    assert (await api.call("PUT", "/v1/working-time", rule, by=admin)).body == rule
    assert (await api.get("/v1/working-time", by=admin)).body == rule
    assert (await api.call("PUT", "/v1/working-time", {"daily_min": 5}, by=admin)).status == 422


async def test_a_customer_wishes_for_those_who_came_to_them(
    api: Api, admin: Person, customer: Person, worker: Person, pool: asyncpg.Pool
) -> None:
    await api.call("PUT", "/v1/kit", {"items": KIT}, by=admin)
    wish = {"preferred": [str(worker.person_id)], "blocked": [], "languages": ["pt"]}
    said = await api.call("PUT", "/v1/me/wishes", wish, by=customer)
    assert (said.status, said.body["field"]) == (422, "preferred"), "nobody learns by asking who else works here"
    booking = await api.book(customer)
    await pool.execute(
        "UPDATE booking SET state = 'completed', worker_id = $2, next_attempt_at = NULL WHERE booking_id = $1",
        UUID(booking["booking_id"]),
        worker.person_id,
    )
    said = await api.call("PUT", "/v1/me/wishes", wish, by=customer)
    assert said.body == wish
    assert (await api.get("/v1/me/wishes", by=customer)).body == wish
    both = {**wish, "blocked": wish["preferred"]}
    assert (await api.call("PUT", "/v1/me/wishes", both, by=customer)).body["field"] == "blocked"
    assert (await api.call("PUT", "/v1/me/wishes", {"languages": ["gas"]}, by=customer)).status == 422
