"""Several workers asked at once: the first yes wins, everybody else's offer ends in the same transaction."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from config.limits import OFFER_TTL_MS
from engine.core.errors import Conflict
from engine.core.ids import BookingId
from engine.core.vocabulary import BookingState, Duty
from engine.matcher.cost_policy import DEFAULT_POLICY
from engine.matcher.dispatch import Dispatcher
from engine.matcher.dispatch_store import LogEntry, Proposal, claim_due, save_offers
from engine.matcher.offer_answers import answer_offer
from engine.matcher.offer_policy import OfferPolicy
from engine.matcher.offer_store import past_offers
from engine.matcher.offers import OfferRound, next_round
from engine.people.duty import set_duty
from engine.people.tokens import Principal
from tests.fakes import ManualClock
from tests.integration.matcher.town import Town

pytestmark = pytest.mark.integration

TOLD = "SELECT worker_id, concat_ws(':', state, ended_reason) AS told FROM offer"
THREE = OfferRound(number=1, at_once=3, radii_m=(12_000,), answer_ms=OFFER_TTL_MS)


class Asked:
    """A booking for which three of four workers ring; the fourth is only the next best."""

    def __init__(self, town: Town, booking_id: BookingId, workers: list[Principal]) -> None:
        self.town, self.booking_id, self.workers = town, booking_id, workers

    async def answer(self, worker: Principal, *, accept: bool):
        offer_id = await self.town.pool.fetchval(
            "SELECT offer_id FROM offer WHERE worker_id = $1 AND booking_id = $2 ORDER BY sent_at DESC LIMIT 1",
            worker.person_id,
            self.booking_id,
        )
        async with self.town.pool.acquire() as conn:
            return await answer_offer(
                conn, offer_id=offer_id, worker=worker, accept=accept, reason="", now_ms=self.town.clock.now_ms()
            )

    async def states(self) -> list[str | None]:
        rows = await self.town.pool.fetch(TOLD)
        told = {row["worker_id"]: row["told"] for row in rows}
        return [told.get(worker.person_id) for worker in self.workers]

    async def gone(self, worker: Principal) -> list[dict]:
        rows = await self.town.pool.fetch(
            "SELECT body::text FROM outbox WHERE kind = 'offer.gone' AND topic = $1", f"user:{worker.person_id}"
        )
        return [orjson.loads(row["body"]) for row in rows]


@pytest.fixture
async def asked(town: Town) -> Asked:
    workers = [await town.add_worker(km) for km in (0.5, 1.0, 1.5, 2.0)]
    booking_id = await town.book()
    await offer(town, workers, THREE)
    return Asked(town, booking_id, workers)


async def offer(town: Town, workers: list[Principal], asking: OfferRound) -> list:
    async with town.pool.acquire() as conn:
        (claim,) = await claim_due(conn, now_ms=town.clock.now_ms(), limit=10)
        return await save_offers(
            conn,
            claim,
            [Proposal(worker.person_id, 1.0, 60) for worker in workers],
            asking=asking,
            new_id=uuid4,
            entry=LogEntry("offered", {}, 1),
            now_ms=town.clock.now_ms(),
        )


async def test_as_many_are_asked_as_the_round_says(asked: Asked):
    assert await asked.states() == ["open", "open", "open", None]
    events = await asked.town.pool.fetch("SELECT state_to, reason FROM booking_event ORDER BY version")
    assert [tuple(row) for row in events] == [("searching", ""), ("offered", "offered to 3 workers")]


async def test_all_say_yes_at_once_and_one_wins(asked: Asked):
    results = await asyncio.gather(
        *(asked.answer(worker, accept=True) for worker in asked.workers[:3]), return_exceptions=True
    )
    won = [worker for worker, result in zip(asked.workers, results, strict=False) if isinstance(result, tuple)]
    lost = [result for result in results if isinstance(result, Exception)]
    assert len(won) == 1
    assert all(isinstance(each, Conflict) and "withdrawn" in str(each) for each in lost)
    assert sorted(filter(None, await asked.states())) == ["accepted", "withdrawn:taken", "withdrawn:taken"]
    booking = await asked.town.pool.fetchrow("SELECT state, worker_id FROM booking")
    assert tuple(booking) == ("assigned", won[0].person_id)
    for worker in asked.workers[:3]:
        (gone,) = await asked.gone(worker)
        told = (gone["state"], gone["reason"])
        assert told == (("accepted", None) if worker in won else ("withdrawn", "taken"))


async def test_a_booking_rings_on_until_the_last_has_said_no(asked: Asked, dispatcher: Dispatcher, clock: ManualClock):
    town, (first, second, third, fourth) = asked.town, asked.workers
    await asked.answer(first, accept=False)
    assert await town.state(asked.booking_id) is BookingState.OFFERED
    async with town.pool.acquire() as conn:
        await set_duty(conn, principal=second, duty=Duty.OFF, now_ms=clock.now_ms())
    assert await dispatcher.sweep() == 1
    assert await town.state(asked.booking_id) is BookingState.OFFERED
    clock.step_ms(OFFER_TTL_MS)
    assert await dispatcher.sweep() == 1
    assert await town.state(asked.booking_id) is BookingState.SEARCHING
    assert await asked.states() == ["declined", "withdrawn:not_available", "expired", None]
    await town.place(fourth, 2.0)
    await dispatcher.dispatch_due()
    assert (await town.asked(asked.booking_id)).person_id == fourth.person_id
    assert await town.pool.fetchval("SELECT max(round) FROM offer") == 2
    assert third.person_id != fourth.person_id


async def test_two_accepted_offers_of_a_booking_cannot_be_written(asked: Asked):
    with pytest.raises(asyncpg.UniqueViolationError):
        await asked.town.pool.execute("UPDATE offer SET state = 'accepted'")


async def test_cancelling_ends_every_offer(asked: Asked, dispatcher: Dispatcher):
    await asked.town.cancel(asked.booking_id)
    assert await dispatcher.sweep() == 3
    assert await asked.states() == ["withdrawn:cancelled"] * 3 + [None]


async def test_two_bookings_ask_the_same_workers_at_once(town: Town):
    """Both rounds want the same three; whoever one of them has got the other does without, and nobody waits."""
    workers = [await town.add_worker(km) for km in (0.5, 1.0, 1.5)]
    bookings = [await town.book() for _ in range(2)]
    async with town.pool.acquire() as conn:
        claims = await claim_due(conn, now_ms=town.clock.now_ms(), limit=10)

    async def ask(claim, order: int) -> list:
        async with town.pool.acquire() as conn:
            proposals = [Proposal(worker.person_id, 1.0, 60) for worker in workers[::order]]
            return await save_offers(
                conn, claim, proposals, asking=THREE, new_id=uuid4,
                entry=LogEntry("offered", {}, 1), now_ms=town.clock.now_ms(),
            )  # fmt: skip

    async with asyncio.timeout(15):
        asked = await asyncio.gather(ask(claims[0], 1), ask(claims[1], -1))
    assert sorted(asked[0] + asked[1]) == sorted(worker.person_id for worker in workers)
    for booking_id, its in zip([claim.booking_id for claim in claims], asked, strict=True):
        assert await town.state(booking_id) is (BookingState.OFFERED if its else BookingState.SEARCHING)
    assert set(bookings) == {claim.booking_id for claim in claims}


async def test_a_round_of_a_policy_asks_more_once_nobody_said_yes(town: Town):
    policy = OfferPolicy(at_once=(1, 2))
    workers = [await town.add_worker(km) for km in (0.5, 1.0, 1.5)]
    booking_id = await town.book()
    assert await offer(town, workers, next_round(policy, [])) == [workers[0].person_id]
    asked = Asked(town, booking_id, workers)
    await asked.answer(workers[0], accept=False)
    async with town.pool.acquire() as conn:
        past = (await past_offers(conn, [booking_id]))[booking_id]
    assert [each.round for each in past] == [1]
    assert len(await offer(town, workers[1:], next_round(policy, past))) == 2


@pytest.mark.parametrize(
    ("workers_km", "asked_for_each"), [((0.1, 1.5, 1.9, 2.4, 2.8), [2, 2]), ((0.1, 1.2, 2.5), [1, 2])]
)
async def test_a_window_asks_several_for_each_and_nobody_for_two(
    town: Town,
    pool: asyncpg.Pool,
    redis: Redis,
    clock: ManualClock,
    workers_km: tuple[float, ...],
    asked_for_each: list[int],
):
    """Whom the plan sends to a booking is not asked for another; who is left over is asked besides, once."""
    policy = replace(DEFAULT_POLICY, offers=OfferPolicy(at_once=(2,)))
    matcher = Dispatcher(pool=pool, redis=redis, clock=clock, fix_clock=clock, policy=lambda: policy)
    workers = [await town.add_worker(km) for km in workers_km]
    bookings = [await town.book(), await town.book(north_km=workers_km[-1])]
    assert await matcher.dispatch_due() == 2
    rows = await pool.fetch("SELECT booking_id, worker_id, round FROM offer WHERE state = 'open'")
    assert len({row["worker_id"] for row in rows}) == len(rows)
    assert {row["round"] for row in rows} == {1}
    rung = {
        booking_id: {row["worker_id"] for row in rows if row["booking_id"] == booking_id} for booking_id in bookings
    }
    assert sorted(len(each) for each in rung.values()) == asked_for_each
    for booking_id, nearest in zip(bookings, (workers[0], workers[-1]), strict=True):
        assert nearest.person_id in rung[booking_id]
        (logged,) = await town.log(booking_id)
        assert logged["worker_id"] == nearest.person_id, "the plan's own is asked first"
        plan = orjson.loads(logged["detail"])["plan"]
        assert (plan["mode"], plan["bookings"], plan["outcome"]) == ("window", 2, "sent")
    both = next(booking_id for booking_id in bookings if len(rung[booking_id]) == 2)
    other = next(booking_id for booking_id in bookings if booking_id != both)
    left_over = next(worker for worker in workers[1:-1] if worker.person_id in rung[both])
    await Asked(town, both, workers).answer(left_over, accept=True)
    told = {row["worker_id"]: row["told"] for row in await pool.fetch(TOLD)}
    assert {told[each] for each in rung[both]} == {"accepted", "withdrawn:taken"}
    assert {told[each] for each in rung[other]} == {"open"}, "the other booking rings on"
