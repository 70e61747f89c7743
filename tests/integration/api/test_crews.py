"""What a service takes beside its own worker is said once and read back; a booking shows every seat of its crew."""

from uuid import uuid4

import asyncpg

from engine.core.vocabulary import Role
from tests.integration.api.conftest import BOOKING, Api, Cast, Person

BAY = {"code": "bay", "kind": "bay", "name": "Bay North", "capacity": 2}


async def test_seats_and_resources_are_read_back_as_said(api: Api, admin: Person, dispatcher: Person) -> None:
    said = await api.call("PUT", "/v1/resources", {"items": [BAY]}, by=admin)
    assert (said.status, said.body) == (200, {"items": [BAY | {"in_use": 0}]})
    assert (await api.get("/v1/resources", by=dispatcher)).body == said.body
    for wrong in ([{**BAY, "kind": "tool"}], [{**BAY, "capacity": -1}], [{**BAY, "capacity": 1_001}], []):
        assert (await api.call("PUT", "/v1/resources", {"items": wrong}, by=admin)).status == 422
    services = (await api.get("/v1/services", by=admin)).body["items"]
    path, code = f"/v1/services/{services[0]['service_id']}/crew", services[1]["code"]
    wanted = {"seats": [{"role": "helper", "service_code": code}], "resources": [{"code": "bay", "units": 2}]}
    said = await api.call("PUT", path, wanted, by=admin)
    assert (said.status, said.body) == (200, {"service_id": services[0]["service_id"], **wanted})
    for field, wrong in (
        ("seats", {"seats": [{"role": "helper", "service_code": "unknown"}]}),
        ("resources", {"resources": [{"code": "unknown"}]}),
        ("resources", {"resources": [{"code": "bay", "units": 3}]}),
    ):
        refused = await api.call("PUT", path, wrong, by=admin)
        assert (refused.status, refused.body["field"]) == (422, field)
    assert (await api.call("PUT", path, {"seats": wanted["seats"] * 4}, by=admin)).status == 422
    assert (await api.call("PUT", path, {"resources": wanted["resources"] * 2}, by=admin)).status == 422
    assert (await api.get(path, by=dispatcher)).body == said.body, "nothing of a wrong one is kept"
    assert (await api.call("PUT", path, wanted, by=dispatcher)).status == 403
    assert (await api.get(f"/v1/services/{uuid4()}/crew", by=admin)).status == 404


async def test_a_booking_for_two_is_read_given_and_cancelled_by_its_seats(
    api: Api, cast: Cast, pool: asyncpg.Pool, admin: Person, customer: Person, dispatcher: Person, worker: Person
) -> None:
    services = (await api.get("/v1/services", by=admin)).body["items"]
    cleaning = next(one["service_id"] for one in services if one["code"] == BOOKING["service_code"])
    await api.call("PUT", "/v1/resources", {"items": [{**BAY, "capacity": 1}]}, by=admin)
    wanted = {"seats": [{"role": "helper", "service_code": "cleaning"}], "resources": [{"code": "bay"}]}
    await api.call("PUT", f"/v1/services/{cleaning}/crew", wanted, by=admin)
    booked = await api.book(customer)
    lead, other = booked["crew"]["seats"]
    assert (lead["booking_id"], lead["role"], other["role"]) == (booked["booking_id"], "lead", "helper")
    refused = await api.post("/v1/bookings", BOOKING, by=customer, key=uuid4().hex)
    assert refused.status == 409
    assert "Bay North (needs 1, 0 of 1 free)" in refused.body["detail"]
    listed = (await api.get("/v1/bookings", by=customer)).body["items"]
    assert {each["booking_id"] for each in listed} == {lead["booking_id"], other["booking_id"]}
    await pool.execute("UPDATE worker SET duty = 'on', skills = -1 WHERE worker_id = $1", worker.person_id)
    given = await api.post(
        f"/v1/bookings/{other['booking_id']}/assign", {"worker_id": str(worker.person_id)}, by=dispatcher
    )
    assert given.status == 200, given.body
    assert given.body["booking"]["crew"]["seats"][1]["worker"]["worker_id"] == str(worker.person_id)
    mine = (await api.get(f"/v1/bookings/{other['booking_id']}", by=worker)).body
    assert (mine["crew"]["seat"], mine["crew"]["state"]) == (2, "searching")
    assert (await api.get(f"/v1/bookings/{lead['booking_id']}", by=worker)).status == 404
    stranger = await cast.another(Role.CUSTOMER)
    assert (await api.get(f"/v1/bookings/{other['booking_id']}", by=stranger)).status == 404
    path = "/v1/bookings/{}/transitions"
    body = {"to": "cancelled"}
    assert (await api.post(path.format(other["booking_id"]), body, by=customer)).status == 403
    whole = await api.post(path.format(lead["booking_id"]), body, by=customer)
    assert whole.status == 200, whole.body
    assert {seat["state"] for seat in whole.body["crew"]["seats"]} == {"cancelled"}
    assert (await api.get("/v1/resources", by=admin)).body["items"][0]["in_use"] == 0
