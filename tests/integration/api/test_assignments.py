"""The desk's word over HTTP: assigned, pinned, handed back, and who was asked."""

from uuid import UUID, uuid4

import asyncpg

from tests.integration.api.conftest import BOOKING, Api, Person


async def test_a_job_is_given_taken_back_and_told_of(
    api: Api, customer: Person, dispatcher: Person, on_duty: Person, pool: asyncpg.Pool
) -> None:
    booking_id = (await api.book(customer))["booking_id"]
    path = f"/v1/bookings/{booking_id}"
    wish = {"worker_id": str(on_duty.person_id), "version": 1}
    given = await api.post(f"{path}/assign", wish, by=dispatcher, key="give")
    assert (given.status, given.body["warnings"]) == (200, []), given.body
    assert given.body["booking"]["state"] == "assigned"
    assert 200 < given.body["booking"]["eta_s"] < 600, "a kilometre away"
    again = await api.post(f"{path}/assign", wish, by=dispatcher, key="give")
    assert (again.body, again.headers["Idempotent-Replayed"]) == (given.body, "true")
    asked = (await api.get(f"{path}/offers", by=dispatcher)).body
    assert asked == {"pinned_worker_id": str(on_duty.person_id), "hand_backs": 0, "items": []}

    back = await api.post(f"{path}/hand-back", {"reason": "ill"}, by=on_duty)
    assert (back.status, back.body["state"], back.body["worker"]) == (200, "searching", None)
    assert back.body["customer"]["name"] is None, "it is theirs no more"
    assert (await api.post(f"{path}/hand-back", {}, by=on_duty)).status == 404
    assert (await api.get("/v1/me", by=on_duty)).body["booking"] is None
    asked = (await api.get(f"{path}/offers", by=dispatcher)).body
    assert (asked["pinned_worker_id"], asked["hand_backs"]) == (None, 1)
    story = (await api.get(path, by=dispatcher)).body["events"]
    assert [(each["to"], each["actor_role"], each["reason"]) for each in story[1:]] == [
        ("assigned", "dispatcher", "assigned by the desk"),
        ("searching", "worker", "ill"),
    ]
    again = await api.post(f"{path}/assign", {"worker_id": str(on_duty.person_id)}, by=dispatcher)
    assert again.body["warnings"] == ["declined_before"], "the desk may insist, and is told"
    assert await pool.fetchval("SELECT count(*) FROM audit_log WHERE action LIKE 'booking.%'") == 3


async def test_what_the_desk_may_not_do_is_named(
    api: Api, customer: Person, dispatcher: Person, admin: Person, on_duty: Person, pool: asyncpg.Pool
) -> None:
    booking_id = (await api.book(customer))["booking_id"]
    path = f"/v1/bookings/{booking_id}"
    wish = {"worker_id": str(on_duty.person_id)}
    lat, lng = BOOKING["pin"]["lat"], BOOKING["pin"]["lng"]
    ring = [[lng + x, lat + y] for x, y in ((-0.01, -0.01), (0.01, -0.01), (0.01, 0.01), (-0.01, 0.01), (-0.01, -0.01))]
    zone = {"kind": "no_go", "name": "Flood", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    made = await api.post("/v1/zones", zone, by=admin, key="zone")
    assert made.status == 201, made.body
    for method, route in (("POST", "assign"), ("PUT", "pin")):
        said = await api.call(method, f"{path}/{route}", wish, by=dispatcher)
        assert (said.status, said.body["field"]) == (409, "worker_id")
        assert said.body["detail"] == "Ruled out by zone."
    assert (await api.call("DELETE", f"/v1/zones/{made.body['zone_id']}", by=admin)).status == 204
    await pool.execute("UPDATE worker SET duty = 'off'")
    said = await api.call("PUT", f"{path}/pin", wish, by=dispatcher)
    assert (said.status, said.body) == (200, {"pinned_worker_id": wish["worker_id"], "warnings": ["off_duty"]})
    said = await api.post(f"{path}/assign", wish, by=dispatcher)
    assert (said.status, said.body["detail"]) == (409, "Ruled out by off_duty.")
    assert (await api.call("DELETE", f"{path}/pin", by=dispatcher)).status == 204
    for stranger in (uuid4(), UUID(str(customer.person_id))):
        said = await api.post(f"{path}/assign", {"worker_id": str(stranger)}, by=dispatcher)
        assert said.status == 404
