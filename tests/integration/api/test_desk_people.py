"""The end of a shift at the desk, colleagues, and what the desk may know of the person's own choice."""

from uuid import uuid4

import asyncpg
import pytest

from engine.core.clock import Clock
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Role
from engine.people.seed import DEMO_ORG_ID
from engine.safetap.armed_desks import arm
from tests.integration.api.conftest import Api, Cast, Person

DESK_PEOPLE = "SELECT count(*) FROM person WHERE org_id = $1 AND role IN ('dispatcher', 'admin')"


async def acknowledged(pool: asyncpg.Pool, of: Person, by: Person, clock: Clock) -> str:
    """An incident of `of` that `by` has taken."""
    incident_id, now = uuid4(), utc_from_ms(clock.now_ms())
    steps = '[{"delay_s": 0, "notify": [{"target": "desk", "channels": ["desk"]}]}]'
    policy = f'{{"steps": {steps}, "follow_up_s": 600, "repeat_s": 120}}'
    await pool.execute(
        """INSERT INTO incident (incident_id, org_id, region_id, person_id, person_role, kind, severity, version, step,
                                 state, policy, opened_at, acknowledged_at, acknowledged_by)
           SELECT $1, org_id, region_id, person_id, role, 'button', 2, 1, 1, 'acknowledged', $3::jsonb, $4, $4, $5
             FROM person WHERE person_id = $2""",
        incident_id,
        of.person_id,
        policy,
        now,
        by.person_id,
    )
    return str(incident_id)


async def test_colleagues_at_an_armed_desk_come_first(
    api: Api, cast: Cast, pool: asyncpg.Pool, dispatcher: Person
) -> None:
    watcher = await cast.another(Role.ADMIN)
    await cast.in_another_org(Role.DISPATCHER)
    now_ms = int(await pool.fetchval("SELECT extract(epoch FROM clock_timestamp()) * 1000"))
    async with pool.acquire() as conn:
        assert await arm(
            conn, desk_id=uuid4(), org_id=DEMO_ORG_ID, person_id=watcher.person_id, now_ms=now_ms, for_ms=20_000
        )
    said = await api.get("/v1/desks/colleagues", by=dispatcher)
    items = said.body["items"]
    assert (items[0]["person_id"], items[0]["is_armed"]) == (str(watcher.person_id), True)
    assert {one["role"] for one in items} == {"dispatcher", "admin"}
    desk_people = await pool.fetchval(DESK_PEOPLE, DEMO_ORG_ID)
    assert len(items) == desk_people


async def test_the_end_of_a_shift_gives_away_all_that_one_has_and_is_on_record(
    api: Api, cast: Cast, pool: asyncpg.Pool, dispatcher: Person, worker: Person, clock: Clock
) -> None:
    relief = await cast.another(Role.DISPATCHER)
    mine = await acknowledged(pool, worker, dispatcher, clock)
    others = await acknowledged(pool, cast.demo(Role.CUSTOMER), await cast.another(Role.ADMIN), clock)
    body = {"to": str(relief.person_id), "note": "Ana's sister is on her way."}
    said = await api.post("/v1/desks/hand-over", body, by=dispatcher)
    assert (said.status, said.body["handed_over"], said.body["kept"]) == (200, [mine], [])
    rows = await pool.fetch("SELECT incident_id, acknowledged_by FROM incident")
    by_id = {str(row["incident_id"]): row["acknowledged_by"] for row in rows}
    assert by_id[mine] == relief.person_id
    assert by_id[others] not in (relief.person_id, dispatcher.person_id)
    events = (await api.get(f"/v1/incidents/{mine}", by=relief)).body["events"]
    assert [event["body"]["note"] for event in events if event["kind"] == "handed_over"] == [body["note"]]

    nothing = await api.post("/v1/desks/hand-over", body, by=dispatcher)
    assert (nothing.status, nothing.body["handed_over"]) == (200, [])
    assert await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'desk.handed_over'") == 2


@pytest.mark.parametrize("to", ["oneself", "a worker", "nobody"])
async def test_a_desk_goes_to_a_colleague_only(api: Api, dispatcher: Person, worker: Person, to: str) -> None:
    taker = {"oneself": dispatcher.person_id, "a worker": worker.person_id, "nobody": uuid4()}[to]
    said = await api.post("/v1/desks/hand-over", {"to": str(taker)}, by=dispatcher)
    assert (said.status, said.body["field"]) == (422, "to")


async def test_the_desk_reads_what_the_person_chose_and_that_is_on_record(
    api: Api, pool: asyncpg.Pool, dispatcher: Person, worker: Person, clock: Clock
) -> None:
    path = f"/v1/incidents/{await acknowledged(pool, worker, dispatcher, clock)}/contact"
    said = await api.get(path, by=dispatcher)
    assert said.body == {
        "contact_mode": "none",
        "code_word": None,
        "decoy_text": None,
        "may_chat": False,
        "contacts": [],
    }
    contact = {"name": "Rui", "phone": "+351910000001", "email": None, "may_be_at_address": True}
    setup = {"contact_mode": "decoy", "decoy_text": "Your parcel is late", "contacts": [contact]}
    assert (await api.call("PUT", "/v1/me/safety", setup, by=worker)).status == 200
    said = await api.get(path, by=dispatcher)
    assert (said.body["contact_mode"], said.body["decoy_text"], said.body["may_chat"]) == (
        "decoy",
        "Your parcel is late",
        True,
    )
    assert said.body["contacts"] == [contact]
    assert await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'incident.contact_read'") == 2
    assert (await api.get(path, by=worker)).status == 403


async def test_the_desk_sees_once_that_its_message_was_shown(
    api: Api, pool: asyncpg.Pool, dispatcher: Person, worker: Person, clock: Clock
) -> None:
    path = f"/v1/incidents/{await acknowledged(pool, worker, dispatcher, clock)}"
    setup = {"contact_mode": "decoy", "decoy_text": "Your parcel is late"}
    assert (await api.call("PUT", "/v1/me/safety", setup, by=worker)).status == 200

    async def kinds() -> list[str]:
        events = (await api.get(path, by=dispatcher)).body["events"]
        return [event["kind"] for event in events if event["kind"].startswith("chat")]

    assert (await api.get("/v1/me/safety/chat", by=worker)).body["items"] == []
    assert await kinds() == []
    for _ in range(2):
        assert (await api.post(f"{path}/chat", {"text": "Your parcel is late"}, by=dispatcher)).status == 200
        for _ in range(2):
            assert (await api.get("/v1/me/safety/chat", by=worker)).status == 200
    assert await kinds() == ["chat", "chat_read"] * 2
