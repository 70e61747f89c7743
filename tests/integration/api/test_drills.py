"""Drills go through SafeTap's real door and the real ladder, and are marked all the way."""

import asyncio
from datetime import datetime
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from api_rest.context import Services
from api_rest.drills import run_planned_drills
from config.settings import Settings
from engine.core.clock import SystemClock
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Role
from engine.run_drill import drill
from tests.conftest import TokenKeys
from tests.integration.api.conftest import Api, Cast, Person, beside_a_door

CLOCK = SystemClock()
NO_PLAN = {"every_h": None, "weekly": None, "next_at": None}


@pytest.fixture
def clock() -> SystemClock:
    return CLOCK


@pytest.fixture
def settings(settings: Settings, database_url: str, token_keys: TokenKeys) -> Settings:
    return beside_a_door(settings, database_url, token_keys)


async def told(pool: asyncpg.Pool) -> asyncpg.Record:
    """The incident of the drill, once the ladder's first step was taken."""
    async with asyncio.timeout(10):
        while (row := await pool.fetchrow("SELECT * FROM incident WHERE step > 0")) is None:
            await CLOCK.sleep_ms(20)
    return row


@pytest.mark.usefixtures("door")
async def test_a_drill_is_told_and_answered_and_holds_nobody(
    api: Api, dispatcher: Person, worker: Person, pool: asyncpg.Pool
) -> None:
    said = await api.post("/v1/drills", {"person_id": str(worker.person_id)}, by=dispatcher)
    assert said.status == 200, said.body
    incident = await told(pool)
    assert (incident["person_id"], incident["kind"], incident["is_drill"]) == (worker.person_id, "drill", True)
    assert await pool.fetchval("SELECT count(*) FROM safety_hold") == 0
    assert await pool.fetchval("SELECT trigger_id::text FROM safetap_trigger") == said.body["trigger_id"]
    path = f"/v1/incidents/{incident['incident_id']}"
    assert (await api.post(f"{path}/acknowledge", by=dispatcher)).status == 200
    card = (await api.get(f"{path}/call-card", by=dispatcher)).body
    assert (card["numbers"], card["is_drill"]) == (None, True)
    begin, end = utc_from_ms(CLOCK.now_ms() - 3_600_000), utc_from_ms(CLOCK.now_ms() + 3_600_000)
    query = {"from": begin.isoformat(), "to": end.isoformat()}
    statistics = (await api.get("/v1/incidents/statistics", by=dispatcher, query=query)).body
    assert (statistics["real"]["incidents"], statistics["drills"]["acknowledged"]) == (0, 1)
    assert statistics["drills"]["acknowledge_p99_s"] > 0
    # Whoever has a live incident, be it a drill, plays no part in another one.
    again = await api.post("/v1/drills", {"person_id": str(worker.person_id)}, by=dispatcher)
    assert again.status == 404


@pytest.mark.usefixtures("door", "api")
async def test_a_planned_drill_begins_once_for_every_time_it_is_due(
    api: Api, admin: Person, services: Services, pool: asyncpg.Pool
) -> None:
    assert (await api.get("/v1/drills/plan", by=admin)).body == NO_PLAN
    plan = (await api.call("PUT", "/v1/drills/plan", {"every_h": 24}, by=admin)).body
    assert plan["every_h"] == 24
    await pool.execute("UPDATE drill_plan SET next_at = next_at - interval '24 hours'")
    rounds = [asyncio.ensure_future(run_planned_drills(services)) for _ in range(2)]
    assert (await told(pool))["is_drill"]
    for one in rounds:
        one.cancel()
    await asyncio.gather(*rounds, return_exceptions=True)
    assert await pool.fetchval("SELECT count(*) FROM safetap_trigger") == 1
    assert await pool.fetchval("SELECT next_at > $1 FROM drill_plan", utc_from_ms(CLOCK.now_ms() + 3_600_000))
    assert (await api.call("PUT", "/v1/drills/plan", {"every_h": None}, by=admin)).body == NO_PLAN
    assert await pool.fetchval("SELECT count(*) FROM drill_plan") == 0


@pytest.mark.usefixtures("door")
async def test_a_weeks_drill_begins_at_its_time_is_marked_and_never_comes_late_at_night(
    api: Api, admin: Person, dispatcher: Person, services: Services, pool: asyncpg.Pool
) -> None:
    weekly = {"tz": "Europe/Lisbon", "days": ["thu", "mon"], "at": ["22:15", "10:30"]}
    said = (await api.call("PUT", "/v1/drills/plan", {"every_h": 8_000, "weekly": weekly}, by=admin)).body
    assert said["weekly"] == {"tz": "Europe/Lisbon", "days": ["mon", "thu"], "at": ["10:30", "22:15"]}
    assert (await api.get("/v1/drills/plan", by=dispatcher)).body == said
    local = datetime.fromisoformat(said["next_at"]).astimezone(ZoneInfo("Europe/Lisbon"))
    assert (local.weekday(), f"{local:%H:%M}") in {(day, at) for day in (0, 3) for at in ("10:30", "22:15")}
    refused = await api.call("PUT", "/v1/drills/plan", {"weekly": {**weekly, "tz": "Mars/Base"}}, by=admin)
    assert (refused.status, refused.body["field"]) == (422, "tz")

    for late, begun in ((2, 0), (0, 1)):
        await pool.execute("UPDATE drill_week SET next_at = $1", utc_from_ms(CLOCK.now_ms() - 3_600_000 * late))
        rounds = [asyncio.ensure_future(run_planned_drills(services)) for _ in range(2)]
        async with asyncio.timeout(20):
            while await pool.fetchval("SELECT next_at <= now() FROM drill_week"):
                await CLOCK.sleep_ms(20)
        if begun:
            incident = await told(pool)
            assert (incident["kind"], incident["is_drill"]) == ("drill", True)
        for one in rounds:
            one.cancel()
        await asyncio.gather(*rounds, return_exceptions=True)
        assert await pool.fetchval("SELECT count(*) FROM safetap_trigger") == begun
    assert await pool.fetchval("SELECT count(*) FROM safety_hold") == 0
    assert (
        await pool.fetchval("SELECT count(*) FROM notice n JOIN incident USING (incident_id) WHERE NOT is_drill") == 0
    )


@pytest.mark.usefixtures("door", "api")
async def test_the_command_begins_one_too(settings: Settings, pool: asyncpg.Pool, cast: Cast) -> None:
    begun = await drill(settings, "")
    assert begun.state in {"committed", "spooled"}
    assert (await told(pool))["person_id"] == begun.person_id
    assert cast.demo(Role.WORKER)


async def test_without_a_door_there_is_no_drill(api: Api, dispatcher: Person) -> None:
    assert (await api.post("/v1/drills", {}, by=dispatcher)).status == 503
