"""Bookings over HTTP: made, seen by whom they concern, moved as the life cycle allows, told of in the same breath."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from config.limits import BOOKING_SEARCH_MS_MAX
from engine.booking.booking_store import transition
from engine.booking.views import list_bookings
from engine.core.errors import Conflict
from engine.core.ids import BookingId
from engine.core.units import ms_from_utc, rfc3339, utc_from_ms
from engine.core.vocabulary import BookingState, Role
from engine.people.tokens import AccessTokens
from tests.fakes import ManualClock
from tests.integration.api.conftest import BOOKING, Api, Cast, Person


@pytest.fixture
async def on_duty(api: Api, worker: Person) -> Person:
    """The demo's worker, on duty."""
    await api.call("PUT", "/v1/me/duty", {"duty": "on"}, by=worker)
    return worker


async def assign(pool: asyncpg.Pool, booking_id: str, worker: Person, *, now_ms: int, eta_s: int = 300) -> None:
    """What the matcher does, without its search."""
    async with pool.acquire() as conn, conn.transaction():
        for to in (BookingState.OFFERED, BookingState.ASSIGNED):
            await transition(
                conn,
                booking_id=BookingId(UUID(booking_id)),
                to=to,
                actor=None,
                reason="",
                now_ms=now_ms,
                worker_id=worker.person_id if to is BookingState.ASSIGNED else None,
                eta_s=eta_s if to is BookingState.ASSIGNED else None,
            )


async def move(api: Api, booking_id: str, to: str, *, by: Person, **fields: object) -> tuple[int, dict[str, object]]:
    said = await api.post(f"/v1/bookings/{booking_id}/transitions", {"to": to, **fields}, by=by)
    return said.status, said.body


async def topics(pool: asyncpg.Pool) -> list[tuple[str, str]]:
    rows = await pool.fetch(
        "SELECT topic, body->>'state' AS state FROM outbox WHERE kind = 'booking' ORDER BY event_id"
    )
    return [(row["topic"], row["state"]) for row in rows]


async def test_a_booking_is_made_and_due_at_once(
    api: Api, customer: Person, pool: asyncpg.Pool, clock: ManualClock
) -> None:
    made = await api.book(customer)
    assert made["state"] == "searching"
    assert (made["version"], made["worker"], made["eta_s"], made["tz"]) == (1, None, None, "Europe/Lisbon")
    assert (made["pin"], made["address"]) == (BOOKING["pin"], BOOKING["address"])
    assert made["customer"] == {"person_id": str(customer.person_id), "name": "Clara Customer"}
    assert made["created_at"] == rfc3339(utc_from_ms(clock.now_ms()))
    row = await pool.fetchrow("SELECT next_attempt_at, search_until FROM booking")
    assert ms_from_utc(row["next_attempt_at"]) == clock.now_ms()
    assert ms_from_utc(row["search_until"]) == clock.now_ms() + BOOKING_SEARCH_MS_MAX
    org = await pool.fetchval("SELECT org_id FROM booking")
    assert await topics(pool) == [(f"user:{customer.person_id}", "searching"), (f"desk:{org}", "searching")]


async def test_the_matcher_is_woken(api: Api, customer: Person, database_url: str) -> None:
    woken = asyncio.Event()
    listener = await asyncpg.connect(database_url)
    try:
        await listener.add_listener("clenzy_booking", lambda *_: woken.set())
        await api.book(customer)
        await asyncio.wait_for(woken.wait(), 5)
    finally:
        await listener.close()


async def test_a_job_from_booking_to_confirmation(
    api: Api, customer: Person, on_duty: Person, dispatcher: Person, pool: asyncpg.Pool, clock: ManualClock
) -> None:
    booking_id = (await api.book(customer))["booking_id"]
    await assign(pool, booking_id, on_duty, now_ms=clock.now_ms())
    for to in ("en_route", "arrived", "in_progress", "completed"):
        clock.step_ms(60_000)
        status, view = await move(api, booking_id, to, by=on_duty)
        assert (status, view["state"]) == (200, to)
    status, view = await move(api, booking_id, "confirmed", by=customer)
    assert status == 200
    assert view["actual_start"] == rfc3339(utc_from_ms(clock.now_ms() - 60_000))
    assert view["actual_end"] == rfc3339(utc_from_ms(clock.now_ms()))
    seen = (await api.get(f"/v1/bookings/{booking_id}", by=dispatcher)).body
    states = ["searching", "offered", "assigned", "en_route", "arrived", "in_progress", "completed", "confirmed"]
    assert [event["to"] for event in seen["events"]] == states
    assert [event["from"] for event in seen["events"]] == [None, *states[:-1]]
    assert [event["version"] for event in seen["events"]] == list(range(1, 9))
    assert [event["actor_role"] for event in seen["events"]][2:] == ["engine", *["worker"] * 4, "customer"]
    assert (seen["worker"]["name"], seen["worker"]["slot"], seen["eta_s"]) == ("Wim Worker", 0, 300)
    told = [state for topic, state in await topics(pool) if topic == f"user:{on_duty.person_id}"]
    assert told == states[2:]
    assert await pool.fetchval("SELECT jobs_done FROM worker") == 1


async def test_a_worker_has_one_job_at_a_time_and_stays_on_duty_for_it(
    api: Api, customer: Person, on_duty: Person, pool: asyncpg.Pool, clock: ManualClock
) -> None:
    first, second = (await api.book(customer))["booking_id"], (await api.book(customer))["booking_id"]
    await assign(pool, first, on_duty, now_ms=clock.now_ms())
    with pytest.raises(Conflict, match="another active job"):
        await assign(pool, second, on_duty, now_ms=clock.now_ms())
    assert await pool.fetchval("SELECT state FROM booking WHERE booking_id = $1", UUID(second)) == "searching"
    said = await api.call("PUT", "/v1/me/duty", {"duty": "off"}, by=on_duty)
    assert (said.status, said.code, said.body["field"]) == (409, "conflict", "duty")
    me = (await api.get("/v1/me", by=on_duty)).body
    assert me["booking"]["booking_id"] == first


async def test_a_worker_off_duty_wins_no_job(
    api: Api, customer: Person, worker: Person, pool: asyncpg.Pool, clock: ManualClock
) -> None:
    booking_id = (await api.book(customer))["booking_id"]
    with pytest.raises(Conflict, match="off duty"):
        await assign(pool, booking_id, worker, now_ms=clock.now_ms())
    assert await pool.fetchval("SELECT state FROM booking") == "searching"


async def test_going_off_duty_and_winning_a_job_never_both_happen(
    api: Api, customer: Person, on_duty: Person, pool: asyncpg.Pool, clock: ManualClock
) -> None:
    for _ in range(10):
        await api.call("PUT", "/v1/me/duty", {"duty": "on"}, by=on_duty)
        booking_id = (await api.book(customer))["booking_id"]
        won, left = await asyncio.gather(
            assign(pool, booking_id, on_duty, now_ms=clock.now_ms()),
            api.call("PUT", "/v1/me/duty", {"duty": "off"}, by=on_duty),
            return_exceptions=True,
        )
        assert won is None or isinstance(won, Conflict), won
        duty = await pool.fetchval("SELECT duty FROM worker")
        state = await pool.fetchval("SELECT state FROM booking WHERE booking_id = $1", UUID(booking_id))
        assert (duty, state) in {("on", "assigned"), ("off", "searching"), ("on", "searching")}, left
        await pool.execute("UPDATE booking SET state = 'cancelled', next_attempt_at = NULL")


async def test_duty_goes_on_and_off_and_is_told(
    api: Api, worker: Person, pool: asyncpg.Pool, clock: ManualClock
) -> None:
    since = rfc3339(utc_from_ms(clock.now_ms()))
    for _ in range(2):  # asking again changes nothing, `since` included
        said = await api.call("PUT", "/v1/me/duty", {"duty": "on"}, by=worker)
        assert (said.status, said.body) == (200, {"duty": "on", "since": since})
        clock.step_ms(1000)
    assert (await api.call("PUT", "/v1/me/duty", {"duty": "off"}, by=worker)).body["duty"] == "off"
    rows = await pool.fetch("SELECT topic, body::text FROM outbox WHERE kind = 'duty' ORDER BY event_id")
    assert [(row["topic"], orjson.loads(row["body"])["duty"]) for row in rows] == [
        (f"user:{worker.person_id}", "on"),
        (f"user:{worker.person_id}", "off"),
    ]


async def test_the_customer_cancels_until_work_begins(
    api: Api, customer: Person, on_duty: Person, dispatcher: Person, pool: asyncpg.Pool, clock: ManualClock
) -> None:
    early = (await api.book(customer))["booking_id"]
    status, view = await move(api, early, "cancelled", by=customer, reason="changed my mind")
    assert (status, view["state"]) == (200, "cancelled")
    late = (await api.book(customer))["booking_id"]
    await assign(pool, late, on_duty, now_ms=clock.now_ms())
    for to in ("en_route", "arrived", "in_progress"):
        await move(api, late, to, by=on_duty)
    status, problem = await move(api, late, "cancelled", by=customer)
    assert (status, problem["code"], problem["field"]) == (403, "not_allowed", "to")
    clock.step_ms(1000)
    status, view = await move(api, late, "cancelled", by=dispatcher, reason="flood")
    assert (status, view["state"]) == (200, "cancelled")
    row = await pool.fetchrow("SELECT jobs_done, idle_since FROM worker")
    assert (row["jobs_done"], ms_from_utc(row["idle_since"])) == (0, clock.now_ms())


@pytest.mark.parametrize("to", ["en_route", "completed", "confirmed"])
async def test_what_the_life_cycle_lacks_is_a_conflict(api: Api, customer: Person, dispatcher: Person, to: str) -> None:
    booking_id = (await api.book(customer))["booking_id"]
    for by in (customer, dispatcher):
        status, problem = await move(api, booking_id, to, by=by)
        assert (status, problem["code"]) == (409, "conflict")


@pytest.mark.parametrize("to", ["searching", "offered", "assigned", "unserved", "nonsense", ""])
async def test_the_engines_moves_are_nobody_elses(
    api: Api, customer: Person, on_duty: Person, dispatcher: Person, to: str
) -> None:
    booking_id = (await api.book(customer))["booking_id"]
    for by in (customer, on_duty, dispatcher):
        status, problem = await move(api, booking_id, to, by=by)
        assert (status, problem["field"]) == (422, "to")


async def test_a_version_that_has_moved_on_is_refused(api: Api, customer: Person) -> None:
    booking_id = (await api.book(customer))["booking_id"]
    status, problem = await move(api, booking_id, "cancelled", by=customer, version=7)
    assert (status, problem["code"], problem["field"]) == (409, "conflict", "version")
    assert (await move(api, booking_id, "cancelled", by=customer, version=1))[0] == 200


async def test_of_two_who_move_at_once_one_wins(
    api: Api, customer: Person, dispatcher: Person, pool: asyncpg.Pool
) -> None:
    booking_id = (await api.book(customer))["booking_id"]
    outcomes = await asyncio.gather(
        *(move(api, booking_id, "cancelled", by=by) for by in (customer, dispatcher, customer, dispatcher))
    )
    assert sorted(status for status, _ in outcomes) == [200, 409, 409, 409]
    assert await pool.fetchval("SELECT count(*) FROM booking_event") == 2


async def test_cancelling_takes_the_open_offer_back(
    api: Api, customer: Person, on_duty: Person, pool: asyncpg.Pool, clock: ManualClock
) -> None:
    offer_id = await open_offer(api, customer, on_duty, pool, clock)
    ringing = (await api.get("/v1/offers/current", by=on_duty)).body["offer"]
    assert (ringing["offer_id"], ringing["address_line"]) == (str(offer_id), "Rua das Flores 1")
    assert (await api.get("/v1/me", by=on_duty)).body["offer"] == ringing
    await move(api, ringing["booking_id"], "cancelled", by=customer)
    assert (await api.get("/v1/offers/current", by=on_duty)).body == {"offer": None}
    said = await api.post(f"/v1/offers/{offer_id}/accept", by=on_duty)
    assert (said.status, said.code) == (409, "conflict")
    gone = await pool.fetchval("SELECT body::text FROM outbox WHERE kind = 'offer.gone'")
    assert orjson.loads(gone) == {"offer_id": str(offer_id), "state": "withdrawn", "reason": "cancelled"}


async def test_an_accepted_offer_is_the_workers_booking(
    api: Api, customer: Person, on_duty: Person, cast: Cast, pool: asyncpg.Pool, clock: ManualClock
) -> None:
    offer_id = await open_offer(api, customer, on_duty, pool, clock)
    stranger = await cast.another(Role.WORKER)
    for answer in ("accept", "decline"):
        assert (await api.post(f"/v1/offers/{offer_id}/{answer}", by=stranger)).status == 404
    booking_id = (await api.get("/v1/offers/current", by=on_duty)).body["offer"]["booking_id"]
    assert (await api.get(f"/v1/bookings/{booking_id}", by=on_duty)).status == 404
    said = await api.post(f"/v1/offers/{offer_id}/accept", by=on_duty, key="yes")
    assert (said.status, said.body["offer"]["state"], said.body["booking"]["state"]) == (200, "accepted", "assigned")
    assert said.body["booking"]["address"]["entry_notes"] == "ring twice"
    assert said.body["booking"]["eta_s"] == 240
    again = await api.post(f"/v1/offers/{offer_id}/accept", by=on_duty, key="yes")
    assert (again.body, again.headers["Idempotent-Replayed"]) == (said.body, "true")


async def test_a_declined_offer_sends_the_booking_searching(
    api: Api, customer: Person, on_duty: Person, pool: asyncpg.Pool, clock: ManualClock
) -> None:
    offer_id = await open_offer(api, customer, on_duty, pool, clock)
    said = await api.post(f"/v1/offers/{offer_id}/decline", {"reason": "too far"}, by=on_duty)
    assert (said.status, said.body["offer"]["state"]) == (200, "declined")
    row = await pool.fetchrow("SELECT state, next_attempt_at FROM booking")
    assert (row["state"], ms_from_utc(row["next_attempt_at"])) == ("searching", clock.now_ms())


async def open_offer(api: Api, customer: Person, worker: Person, pool: asyncpg.Pool, clock: ManualClock) -> UUID:
    booking_id, offer_id = UUID((await api.book(customer))["booking_id"]), uuid4()
    async with pool.acquire() as conn, conn.transaction():
        await transition(
            conn,
            booking_id=BookingId(booking_id),
            to=BookingState.OFFERED,
            actor=None,
            reason="",
            now_ms=clock.now_ms(),
        )
        await conn.execute(
            """INSERT INTO offer (offer_id, org_id, booking_id, worker_id, state, cost_min, eta_s, sent_at, expires_at)
               SELECT $1, org_id, booking_id, $3, 'open', 4, 240, $4, $5 FROM booking WHERE booking_id = $2""",
            offer_id,
            booking_id,
            worker.person_id,
            utc_from_ms(clock.now_ms()),
            utc_from_ms(clock.now_ms() + 20_000),
        )
    return offer_id


async def test_pages_hold_every_booking_once_newest_first(
    api: Api, customer: Person, cast: Cast, dispatcher: Person, clock: ManualClock
) -> None:
    other = await cast.another(Role.CUSTOMER)
    own = []
    for number in range(7):
        own.append((await api.book(customer))["booking_id"])
        await api.book(other)
        clock.step_ms(1 if number % 2 else 0)  # some share their millisecond
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await api.get(f"/v1/bookings?limit=3{cursor}", by=customer)).body
        assert len(page["items"]) <= 3
        seen += [item["booking_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(seen) == sorted(own)
    assert seen[-1] in own[:2]
    assert len((await api.get("/v1/bookings?limit=200", by=dispatcher)).body["items"]) == 14
    assert (await api.get("/v1/bookings?state=assigned", by=dispatcher)).body == {"items": [], "next_cursor": None}
    assert len((await api.get("/v1/bookings?state=searching&limit=9", by=dispatcher)).body["items"]) == 9
    assert len((await api.get("/v1/me", by=customer)).body["bookings"]) == 7


async def test_a_page_costs_one_statement_however_long(
    api: Api, customer: Person, access_tokens: AccessTokens, pool: asyncpg.Pool, clock: ManualClock
) -> None:
    for _ in range(5):
        await api.book(customer)
    statements: list[str] = []
    principal = access_tokens.verify(customer.token, clock.now_ms())
    async with pool.acquire() as conn:
        with conn.query_logger(lambda record: statements.append(record.query)):
            items, _ = await list_bookings(conn, principal=principal, state=None, after=None, limit=50)
    assert (len(items), len(statements)) == (5, 1)


async def test_a_booking_and_its_decisions_stay_in_the_family(
    api: Api, customer: Person, worker: Person, dispatcher: Person, cast: Cast
) -> None:
    booking_id = (await api.book(customer))["booking_id"]
    strangers = [
        await cast.another(Role.CUSTOMER),
        worker,
        await cast.in_another_org(Role.DISPATCHER),
        await cast.in_another_org(Role.ADMIN),
    ]
    for stranger in strangers:
        assert (await api.get(f"/v1/bookings/{booking_id}", by=stranger)).code == "not_found"
        assert (await move(api, booking_id, "cancelled", by=stranger))[0] == 404
        assert (await api.get("/v1/bookings", by=stranger)).body["items"] == []
    for stranger in strangers[2:]:
        assert (await api.get(f"/v1/bookings/{booking_id}/dispatch", by=stranger)).status == 404
    assert (await api.get(f"/v1/bookings/{booking_id}", by=dispatcher)).status == 200


async def test_why_this_worker(
    api: Api, customer: Person, worker: Person, dispatcher: Person, pool: asyncpg.Pool
) -> None:
    booking_id = (await api.book(customer))["booking_id"]
    detail = {"ranked": [{"slot": 0, "terms": {"eta_min": 4.0}}], "ruled_out": {"skills": 3}}
    await pool.execute(
        """INSERT INTO dispatch_log (org_id, booking_id, worker_id, outcome, detail, took_us, at)
           SELECT org_id, booking_id, $2, 'offered', $3::text::jsonb, 900, created_at
             FROM booking WHERE booking_id = $1""",
        UUID(booking_id),
        worker.person_id,
        orjson.dumps(detail).decode(),
    )
    said = await api.get(f"/v1/bookings/{booking_id}/dispatch", by=dispatcher)
    (decision,) = said.body["items"]
    assert (decision["outcome"], decision["detail"], decision["worker_id"]) == (
        "offered",
        detail,
        str(worker.person_id),
    )
    assert (await api.get(f"/v1/bookings/{uuid4()}/dispatch", by=dispatcher)).status == 404
