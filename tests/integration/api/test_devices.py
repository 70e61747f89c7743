"""Stock phone trackers over real HTTP: whose they are, what is told once, what is kept."""

import base64
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import asyncpg
import orjson
import pytest

from config.limits import DEVICES_PER_WORKER_MAX
from engine.core.vocabulary import Role
from engine.people.devices import find_speaker, looks_like_a_token
from tests.integration.api.conftest import Api, Cast, Person, Said


async def add(api: Api, by: Person, **fields: object) -> Said:
    return await api.post("/v1/devices", {"kind": "owntracks"} | fields, by=by, key=uuid4().hex)


async def test_a_worker_adds_a_device_and_its_token_is_told_once(api: Api, worker: Person, pool: asyncpg.Pool) -> None:
    said = await api.post("/v1/devices", {"kind": "osmand", "label": "Old phone"}, by=worker, key="one")
    assert said.status == 201
    token = said.body["token"]
    assert looks_like_a_token(token)
    assert (said.body["worker_id"], said.body["kind"], said.body["label"]) == (
        str(worker.person_id), "osmand", "Old phone",
    )  # fmt: skip
    stored = await pool.fetchrow("SELECT * FROM device")
    assert token not in str(dict(stored))
    page = await api.get("/v1/devices", by=worker)
    assert [item["device_id"] for item in page.body["items"]] == [said.body["device_id"]]
    assert token not in str(page.body)
    again = await api.post("/v1/devices", {"kind": "osmand", "label": "Old phone"}, by=worker, key="one")
    assert again.body == said.body
    assert await pool.fetchval("SELECT count(*) FROM device") == 1
    assert await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'device.add'") == 1


async def test_every_app_gets_a_url_and_what_else_it_needs(api: Api, worker: Person) -> None:
    body = (await add(api, worker)).body
    token, apps = body["token"], {each["app"]: each for each in body["apps"]}
    assert set(apps) == {"owntracks", "osmand", "traccar", "overland", "gpslogger"}
    assert all(each["url"].startswith(f"https://gateway.clenzy.test/ingest/{app}") for app, each in apps.items())
    inline = parse_qs(urlsplit(apps["owntracks"]["deep_link"]).query)["inline"][0]
    assert orjson.loads(base64.b64decode(inline)) == {
        "_type": "configuration",
        "mode": 3,
        "url": "https://gateway.clenzy.test/ingest/owntracks",
        "auth": True,
        "username": "clenzy",
        "password": token,
    }
    assert parse_qs(urlsplit(apps["overland"]["deep_link"]).query) == {
        "url": ["https://gateway.clenzy.test/ingest/overland"],
        "token": [token],
    }
    for app in ("osmand", "traccar", "gpslogger"):
        assert token in apps[app]["url"]
        assert apps[app]["deep_link"] is None
    for app in ("owntracks", "overland"):
        assert token not in apps[app]["url"]


async def test_an_admin_adds_one_for_a_worker_of_theirs_only(api: Api, cast: Cast, admin: Person) -> None:
    own, foreign = await cast.another(Role.WORKER), await cast.in_another_org(Role.WORKER)
    assert (await add(api, admin, worker_id=str(own.person_id))).body["worker_id"] == str(own.person_id)
    assert (await add(api, admin)).body["field"] == "worker_id"
    for stranger in (foreign, cast.demo(Role.CUSTOMER)):
        said = await add(api, admin, worker_id=str(stranger.person_id))
        assert (said.status, said.code) == (404, "not_found")


async def test_a_worker_has_a_say_over_their_own_only(api: Api, cast: Cast, worker: Person, admin: Person) -> None:
    other = await cast.another(Role.WORKER)
    theirs = (await add(api, other)).body["device_id"]
    assert (await add(api, worker, worker_id=str(other.person_id))).status == 403
    assert (await add(api, worker, worker_id=str(worker.person_id))).status == 201
    assert (await api.call("DELETE", f"/v1/devices/{theirs}", by=worker)).status == 404
    assert {each["worker_id"] for each in (await api.get("/v1/devices", by=worker)).body["items"]} == {
        str(worker.person_id)
    }
    foreign_admin = await cast.in_another_org(Role.ADMIN)
    assert (await api.get("/v1/devices", by=foreign_admin)).body["items"] == []
    assert (await api.call("DELETE", f"/v1/devices/{theirs}", by=foreign_admin)).status == 404
    assert (await api.call("DELETE", f"/v1/devices/{theirs}", by=admin)).status == 204


async def test_a_revoked_device_speaks_for_nobody(api: Api, worker: Person, pool: asyncpg.Pool) -> None:
    body = (await add(api, worker)).body
    async with pool.acquire() as conn:
        speaker = await find_speaker(conn, body["token"])
        assert speaker is not None
        assert (speaker.person_id, speaker.slot, speaker.role) == (worker.person_id, worker.slot, Role.WORKER)
        assert await find_speaker(conn, body["token"][:-1] + "~") is None
        for _ in range(2):
            assert (await api.call("DELETE", f"/v1/devices/{body['device_id']}", by=worker)).status == 204
        assert await find_speaker(conn, body["token"]) is None
    item = (await api.get("/v1/devices", by=worker)).body["items"][0]
    assert item["revoked_at"] is not None


async def test_a_suspended_worker_has_no_voice(api: Api, worker: Person, pool: asyncpg.Pool) -> None:
    token = (await add(api, worker)).body["token"]
    await pool.execute("UPDATE person SET status = 'suspended' WHERE person_id = $1", worker.person_id)
    async with pool.acquire() as conn:
        assert await find_speaker(conn, token) is None


async def test_devices_have_an_end_and_pages(api: Api, worker: Person) -> None:
    for _ in range(DEVICES_PER_WORKER_MAX):
        assert (await add(api, worker)).status == 201
    said = await add(api, worker)
    assert (said.status, said.code) == (409, "conflict")
    seen: list[str] = []
    query: dict[str, str] = {"limit": "4"}
    while True:
        page = (await api.get("/v1/devices", by=worker, query=query)).body
        seen += [each["device_id"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert len(seen) == len(set(seen)) == DEVICES_PER_WORKER_MAX
    await api.call("DELETE", f"/v1/devices/{seen[0]}", by=worker)
    assert (await add(api, worker)).status == 201


@pytest.mark.parametrize("kind", ["", "fax", None, 5])
async def test_an_unknown_app_is_refused(api: Api, worker: Person, kind: object) -> None:
    said = await add(api, worker, kind=kind)
    assert (said.status, said.code, said.body["field"]) == (422, "invalid_input", "kind")
