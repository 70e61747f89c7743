"""Answers that meet: on two connections, too late, twice, from the wrong worker."""

import asyncio
from uuid import uuid4

import pytest

from config.limits import OFFER_TTL_MS
from engine.core.errors import Conflict, NotFound
from engine.core.ids import OfferId
from engine.core.vocabulary import BookingState, Duty, Withdrawal
from engine.matcher.dispatch import Dispatcher
from engine.matcher.offer_answers import answer_offer
from engine.matcher.offer_store import NewOffer, create_offer, withdraw_offers
from engine.people.duty import set_duty
from engine.people.tokens import Principal
from tests.fakes import ManualClock
from tests.integration.matcher.town import Town

pytestmark = pytest.mark.integration


async def answer(town: Town, worker: Principal, offer_id: OfferId, *, accept: bool):
    async with town.pool.acquire() as conn:
        return await answer_offer(
            conn, offer_id=offer_id, worker=worker, accept=accept, reason="", now_ms=town.clock.now_ms()
        )


@pytest.fixture
async def offered(town: Town, dispatcher: Dispatcher):
    """A worker, the booking they are asked for, the offer."""
    worker = await town.add_worker(0.5)
    booking_id = await town.book()
    await dispatcher.dispatch_due()
    return worker, booking_id, await town.offer_id(booking_id)


async def test_yes_and_no_at_once_one_wins(town: Town, offered):
    worker, booking_id, offer_id = offered
    results = await asyncio.gather(
        *(answer(town, worker, offer_id, accept=accept) for accept in (True, False, True, False)),
        return_exceptions=True,
    )
    state = await town.state(booking_id)
    assert state in (BookingState.ASSIGNED, BookingState.SEARCHING)
    won = [each for each in results if not isinstance(each, BaseException)]
    lost = [each for each in results if isinstance(each, BaseException)]
    assert {offer["state"] for offer, _ in won} == {"accepted" if state is BookingState.ASSIGNED else "declined"}
    assert len(won) == len(lost) == 2
    assert all(isinstance(each, Conflict) for each in lost)


async def test_yes_while_the_booking_is_cancelled(town: Town, offered):
    worker, booking_id, offer_id = offered
    said_yes, cancelled = await asyncio.gather(
        answer(town, worker, offer_id, accept=True), town.cancel(booking_id), return_exceptions=True
    )
    # A cancellation after the yes is legal too, so both may come through; what does not is told so.
    assert all(isinstance(each, Conflict) for each in (said_yes, cancelled) if isinstance(each, BaseException))
    is_cancelled = not isinstance(cancelled, BaseException)
    is_assigned = not isinstance(said_yes, BaseException)
    assert is_cancelled or is_assigned
    assert await town.state(booking_id) is (BookingState.CANCELLED if is_cancelled else BookingState.ASSIGNED)
    kept = await town.pool.fetchval("SELECT state FROM offer WHERE offer_id = $1", offer_id)
    assert kept == ("accepted" if is_assigned else "open"), "an open one is the sweep's"


async def test_an_offer_is_withdrawn_with_what_ends_its_booking(town: Town, offered, clock: ManualClock):
    worker, booking_id, offer_id = offered
    for there in (1, 0):
        async with town.pool.acquire() as conn, conn.transaction():
            withdrawn = await withdraw_offers(
                conn, booking_id=booking_id, reason=Withdrawal.CANCELLED, now_ms=clock.now_ms()
            )
            assert withdrawn == there
    with pytest.raises(Conflict, match="withdrawn"):
        await answer(town, worker, offer_id, accept=True)


async def test_too_late_is_too_late_swept_or_not(town: Town, offered, dispatcher: Dispatcher, clock: ManualClock):
    worker, booking_id, offer_id = offered
    clock.step_ms(OFFER_TTL_MS)
    for _ in range(2):
        with pytest.raises(Conflict, match="expired"):
            await answer(town, worker, offer_id, accept=True)
        await dispatcher.sweep()
    assert await town.state(booking_id) is BookingState.SEARCHING


@pytest.mark.parametrize("accept", [True, False])
async def test_the_same_answer_again_gets_the_same_answer(town: Town, offered, accept: bool):
    worker, _, offer_id = offered
    first = await answer(town, worker, offer_id, accept=accept)
    assert await answer(town, worker, offer_id, accept=accept) == first
    assert (await town.events(f"user:{worker.person_id}")).count("offer.gone") == 1


async def test_an_offer_is_the_asked_workers_alone(town: Town, offered):
    _, booking_id, offer_id = offered
    other = await town.add_worker(0.6)
    with pytest.raises(NotFound):
        await answer(town, other, offer_id, accept=True)
    with pytest.raises(NotFound):
        await answer(town, other, OfferId(uuid4()), accept=True)
    assert await town.state(booking_id) is BookingState.OFFERED


async def test_off_duty_wins_no_job(town: Town, offered):
    worker, booking_id, offer_id = offered
    async with town.pool.acquire() as conn:
        await set_duty(conn, principal=worker, duty=Duty.OFF, now_ms=town.clock.now_ms())
    with pytest.raises(Conflict):
        await answer(town, worker, offer_id, accept=True)
    assert await town.state(booking_id) is BookingState.OFFERED


async def test_one_worker_gets_one_offer_from_two_transactions(town: Town, clock: ManualClock):
    worker = await town.add_worker(0.5)
    bookings = [await town.book() for _ in range(2)]
    made = asyncio.Event()

    async def offer(booking_id, *, waits: bool) -> bool:
        async with town.pool.acquire() as conn, conn.transaction():
            if waits:
                await made.wait()
            new = NewOffer(OfferId(uuid4()), town.org_id, booking_id, worker.person_id, 1.0, 60, clock.now_ms() + 1)
            saved = await create_offer(conn, new, now_ms=clock.now_ms())
            made.set()
        return saved is not None

    # The second tries while the first holds its offer uncommitted, or right after it.
    results = await asyncio.gather(offer(bookings[0], waits=False), offer(bookings[1], waits=True))
    assert results == [True, False]
    assert await town.pool.fetchval("SELECT count(*) FROM offer") == 1
