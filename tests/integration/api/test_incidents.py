"""The silent alarm through the API to SafeTap's real door, and what the desk does about it."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from config.limits import ACCESS_TOKEN_MS, TRIGGER_FORWARD_MS
from config.settings import Settings
from engine.core.clock import SystemClock
from engine.core.vocabulary import Role
from engine.safetap import intake
from tests.conftest import TokenKeys
from tests.fakes import ManualClock
from tests.integration.api.conftest import Api, Cast, Person, beside_a_door
from tests.integration.safetap.doors import OpenDoor, open_door


@pytest.fixture
def clock() -> ManualClock:
    """The door reads the machine's clock, so the API's agrees with it."""
    return ManualClock(SystemClock().now_ms())


@pytest.fixture
def settings(settings: Settings, database_url: str, token_keys: TokenKeys) -> Settings:
    return beside_a_door(settings, database_url, token_keys)


@pytest.fixture
async def door(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenDoor]:
    # On a busy machine the first commit may take longer than the product waits before it spools and says so.
    monkeypatch.setattr(intake, "TRIGGER_COMMIT_MS_MAX", TRIGGER_FORWARD_MS - 500)
    async with open_door(settings) as door:
        yield door


def trigger(**fields: object) -> dict[str, Any]:
    fix = {"lat": 41.15, "lng": -8.61, "accuracy_m": 8, "ts_ms": 1_700_000_000_000}
    return {"trigger_id": str(uuid4()), "kind": "button", "fix": fix, **fields}


@pytest.mark.usefixtures("door")
async def test_a_trigger_is_committed_before_it_is_answered(
    api: Api, customer: Person, dispatcher: Person, pool: asyncpg.Pool
) -> None:
    body = trigger()
    for _ in range(2):
        said = await api.post("/v1/safetap", body, by=customer)
        assert (said.status, said.body) == (200, {"trigger_id": body["trigger_id"], "state": "committed"})
    row = await pool.fetchrow("SELECT door, token_state FROM safetap_trigger")
    assert tuple(row) == ("api", "valid")
    page = (await api.get("/v1/incidents?state=open", by=dispatcher)).body
    (incident,) = page["items"]
    assert (incident["person"]["name"], incident["kind"], incident["state"]) == ("Clara Customer", "button", "open")


@pytest.mark.usefixtures("door")
async def test_an_expired_token_still_rings(api: Api, cast: Cast, clock: ManualClock, pool: asyncpg.Pool) -> None:
    clock.step_ms(-2 * ACCESS_TOKEN_MS)
    late = cast.demo(Role.WORKER)
    clock.step_ms(2 * ACCESS_TOKEN_MS)
    assert (await api.get("/v1/me", by=late)).status == 401
    await pool.execute("UPDATE person SET tokens_valid_after = 'epoch'")
    assert (await api.post("/v1/safetap", trigger(), by=late)).status == 200
    assert await pool.fetchval("SELECT token_state FROM safetap_trigger") == "expired"


@pytest.mark.usefixtures("door")
async def test_the_doors_refusals_come_back_as_they_are(api: Api, customer: Person) -> None:
    assert (await api.post("/v1/safetap", trigger())).code == "not_signed_in"
    said = await api.post("/v1/safetap", trigger(kind="shout"), by=customer)
    assert (said.status, said.code, said.body["field"]) == (422, "invalid_input", "kind")


@pytest.mark.usefixtures("door")
async def test_without_the_socket_the_port_is_tried(api: Api, customer: Person, settings: Settings) -> None:
    settings.safetap_socket_path.unlink()
    assert (await api.post("/v1/safetap", trigger(), by=customer)).status == 200


async def test_with_every_door_shut_the_answer_sends_elsewhere(api: Api, customer: Person) -> None:
    said = await api.post("/v1/safetap", trigger(), by=customer)
    assert (said.status, said.code) == (503, "unavailable")
    assert said.headers["Retry-After"]


@pytest.mark.usefixtures("door")
async def test_the_desk_acknowledges_and_closes(api: Api, worker: Person, dispatcher: Person, admin: Person) -> None:
    await api.post("/v1/safetap", trigger(), by=worker)
    incident_id = (await api.get("/v1/incidents", by=dispatcher)).body["items"][0]["incident_id"]
    path = f"/v1/incidents/{incident_id}"
    taken = await api.post(f"{path}/acknowledge", by=dispatcher, key="ack")
    assert (taken.status, taken.body["state"], taken.body["acknowledged_by"]) == (200, "acknowledged", "Dario Desk")
    assert (await api.post(f"{path}/acknowledge", by=dispatcher, key="ack")).body == taken.body
    assert (await api.post(f"{path}/close", {"reason": " "}, by=admin)).body["field"] == "reason"
    closed = await api.post(f"{path}/close", {"reason": "spoke with them"}, by=admin)
    assert (closed.status, closed.body["state"], closed.body["close_reason"]) == (200, "closed", "spoke with them")
    detail = (await api.get(path, by=dispatcher)).body
    assert {"acknowledged", "closed"} <= {event["kind"] for event in detail["events"]}
    assert (await api.post(f"{path}/acknowledge", by=dispatcher)).code == "conflict"


@pytest.mark.usefixtures("door")
async def test_another_organisations_alarm_does_not_exist(api: Api, cast: Cast, customer: Person) -> None:
    await api.post("/v1/safetap", trigger(), by=customer)
    stranger = await cast.in_another_org(Role.ADMIN)
    assert (await api.get("/v1/incidents", by=stranger)).body["items"] == []
    ours = (await api.get("/v1/incidents", by=cast.demo(Role.ADMIN))).body["items"][0]["incident_id"]
    for method, verb, body in (("GET", "", None), ("POST", "/acknowledge", None), ("POST", "/close", {"reason": "x"})):
        said = await api.call(method, f"/v1/incidents/{ours}{verb}", body, by=stranger)
        assert (said.status, said.code) == (404, "not_found")
