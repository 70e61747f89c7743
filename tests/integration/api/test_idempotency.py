"""The same key gives the same answer: later, at once, and after a crash in the middle."""

import asyncio
from uuid import UUID

import asyncpg

from api_rest.idempotency import KeyedRequest
from config.limits import IDEMPOTENCY_KEPT_MS
from tests.fakes import ManualClock
from tests.integration.api.conftest import BOOKING, Api, Cast, Person


async def bookings(pool: asyncpg.Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM booking"))


async def test_a_replay_makes_nothing_and_says_the_same(api: Api, customer: Person, pool: asyncpg.Pool) -> None:
    first = await api.post("/v1/bookings", BOOKING, by=customer, key="k")
    again = await api.post("/v1/bookings", BOOKING, by=customer, key="k")
    assert (again.status, again.body) == (201, first.body)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await bookings(pool) == 1
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE kind = 'booking'") == 2


async def test_another_body_under_the_same_key_is_refused(api: Api, customer: Person, pool: asyncpg.Pool) -> None:
    await api.post("/v1/bookings", BOOKING, by=customer, key="k")
    said = await api.post("/v1/bookings", BOOKING | {"notes": "other"}, by=customer, key="k")
    assert (said.status, said.code, said.body["field"]) == (409, "conflict", "Idempotency-Key")
    assert await bookings(pool) == 1


async def test_a_key_belongs_to_one_person(api: Api, customer: Person, admin: Person) -> None:
    await api.post("/v1/bookings", BOOKING, by=customer, key="k")
    people = {"people": [{"role": "customer", "full_name": "New"}]}
    assert (await api.post("/v1/people/batch", people, by=admin, key="k")).status == 200


async def test_many_at_once_make_one(api: Api, customer: Person, pool: asyncpg.Pool) -> None:
    said = await asyncio.gather(*(api.post("/v1/bookings", BOOKING, by=customer, key="k") for _ in range(12)))
    assert {one.status for one in said} == {201}
    assert len({one.body["booking_id"] for one in said}) == 1
    assert sum("Idempotent-Replayed" in one.headers for one in said) == 11
    assert await bookings(pool) == 1


async def claim(conn: asyncpg.Connection, customer: Person) -> None:
    """What a first request does before it acts."""
    await conn.execute(
        "INSERT INTO idempotency_key (person_id, key, request_hash, created_at) VALUES ($1, $2, '', '2023-11-14Z')",
        customer.person_id,
        KeyedRequest.of("k", owner=customer.person_id, method="POST", path="/v1/bookings", body=b"").row_key,
    )


async def test_while_the_first_is_under_way_the_second_is_told_so(
    api: Api, customer: Person, database_url: str, pool: asyncpg.Pool
) -> None:
    first = await asyncpg.connect(database_url)
    await first.execute("BEGIN")
    await claim(first, customer)
    said = await api.post("/v1/bookings", BOOKING, by=customer, key="k")
    assert (said.status, said.code) == (409, "conflict")
    assert "under way" in said.body["detail"]
    assert await bookings(pool) == 0
    first.terminate()


async def test_a_crash_between_leaves_no_stuck_key(api: Api, customer: Person, database_url: str) -> None:
    first = await asyncpg.connect(database_url)
    await first.execute("BEGIN")
    await claim(first, customer)
    waiting = asyncio.ensure_future(api.post("/v1/bookings", BOOKING, by=customer, key="k"))
    await _until_somebody_waits(database_url)
    first.terminate()  # the process of the first request dies
    assert (await waiting).status == 201


async def _until_somebody_waits(database_url: str) -> None:
    observer = await asyncpg.connect(database_url)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    async with asyncio.timeout(5):
        while not await observer.fetchval(waiting):  # noqa: ASYNC110 - a lock that is waited for sends no event
            await asyncio.sleep(0.01)
    await observer.close()


async def test_a_refusal_is_not_kept(api: Api, customer: Person, pool: asyncpg.Pool) -> None:
    wrong = BOOKING | {"service_code": "gardening"}
    refused = await api.post("/v1/bookings", wrong, by=customer, key="k")
    assert (refused.status, refused.body["field"]) == (422, "service_code")
    assert await pool.fetchval("SELECT count(*) FROM address") == 0
    assert (await api.post("/v1/bookings", BOOKING, by=customer, key="k")).status == 201


async def test_an_old_key_is_a_new_one(api: Api, customer: Person, clock: ManualClock, cast: Cast) -> None:
    first = await api.post("/v1/bookings", BOOKING, by=customer, key="k")
    clock.step_ms(IDEMPOTENCY_KEPT_MS)
    later = cast.demo(customer.role)
    second = await api.post("/v1/bookings", BOOKING, by=later, key="k")
    assert second.body["booking_id"] != first.body["booking_id"]
    assert "Idempotent-Replayed" not in second.headers


async def test_a_key_is_required_and_bounded(api: Api, customer: Person) -> None:
    for key in (None, "", "x" * 201):
        headers = {} if key is None else {"Idempotency-Key": key}
        said = await api.call("POST", "/v1/bookings", BOOKING, by=customer, headers=headers)
        assert (said.status, said.code, said.body["field"]) == (422, "invalid_input", "Idempotency-Key"), key


async def test_a_transition_without_a_key_still_works_once(api: Api, customer: Person) -> None:
    booking_id = UUID((await api.book(customer))["booking_id"])
    path = f"/v1/bookings/{booking_id}/transitions"
    assert (await api.post(path, {"to": "cancelled"}, by=customer)).status == 200
    assert (await api.post(path, {"to": "cancelled"}, by=customer)).status == 409


async def test_a_transition_with_a_key_is_repeatable(api: Api, customer: Person) -> None:
    path = f"/v1/bookings/{(await api.book(customer))['booking_id']}/transitions"
    first = await api.post(path, {"to": "cancelled"}, by=customer, key="c")
    again = await api.post(path, {"to": "cancelled"}, by=customer, key="c")
    assert (first.status, again.status, again.body) == (200, 200, first.body)
