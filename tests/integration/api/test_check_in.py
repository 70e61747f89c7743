"""Answering the watch, and the desk's list of who has not been heard of."""

import re
from uuid import uuid4

import asyncpg
import pytest

from config.settings import Settings
from engine.core.clock import SystemClock
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Role
from engine.people.passwords import hash_password
from engine.safetap.silence.watch_loop import WatchLoop
from tests.conftest import TokenKeys
from tests.integration.api.conftest import Api, Cast, Person, beside_a_door

SAFE, DURESS = "1234", "4321"
SAFE_HASH, DURESS_HASH = hash_password(SAFE), hash_password(DURESS)
pytestmark = pytest.mark.usefixtures("door")
CLOCK = SystemClock()
AT = re.compile(rb'"20\d\d-[^"]*"')


@pytest.fixture
def clock() -> SystemClock:
    """Answers leave by the real clock, and the watch reads the database's."""
    return CLOCK


@pytest.fixture
def settings(settings: Settings, database_url: str, token_keys: TokenKeys) -> Settings:
    return beside_a_door(settings, database_url, token_keys)


@pytest.fixture
async def worker(cast: Cast, pool: asyncpg.Pool) -> Person:
    """A worker with PINs."""
    worker = cast.demo(Role.WORKER)
    at = utc_from_ms(CLOCK.now_ms())
    await pool.execute("INSERT INTO safety_pin VALUES ($1, $2, $3, $4)", worker.person_id, SAFE_HASH, DURESS_HASH, at)
    return worker


async def begin_job(api: Api, pool: asyncpg.Pool, customer: Person, worker: Person, *, ago_s: int = 0) -> str:
    """Have a worker at work at a customer's since `ago_s` seconds."""
    booking_id = (await api.book(customer))["booking_id"]
    began = utc_from_ms(CLOCK.now_ms() - 1000 * ago_s)
    await pool.execute(
        """UPDATE booking SET state = 'in_progress', worker_id = $2, next_attempt_at = NULL, updated_at = $3
            WHERE booking_id = $1""",
        booking_id, worker.person_id, began,
    )  # fmt: skip
    return str(booking_id)


async def look(pool: asyncpg.Pool) -> None:
    await WatchLoop(pool=pool, new_id=uuid4).round()


async def test_the_rules_are_set_and_the_watch_goes_by_them(
    api: Api, pool: asyncpg.Pool, customer: Person, worker: Person, dispatcher: Person, admin: Person
) -> None:
    booking_id = await begin_job(api, pool, customer, worker, ago_s=60)
    await look(pool)
    path = "/v1/silence/policy"
    before = (await api.get(path, by=dispatcher)).body
    assert (before["policy"]["silent_s"], before["policy"]["check_in_every_s"]) == (300, None)
    assert (await api.call("PUT", path, {"silent_s": 1}, by=admin)).body["field"] == "silent_s"
    rules = {"check_in_every_s": 900, "watches_customers": True, "overrun_s": None}
    said = await api.call("PUT", path, rules, by=admin)
    assert said.body["policy"] == before["policy"] | rules
    await look(pool)
    (mine,) = (await api.get("/v1/me/check-ins", by=customer)).body["items"]
    assert (mine["booking_id"], mine["is_due"], mine["silent_after_s"]) == (booking_id, False, None)
    assert mine["next_check_in_at"] is not None

    services = {one["code"]: one["service_id"] for one in (await api.get("/v1/services", by=admin)).body["items"]}
    own = f"{path}/{services['cleaning']}"
    said = await api.call("PUT", own, {"is_on": False}, by=admin)
    assert [one["policy"]["is_on"] for one in said.body["services"]] == [False]
    await look(pool)
    assert (await api.get("/v1/silence", by=dispatcher)).body == {"outage": None, "items": []}
    assert (await api.call("DELETE", own, by=admin)).body["services"] == []
    assert (await api.call("DELETE", own, by=admin)).status == 404
    assert (await api.call("PUT", f"{path}/{uuid4()}", {}, by=admin)).status == 404


async def test_the_desk_sees_who_is_silent_against_what_is_usual(
    api: Api, pool: asyncpg.Pool, customer: Person, worker: Person, dispatcher: Person
) -> None:
    booking_id = await begin_job(api, pool, customer, worker, ago_s=700)
    await look(pool)
    (seen,) = (await api.get("/v1/silence", by=dispatcher)).body["items"]
    assert (seen["booking_id"], seen["stage"], seen["signal"], seen["phase"]) == (
        booking_id, "asked", "silence", "in_progress"
    )  # fmt: skip
    assert 700 <= seen["silent_s"] < 760
    assert seen["silent_after_s"] < 700
    assert seen["report_s"] == pytest.approx(10)
    assert seen["usual_s"] < seen["overrun_after_s"]
    assert seen["climbs_at"] > seen["asked_at"]
    (mine,) = (await api.get("/v1/me/check-ins", by=worker)).body["items"]
    assert (mine["is_due"], mine["answer_by"]) == (True, seen["climbs_at"])
    (answered,) = (await api.post("/v1/me/check-in", {}, by=worker)).body["items"]
    assert (answered["is_due"], answered["answer_by"]) == (False, None)
    await look(pool)
    (seen,) = (await api.get("/v1/silence", by=dispatcher)).body["items"]
    assert (seen["stage"], seen["signal"]) == ("calm", None)
    assert seen["silent_s"] < 60
    assert await pool.fetchval("SELECT count(*) FROM incident") == 0


async def test_the_duress_pin_answers_like_the_safe_one_and_raises_the_alarm(
    api: Api, pool: asyncpg.Pool, customer: Person, worker: Person, admin: Person
) -> None:
    await api.call("PUT", "/v1/silence/policy", {"check_in_every_s": 600, "needs_pin": True}, by=admin)
    await begin_job(api, pool, customer, worker, ago_s=650)
    seen = []
    for pin in (SAFE, DURESS):
        await pool.execute("UPDATE silence_watch SET calm_at = calm_at - interval '650 s', due_at = calm_at")
        await look(pool)
        assert await pool.fetchval("SELECT stage FROM silence_watch WHERE role = 'worker'") == "asked"
        assert (await api.post("/v1/me/check-in", {}, by=worker)).body["field"] == "pin"
        headers = {"Authorization": f"Bearer {worker.token}", "X-Request-Id": "same"}
        async with api.client.post("/v1/me/check-in", json={"pin": pin}, headers=headers) as answer:
            told = [(name, value) for name, value in answer.raw_headers if name.decode() != "Date"]
            body = await answer.read()
            seen.append((answer.status, answer.reason, told, len(body), AT.sub(b'"at"', body)))
        own = (await api.get("/v1/me/check-ins", by=worker)).body["items"]
        assert [one["is_due"] for one in own] == [False]
    assert seen[0] == seen[1]
    incident = await pool.fetchrow("SELECT kind, state FROM incident")
    assert tuple(incident) == ("duress_pin", "open")
    assert (await api.post("/v1/me/check-in", {"pin": "9999"}, by=worker)).status == 422
    # What follows looks the same too: the next reminder comes although an incident is open.
    await pool.execute("UPDATE silence_watch SET calm_at = calm_at - interval '650 s', due_at = calm_at")
    await look(pool)
    assert await pool.fetchval("SELECT stage FROM silence_watch WHERE role = 'worker'") == "asked"
