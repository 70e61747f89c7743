"""The open seats of a crew stay together from round to round: claimed, planned and asked for as one job."""

import orjson
import pytest

from config.limits import DISPATCH_BATCH_MAX, DISPATCH_RETRY_MS, WINDOW_BUSY_MS
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Role
from engine.matcher.dispatch import Dispatcher
from engine.matcher.dispatch_store import claim_due
from tests.fakes import ManualClock
from tests.integration.matcher.test_crews import Crews
from tests.integration.matcher.test_flow import RiverInBetween, busy, matcher, rush
from tests.integration.matcher.town import Town

pytestmark = pytest.mark.integration


@pytest.fixture
async def crews(town: Town, dispatcher: Dispatcher) -> Crews:
    crews = Crews(town, dispatcher)
    await crews.want()
    return crews


async def test_seats_that_are_due_one_after_the_other_are_claimed_together(crews: Crews) -> None:
    """Whoever postpones them reads the clock once for each."""
    town = crews.town
    first, second = await crews.book()
    await crews.round()
    await town.pool.execute(
        "UPDATE booking SET next_attempt_at = next_attempt_at + interval '9 s' WHERE booking_id = $1", second
    )
    cleaner, plumber = await town.add_worker(1, skills=0b01), await town.add_worker(1.2, skills=0b10)
    town.clock.step_ms(2 * DISPATCH_RETRY_MS)
    await crews.round()
    assert [await town.asked(first), await town.asked(second)] == [cleaner, plumber]


async def test_a_full_batch_parts_no_crew(crews: Crews, clock: ManualClock) -> None:
    town = crews.town
    for _ in range(3):
        await crews.book()
    async with town.pool.acquire() as conn:
        claims = await claim_due(conn, now_ms=clock.now_ms(), limit=3)
    seats = [claim.crew_id for claim in claims]
    assert all(seats.count(each) == 2 for each in seats)
    assert 4 <= len(claims) <= 6
    assert len({claim.booking_id for claim in claims}) == len(claims) < DISPATCH_BATCH_MAX


async def test_a_seat_that_somebody_works_on_is_left_to_them(crews: Crews, clock: ManualClock) -> None:
    town = crews.town
    first, second = await crews.book()
    await town.pool.execute(
        "UPDATE booking SET lease_until = $2 WHERE booking_id = $1", second, utc_from_ms(clock.now_ms() + 1)
    )
    async with town.pool.acquire() as conn:
        assert [each.booking_id for each in await claim_due(conn, now_ms=clock.now_ms(), limit=9)] == [first]


async def test_nobody_is_asked_while_a_mate_is_still_at_another_job(crews: Crews, clock: ManualClock) -> None:
    town, dispatcher = crews.town, crews.dispatcher
    plumber = await town.add_worker(0.1, skills=0b10)
    cleaner = await town.add_worker(0.2, skills=0b01)
    await town.pool.execute("DELETE FROM service_seat")
    await busy(town, plumber, for_min=59, north_km=0.1)
    await rush(town, dispatcher)
    await crews.want()
    first, second = await crews.book()
    clock.step_ms(2 * WINDOW_BUSY_MS)
    await dispatcher.dispatch_due()
    said = [(await town.log(seat))[-1] for seat in (first, second)]
    assert [each["outcome"] for each in said] == ["crew_waits", "reserved"], "a yes would bind for nothing yet"
    assert orjson.loads(said[1]["detail"])["plan"]["waits_for"] == str(plumber.person_id)
    await town.pool.execute("UPDATE booking SET state = 'completed' WHERE worker_id = $1", plumber.person_id)
    clock.step_ms(4 * WINDOW_BUSY_MS)
    await crews.round()
    assert [await town.asked(first), await town.asked(second)] == [cleaner, plumber]


async def test_nobody_is_asked_when_the_only_worker_for_a_seat_has_just_gone(town: Town) -> None:
    async def taken() -> None:
        dispatcher.table.reserve(plumber.slot)

    river = RiverInBetween(taken)
    dispatcher = matcher(town, eta=river)
    crews = Crews(town, dispatcher)
    await crews.want()
    cleaner, plumber = await town.add_worker(1, skills=0b01), await town.add_worker(1.2, skills=0b10)
    first, second = await crews.book()
    await dispatcher.dispatch_due()
    assert [await town.open_offer(seat) for seat in (first, second)] == [None, None]
    river.meanwhile = None
    dispatcher.table.settle(plumber.slot)
    town.clock.step_ms(DISPATCH_RETRY_MS)
    await crews.round()
    assert [await town.asked(first), await town.asked(second)] == [cleaner, plumber]


async def test_who_dropped_out_of_one_seat_is_not_asked_for_a_seat_that_nobody_was_asked_for_yet(crews: Crews) -> None:
    town, desk = crews.town, await crews.town.add_person(Role.DISPATCHER)
    gone = await town.add_worker(1, skills=0b11)
    first, second = await crews.book()
    await crews.assign(second, gone, desk)
    await crews.hand_back(second, gone)
    await town.pool.execute("UPDATE booking SET pinned_worker_id = NULL WHERE booking_id = $1", second)
    await town.add_worker(2, skills=0b10)
    await crews.round()
    assert [await town.open_offer(seat) for seat in (first, second)] == [None, None]


@pytest.mark.parametrize("further_km", [3.0, 5.0, 7.0, 11.0])
async def test_seats_look_further_than_the_one_who_is_surely_cheapest(
    town: Town, dispatcher: Dispatcher, further_km: float
) -> None:
    """Also while the cells are read instead of the frame, and the search could end with the first."""
    crews = Crews(town, dispatcher)
    await crews.want(same=True)
    workers = [await town.add_worker(km) for km in (0.3, further_km)]
    seats = await crews.book()
    await crews.round()
    assert {(await town.asked(seat)).person_id for seat in seats} == {worker.person_id for worker in workers}
