"""The matcher and the relay as they run: from a booking to what rings on the channel, through restarts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Self
from uuid import uuid4

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from engine.core.clock import SystemClock
from engine.core.vocabulary import BookingState, Duty, Role
from engine.geo import mirror
from engine.geo.cell_index import STATUS_KEY, CellIndex
from engine.geo.cell_sets import CELL_KEYS
from engine.geo.followed_mirror import FollowedMirror
from engine.matcher import decision as deciding
from engine.matcher.cost_policy import DEFAULT_POLICY, DEFAULT_WEIGHTS
from engine.matcher.dispatch import Dispatcher
from engine.matcher.offer_answers import answer_offer
from engine.matcher.offer_store import current_offer, worker_state
from engine.outbox.relay import Relay
from engine.people.duty import set_duty
from engine.people.tokens import Principal
from tests.integration.matcher.town import LAT_DEG, LNG_DEG, Town

pytestmark = pytest.mark.integration

WAIT_S = 15


@asynccontextmanager
async def running(*components: Dispatcher | Relay) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        work = [tasks.create_task(component.run()) for component in components]
        yield
        for task in work:
            task.cancel()


class Ear:
    """Hears what is told on one channel."""

    def __init__(self, redis: Redis, channel: str) -> None:
        self._pubsub = redis.pubsub()
        self._channel = channel

    async def __aenter__(self) -> Self:
        await self._pubsub.subscribe(self._channel)
        # The subscription is in place once its confirmation was read.
        assert await self._pubsub.get_message(timeout=WAIT_S)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._pubsub.aclose()

    async def hear(self, kind: str) -> dict:
        async with asyncio.timeout(WAIT_S):
            while True:
                message = await self._pubsub.get_message(timeout=WAIT_S)
                if message is not None:
                    event = orjson.loads(message["data"])
                    if event["kind"] == kind:
                        return event["body"]


async def until(is_so, what: str) -> None:
    """Wait for a state of a store that sends no event."""
    for _ in range(WAIT_S * 50):
        if await is_so():
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"waited {WAIT_S} s in vain: {what}")


@pytest.fixture(autouse=True)
def _compiled() -> None:
    deciding.warm_up()


@pytest.fixture
async def town(pool: asyncpg.Pool, redis: Redis) -> Town:
    return await Town(pool, redis, SystemClock()).found()


@pytest.fixture
def matcher(pool: asyncpg.Pool, redis: Redis) -> Dispatcher:
    return Dispatcher(pool=pool, redis=redis, clock=SystemClock(), fix_clock=SystemClock())


@pytest.fixture
def relay(pool: asyncpg.Pool, redis: Redis) -> Relay:
    return Relay(pool=pool, redis=redis, clock=SystemClock())


async def give_answer(town: Town, worker: Principal, offer: dict, *, accept: bool) -> None:
    async with town.pool.acquire() as conn:
        await answer_offer(
            conn,
            offer_id=offer["offer_id"],
            worker=worker,
            accept=accept,
            reason="",
            now_ms=town.clock.now_ms(),
        )


async def test_from_booking_to_assignment_over_the_channels(
    town: Town, redis: Redis, matcher: Dispatcher, relay: Relay
):
    first, second = await town.add_worker(0.5), await town.add_worker(1.0)
    customer = await town.add_person(Role.CUSTOMER)
    async with (
        running(matcher, relay),
        Ear(redis, f"fan:user:{first.person_id}") as first_phone,
        Ear(redis, f"fan:user:{second.person_id}") as second_phone,
        Ear(redis, f"fan:user:{customer.person_id}") as customer_phone,
        Ear(redis, f"fan:desk:{town.org_id}") as desk,
    ):
        booking_id = await town.book(customer)
        offer = await first_phone.hear("offer")
        assert offer["booking_id"] == str(booking_id)
        assert offer["service_code"] == "cleaning"
        assert (await desk.hear("booking"))["state"] == "searching"
        assert (await desk.hear("booking"))["state"] == "offered"

        await give_answer(town, first, offer, accept=False)
        assert await first_phone.hear("offer.gone") == {
            "offer_id": offer["offer_id"],
            "state": "declined",
            "reason": None,
        }
        offer = await second_phone.hear("offer")
        await give_answer(town, second, offer, accept=True)

        booking = await second_phone.hear("booking")
        assert (booking["state"], booking["worker"]["slot"]) == ("assigned", second.slot)
        states = [(await customer_phone.hear("booking"))["state"] for _ in range(5)]
        assert states == ["searching", "offered", "searching", "offered", "assigned"]


async def test_status_bytes_follow_the_workers(town: Town, redis: Redis, matcher: Dispatcher):
    worker, idle, away = (
        await town.add_worker(0.5),
        await town.add_worker(3.0),
        await town.add_worker(0.5, duty="off"),
    )

    async def status_is(*expected: int) -> bool:
        return await redis.get(STATUS_KEY) == bytes(expected)

    async with running(matcher):
        await until(lambda: status_is(1, 1, 0), "free, free, off duty")
        booking_id = await town.book()
        await until(lambda: status_is(2, 1, 0), "offered")
        async with town.pool.acquire() as conn:
            offer = await current_offer(conn, worker.person_id)
        assert offer is not None
        await give_answer(town, worker, offer, accept=True)
        await until(lambda: status_is(3, 1, 0), "busy")
        assert await town.state(booking_id) is BookingState.ASSIGNED

        await redis.flushall()
        await until(lambda: status_is(3, 1, 0), "written again")

        async with town.pool.acquire() as conn:
            await set_duty(conn, principal=idle, duty=Duty.OFF, now_ms=town.clock.now_ms())
            await set_duty(conn, principal=away, duty=Duty.ON, now_ms=town.clock.now_ms())
        await until(lambda: status_is(3, 0, 1), "duty changed")


async def test_a_matcher_with_a_mirror_finds_workers_without_the_cells(town: Town, pool: asyncpg.Pool, redis: Redis):
    """The sets of the cells are gone, so only the mirror can know who is near."""
    mirror.warm_up()
    places = FollowedMirror(redis, CellIndex(redis), clock=SystemClock())
    matcher = Dispatcher(pool=pool, redis=redis, clock=SystemClock(), fix_clock=SystemClock(), places=places)
    near, coming, _unskilled = (
        await town.add_worker(0.5),
        await town.add_worker(3.0),
        await town.add_worker(0.1, skills=0b10),
    )
    async with running(matcher):
        async with asyncio.timeout(WAIT_S):
            await places.until_whole()
        await redis.delete(*await redis.keys(CELL_KEYS))
        await town.place(coming, 0.2)
        await redis.delete(*await redis.keys(CELL_KEYS))

        async def has_come() -> bool:
            return places.mirror.nearest(LAT_DEG, LNG_DEG, k=3, radius_m=300).found == 2

        await until(has_come, "the feed has told of the move")
        for expected in (coming, near):
            booking_id = await town.book()

            async def is_offered(booking_id=booking_id) -> bool:
                return await town.open_offer(booking_id) is not None

            await until(is_offered, "offered")
            assert (await town.asked(booking_id)).person_id == expected.person_id


async def test_frames_under_weights_that_no_policy_has_any_more_are_forgotten(
    town: Town, pool: asyncpg.Pool, redis: Redis
):
    policy = DEFAULT_POLICY
    mirror.warm_up()
    clock, places = SystemClock(), FollowedMirror(redis, CellIndex(redis), clock=SystemClock())
    matcher = Dispatcher(pool=pool, redis=redis, clock=clock, fix_clock=clock, places=places, policy=lambda: policy)
    for north_km in (0.1, 0.2, 0.3):
        await town.add_worker(north_km)
    async with running(matcher):
        async with asyncio.timeout(WAIT_S):
            await places.until_whole()
        for version in (1, 2, 3):
            own = replace(DEFAULT_WEIGHTS, fairness_min=version)
            service = {uuid4(): replace(own, parts_min=1.0)}
            policy = replace(DEFAULT_POLICY, version=version, weights=own, services=service)
            booking_id = await town.book()

            async def is_offered(booking_id=booking_id) -> bool:
                return await town.open_offer(booking_id) is not None

            await until(is_offered, "offered")
        assert matcher.frames is not None
        assert matcher.frames.count == 1


async def test_a_worker_who_leaves_takes_the_offer_back(town: Town, matcher: Dispatcher):
    worker = await town.add_worker(0.5)
    booking_id = await town.book()
    async with running(matcher):

        async def is_offered() -> bool:
            return await town.open_offer(booking_id) is not None

        await until(is_offered, "offered")
        async with town.pool.acquire() as conn:
            await set_duty(conn, principal=worker, duty=Duty.OFF, now_ms=town.clock.now_ms())

        async def is_searching() -> bool:
            return await town.state(booking_id) is BookingState.SEARCHING

        await until(is_searching, "searching again")


async def test_works_on_after_postgres_cut_every_connection(
    town: Town, matcher: Dispatcher, relay: Relay, redis: Redis
):
    worker = await town.add_worker(0.5)
    async with running(matcher, relay), Ear(redis, f"fan:user:{worker.person_id}") as phone:

        async def is_loaded() -> bool:
            return matcher.feed.is_loaded

        await until(is_loaded, "running")
        await town.pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        booking_id = await town.book()
        assert (await phone.hear("offer"))["booking_id"] == str(booking_id)


async def test_worker_state(town: Town, matcher: Dispatcher):
    worker = await town.add_worker(0.5)

    async def state() -> dict:
        async with town.pool.acquire() as conn:
            return await worker_state(conn, worker.person_id)

    assert await state() == {"duty": "on", "offer": None, "booking": None}
    booking_id = await town.book()
    await matcher.dispatch_due()
    asked = await state()
    assert (asked["offer"]["booking_id"], asked["booking"]) == (str(booking_id), None)
    await give_answer(town, worker, asked["offer"], accept=True)
    busy = await state()
    assert (busy["offer"], busy["booking"]["booking_id"]) == (None, str(booking_id))
