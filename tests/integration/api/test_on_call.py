"""Policies, schedules and what people choose, over real HTTP: rules with their field, warnings, rehearsals, records."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import orjson

from config.limits import ARMED_LEASE_MS, OVERRIDE_MS_MAX
from engine.core.units import rfc3339, utc_from_ms
from engine.safetap.armed_desks import arm
from engine.safetap.incident_store import read_clock
from tests.fakes import ManualClock
from tests.integration.api.conftest import Api, Person, Said

DESK = {"target": "desk", "channels": ["desk"]}
MAILS = {"target": "dispatchers", "channels": ["email"]}


def ladder(*notify: object, **changes: object) -> dict[str, Any]:
    steps = [{"delay_s": 0 if number == 0 else 30, "notify": [one]} for number, one in enumerate(notify)]
    return {"steps": steps, "repeat_s": 60, "follow_up_s": 600} | changes


async def put(api: Api, by: Person, policy: object, **fields: object) -> Said:
    return await api.call("PUT", "/v1/policies", {"name": "Nights", "policy": policy} | fields, by=by)


async def schedule(api: Api, admin: Person, *people: Person, **fields: object) -> Said:
    layer = {
        "every_days": 1,
        "at": "08:00",
        "starts_on": "2020-01-01",
        "people": [str(one.person_id) for one in people],
    }
    body = {"name": "First", "tz": "Europe/Lisbon", "layers": [layer]} | fields
    return await api.post("/v1/schedules", body, by=admin, key=uuid4().hex)


async def test_a_policy_is_written_read_changed_and_deleted(api: Api, admin: Person, dispatcher: Person) -> None:
    said = await put(api, admin, ladder(DESK, MAILS), version=None)
    assert said.status == 200, said.body
    assert said.body["policy"]["steps"][1]["notify"] == [MAILS]
    (kept,) = (await api.get("/v1/policies", by=dispatcher)).body["items"]
    assert kept == said.body
    stale = await put(api, admin, ladder(MAILS), version=said.body["version"] - 1)
    assert (stale.status, stale.code) == (409, "conflict")
    changed = await put(api, admin, ladder(MAILS), version=said.body["version"])
    assert changed.body["version"] == said.body["version"] + 1
    assert changed.body["policy_id"] == said.body["policy_id"]
    of_region = await put(api, admin, ladder(DESK), region_id=str(uuid4()))
    assert of_region.body["errors"][0]["field"] == "region_id"
    assert (await api.call("DELETE", f"/v1/policies/{said.body['policy_id']}", by=admin)).status == 204
    assert (await api.call("DELETE", f"/v1/policies/{said.body['policy_id']}", by=admin)).status == 404
    assert (await api.get("/v1/policies", by=dispatcher)).body["items"] == []


def told_by(target: str, **fields: object) -> dict[str, Any]:
    return {"steps": [{"delay_s": 0, "notify": [{"target": target, "channels": ["sms"]} | fields]}]}


async def test_a_broken_rule_is_named_with_its_field(api: Api, admin: Person) -> None:
    somebody = str(uuid4())
    for change, field in (
        ({"steps": []}, "policy.steps"),
        ({"steps": [{"delay_s": 5, "notify": [DESK]}]}, "steps[0].delay_s"),
        (told_by("on_call"), "steps[0].notify[0].schedule_id"),
        (told_by("admins", loud=True), "policy.steps.0.notify.0.loud"),
        ({"repeat_s": 1}, "policy.repeat_s"),
        ({"exhaustion": "off"}, "policy.exhaustion"),
        ({"monitoring_centre": {"phone": "112"}}, "monitoring_centre.phone"),
        (told_by("person", person_id=somebody), "steps[0].notify"),
        (told_by("on_call", schedule_id=somebody), "steps[0].notify"),
    ):
        said = await put(api, admin, ladder(DESK) | change)
        assert said.status == 422
        assert [one["field"] for one in said.body["errors"]] == [field]


async def test_a_schedule_tells_who_is_on_call_and_when_nobody_will_be(
    api: Api, admin: Person, dispatcher: Person, clock: ManualClock
) -> None:
    said = await schedule(api, admin, dispatcher)
    assert said.status == 201, said.body
    path = f"/v1/schedules/{said.body['schedule_id']}"
    assert said.body["on_call"] == [str(dispatcher.person_id)]
    assert said.body["gaps"] == []
    assert (await schedule(api, admin, dispatcher)).code == "conflict"
    start = utc_from_ms(clock.now_ms()) + timedelta(days=1)
    span = {"starts_at": start.isoformat(), "ends_at": (start + timedelta(hours=3)).isoformat()}
    nobody = await api.post(
        f"{path}/overrides", {**span, "replaces": str(dispatcher.person_id)}, by=dispatcher, key="one"
    )
    assert nobody.status == 201, nobody.body
    seen = (await api.get(path, by=dispatcher)).body
    assert [gap["starts_at"] for gap in seen["gaps"]] == [rfc3339(start)]
    shifts = (await api.get(f"{path}/on-call", by=dispatcher)).body["items"]
    assert [len(shift["people"]) for shift in shifts] == [1, 0, 1]
    policy = await put(
        api,
        admin,
        ladder({"target": "on_call", "schedule_id": said.body["schedule_id"], "channels": ["sms"]}),
    )
    texts = [one["text"] for one in policy.body["warnings"]]
    assert any("Nobody is on call from" in text for text in texts)
    assert any("has no address for sms" in text for text in texts)
    assert any("Reaches nobody at the moment" in text for text in texts)
    gone = f"{path}/overrides/{nobody.body['override_id']}"
    assert (await api.call("DELETE", gone, by=dispatcher)).status == 204
    assert (await api.get(path, by=dispatcher)).body["gaps"] == []
    assert (await api.call("DELETE", path, by=admin)).status == 204
    assert (await api.get(path, by=dispatcher)).status == 404


async def test_a_schedule_is_changed_as_a_whole(api: Api, admin: Person, dispatcher: Person, worker: Person) -> None:
    said = await schedule(api, admin, dispatcher)
    path = f"/v1/schedules/{said.body['schedule_id']}"
    layer = said.body["layers"][0]
    body = {"name": "Second", "tz": "Asia/Kolkata", "layers": [{**layer, "every_days": 7}], "version": 1}
    changed = await api.call("PUT", path, body, by=admin)
    assert (changed.status, changed.body["version"], changed.body["tz"]) == (200, 2, "Asia/Kolkata")
    assert (await api.call("PUT", path, body, by=admin)).code == "conflict"
    for change, field in (
        ({"tz": "Mars/Olympus"}, "tz"),
        ({"layers": [{**layer, "at": "8 o'clock"}]}, "layers[0].at"),
        ({"layers": [{**layer, "starts_on": "soon"}]}, "layers[0].starts_on"),
        ({"layers": [{**layer, "people": [str(worker.person_id)]}]}, "layers[0].people"),
    ):
        refused = await api.call("PUT", path, {**body, "version": None} | change, by=admin)
        assert [one["field"] for one in refused.body["errors"]] == [field]


async def test_an_override_keeps_to_its_rules(
    api: Api, admin: Person, dispatcher: Person, worker: Person, clock: ManualClock
) -> None:
    said = await schedule(api, admin, dispatcher)
    path = f"/v1/schedules/{said.body['schedule_id']}/overrides"
    now = utc_from_ms(clock.now_ms())
    person = str(dispatcher.person_id)

    async def field(start: timedelta, length: timedelta, **fields: object) -> str:
        body = {"starts_at": (now + start).isoformat(), "ends_at": (now + start + length).isoformat()} | fields
        refused = await api.post(path, body, by=dispatcher, key=uuid4().hex)
        assert refused.status == 422
        return str(refused.body["errors"][0]["field"])

    hour = timedelta(hours=1)
    assert await field(hour, -hour, person_id=person) == "ends_at"
    assert await field(hour, timedelta(milliseconds=OVERRIDE_MS_MAX) + hour, person_id=person) == "ends_at"
    assert await field(-2 * hour, hour, person_id=person) == "ends_at"
    assert await field(hour, hour) == "person_id"
    assert await field(hour, hour, person_id=str(worker.person_id)) == "person_id"


async def test_a_shift_is_handed_over_on_the_record(
    api: Api, admin: Person, dispatcher: Person, pool: asyncpg.Pool
) -> None:
    said = await schedule(api, admin, dispatcher)
    path = f"/v1/schedules/{said.body['schedule_id']}"
    handover = {"from_person": str(dispatcher.person_id), "to_person": str(admin.person_id), "note": "two calm jobs"}
    taken = await api.post(f"{path}/handovers", handover, by=dispatcher, key="one")
    assert taken.status == 201, taken.body
    assert (await api.get(path, by=admin)).body["on_call"] == [str(admin.person_id)]
    assert (await api.post(f"{path}/handovers", handover, by=dispatcher, key="two")).code == "conflict"
    back = {"from_person": handover["to_person"], "to_person": handover["to_person"]}
    assert (await api.post(f"{path}/handovers", back, by=dispatcher, key="three")).status == 422
    (record,) = (await api.get(f"{path}/handovers", by=admin)).body["items"]
    assert record == taken.body
    assert record["note"] == "two calm jobs"
    assert await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'schedule.handed_over'") == 1


async def test_a_dry_run_prints_who_would_be_told_when_and_tells_nobody(
    api: Api, admin: Person, dispatcher: Person, worker: Person, pool: asyncpg.Pool
) -> None:
    contacts = [{"name": "Friend", "phone": "+351 912 345 678"}, {"name": "At home", "email": "home@example.com"}]
    contacts[1] |= {"may_be_at_address": True}  # type: ignore[dict-item]
    assert (await api.call("PUT", "/v1/me/safety", {"contacts": contacts}, by=worker)).status == 200
    policy = ladder(DESK, MAILS, {"target": "contacts", "channels": ["sms", "email"]})
    said = await api.post(
        "/v1/policies/dry-run",
        {"policy": policy, "person_id": str(worker.person_id), "is_desk_armed": True},
        by=dispatcher,
    )
    assert said.status == 200, said.body
    steps = said.body["steps"]
    assert [(one["after_s"], one["step"], one["kind"], one["haste"]) for one in steps] == [
        (0, 1, "step", None), (30, 2, "step", None), (60, 3, "step", None),
        (120, 4, "broadcast", None), (180, 4, "broadcast", None),
    ]  # fmt: skip
    assert [one["channel"] for one in steps[0]["told"]] == ["desk"]
    (contact,) = steps[2]["told"]
    assert contact["channel"] == "sms"
    assert contact["address"] == "...78", "the number is the person's own affair"
    unarmed = await api.post("/v1/policies/dry-run", {"policy": policy, "is_desk_armed": False}, by=dispatcher)
    assert [one["after_s"] for one in unarmed.body["steps"][:3]] == [0, 0, 30]
    assert unarmed.body["steps"][0]["haste"] == "no_armed_desk"
    stored = await api.post("/v1/policies/dry-run", {}, by=admin)
    assert stored.body["is_desk_armed"] is False
    assert await pool.fetchval("SELECT count(*) FROM notice") == 0
    assert await pool.fetchval("SELECT count(*) FROM incident") == 0


async def test_nobody_is_contacted_who_did_not_choose_it(api: Api, worker: Person, customer: Person) -> None:
    nothing = {
        "contact_mode": "none",
        "code_word": None,
        "decoy_text": None,
        "is_volunteer": False,
        "cue": "dot",
        "records_sound": False,
        "sound": {"is_allowed": False, "country": "PT", "consent": "all_parties", "consent_basis": None},
        "contacts": [],
    }
    assert (await api.get("/v1/me/safety", by=customer)).body == nothing
    chosen = {
        "contact_mode": "code_word",
        "code_word": "pineapple",
        "is_volunteer": True,
        "cue": "buzz",
        "records_sound": True,
        "contacts": [{"name": "Rui", "phone": "00351 912 345 678", "email": "Rui@Example.com"}],
    }
    said = await api.call("PUT", "/v1/me/safety", chosen, by=worker)
    assert said.status == 200, said.body
    (contact,) = said.body["contacts"]
    assert said.body["records_sound"] is True
    assert (contact["phone"], contact["email"]) == ("+351912345678", "rui@example.com")
    assert (await api.get("/v1/me/safety", by=worker)).body == said.body
    assert (await api.call("PUT", "/v1/me/safety", {}, by=worker)).body == nothing


async def test_a_setup_keeps_to_its_rules(api: Api, customer: Person) -> None:
    for body, field in (
        ({"contact_mode": "code_word"}, "code_word"),
        ({"code_word": "pineapple"}, "code_word"),
        ({"contact_mode": "decoy"}, "decoy_text"),
        ({"is_volunteer": True}, "is_volunteer"),
        ({"contacts": [{"name": "Rui"}]}, "contacts[0]"),
        ({"contacts": [{"name": "Rui", "phone": "912 345 678"}]}, "contacts[0].phone"),
        ({"contacts": [{"name": "Rui", "email": "rui"}]}, "contacts[0].email"),
        ({"contacts": [{"name": "Rui", "phone": "+351912345678"}] * 6}, "contacts"),
    ):
        said = await api.call("PUT", "/v1/me/safety", body, by=customer)
        assert said.status == 422
        assert [one["field"] for one in said.body["errors"]] == [field]


async def test_an_admin_records_who_is_trained(api: Api, admin: Person, worker: Person, customer: Person) -> None:
    until = rfc3339(utc_from_ms(4_000_000_000_000))
    path = f"/v1/workers/{worker.person_id}/safety-training"
    assert (await api.call("PUT", path, {"trained_until": until}, by=admin)).body["trained_until"] == until
    assert (await api.call("PUT", path, {"trained_until": None}, by=admin)).body["trained_until"] is None
    wrong = f"/v1/workers/{customer.person_id}/safety-training"
    assert (await api.call("PUT", wrong, {"trained_until": until}, by=admin)).status == 404


async def test_everybody_at_the_desk_sees_who_watches(api: Api, dispatcher: Person, pool: asyncpg.Pool) -> None:
    assert (await api.get("/v1/desks", by=dispatcher)).body == {"is_armed": False, "items": []}
    async with pool.acquire() as conn:
        org_id = await conn.fetchval("SELECT org_id FROM person WHERE person_id = $1", dispatcher.person_id)
        now_ms = await read_clock(conn)
        await arm(
            conn,
            desk_id=uuid4(),
            org_id=org_id,
            person_id=dispatcher.person_id,
            now_ms=now_ms,
            for_ms=ARMED_LEASE_MS,
        )
    seen = (await api.get("/v1/desks", by=dispatcher)).body
    assert seen["is_armed"] is True
    assert [one["person_id"] for one in seen["items"]] == [str(dispatcher.person_id)]


async def test_a_policy_that_a_newer_version_wrote_says_that_the_built_in_one_serves(
    api: Api, admin: Person, pool: asyncpg.Pool
) -> None:
    await put(api, admin, ladder(DESK))
    await pool.execute("UPDATE escalation_policy SET body = $1::text::jsonb", orjson.dumps({"steps": 7}).decode())
    (seen,) = (await api.get("/v1/policies", by=admin)).body["items"]
    assert "built-in ladder" in seen["warnings"][0]["text"]


async def test_a_policy_that_wants_two_people_warns_where_there_are_not_two(
    api: Api, admin: Person, pool: asyncpg.Pool
) -> None:
    async def texts() -> list[str]:
        said = await api.post("/v1/policies/dry-run", {"policy": wanted}, by=admin)
        return [one["text"] for one in said.body["warnings"] if one["field"] == "two_person_close"]

    wanted = ladder(DESK) | {"two_person_close": True}
    assert await texts() == []
    await pool.execute("UPDATE person SET status = 'suspended' WHERE role = 'dispatcher'")
    assert await texts() == ["There are not two people at the desk: nobody could close an incident."]
    saved = await put(api, admin, wanted)
    assert saved.body["warnings"][-1]["field"] == "two_person_close"
