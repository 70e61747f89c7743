"""One round of the matcher at a time, on real stores and a clock that stands still."""

import asyncio
from uuid import uuid4

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from config.limits import (
    BOOKING_SEARCH_MS_MAX,
    CLAIM_LEASE_MS,
    DISPATCH_POLL_MS,
    DISPATCH_RETRY_MS,
    OFFER_ASK_AGAIN_MS,
    OFFER_TTL_MS,
    WORKER_SILENT_MS,
)
from engine.core.errors import Conflict
from engine.core.units import utc_from_ms
from engine.core.vocabulary import BookingState
from engine.matcher.dispatch import Dispatcher
from engine.matcher.dispatch_store import LogEntry, Proposal, claim_due, save_offers
from engine.matcher.offer_answers import answer_offer
from engine.matcher.offer_policy import DEFAULT_OFFER_POLICY
from engine.matcher.offers import next_round
from engine.people.tokens import Principal
from tests.fakes import ManualClock
from tests.integration.matcher.town import Town

pytestmark = pytest.mark.integration


async def answer(town: Town, booking_id, *, accept: bool):
    worker = await town.asked(booking_id)
    async with town.pool.acquire() as conn:
        return await answer_offer(
            conn,
            offer_id=await town.offer_id(booking_id),
            worker=worker,
            accept=accept,
            reason="",
            now_ms=town.clock.now_ms(),
        )


async def again(dispatcher: Dispatcher) -> int:
    """A round after the table has read everybody anew, as the running feed would."""
    dispatcher.feed.notified("")
    await dispatcher.feed.read()
    return await dispatcher.dispatch_due()


async def give_job(town: Town, worker: Principal) -> None:
    other = Dispatcher(pool=town.pool, redis=town.redis, clock=town.clock, fix_clock=town.clock)
    booking_id = await town.book()
    await other.dispatch_due()
    assert (await town.asked(booking_id)).person_id == worker.person_id
    await answer(town, booking_id, accept=True)


async def test_offers_to_the_cheapest_and_says_why(town: Town, dispatcher: Dispatcher):
    far = await town.add_worker(2.0)
    near = await town.add_worker(0.5)
    await town.add_worker(0.1, skills=0b10)
    booking_id = await town.book()

    assert await dispatcher.dispatch_due() == 1

    assert await town.state(booking_id) is BookingState.OFFERED
    assert (await town.asked(booking_id)).person_id == near.person_id
    (entry,) = await town.log(booking_id)
    detail = orjson.loads(entry["detail"])
    assert entry["outcome"] == "offered"
    assert entry["worker_id"] == near.person_id
    assert [each["slot"] for each in detail["candidates"]] == [near.slot, far.slot]
    assert detail["ruled_out"] == {"skill": 1}
    for each in detail["candidates"]:
        assert sum(each["terms"].values()) == pytest.approx(each["cost"], abs=1e-3)
    assert await town.events(f"user:{near.person_id}") == ["offer"]


async def test_accepting_assigns(town: Town, dispatcher: Dispatcher):
    worker = await town.add_worker(1.0)
    booking_id = await town.book()
    await dispatcher.dispatch_due()

    offer, booking = await answer(town, booking_id, accept=True)

    assert offer["state"] == "accepted"
    assert booking is not None
    assert booking["state"] == "assigned"
    assert booking["worker"]["worker_id"] == str(worker.person_id)
    assert booking["eta_s"] == offer["eta_s"]
    assert await town.events(f"user:{worker.person_id}") == ["offer", "offer.gone", "booking"]


async def test_declining_asks_the_next_best(town: Town, dispatcher: Dispatcher):
    first = await town.add_worker(0.5)
    second = await town.add_worker(1.5)
    booking_id = await town.book()
    await dispatcher.dispatch_due()
    assert (await town.asked(booking_id)).person_id == first.person_id

    offer, booking = await answer(town, booking_id, accept=False)
    assert (offer["state"], booking) == ("declined", None)
    await again(dispatcher)

    assert (await town.asked(booking_id)).person_id == second.person_id
    last = orjson.loads((await town.log(booking_id))[-1]["detail"])
    assert last["ruled_out"] == {"declined_before": 1}


async def test_expiry_asks_the_next_best(town: Town, dispatcher: Dispatcher, clock: ManualClock):
    first = await town.add_worker(0.5)
    second = await town.add_worker(1.5)
    booking_id = await town.book()
    await dispatcher.dispatch_due()

    clock.step_ms(OFFER_TTL_MS - 1)
    assert await dispatcher.sweep() == 0
    clock.step_ms(1)
    assert await dispatcher.sweep() == 1
    assert await town.state(booking_id) is BookingState.SEARCHING
    await again(dispatcher)

    assert (await town.asked(booking_id)).person_id == second.person_id
    assert await town.events(f"user:{first.person_id}") == ["offer", "offer.gone"]


async def test_who_said_no_is_asked_again_when_nobody_else_is_left(
    town: Town, dispatcher: Dispatcher, clock: ManualClock
):
    only = await town.add_worker(0.5)
    booking_id = await town.book()
    await dispatcher.dispatch_due()
    await answer(town, booking_id, accept=False)
    await again(dispatcher)
    assert await town.open_offer(booking_id) is None
    assert [row["outcome"] for row in await town.log(booking_id)] == ["offered", "nobody"]

    clock.step_ms(OFFER_ASK_AGAIN_MS)
    await town.place(only, 0.5)
    await again(dispatcher)

    assert (await town.asked(booking_id)).person_id == only.person_id
    assert orjson.loads((await town.log(booking_id))[-1]["detail"])["asks_again"]


async def test_a_fruitless_search_is_tried_again_and_logged_once(
    town: Town, dispatcher: Dispatcher, clock: ManualClock
):
    booking_id = await town.book()
    for _ in range(3):
        assert await dispatcher.dispatch_due() == 1
        assert await dispatcher.dispatch_due() == 0
        clock.step_ms(DISPATCH_RETRY_MS)
    assert [row["outcome"] for row in await town.log(booking_id)] == ["nobody"]

    worker = await town.add_worker(1.0)
    await again(dispatcher)
    assert (await town.asked(booking_id)).person_id == worker.person_id


async def test_a_search_ends_unserved(town: Town, dispatcher: Dispatcher, clock: ManualClock):
    booking_id = await town.book()
    clock.step_ms(BOOKING_SEARCH_MS_MAX)
    await dispatcher.dispatch_due()
    assert await town.state(booking_id) is BookingState.UNSERVED
    assert [row["outcome"] for row in await town.log(booking_id)] == ["unserved"]


@pytest.mark.parametrize(
    ("reason", "spoil"),
    [
        ("silent", lambda town, worker: town.place(worker, 1.0, age_ms=-1)),
        ("too_far", lambda town, worker: town.place(worker, 12.2, age_ms=-WORKER_SILENT_MS - 1)),
        ("busy", give_job),
        ("safety_hold", lambda town, worker: town.hold(person_id=worker.person_id)),
    ],
)
async def test_rules_out(town: Town, dispatcher: Dispatcher, clock: ManualClock, reason: str, spoil):
    worker = await town.add_worker(1.0)
    await spoil(town, worker)
    if reason == "silent":
        clock.step_ms(WORKER_SILENT_MS + 2)
    elif reason == "too_far":
        clock.step_ms(WORKER_SILENT_MS + 1)
    booking_id = await town.book()
    await dispatcher.dispatch_due()
    assert await town.open_offer(booking_id) is None
    assert orjson.loads((await town.log(booking_id))[-1]["detail"])["ruled_out"] == {reason: 1}


async def test_another_organisation_is_another_world(town: Town, dispatcher: Dispatcher):
    other = await Town(town.pool, town.redis, town.clock).found()
    await other.add_worker(0.1)
    booking_id = await town.book()
    await dispatcher.dispatch_due()
    assert await town.open_offer(booking_id) is None
    assert orjson.loads((await town.log(booking_id))[-1]["detail"])["looked_at"] == 0


async def test_nobody_is_sent_to_a_held_customer(town: Town, dispatcher: Dispatcher, clock: ManualClock):
    await town.add_worker(1.0)
    booking_id = await town.book()
    customer_id = await town.pool.fetchval("SELECT customer_id FROM booking")
    hold_id = await town.hold(person_id=customer_id)
    await dispatcher.dispatch_due()
    assert await town.state(booking_id) is BookingState.SEARCHING
    assert [row["outcome"] for row in await town.log(booking_id)] == ["safety_hold"]

    await town.pool.execute(
        "UPDATE safety_hold SET released_at = $2 WHERE hold_id = $1", hold_id, utc_from_ms(clock.now_ms())
    )
    clock.step_ms(DISPATCH_RETRY_MS)
    await dispatcher.dispatch_due()
    assert await town.state(booking_id) is BookingState.OFFERED


@pytest.mark.parametrize(
    ("line", "north_km", "is_held"),
    [
        ("Another entrance", 0.05, True),
        ("rua  das flores, 1", 0.9, True),
        ("Rua das Flores 1", 1.1, False),
        ("Rua das Flores 2", 0.1, False),
    ],
)
async def test_a_held_door_is_known_again_whoever_books_it(
    town: Town, dispatcher: Dispatcher, line: str, north_km: float, *, is_held: bool
):
    await town.add_worker(1.0)
    await town.book()
    await town.hold(address_id=await town.pool.fetchval("SELECT address_id FROM booking"))
    booking_id = await town.book(line=line, north_km=north_km)
    await dispatcher.dispatch_due()
    assert [row["outcome"] for row in await town.log(booking_id)] == ["safety_hold" if is_held else "offered"]


async def test_a_held_door_of_another_organisation_holds_nothing(town: Town, dispatcher: Dispatcher):
    other = await Town(town.pool, town.redis, town.clock).found()
    await other.book()
    await other.hold(address_id=await town.pool.fetchval("SELECT address_id FROM booking"))
    await town.add_worker(1.0)
    booking_id = await town.book()
    await dispatcher.dispatch_due()
    assert await town.state(booking_id) is BookingState.OFFERED


@pytest.mark.parametrize("held", ["worker", "customer", "address"])
async def test_a_hold_takes_back_what_rings_and_refuses_the_answer(town: Town, dispatcher: Dispatcher, held: str):
    worker = await town.add_worker(1.0)
    booking_id = await town.book()
    await dispatcher.dispatch_due()
    row = await town.pool.fetchrow("SELECT customer_id, address_id FROM booking")
    if held == "address":
        await town.hold(address_id=row["address_id"])
    else:
        await town.hold(person_id=worker.person_id if held == "worker" else row["customer_id"])

    with pytest.raises(Conflict, match="withdrawn"):
        await answer(town, booking_id, accept=True)
    assert await dispatcher.sweep() == 1
    assert await town.open_offer(booking_id) is None
    assert await town.state(booking_id) is BookingState.SEARCHING
    await again(dispatcher)
    assert await town.open_offer(booking_id) is None


async def test_a_cancelled_booking_stops_ringing(town: Town, dispatcher: Dispatcher):
    worker = await town.add_worker(1.0)
    booking_id = await town.book()
    await dispatcher.dispatch_due()
    await town.cancel(booking_id)
    assert await dispatcher.sweep() == 1
    assert await town.events(f"user:{worker.person_id}") == ["offer", "offer.gone"]
    assert await town.state(booking_id) is BookingState.CANCELLED


async def test_two_matchers_at_once_never_offer_twice(town: Town, pool: asyncpg.Pool, redis: Redis, clock: ManualClock):
    matchers = [Dispatcher(pool=pool, redis=redis, clock=clock, fix_clock=clock) for _ in range(2)]
    for _ in range(12):
        await town.add_worker(1.0)
    bookings = [await town.book() for _ in range(20)]

    for _ in range(6):
        await asyncio.gather(*(again(matcher) for matcher in matchers))
        clock.step_ms(DISPATCH_POLL_MS)

    rows = await pool.fetch("SELECT booking_id, worker_id FROM offer")
    assert len(rows) == 12, "every worker is asked, and only once"
    assert len({row["worker_id"] for row in rows}) == 12
    assert len({row["booking_id"] for row in rows}) == 12
    states = [await town.state(booking_id) for booking_id in bookings]
    assert states.count(BookingState.OFFERED) == 12
    assert states.count(BookingState.SEARCHING) == 8


async def test_a_matcher_that_dies_holding_a_claim_loses_it_by_time(
    town: Town, dispatcher: Dispatcher, clock: ManualClock
):
    await town.add_worker(1.0)
    booking_id = await town.book()
    async with town.pool.acquire() as conn:
        (lost,) = await claim_due(conn, now_ms=clock.now_ms(), limit=10)
    clock.step_ms(CLAIM_LEASE_MS - 1)
    assert await dispatcher.dispatch_due() == 0
    clock.step_ms(1)
    assert await dispatcher.dispatch_due() == 1
    worker = await town.asked(booking_id)

    # It was not dead, only slow: its fence is old, so it saves nothing.
    async with town.pool.acquire() as conn:
        saved = await save_offers(
            conn,
            lost,
            [Proposal(worker.person_id, 1.0, 60)],
            asking=next_round(DEFAULT_OFFER_POLICY, []),
            new_id=uuid4,
            entry=LogEntry("offered", {}, 1),
            now_ms=clock.now_ms(),
        )
    assert saved == []
    assert await town.pool.fetchval("SELECT count(*) FROM offer") == 1


async def test_a_booking_that_cannot_be_handled_stops_no_other(
    town: Town, dispatcher: Dispatcher, clock: ManualClock, capsys: pytest.CaptureFixture[str]
):
    await town.add_worker(1.0)
    broken = await town.book()
    clock.step_ms(1)
    sound = await town.book()
    await town.pool.execute("UPDATE booking SET tz = 'Nowhere/Atlantis' WHERE booking_id = $1", broken)
    assert await dispatcher.dispatch_due() == 2
    assert await town.state(broken) is BookingState.SEARCHING
    assert await town.state(sound) is BookingState.OFFERED
    assert "dispatch.failed" in capsys.readouterr().out
