"""Matchers that share the regions, round by round on a real Postgres and a clock that stands still."""

import asyncio
from uuid import uuid4

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from clenzy.doctor import MatcherShare, Verdict, judge_matchers
from config.limits import MATCHER_BEAT_MS, MATCHER_KEPT_MS, MATCHER_LEASE_MS, REGION_IDLE_MS
from engine.core.clock import SystemClock
from engine.core.ids import BookingId, MatcherId
from engine.core.vocabulary import BookingState
from engine.geo.cell_index import CellIndex
from engine.geo.cell_sets import CELL_KEYS
from engine.geo.cells import cell_of, parent_of
from engine.geo.followed_mirror import FollowedMirror
from engine.matcher import decision as deciding
from engine.matcher.dispatch import Dispatcher
from engine.matcher.dispatch_store import LogEntry, Proposal, claim_due, save_offers
from engine.matcher.offers import OfferRound
from engine.matcher.region_leases import RegionLeases
from engine.matcher.region_plan import ELSEWHERE
from engine.matcher.region_store import RegionStore
from tests.fakes import ManualClock
from tests.integration.matcher.town import KM_IN_DEG, LAT_DEG, LNG_DEG, Town

pytestmark = pytest.mark.integration

RESOLUTION = 6
TOWNS_KM = (0, 40, 80, 120, 160)
"""Places north of the centre, each in a region of its own and out of the others' reach."""


class Matcher:
    """A matcher that does what it is told."""

    def __init__(self, town: Town, *, seat: str = "", places: FollowedMirror | None = None) -> None:
        self.id = MatcherId(uuid4())
        self._town = town
        store = RegionStore(self.id, seat or str(self.id), resolution=RESOLUTION)
        self.leases = RegionLeases(pool=town.pool, clock=town.clock, store=store)
        self.dispatcher = Dispatcher(
            pool=town.pool,
            redis=town.redis,
            clock=town.clock,
            fix_clock=town.clock,
            regions=self.leases,
            places=places,
        )

    async def dispatch(self) -> int:
        self.dispatcher.feed.notified("")
        await self.dispatcher.feed.read()
        return await self.dispatcher.dispatch_due()

    async def holds(self) -> set[int]:
        rows = await self._town.pool.fetch("SELECT cell FROM match_region WHERE holder = $1", self.id)
        return {row["cell"] for row in rows}

    async def claim(self):
        async with self._town.pool.acquire() as conn:
            return await claim_due(conn, now_ms=self._town.clock.now_ms(), limit=10, regions=self.leases.store)


def region_at(north_km: float) -> int:
    return parent_of(cell_of(LAT_DEG + north_km * KM_IN_DEG, LNG_DEG), RESOLUTION)


async def holders(town: Town) -> dict[int, MatcherId | None]:
    return {row["cell"]: row["holder"] for row in await town.pool.fetch("SELECT cell, holder FROM match_region")}


async def settle(*matchers: Matcher) -> None:
    """Two looks each: what one hands over, the next finds."""
    for _ in range(2):
        for matcher in matchers:
            await matcher.leases.settle()


async def test_a_lone_matcher_dispatches_everywhere_at_once(town: Town):
    matcher = Matcher(town)
    assert await matcher.dispatch() == 0, "it holds nothing yet"
    await matcher.leases.settle()
    assert await matcher.holds() == {ELSEWHERE}
    await town.add_worker(0.5)
    booking_id = await town.book()
    assert await matcher.dispatch() == 1, "without a region of its own first"
    assert await town.state(booking_id) is BookingState.OFFERED


async def test_a_booking_from_before_there_were_regions_is_dispatched(town: Town):
    matcher, _other = Matcher(town), Matcher(town)
    await settle(matcher, _other)
    await town.add_worker(0.5)
    await town.book()
    await town.pool.execute("UPDATE booking SET cell = NULL")
    await settle(matcher, _other)
    assert set(await holders(town)) == {ELSEWHERE}
    assert await matcher.dispatch() + await _other.dispatch() == 1


async def test_shares_are_even_and_each_claims_its_own(town: Town):
    matchers = [Matcher(town) for _ in range(3)]
    bookings: dict[int, BookingId] = {region_at(km): await town.book(north_km=km) for km in TOWNS_KM}
    assert len(bookings) == len(TOWNS_KM)
    await settle(*matchers)
    shares = [await matcher.holds() for matcher in matchers]
    assert sorted(map(len, shares)) == [2, 2, 2]
    assert set.union(*shares) == {ELSEWHERE, *bookings}
    for matcher, share in zip(matchers, shares, strict=True):
        assert str(matcher.leases.share) == "2 of 6 regions, 3 matchers"
        claims = await matcher.claim()
        assert {claim.booking_id for claim in claims} == {bookings[cell] for cell in share - {ELSEWHERE}}
        assert await matcher.claim() == []


@pytest.mark.parametrize("claims_first", [True, False])
async def test_a_matcher_that_wakes_late_saves_nothing(town: Town, clock: ManualClock, *, claims_first: bool):
    """Also where nobody has claimed the booking anew: the region's fence alone forbids it."""
    paused, other = Matcher(town), Matcher(town)
    worker = await town.add_worker(0.5)
    booking_id = await town.book()
    await paused.leases.settle()
    clock.step_ms(MATCHER_LEASE_MS - 1)
    (late,) = await paused.claim()
    await other.leases.settle()
    assert await other.holds() == set(), "the lease lasts"
    assert await other.claim() == []

    clock.step_ms(1)
    await other.leases.settle()
    assert await other.holds() == {ELSEWHERE, region_at(0)}
    if claims_first:
        assert await other.dispatch() == 1, "the claim fell with the region, not with its own lease"
        assert (await town.asked(booking_id)).person_id == worker.person_id
    async with town.pool.acquire() as conn:
        saved = await save_offers(
            conn,
            late,
            [Proposal(worker.person_id, 1.0, 60)],
            asking=OfferRound(number=1, at_once=1, radii_m=(12_000,), answer_ms=20_000),
            new_id=uuid4,
            entry=LogEntry("offered", {}, 1),
            now_ms=clock.now_ms(),
        )
    assert saved == []
    assert await town.pool.fetchval("SELECT count(*) FROM offer") == int(claims_first)
    assert await paused.claim() == []

    await settle(paused, other)
    assert len(await paused.holds()) == len(await other.holds()) == 1, "it is given a share again"


async def test_who_stops_in_good_order_hands_over_at_once(town: Town):
    leaving, first, second = (Matcher(town) for _ in range(3))
    for km in TOWNS_KM:
        await town.book(north_km=km)
    await leaving.leases.settle()
    assert len(await leaving.claim()) == len(TOWNS_KM)
    await leaving.leases.settle()
    for other in (first, second):
        async with town.pool.acquire() as conn:
            await other.leases.store.beat(conn, now_ms=town.clock.now_ms())
    await leaving.leases.leave()
    assert [len(await other.holds()) for other in (first, second)] == [3, 3]
    assert len(await first.claim()) + len(await second.claim()) == len(TOWNS_KM), "with what was claimed"

    await first.leases.leave()
    await second.leases.leave()
    assert set((await holders(town)).values()) == {None}
    assert await town.pool.fetchval("SELECT count(*) FROM matcher") == 0
    await leaving.leases.settle()
    assert len(await leaving.holds()) == 6


async def test_who_starts_in_the_same_place_does_not_wait_for_its_own_lease(town: Town):
    killed, started = Matcher(town, seat="here:8093"), Matcher(town, seat="here:8093")
    await town.book()
    await killed.leases.settle()
    assert len(await killed.claim()) == 1
    await started.leases.settle()
    assert len(await started.holds()) == 2
    assert len(await started.claim()) == 1


async def test_who_has_nothing_new_to_say_wakes_nobody(town: Town, pool: asyncpg.Pool):
    """Else all would wake each other for ever."""
    matchers = [Matcher(town), Matcher(town)]
    told: list[object] = []

    def take(*notification: object) -> None:
        told.append(notification)

    async def hear() -> int:
        await conn.execute("SELECT")
        count = len(told)
        told.clear()
        return count

    async with pool.acquire() as conn:
        await conn.add_listener("clenzy_region", take)
        await matchers[0].leases.settle()
        assert await hear() > 0, "somebody joined"
        await town.book()
        await settle(*matchers)
        assert await hear() > 0, "regions changed hands"
        await settle(*matchers)
        assert await hear() == 0
        await matchers[0].leases.leave()
        assert await hear() > 0, "somebody left"
        await conn.remove_listener("clenzy_region", take)


async def test_nothing_is_handed_to_who_may_have_just_been_killed(town: Town, clock: ManualClock):
    silent, other = Matcher(town), Matcher(town)
    for km in TOWNS_KM:
        await town.book(north_km=km)
    async with town.pool.acquire() as conn:
        await silent.leases.store.beat(conn, now_ms=clock.now_ms())
    clock.step_ms(2 * MATCHER_BEAT_MS)
    await other.leases.settle()
    assert len(await other.holds()) == 6


async def test_an_idle_region_is_closed_and_founded_again(town: Town, clock: ManualClock):
    matcher = Matcher(town)
    booking_id = await town.book()
    await matcher.leases.settle()
    clock.step_ms(REGION_IDLE_MS)
    await matcher.leases.settle()
    assert len(await matcher.holds()) == 2, "somebody still waits there"
    await town.cancel(booking_id)
    clock.step_ms(REGION_IDLE_MS - 1)
    await matcher.leases.settle()
    assert len(await matcher.holds()) == 2
    clock.step_ms(1)
    await matcher.leases.settle()
    assert await matcher.holds() == {ELSEWHERE}
    await town.book()
    await matcher.leases.settle()
    assert len(await matcher.holds()) == 2


async def test_who_was_away_for_long_is_forgotten(town: Town, clock: ManualClock):
    gone, other = Matcher(town), Matcher(town)
    await gone.leases.settle()
    clock.step_ms(MATCHER_LEASE_MS + MATCHER_KEPT_MS - 1)
    await other.leases.settle()
    assert await town.pool.fetchval("SELECT count(*) FROM matcher") == 2
    clock.step_ms(1)
    await other.leases.settle()
    assert await town.pool.fetchval("SELECT count(*) FROM matcher") == 1


async def test_a_border_worker_goes_to_one_of_both_sides(town: Town, pool: asyncpg.Pool):
    """Both see the only worker, decide for them at the same time, and one of the bookings gets them."""
    north_km = next(km / 10 for km in range(200) if region_at(km / 10) != region_at(0))
    here, there = await town.book(north_km=north_km - 0.1), await town.book(north_km=north_km)
    worker = await town.add_worker(north_km)
    matchers = [Matcher(town), Matcher(town)]
    await settle(*matchers)
    shares = [await matcher.holds() for matcher in matchers]
    assert all(share & {region_at(0), region_at(north_km)} for share in shares)
    for matcher in matchers:
        await matcher.dispatcher.feed.read()
    assert [await matcher.dispatcher.dispatch_due() for matcher in matchers] == [1, 1]
    rows = await pool.fetch("SELECT booking_id, worker_id FROM offer")
    assert [row["worker_id"] for row in rows] == [worker.person_id]
    assert {row["booking_id"] for row in rows} <= {here, there}


async def test_frames_see_across_the_border_and_whom_the_desk_names(town: Town, redis: Redis):
    """The sets of the cells are gone, so only the frame can know who is near."""
    deciding.warm_up()
    border_km = next(km / 10 for km in range(200) if region_at(km / 10) != region_at(0))
    booking_id = await town.book(north_km=border_km - 0.1)
    other_side = await town.book(north_km=TOWNS_KM[1])
    places = [FollowedMirror(redis, CellIndex(redis), clock=SystemClock()) for _ in range(2)]
    matchers = [Matcher(town, places=each) for each in places]
    await settle(*matchers)
    near, _farther, far = [await town.add_worker(km) for km in (border_km + 0.5, border_km - 3, TOWNS_KM[2])]
    await redis.delete(*await redis.keys(CELL_KEYS))
    async with asyncio.TaskGroup() as tasks:
        following = [tasks.create_task(each.run()) for each in places]
        async with asyncio.timeout(30):
            await asyncio.gather(*(each.until_whole() for each in places))
        for matcher in matchers:
            cover = matcher.leases.cover.regions
            assert cover is not None
            assert region_at(border_km) not in cover
            await matcher.dispatch()
        assert (await town.asked(booking_id)).person_id == near.person_id

        await town.pool.execute(
            "UPDATE booking SET pinned_worker_id = $2, next_attempt_at = created_at WHERE booking_id = $1",
            other_side,
            far.person_id,
        )
        for matcher in matchers:
            await matcher.dispatch()
        entry = orjson.loads((await town.log(other_side))[-1]["detail"])
        assert entry["ruled_out"] == {"too_far": 1}, "who is in nobody's frame is looked up"
        for each in following:
            each.cancel()


@pytest.mark.parametrize(
    ("share", "verdict"),
    [
        (MatcherShare(2, [], 7, 0), Verdict.OK),
        (MatcherShare(0, [], 1, 1), Verdict.OK),
        (MatcherShare(1, ["here:8093"], 7, 0), Verdict.WARN),
        (MatcherShare(0, ["here:8093"], 7, 7), Verdict.FAIL),
        (MatcherShare(2, [], 7, 1), Verdict.FAIL),
    ],
)
def test_the_doctor_says_whether_every_region_has_a_matcher(share: MatcherShare, verdict: Verdict):
    assert judge_matchers(share).verdict is verdict
