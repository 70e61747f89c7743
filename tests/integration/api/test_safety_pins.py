"""Cancelling with a PIN: what the attacker sees is the same, what happens is not."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from config.limits import PIN_ANSWER_MS, PIN_FAILURES_MAX, SEVERITY_MAX
from config.settings import Settings
from engine.core.clock import SystemClock
from engine.core.errors import Unavailable
from engine.core.vocabulary import Role
from engine.people.passwords import hash_password
from engine.safetap import pins
from engine.safetap.forwarding import DoorAnswer, Forwarder
from tests.conftest import TokenKeys
from tests.integration.api.conftest import Api, Cast, Person, Said, beside_a_door

SAFE, DURESS = "1234", "4321"
SAFE_HASH, DURESS_HASH = hash_password(SAFE), hash_password(DURESS)
pytestmark = pytest.mark.usefixtures("door")
CLOCK = SystemClock()
VARYING_HEADERS = {"Date", "X-Request-Id"}


@pytest.fixture
def clock() -> SystemClock:
    """Answers leave by the real clock, and the door reads the machine's too."""
    return CLOCK


@pytest.fixture
def settings(settings: Settings, database_url: str, token_keys: TokenKeys) -> Settings:
    return beside_a_door(settings, database_url, token_keys)


@pytest.fixture
async def worker(api: Api, cast: Cast, pool: asyncpg.Pool) -> Person:
    worker = cast.demo(Role.WORKER)
    await set_pins(pool, worker)
    assert api
    return worker


async def set_pins(pool: asyncpg.Pool, person: Person) -> None:
    at = "2023-01-01T00:00:00Z"
    await pool.execute(f"INSERT INTO safety_pin VALUES ($1, $2, $3, '{at}')", person.person_id, SAFE_HASH, DURESS_HASH)


async def no_door(*_arguments: object, **_named: object) -> DoorAnswer:
    raise Unavailable


async def press(api: Api, person: Person) -> str:
    trigger_id = str(uuid4())
    said = await api.post("/v1/safetap", {"trigger_id": trigger_id, "kind": "button"}, by=person)
    assert said.status in (200, 202)
    return trigger_id


async def cancel(api: Api, person: Person, pin: str, **fields: object) -> Said:
    return await api.post("/v1/safetap/cancel", {"pin": pin, **fields}, by=person)


async def incident_of(pool: asyncpg.Pool, person: Person) -> asyncpg.Record:
    async with asyncio.timeout(10):
        while (row := await pool.fetchrow("SELECT * FROM incident WHERE person_id = $1", person.person_id)) is None:
            await CLOCK.sleep_ms(20)
    return row


async def events(pool: asyncpg.Pool, incident_id: object) -> list[str]:
    rows = await pool.fetch("SELECT kind FROM incident_event WHERE incident_id = $1 ORDER BY version", incident_id)
    return [row["kind"] for row in rows if row["kind"] not in ("step", "notified")]


async def test_the_safe_pin_stands_the_ladder_down_and_a_human_still_has_to_close(
    api: Api, worker: Person, dispatcher: Person, pool: asyncpg.Pool
) -> None:
    trigger_id = await press(api, worker)
    await incident_of(pool, worker)
    said = await cancel(api, worker, SAFE, trigger_id=trigger_id)
    assert (said.status, said.body) == (200, {"state": "cancelled"})
    incident = await incident_of(pool, worker)
    assert (incident["state"], incident["acknowledged_by"]) == ("acknowledged", None)
    assert incident["says_safe_at"] is not None
    timer = await pool.fetchrow("SELECT due_at FROM incident_timer")
    assert (timer["due_at"] - incident["says_safe_at"]).total_seconds() == 600
    assert (await events(pool, incident["incident_id"]))[-1] == "safe_pin"
    path = f"/v1/incidents/{incident['incident_id']}"
    assert (await api.post(f"{path}/acknowledge", by=dispatcher)).body["acknowledged_by"] == "Dario Desk"


async def test_the_duress_pin_raises_what_looks_cancelled(api: Api, worker: Person, pool: asyncpg.Pool) -> None:
    await press(api, worker)
    before = await incident_of(pool, worker)
    said = await cancel(api, worker, DURESS)
    assert (said.status, said.body) == (200, {"state": "cancelled"})
    after = await incident_of(pool, worker)
    assert (after["incident_id"], after["state"]) == (before["incident_id"], "open")
    assert (after["kind"], after["severity"]) == ("duress_pin", SEVERITY_MAX)
    assert "duress" in await events(pool, after["incident_id"])
    assert await pool.fetchval("SELECT count(*) FROM incident_timer") == 1
    # Whoever forced one PIN out of somebody may force the other one too.
    assert (await cancel(api, worker, SAFE)).body == {"state": "cancelled"}
    assert (await incident_of(pool, worker))["state"] == "open"


async def test_a_duress_pin_where_nothing_rang_rings(api: Api, worker: Person, pool: asyncpg.Pool) -> None:
    assert (await cancel(api, worker, DURESS)).body == {"state": "cancelled"}
    incident = await incident_of(pool, worker)
    assert (incident["kind"], incident["state"]) == ("duress_pin", "open")


async def test_both_pins_are_answered_with_the_same_bytes(
    api: Api, worker: Person, customer: Person, pool: asyncpg.Pool
) -> None:
    await set_pins(pool, customer)
    seen = []
    for person, pin in ((worker, SAFE), (customer, DURESS)):
        await press(api, person)
        headers = {"Authorization": f"Bearer {person.token}", "X-Request-Id": "same"}
        async with api.client.post("/v1/safetap/cancel", json={"pin": pin}, headers=headers) as answer:
            told = [(name, value) for name, value in answer.raw_headers if name.decode() not in VARYING_HEADERS]
            seen.append((answer.version, answer.status, answer.reason, told, await answer.read()))
    assert seen[0] == seen[1]


async def test_both_pins_take_the_same_time(
    api: Api, worker: Person, customer: Person, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer leaves at a multiple of `PIN_ANSWER_MS`, and always after two hashes."""
    await set_pins(pool, customer)
    hashed = 0
    verify = pins.Passwords.verify

    async def counting(self: Any, password_hash: str | None, password: str) -> bool:
        nonlocal hashed
        hashed += 1
        return await verify(self, password_hash, password)

    monkeypatch.setattr(pins.Passwords, "verify", counting)
    took: dict[str, list[float]] = {SAFE: [], DURESS: []}
    for _ in range(2):
        for person, pin in ((worker, SAFE), (customer, DURESS)):
            began, hashed = time.perf_counter(), 0
            assert (await cancel(api, person, pin)).status == 200
            took[pin].append((time.perf_counter() - began) * 1000)
            assert hashed == 2
    assert all(ms >= PIN_ANSWER_MS for each in took.values() for ms in each)


async def test_a_wrong_pin_stops_nothing_and_tells_nothing(
    api: Api, worker: Person, customer: Person, pool: asyncpg.Pool
) -> None:
    """With an alarm, without one, without PINs: the same answer. Then it is refused, whatever the PIN."""
    await press(api, worker)
    with_alarm = await cancel(api, worker, "9999")
    without = await cancel(api, customer, "9999")
    assert (with_alarm.status, with_alarm.code, with_alarm.body["field"]) == (422, "invalid_input", "pin")
    assert without.body == with_alarm.body
    incident = await incident_of(pool, worker)
    assert incident["state"] == "open"
    assert "wrong_pin" in await events(pool, incident["incident_id"])
    many = await asyncio.gather(*(cancel(api, worker, f"{n:04}") for n in range(PIN_FAILURES_MAX + 2)))
    assert {said.status for said in many} == {422, 429}
    refused = [await cancel(api, worker, pin) for pin in (SAFE, DURESS, "9999")]
    assert [said.status for said in refused] == [429] * 3
    assert refused[0].body == refused[1].body == refused[2].body
    after = await incident_of(pool, worker)
    assert (after["state"], after["kind"]) == ("open", "duress_pin"), "the duress PIN was heard all the same"


async def test_an_incidents_policy_may_let_the_safe_pin_close(api: Api, worker: Person, pool: asyncpg.Pool) -> None:
    await pool.execute("""UPDATE escalation_policy SET body = body || '{"safe_pin": "closes"}'""")
    await press(api, worker)
    await incident_of(pool, worker)
    await cancel(api, worker, SAFE)
    incident = await incident_of(pool, worker)
    assert (incident["state"], incident["close_reason"]) == ("closed", "cancelled by safe PIN")
    assert await pool.fetchval("SELECT count(*) FROM incident_timer") == 0


async def test_setting_pins_needs_one_of_the_old_ones(api: Api, customer: Person, pool: asyncpg.Pool) -> None:
    async def put(**fields: str) -> Said:
        return await api.call("PUT", "/v1/me/safety/pins", fields, by=customer)

    first = await put(safe_pin=SAFE, duress_pin=DURESS)
    assert (first.status, first.body) == (200, {"state": "set"})
    assert (await put(safe_pin="2222", duress_pin="3333")).body["field"] == "current_pin"
    assert (await put(safe_pin="2222", duress_pin="3333", current_pin="0000")).status == 422
    assert (await put(safe_pin="2222", duress_pin="3333", current_pin=DURESS)).body == first.body
    assert (await incident_of(pool, customer))["kind"] == "duress_pin"
    assert (await put(safe_pin="2222", duress_pin="3333", current_pin=SAFE)).body == first.body
    assert (await cancel(api, customer, SAFE)).status == 422


async def test_duress_opens_a_stood_down_alarm_again_also_where_no_door_answers(
    api: Api, worker: Person, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await press(api, worker)
    await incident_of(pool, worker)
    await cancel(api, worker, SAFE)
    assert (await incident_of(pool, worker))["state"] == "acknowledged"
    monkeypatch.setattr(Forwarder, "forward", no_door)
    began_ms = CLOCK.now_ms()
    assert (await cancel(api, worker, DURESS)).body == {"state": "cancelled"}
    incident = await incident_of(pool, worker)
    assert (incident["kind"], incident["state"], incident["acknowledged_at"]) == ("duress_pin", "open", None)
    due_at = await pool.fetchval("SELECT due_at FROM incident_timer")
    assert (due_at.timestamp() * 1000 - began_ms) < 60_000, "the ladder is climbed from now on"


async def test_setting_pins_looks_the_same_under_duress_where_no_door_answers(
    api: Api, worker: Person, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await press(api, worker)
    await incident_of(pool, worker)
    monkeypatch.setattr(Forwarder, "forward", no_door)
    fields = {"safe_pin": "2222", "duress_pin": "3333", "current_pin": DURESS}
    said = await api.call("PUT", "/v1/me/safety/pins", fields, by=worker)
    assert (said.status, said.body) == (200, {"state": "set"})
    assert (await incident_of(pool, worker))["kind"] == "duress_pin"


@pytest.mark.parametrize("path", ["/v1/safetap/cancel", "/v1/me/check-in"])
async def test_no_fix_makes_duress_answer_otherwise(api: Api, worker: Person, pool: asyncpg.Pool, path: str) -> None:
    """A number that JSON can say and no machine's integer holds."""
    said = []
    for pin in (SAFE, DURESS):
        body = f'{{"pin": "{pin}", "fix": {{"lat": 41.1, "lng": -8.6, "ts_ms": {10**30}}}}}'
        said.append(await api.call("POST", path, body.encode(), by=worker))
    assert (said[0].status, said[0].body) == (said[1].status, said[1].body) == (200, said[0].body)
    assert (await incident_of(pool, worker))["kind"] == "duress_pin"


async def test_a_door_that_hangs_does_not_make_duress_slow(
    api: Api, worker: Person, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody watches the screen: it says "cancelled" when the safe PIN would have, within a tick or two."""

    async def hang(*_arguments: object, within_ms: int) -> DoorAnswer:
        await CLOCK.sleep_ms(within_ms)
        raise TimeoutError

    monkeypatch.setattr(Forwarder, "_post", hang)
    began_ms = CLOCK.now_ms()
    assert (await cancel(api, worker, DURESS)).status == 200
    assert CLOCK.now_ms() - began_ms < 4 * PIN_ANSWER_MS
    assert (await incident_of(pool, worker))["kind"] == "duress_pin"
