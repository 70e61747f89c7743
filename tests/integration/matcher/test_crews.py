"""A job for several workers: a booking for each seat, won and lost by itself, and one whole for whoever looks at it."""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from config.limits import DISPATCH_RETRY_MS, PRESSURE_OVER_MS
from engine.booking.booking_store import transition
from engine.booking.views import booking_of, booking_view
from engine.core.errors import Conflict, NotAllowed, NotFound
from engine.core.ids import BookingId
from engine.core.units import MS_PER_MIN
from engine.core.vocabulary import BookingState, Role
from engine.matcher import desk_assignment
from engine.matcher.cancelling import cancel
from engine.matcher.cost_policy import DEFAULT_POLICY
from engine.matcher.desk_assignment import Wish
from engine.matcher.dispatch import Dispatcher
from engine.matcher.hand_back import hand_back
from engine.matcher.offer_answers import answer_offer
from engine.matcher.rematch_policy import RematchPolicy
from engine.people.tokens import Principal
from tests.fakes import ManualClock
from tests.integration.matcher.town import Town

pytestmark = pytest.mark.integration

S = BookingState


class Crews:
    """A town whose cleaning wants two: a cleaner, and a plumber who assists."""

    def __init__(self, town: Town, dispatcher: Dispatcher) -> None:
        self.town, self.dispatcher = town, dispatcher

    async def want(self, *, seats: int = 2, same: bool = False) -> None:
        await self.town.pool.executemany(
            """INSERT INTO service_seat
               SELECT s.service_id, $2, 'assistant', w.service_id FROM service s JOIN service w USING (org_id)
                WHERE s.org_id = $1 AND s.code = 'cleaning' AND w.code = $3""",
            [(self.town.org_id, seat, "cleaning" if same else "plumbing") for seat in range(2, seats + 1)],
        )

    async def book(self, customer: Principal | None = None) -> list[BookingId]:
        lead = await self.town.book(customer)
        rows = await self.town.pool.fetch("SELECT booking_id FROM booking WHERE crew_id = $1 ORDER BY seat", lead)
        return [BookingId(row["booking_id"]) for row in rows]

    async def round(self) -> None:
        self.dispatcher.feed.notified("")
        await self.dispatcher.feed.read()
        await self.dispatcher.dispatch_due()

    async def answer(self, booking_id: BookingId, *, accept: bool = True) -> Principal:
        worker, offer_id = await self.town.asked(booking_id), await self.town.offer_id(booking_id)
        async with self.town.pool.acquire() as conn:
            await answer_offer(
                conn, offer_id=offer_id, worker=worker, accept=accept, reason="", now_ms=self.town.clock.now_ms()
            )
        return worker

    async def move(self, booking_id: BookingId, to: BookingState, by: Principal | None) -> dict:
        async with self.town.pool.acquire() as conn, conn.transaction():
            return await transition(
                conn, booking_id=booking_id, to=to, actor=by, reason="", now_ms=self.town.clock.now_ms()
            )

    async def cancel(self, booking_id: BookingId, by: Principal) -> dict:
        async with self.town.pool.acquire() as conn, conn.transaction():
            return await cancel(
                conn,
                booking_id=booking_id,
                actor=by,
                reason="",
                expected_version=None,
                now_ms=self.town.clock.now_ms(),
            )

    async def hand_back(self, booking_id: BookingId, by: Principal) -> dict:
        async with self.town.pool.acquire() as conn:
            return await hand_back(
                conn,
                booking_id=booking_id,
                actor=by,
                reason="",
                expected_version=None,
                now_ms=self.town.clock.now_ms(),
            )

    async def assign(self, booking_id: BookingId, worker: Principal, desk: Principal) -> None:
        async with self.town.pool.acquire() as conn:
            await desk_assignment.assign(
                conn,
                Wish(booking_id, worker.person_id, None, is_in_area=True),
                actor=desk,
                reason="",
                expected_version=None,
                now_ms=self.town.clock.now_ms(),
            )

    async def crew(self, booking_id: BookingId, viewer: Role = Role.DISPATCHER) -> dict:
        async with self.town.pool.acquire() as conn:
            return (await booking_view(conn, booking_id, viewer=viewer))["crew"]

    async def filled(self, customer: Principal | None = None) -> tuple[list[BookingId], list[Principal]]:
        """A crew of two with both its workers."""
        workers = [await self.town.add_worker(1, skills=0b01), await self.town.add_worker(1.2, skills=0b10)]
        seats = await self.book(customer)
        await self.round()
        for seat in seats:
            await self.answer(seat)
        return seats, workers

    async def told(self, person: Principal) -> list[dict]:
        rows = await self.town.pool.fetch(
            "SELECT body::text FROM outbox WHERE topic = $1 AND kind = 'booking' ORDER BY event_id",
            f"user:{person.person_id}",
        )
        return [orjson.loads(row["body"]) for row in rows]


@pytest.fixture
async def crews(town: Town, dispatcher: Dispatcher) -> Crews:
    crews = Crews(town, dispatcher)
    await crews.want()
    return crews


async def test_each_seat_is_asked_and_won_by_itself_and_the_whole_is_assigned_with_the_last(crews: Crews) -> None:
    town = crews.town
    cleaner, plumber = await town.add_worker(1, skills=0b01), await town.add_worker(1.2, skills=0b10)
    customer = await town.add_person(Role.CUSTOMER)
    first, second = await crews.book(customer)
    whole = await crews.crew(second)
    assert (whole["crew_id"], whole["state"], whole["seat"], whole["role"]) == (str(first), "searching", 2, "assistant")
    await crews.round()
    assert await town.asked(first) == cleaner
    assert await town.asked(second) == plumber
    assert (await crews.crew(first))["state"] == "offered"
    await crews.answer(second)
    assert (await crews.crew(first))["state"] == "offered"
    assert (await town.state(second), await town.state(first)) == (S.ASSIGNED, S.OFFERED)
    with pytest.raises(Conflict, match=r"seat 1 \(lead\)"):
        await crews.move(second, S.EN_ROUTE, plumber)
    await crews.answer(first)
    whole = await crews.crew(first)
    assert whole["state"] == "assigned"
    assert [seat["worker"]["worker_id"] for seat in whole["seats"]] == [str(cleaner.person_id), str(plumber.person_id)]
    last = (await crews.told(customer))[-1]
    assert last["crew"] == whole, "the customer sees everybody who comes"
    assert last["crew"]["version"] == max(each["crew"]["version"] for each in await crews.told(customer))
    mate = (await crews.told(plumber))[-1]
    assert (mate["booking_id"], mate["crew"]["state"]) == (str(second), "assigned"), "a worker hears of their mate"
    assert mate["crew"]["seats"][0]["worker"]["worker_id"] == str(cleaner.person_id)
    async with town.pool.acquire() as conn:
        with pytest.raises(NotFound):
            await booking_of(conn, booking_id=first, principal=plumber)


async def test_nobody_is_asked_until_there_is_somebody_for_every_seat(crews: Crews) -> None:
    town = crews.town
    cleaner = await town.add_worker(1, skills=0b01)
    first, second = await crews.book()
    await crews.round()
    assert [await town.open_offer(seat) for seat in (first, second)] == [None, None], "a yes would bind for nothing"
    assert [(await town.log(seat))[-1]["outcome"] for seat in (first, second)] == ["crew_incomplete", "nobody"]
    plumber = await town.add_worker(1.2, skills=0b10)
    town.clock.step_ms(2 * DISPATCH_RETRY_MS)
    await crews.round()
    assert [await town.asked(first), await town.asked(second)] == [cleaner, plumber]


async def test_seats_that_would_share_their_only_worker_look_further(town: Town, dispatcher: Dispatcher) -> None:
    crews = Crews(town, dispatcher)
    await crews.want(seats=3, same=True)
    near_m, *_, far_m = DEFAULT_POLICY.offers.radius_m
    inside_km, beyond_km = near_m / 2_000, (near_m + far_m) / 2_000
    workers = [await town.add_worker(km) for km in (inside_km, beyond_km, beyond_km + 0.1)]
    seats = await crews.book()
    await crews.round()
    asked = {(await town.asked(seat)).person_id for seat in seats}
    assert asked == {worker.person_id for worker in workers}


async def test_a_booking_of_one_worker_has_no_crew(town: Town) -> None:
    booking_id = await town.book(service_code="plumbing")
    async with town.pool.acquire() as conn:
        view = await booking_view(conn, booking_id, viewer=Role.DISPATCHER)
    assert "crew" not in view
    assert await town.pool.fetchval("SELECT count(*) FROM crew") == 0


async def test_nobody_begins_before_the_whole_crew_is_at_the_door(crews: Crews) -> None:
    (first, second), (cleaner, plumber) = await crews.filled()
    await crews.move(first, S.EN_ROUTE, cleaner)
    await crews.move(first, S.ARRIVED, cleaner)
    with pytest.raises(Conflict, match=r"seat 2 \(assistant\)"):
        await crews.move(first, S.IN_PROGRESS, cleaner)
    await crews.move(second, S.EN_ROUTE, plumber)
    await crews.move(second, S.ARRIVED, plumber)
    both = await asyncio.gather(crews.move(first, S.IN_PROGRESS, cleaner), crews.move(second, S.IN_PROGRESS, plumber))
    assert {each["state"] for each in both} == {"in_progress"}, "who begins together is not in each other's way"
    await crews.move(first, S.COMPLETED, cleaner)
    assert (await crews.crew(first))["state"] == "in_progress", "the whole is as far as its last seat"
    await crews.move(second, S.COMPLETED, plumber)
    assert (await crews.crew(first))["state"] == "completed"


async def test_who_drops_out_opens_their_own_seat_alone_and_gets_no_other(crews: Crews) -> None:
    town = crews.town
    (first, second), (cleaner, plumber) = await crews.filled()
    await crews.move(first, S.EN_ROUTE, cleaner)
    await crews.hand_back(second, plumber)
    assert [await town.state(first), await town.state(second)] == [S.EN_ROUTE, S.SEARCHING]
    assert (await crews.crew(first))["state"] == "searching"
    assert (await crews.told(cleaner))[-1]["crew"]["seats"][1]["worker"] is None
    gone = (await crews.told(plumber))[-1]
    assert gone["state"] == "searching"
    assert [seat["worker"] for seat in gone["crew"]["seats"]] == [None, None], "who has left learns nothing more"
    other = await town.add_worker(3, skills=0b10)
    await crews.round()
    assert await crews.answer(second) == other
    assert (await crews.crew(second))["state"] == "assigned"
    # The first seat opens, too, and both who know the job could do it.
    await town.pool.execute("UPDATE worker SET skills = 3")
    await crews.hand_back(first, cleaner)
    await crews.round()
    assert await town.open_offer(first) is None, "who dropped out of the job, or has a seat, is not asked for another"


async def test_nobody_fills_two_seats_not_even_one_after_the_other(crews: Crews) -> None:
    town, desk = crews.town, await crews.town.add_person(Role.DISPATCHER)
    (first, second), (cleaner, plumber) = await crews.filled()
    await town.pool.execute("UPDATE worker SET skills = 3")
    for seat, worker in ((first, cleaner), (second, plumber)):
        await crews.move(seat, S.EN_ROUTE, worker)
        await crews.move(seat, S.ARRIVED, worker)
    await crews.move(first, S.IN_PROGRESS, cleaner)
    await crews.hand_back(second, plumber)
    with pytest.raises(Conflict, match="busy, crew"):
        await crews.assign(second, cleaner, desk)
    await crews.move(first, S.COMPLETED, cleaner)
    with pytest.raises(Conflict, match="Ruled out by crew"):
        await crews.assign(second, cleaner, desk)
    with pytest.raises(asyncpg.UniqueViolationError, match="booking_one_seat_per_worker"):
        await town.pool.execute(
            "UPDATE booking SET state = 'assigned', worker_id = $2 WHERE booking_id = $1", second, cleaner.person_id
        )
    await crews.assign(second, await town.add_worker(2, skills=0b10), desk)


async def test_the_desk_gives_seats_one_by_one_and_pins_one(crews: Crews) -> None:
    town, desk = crews.town, await crews.town.add_person(Role.DISPATCHER)
    near, far = await town.add_worker(1, skills=0b11), await town.add_worker(5, skills=0b11)
    first, second = await crews.book()
    async with town.pool.acquire() as conn:
        wish = Wish(second, far.person_id, None, is_in_area=True)
        await desk_assignment.pin(conn, wish, actor=desk, now_ms=town.clock.now_ms())
    await crews.round()
    assert await town.asked(second) == far
    assert await town.asked(first) == near
    await crews.assign(first, far, desk)
    assert await town.open_offer(second) is None, "their offer of the other seat is taken back"
    assert (await crews.crew(first))["seats"][0]["worker"]["worker_id"] == str(far.person_id)
    with pytest.raises(Conflict, match="crew"):
        await crews.assign(second, far, desk)


async def test_the_first_seat_cancels_the_whole_and_another_one_is_the_desks(crews: Crews) -> None:
    town, desk = crews.town, await crews.town.add_person(Role.DISPATCHER)
    customer = await town.add_person(Role.CUSTOMER)
    (first, second), (cleaner, plumber) = await crews.filled(customer)
    with pytest.raises(NotAllowed, match="as a whole"):
        await crews.cancel(second, customer)
    view = await crews.cancel(first, customer)
    assert [seat["state"] for seat in view["crew"]["seats"]] == ["cancelled", "cancelled"]
    assert view["crew"]["state"] == "cancelled"
    assert await town.pool.fetchval("SELECT count(*) FROM worker WHERE idle_since IS NULL") == 0, "both are free"
    assert {each["state"] for each in [(await crews.told(who))[-1] for who in (cleaner, plumber)]} == {"cancelled"}
    first, second = await crews.book(customer)
    await crews.round()
    await crews.cancel(second, desk)
    await crews.answer(first)
    assert (await crews.crew(first))["state"] == "assigned", "the crew goes on without the seat"
    await crews.move(first, S.EN_ROUTE, cleaner)


async def test_moves_of_one_crew_at_the_same_time_end_in_one_whole(crews: Crews) -> None:
    town = crews.town
    customer, desk = await town.add_person(Role.CUSTOMER), await town.add_person(Role.DISPATCHER)
    for _ in range(6):
        (first, second), (cleaner, plumber) = await crews.filled(customer)
        done = await asyncio.gather(
            crews.hand_back(first, cleaner),
            crews.cancel(first, customer),
            crews.hand_back(second, plumber),
            crews.move(second, S.EN_ROUTE, plumber),
            crews.cancel(second, desk),
            return_exceptions=True,
        )
        # Who has handed back is no party any more.
        assert all(isinstance(each, dict | Conflict | NotFound) for each in done), done
        whole = await crews.crew(first)
        told = max(
            (each["crew"] for each in await crews.told(customer) if each["crew"]["crew_id"] == str(first)),
            key=lambda each: each["version"],
        )
        said = [[each[name] for name in ("version", "state", "seats")] for each in (told, whole)]
        assert said[0] == said[1], "the newest that the customer was told is how it is"
        if whole["state"] != "cancelled":
            await crews.cancel(first, customer)
        await town.pool.execute("UPDATE worker SET duty = 'off'")
        # A town that is asked for much collects bookings instead of giving them out at once.
        town.clock.step_ms(PRESSURE_OVER_MS)


# ---------------------------------------------------------------- resources


async def need(town: Town, capacity: int, units: int = 1) -> UUID:
    resource_id = uuid4()
    await town.pool.execute(
        "INSERT INTO resource VALUES ($1, $2, $3, 'bay', 'Bay North', $4)",
        resource_id,
        town.org_id,
        f"bay-{capacity}-{units}",
        capacity,
    )
    await town.pool.execute(
        "INSERT INTO service_resource SELECT service_id, $2, $3 FROM service WHERE org_id = $1 AND code = 'cleaning'",
        town.org_id,
        resource_id,
        units,
    )
    return resource_id


async def in_use(town: Town) -> int:
    return await town.pool.fetchval("SELECT coalesce(sum(units), 0) FROM resource_use WHERE ended_at IS NULL")


async def test_a_resource_is_reserved_with_the_search_and_refused_by_its_name(town: Town) -> None:
    await need(town, 2)
    crews = Crews(town, Dispatcher(pool=town.pool, redis=town.redis, clock=town.clock, fix_clock=town.clock))
    customer = await town.add_person(Role.CUSTOMER)
    booked = await asyncio.gather(*(town.book(customer) for _ in range(5)), return_exceptions=True)
    won = [each for each in booked if isinstance(each, UUID)]
    refused = [each for each in booked if isinstance(each, Conflict)]
    assert (len(won), len(refused)) == (2, 3)
    assert {str(each) for each in refused} == {"Not free now: Bay North (needs 1, 0 of 2 free)."}
    assert await town.pool.fetchval("SELECT count(*) FROM booking") == 2, "a refused one leaves nothing"
    await crews.cancel(BookingId(won[0]), customer)
    assert await in_use(town) == 1
    await town.book(customer)
    await town.book(customer, service_code="plumbing")
    assert await in_use(town) == 2


async def test_a_crew_keeps_its_bay_until_its_last_seat_has_ended(crews: Crews) -> None:
    await need(crews.town, 1)
    (first, second), (cleaner, plumber) = await crews.filled()
    assert await in_use(crews.town) == 1, "two seats are one job"
    for seat, worker in ((first, cleaner), (second, plumber)):
        await crews.move(seat, S.EN_ROUTE, worker)
        await crews.move(seat, S.ARRIVED, worker)
    for seat, worker in ((first, cleaner), (second, plumber)):
        await crews.move(seat, S.IN_PROGRESS, worker)
    with pytest.raises(Conflict, match="Bay North"):
        await crews.book()
    await crews.move(first, S.COMPLETED, cleaner)
    assert await in_use(crews.town) == 1
    await crews.move(second, S.COMPLETED, plumber)
    assert await in_use(crews.town) == 0


async def test_an_unserved_seat_is_searched_for_again_with_its_bay_unless_the_crew_was_cancelled(crews: Crews) -> None:
    town = crews.town
    await need(town, 1)
    customer, desk = await town.add_person(Role.CUSTOMER), await town.add_person(Role.DISPATCHER)
    first, second = await crews.book(customer)

    async def search_again(booking_id: BookingId) -> None:
        async with town.pool.acquire() as conn:
            await desk_assignment.search_again(
                conn, booking_id, actor=desk, reason="", expected_version=None, now_ms=town.clock.now_ms()
            )

    await crews.move(second, S.UNSERVED, None)
    assert ((await crews.crew(first))["state"], await in_use(town)) == ("unserved", 1)
    await crews.move(first, S.UNSERVED, None)
    assert await in_use(town) == 0
    await search_again(second)
    assert await in_use(town) == 1
    await search_again(first)
    assert ((await crews.crew(first))["state"], await in_use(town)) == ("searching", 1)
    await crews.move(second, S.UNSERVED, None)
    await crews.cancel(first, customer)
    assert await in_use(town) == 0
    with pytest.raises(Conflict, match="The crew was cancelled"):
        await search_again(second)


async def test_a_seat_changes_hands_on_the_way_and_the_rest_of_the_crew_stays(
    crews: Crews, pool: asyncpg.Pool, redis: Redis, clock: ManualClock
) -> None:
    """The mate who sits and waits at the door is not asked for the other seat, though they could do that, too."""
    town = crews.town
    (first, second), (cleaner, plumber) = await crews.filled()
    await town.pool.execute("UPDATE worker SET skills = 3")
    for seat, worker in ((first, cleaner), (second, plumber)):
        await crews.move(seat, S.EN_ROUTE, worker)
    await crews.move(second, S.ARRIVED, plumber)
    near = await town.add_worker(0.3, skills=0b01)
    rules = replace(DEFAULT_POLICY, rematch=RematchPolicy(times_max=1, late_min=2, stuck_min=4, gain_min=3, near_min=3))
    matcher = Dispatcher(pool=pool, redis=redis, clock=clock, fix_clock=clock, policy=lambda: rules)
    clock.step_ms(12 * MS_PER_MIN)
    for worker, north_km in ((cleaner, 11.9), (plumber, 0), (near, 0.3)):
        await town.place(worker, north_km)
    matcher.feed.notified("")
    await matcher.feed.read()
    await matcher.rematcher.look_around()
    assert await town.asked(first) == near
    assert await town.pool.fetchval("SELECT count(*) FROM offer WHERE booking_id = $1", second) == 1
    await crews.answer(first)
    whole = await crews.crew(first)
    assert [seat["worker"]["worker_id"] for seat in whole["seats"]] == [str(near.person_id), str(plumber.person_id)]
    assert [await town.state(first), await town.state(second)] == [S.ASSIGNED, S.ARRIVED]
    gone, mate = (await crews.told(cleaner))[-1], (await crews.told(plumber))[-1]
    assert (gone["state"], [seat["worker"] for seat in gone["crew"]["seats"]]) == ("searching", [None, None])
    assert mate["crew"]["seats"][0]["worker"]["worker_id"] == str(near.person_id)
    await crews.move(first, S.EN_ROUTE, near)
    await crews.move(first, S.ARRIVED, near)
    assert (await crews.move(first, S.IN_PROGRESS, near))["state"] == "in_progress"
