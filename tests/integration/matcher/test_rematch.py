"""A job on the way goes to a worker who is there sooner, once that one has said yes and not before, on real stores."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from config.limits import REMATCH_LOOK_MS
from engine.booking.booking_store import transition
from engine.core.crash_point import VARIABLE
from engine.core.errors import Conflict
from engine.core.ids import BookingId
from engine.core.vocabulary import BookingState, Duty, Role
from engine.matcher import desk_assignment
from engine.matcher.cost_policy import DEFAULT_POLICY
from engine.matcher.desk_assignment import Wish
from engine.matcher.dispatch import Dispatcher
from engine.matcher.offer_answers import answer_offer
from engine.matcher.rematch_policy import RematchPolicy
from engine.matcher.why_reading import read_why
from engine.people.duty import set_duty
from engine.people.tokens import Principal
from tests.fakes import ManualClock
from tests.integration.matcher import dying_answer
from tests.integration.matcher.town import Town

pytestmark = pytest.mark.integration

POLICY = replace(DEFAULT_POLICY, rematch=RematchPolicy(times_max=1, late_min=2, stuck_min=4, gain_min=3, near_min=3))
MIN_MS = 60_000
FAR_KM, FARTHER_KM = 9.0, 11.9


class Road:
    """A worker who has set out from far away, and a matcher whose policy lets somebody else take the job over."""

    def __init__(self, town: Town, matcher: Dispatcher, slow: Principal, booking_id: BookingId) -> None:
        self.town, self.matcher, self.slow, self.booking_id = town, matcher, slow, booking_id

    async def look(self, after_ms: int = REMATCH_LOOK_MS, *, at_km: float | None = FARTHER_KM) -> None:
        """Let time pass, hear of everybody where they are, and look around."""
        self.town.clock.step_ms(after_ms)
        if at_km is not None:
            await self.town.place(self.slow, at_km)
        for worker in self.town.workers.values():
            if worker is not self.slow:
                await self.town.place(worker, 0.3)
        self.matcher.feed.notified("")
        await self.matcher.feed.read()
        await self.matcher.rematcher.look_around()

    async def say(self, worker: Principal, *, accept: bool = True):
        offer_id = await self.town.pool.fetchval(
            "SELECT offer_id FROM offer WHERE worker_id = $1 ORDER BY sent_at DESC LIMIT 1", worker.person_id
        )
        async with self.town.pool.acquire() as conn:
            return await answer_offer(
                conn, offer_id=offer_id, worker=worker, accept=accept, reason="", now_ms=self.town.clock.now_ms()
            )

    async def move(self, to: BookingState) -> None:
        async with self.town.pool.acquire() as conn, conn.transaction():
            await transition(
                conn, booking_id=self.booking_id, to=to, actor=self.slow, reason="", now_ms=self.town.clock.now_ms()
            )

    async def has_it(self) -> Principal | None:
        worker_id = await self.town.pool.fetchval("SELECT worker_id FROM booking")
        return self.town.workers.get(worker_id)

    async def offers(self) -> list[str]:
        rows = await self.town.pool.fetch(
            "SELECT concat_ws(':', state, ended_reason) AS told FROM offer ORDER BY sent_at"
        )
        return [row["told"] for row in rows]

    async def told(self, topic: str) -> list[tuple[str, str, object]]:
        rows = await self.town.pool.fetch(
            "SELECT kind, body::text FROM outbox WHERE topic = $1 AND kind = 'booking' ORDER BY event_id", topic
        )
        bodies = [orjson.loads(row["body"]) for row in rows]
        return [(body["state"], body["version"], body["worker"] and body["worker"]["worker_id"]) for body in bodies]


@pytest.fixture
async def road(town: Town, pool: asyncpg.Pool, redis: Redis, clock: ManualClock) -> Road:
    slow = await town.add_worker(FAR_KM)
    matcher = Dispatcher(pool=pool, redis=redis, clock=clock, fix_clock=clock, policy=lambda: POLICY)
    road = Road(town, matcher, slow, await town.book())
    await matcher.dispatch_due()
    await road.say(slow)
    await road.move(BookingState.EN_ROUTE)
    return road


async def asked(road: Road) -> Principal:
    """Come late, and somebody near is asked."""
    near = await road.town.add_worker(0.3)
    await road.look(12 * MIN_MS)
    assert await road.offers() == ["accepted", "open"]
    return near


async def test_who_is_late_keeps_the_job_until_another_says_yes_and_then_hears_of_it_as_of_a_hand_back(road: Road):
    near = await asked(road)
    assert await road.has_it() is road.slow, "nobody has said yes"
    before = await road.told(f"user:{road.slow.person_id}")
    _, booking = await road.say(near)
    assert booking is not None
    assert (booking["state"], booking["worker"]["worker_id"]) == ("assigned", str(near.person_id))
    assert await road.has_it() is near
    assert await road.offers() == ["replaced", "accepted"]
    news = (await road.told(f"user:{road.slow.person_id}"))[len(before) :]
    assert [(state, worker) for state, _, worker in news] == [("searching", None)]
    customer_id = await road.town.pool.fetchval("SELECT customer_id FROM booking")
    last = (await road.told(f"user:{customer_id}"))[-2:]
    assert [(state, worker) for state, _, worker in last] == [
        ("en_route", str(road.slow.person_id)), ("assigned", str(near.person_id)),
    ]  # fmt: skip
    row = await road.town.pool.fetchrow("SELECT hand_backs, next_attempt_at, eta_promised_s FROM booking")
    assert (row["hand_backs"], row["next_attempt_at"]) == (0, None)
    assert row["eta_promised_s"] < 10 * 60
    assert await road.town.pool.fetchval("SELECT idle_since FROM worker WHERE worker_id = $1", road.slow.person_id)
    steps = await road.town.pool.fetch("SELECT state_to, actor_role FROM booking_event ORDER BY version DESC LIMIT 2")
    assert [tuple(row) for row in steps] == [("assigned", "worker"), ("searching", "engine")]
    with pytest.raises(Conflict, match="otherwise"):
        await road.say(road.slow)


async def test_the_watch_over_who_is_replaced_ends_as_at_a_hand_back(road: Road):
    await road.say(await asked(road))
    rows = await road.town.pool.fetch("SELECT person_id, phase FROM silence_watch WHERE role = 'worker'")
    assert [tuple(row) for row in rows] == [(road.slow.person_id, "leaving")]


async def test_why_tells_of_it_and_the_decision_can_be_made_again(road: Road):
    near = await asked(road)
    async with road.town.pool.acquire() as conn, conn.transaction():
        told, *_ = await read_why(
            conn, road.booking_id, org_id=road.town.org_id, actor_id=None, limit=5, now_ms=road.town.clock.now_ms()
        )
    assert (told["outcome"], told["record"]) == ("rematch_asked", "kept")
    assert told["ranked"][0]["worker_id"] == str(near.person_id)
    assert told["ranked"][0]["answer"] == "open"
    rematch = told["rematch"]
    assert (rematch["cause"], rematch["held_by"]) == ("late", str(road.slow.person_id))
    assert rematch["promised_in_s"] + 2 * 60 < rematch["eta_s"]


@pytest.mark.parametrize("ends", ["declined", "expired", "gone"])
async def test_without_a_yes_nothing_has_happened_and_who_said_no_is_not_asked_again(road: Road, ends: str):
    near = await asked(road)
    if ends == "declined":
        await road.say(near, accept=False)
    elif ends == "expired":
        road.town.clock.step_ms(POLICY.offers.answer_s * 1000)
        assert await road.matcher.sweep() == 1
    else:
        async with road.town.pool.acquire() as conn:
            await set_duty(conn, principal=near, duty=Duty.OFF, now_ms=road.town.clock.now_ms())
        assert await road.matcher.sweep() == 1
    assert (await road.town.state(road.booking_id), await road.has_it()) == (BookingState.EN_ROUTE, road.slow)
    for _ in range(3):
        await road.look(3 * MIN_MS)
    assert len(await road.offers()) == 2
    outcomes = [row["outcome"] for row in await road.town.log(road.booking_id)]
    assert outcomes == ["offered", "rematch_asked", "rematch_nobody"], "the same nothing is told once"


async def test_a_job_changes_hands_as_often_as_the_policy_says(road: Road):
    near = await asked(road)
    await road.say(near)
    other = await road.town.add_worker(0.3)
    road.slow = near
    for _ in range(3):
        await road.look(12 * MIN_MS)
    assert await road.has_it() is near
    assert other.person_id not in {
        row["worker_id"] for row in await road.town.pool.fetch("SELECT worker_id FROM offer")
    }


async def test_who_stands_still_is_stuck_though_not_late(road: Road):
    await road.town.add_worker(0.3)
    await road.town.pool.execute("UPDATE booking SET eta_promised_s = 86400")
    for _ in range(4):
        await road.look(MIN_MS)
    assert await road.offers() == ["accepted"], "no nearer for three minutes"
    await road.look(MIN_MS)
    assert await road.offers() == ["accepted", "open"]
    detail = orjson.loads((await road.town.log(road.booking_id))[-1]["detail"])
    assert (detail["rematch"]["cause"], detail["rematch"]["nearer_before_s"]) == ("stuck", 240)


async def near_the_door(road: Road) -> None:
    await road.look(12 * MIN_MS, at_km=0.1)


async def unheard(road: Road) -> None:
    await road.look(12 * MIN_MS, at_km=None)


async def pinned(road: Road) -> None:
    wish = Wish(road.booking_id, road.slow.person_id, None, is_in_area=True)
    async with road.town.pool.acquire() as conn:
        desk = await road.town.add_person(Role.DISPATCHER)
        await desk_assignment.pin(conn, wish, actor=desk, now_ms=road.town.clock.now_ms())


async def worker_held(road: Road) -> None:
    await road.town.hold(person_id=road.slow.person_id)


async def customer_held(road: Road) -> None:
    await road.town.hold(person_id=await road.town.pool.fetchval("SELECT customer_id FROM booking"))


async def door_held(road: Road) -> None:
    await road.town.hold(address_id=await road.town.pool.fetchval("SELECT address_id FROM booking"))


@pytest.mark.parametrize("what", [near_the_door, unheard, pinned, worker_held, customer_held, door_held])
async def test_nobody_is_asked(road: Road, what):
    await road.town.add_worker(0.3)
    await what(road)
    if what not in (near_the_door, unheard):
        await road.look(12 * MIN_MS)
    assert await road.offers() == ["accepted"]
    assert len(await road.town.log(road.booking_id)) == 1, "and why is told to nobody"


@pytest.mark.parametrize("what", [near_the_door, pinned, worker_held, customer_held, door_held])
async def test_whoever_is_asked_already_is_let_go_and_a_late_yes_counts_for_nothing(road: Road, what):
    near = await asked(road)
    if what is near_the_door:
        await road.look(at_km=0.1)
    else:
        await what(road)
        if what is not pinned:
            with pytest.raises(Conflict, match="withdrawn"):
                await road.say(near)
        await road.matcher.sweep()
    reason = "pinned" if what is pinned else "not_available"
    assert await road.offers() == ["accepted", f"withdrawn:{reason}"]
    with pytest.raises(Conflict, match="withdrawn"):
        await road.say(near)
    assert (await road.town.state(road.booking_id), await road.has_it()) == (BookingState.EN_ROUTE, road.slow)


async def test_arriving_wins_against_a_yes(road: Road):
    near = await asked(road)
    await road.move(BookingState.ARRIVED)
    with pytest.raises(Conflict, match="withdrawn"):
        await road.say(near)
    assert await road.matcher.sweep() == 1
    assert await road.has_it() is road.slow
    assert await road.town.pool.fetchval("SELECT count(*) FROM under_way") == 1
    await road.look()
    assert await road.town.pool.fetchval("SELECT count(*) FROM under_way") == 0


async def test_a_yes_and_an_arrival_at_the_same_moment_leave_one_worker(road: Road):
    near = await asked(road)
    await asyncio.gather(road.say(near), road.move(BookingState.ARRIVED), return_exceptions=True)
    state, has = await road.town.state(road.booking_id), await road.has_it()
    assert (state, has) in ((BookingState.ARRIVED, road.slow), (BookingState.ASSIGNED, near))
    assert await road.town.pool.fetchval("SELECT count(*) FROM offer WHERE state = 'accepted'") == 1


@pytest.mark.timeout(180)
async def test_killed_within_a_yes_one_of_the_two_has_the_job(road: Road, database_url: str, person_keys: Path):
    near = await asked(road)
    offer_id, clock = await road.town.offer_id(road.booking_id), road.town.clock
    said = {name: str(getattr(near, name)) for name in ("person_id", "org_id", "region_id")} | {"slot": near.slot}
    arguments = (database_url, str(person_keys), str(offer_id), str(clock.now_ms()), orjson.dumps(said).decode())
    for point in ("answer_locked", "job_taken", "answer_written", "answer_taken"):
        assert (await road.town.state(road.booking_id), await road.has_it()) == (BookingState.EN_ROUTE, road.slow)
        assert await road.offers() == ["accepted", "open"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", dying_answer.__name__, *arguments, env=os.environ | {VARIABLE: point}
        )
        assert await process.wait() == -signal.SIGKILL, point
        async with road.town.pool.acquire() as conn, conn.transaction():
            # Whatever the dead one held is let go before this is ours.
            await conn.execute("SELECT FROM booking FOR UPDATE")
    assert (await road.town.state(road.booking_id), await road.has_it()) == (BookingState.ASSIGNED, near)
    _, booking = await road.say(near)
    assert booking is not None
    assert booking["version"] == 6, "the phone asks again and hears the same"
    assert await road.offers() == ["replaced", "accepted"]


async def test_as_shipped_nothing_is_even_read(road: Road):
    road.matcher = Dispatcher(
        pool=road.town.pool, redis=road.town.redis, clock=road.town.clock, fix_clock=road.town.clock
    )
    await road.town.add_worker(0.3)
    await road.look(60 * MIN_MS)
    assert await road.offers() == ["accepted"]
    assert await road.town.pool.fetchval("SELECT count(*) FROM under_way") == 0
