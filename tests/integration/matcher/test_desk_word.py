"""The desk assigns, pins and takes back: by the matcher's own rules, each by its name, and with warnings."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import uuid4

import asyncpg
import orjson
import pytest

from config.limits import BOOKING_SEARCH_MS_MAX, OFFER_ASK_AGAIN_MS, OFFERS_PER_BOOKING_MAX
from engine.booking.booking_store import transition
from engine.core.errors import Conflict, NotAllowed, NotFound
from engine.core.ids import BookingId, OrgId
from engine.core.units import ms_from_utc, utc_from_ms
from engine.core.vocabulary import BookingState, Duty, Role
from engine.matcher import desk_assignment
from engine.matcher.desk_assignment import Wish
from engine.matcher.dispatch import Dispatcher
from engine.matcher.hand_back import hand_back
from engine.matcher.offer_answers import answer_offer
from engine.matcher.rule_store import Place
from engine.people.duty import set_duty
from engine.people.tokens import Principal
from tests.fakes import ManualClock
from tests.integration.matcher.town import LAT_DEG, LNG_DEG, Town

pytestmark = pytest.mark.integration

HOUR_MS = 3_600_000
HERE = Place(LAT_DEG, LNG_DEG, 0)


class Desk:
    """A dispatcher, and a matcher that does what it is told."""

    def __init__(self, town: Town, dispatcher: Dispatcher, person: Principal) -> None:
        self.town, self.dispatcher, self.person = town, dispatcher, person

    async def assign(self, booking_id: BookingId, worker: Principal, *, place: Place | None = HERE, area: bool = True):
        async with self.town.pool.acquire() as conn:
            return await desk_assignment.assign(
                conn,
                Wish(booking_id, worker.person_id, place, area),
                actor=self.person,
                reason="",
                expected_version=None,
                now_ms=self.town.clock.now_ms(),
            )

    async def pin(self, booking_id: BookingId, worker: Principal):
        async with self.town.pool.acquire() as conn:
            wish = Wish(booking_id, worker.person_id, HERE, is_in_area=True)
            return await desk_assignment.pin(conn, wish, actor=self.person, now_ms=self.town.clock.now_ms())

    async def hand_back(self, booking_id: BookingId, actor: Principal | None = None, version: int | None = None):
        async with self.town.pool.acquire() as conn:
            return await hand_back(
                conn,
                booking_id=booking_id,
                actor=actor or self.person,
                reason="",
                expected_version=version,
                now_ms=self.town.clock.now_ms(),
            )

    async def answer(self, booking_id: BookingId, *, accept: bool) -> Principal:
        worker = await self.town.asked(booking_id)
        async with self.town.pool.acquire() as conn:
            offer_id = await self.town.offer_id(booking_id)
            await answer_offer(
                conn, offer_id=offer_id, worker=worker, accept=accept, reason="", now_ms=self.town.clock.now_ms()
            )
        return worker

    async def round(self) -> None:
        self.dispatcher.feed.notified("")
        await self.dispatcher.feed.read()
        await self.dispatcher.dispatch_due()

    async def audit(self) -> list[tuple[str, dict]]:
        rows = await self.town.pool.fetch(
            "SELECT action, detail::text FROM audit_log WHERE actor_id = $1 ORDER BY audit_id", self.person.person_id
        )
        return [(row["action"], orjson.loads(row["detail"])) for row in rows]


@pytest.fixture
async def desk(town: Town, dispatcher: Dispatcher) -> Desk:
    return Desk(town, dispatcher, await town.add_person(Role.DISPATCHER))


async def lacks(town: Town, kind: str) -> None:
    await town.pool.execute("INSERT INTO kit_item VALUES ($1, 'x', $2, 'X', 0)", town.org_id, kind)
    await town.pool.execute(
        "INSERT INTO service_kit SELECT service_id, org_id, 'x' FROM service WHERE org_id = $1", town.org_id
    )


async def is_off_duty(town: Town, worker: Principal) -> None:
    async with town.pool.acquire() as conn:
        await set_duty(conn, principal=worker, duty=Duty.OFF, now_ms=town.clock.now_ms())


async def is_busy(town: Town, worker: Principal) -> None:
    matcher = Dispatcher(pool=town.pool, redis=town.redis, clock=town.clock, fix_clock=town.clock)
    await Desk(town, matcher, await town.add_person(Role.DISPATCHER)).assign(await town.book(), worker)


async def is_blocked(town: Town, worker: Principal) -> None:
    await town.pool.execute(
        """INSERT INTO customer_worker
           SELECT person_id, $1, 'desk', 'blocked' FROM person WHERE role = 'customer' AND org_id = $2""",
        worker.person_id,
        town.org_id,
    )


async def has_a_later_shift(town: Town, worker: Principal) -> None:
    span = [utc_from_ms(town.clock.now_ms() + hours * HOUR_MS) for hours in (1, 9)]
    await town.pool.execute("INSERT INTO shift VALUES ($1, $2, $3)", worker.person_id, *span)


async def has_worked_enough(town: Town, worker: Principal) -> None:
    await town.pool.execute("INSERT INTO working_time_rule VALUES ($1, 600, NULL, NULL)", town.org_id)
    since = utc_from_ms(town.clock.now_ms() - int(9.5 * HOUR_MS))
    await town.pool.execute("UPDATE duty_period SET began_at = $2 WHERE worker_id = $1", worker.person_id, since)


RULES: dict[str, Callable[[Town, Principal], Awaitable[object]]] = {
    "skill": lambda town, worker: town.pool.execute(
        "UPDATE worker SET skills = 2 WHERE worker_id = $1", worker.person_id
    ),
    "off_duty": is_off_duty,
    "busy": is_busy,
    "safety_hold": lambda town, worker: town.hold(person_id=worker.person_id),
    "shift": has_a_later_shift,
    "working_time": has_worked_enough,
    "blocked": is_blocked,
    "certificate": lambda town, _: lacks(town, "certificate"),
    "tool": lambda town, _: lacks(town, "tool"),
    "vehicle": lambda town, _: lacks(town, "vehicle"),
}


async def test_the_desk_is_refused_by_the_rule_that_rules_out_for_the_matcher(town: Town, dispatcher: Dispatcher):
    """An organisation for each rule, which its one worker breaks."""
    for rule, breaks in RULES.items():
        own = await Town(town.pool, town.redis, town.clock).found()
        desk = Desk(own, dispatcher, await own.add_person(Role.DISPATCHER))
        worker, customer = await own.add_worker(1.0), await own.add_person(Role.CUSTOMER)
        await breaks(own, worker)
        booking_id = await own.book(customer)
        await desk.round()
        assert orjson.loads((await own.log(booking_id))[-1]["detail"])["ruled_out"] == {rule: 1}
        with pytest.raises(Conflict, match=f"Ruled out by {rule}"):
            await desk.assign(booking_id, worker)
        assert await own.state(booking_id) is BookingState.SEARCHING
        if rule in ("off_duty", "busy", "shift", "working_time"):
            assert rule in await desk.pin(booking_id, worker), "the search waits until it has passed"
        else:
            with pytest.raises(Conflict, match=rule):
                await desk.pin(booking_id, worker)


async def test_a_rule_that_breaks_between_offer_and_yes_refuses_the_yes(town: Town, desk: Desk):
    worker = await town.add_worker(1.0)
    booking_id = await town.book()
    await desk.round()
    await lacks(town, "certificate")
    with pytest.raises(Conflict, match="withdrawn"):
        await desk.answer(booking_id, accept=True)
    assert await town.state(booking_id) is BookingState.OFFERED
    assert (await town.asked(booking_id)).person_id == worker.person_id


async def test_an_assignment_tells_history_audit_warnings_and_everybody_who_was_asked(
    town: Town, desk: Desk, pool: asyncpg.Pool
):
    asked, elsewhere = await town.add_worker(0.2), await town.add_worker(3.0)
    first = await town.book()
    await desk.round()
    await town.book(north_km=3)
    await desk.round()
    assert await pool.fetchval("SELECT count(*) FROM offer WHERE state = 'open'") == 2
    await lacks(town, "part")
    view, warnings = await desk.assign(first, elsewhere, place=None)
    assert (view["state"], view["worker"]["worker_id"]) == ("assigned", str(elsewhere.person_id))
    assert warnings == ["silent", "part", "already_asked"]
    ended = await pool.fetch("SELECT state, ended_reason FROM offer")
    assert {tuple(row) for row in ended} == {("withdrawn", "assigned")}
    for worker in (asked, elsewhere):
        assert (await town.events(f"user:{worker.person_id}"))[:2] == ["offer", "offer.gone"]
    states = dict(await pool.fetch("SELECT booking_id, state FROM booking"))
    assert sorted(states.values()) == ["assigned", "searching"]
    event = await pool.fetchrow("SELECT actor_role, actor_id FROM booking_event WHERE state_to = 'assigned'")
    assert tuple(event) == ("dispatcher", desk.person.person_id)
    assert await desk.audit() == [
        ("booking.assigned", {"worker_id": str(elsewhere.person_id), "warnings": warnings}),
    ]
    with pytest.raises(Conflict, match="handed back first"):
        await desk.assign(first, asked)


async def test_warnings_name_what_the_matcher_would_weigh_or_pass_over(town: Town, desk: Desk, clock: ManualClock):
    worker = await town.add_worker(1.0)
    booking_id = await town.book()
    await desk.round()
    await desk.answer(booking_id, accept=False)
    await town.pool.execute("UPDATE service SET level_wanted = 0.5")
    await town.pool.execute("INSERT INTO kit_item VALUES ($1, 'pt', 'language', 'X', 1)", town.org_id)
    await town.pool.execute("INSERT INTO service_kit SELECT service_id, org_id, 'pt' FROM service")
    span = [utc_from_ms(clock.now_ms() + minutes * 60_000) for minutes in (-30, 30)]
    await town.pool.execute("INSERT INTO shift VALUES ($1, $2, $3)", worker.person_id, *span)
    _, warnings = await desk.assign(booking_id, worker, place=Place(LAT_DEG + 0.2, LNG_DEG, 0))
    assert warnings == ["too_far", "declined_before", "overtime", "level", "language"]


async def test_a_place_where_nobody_works_is_refused(town: Town, desk: Desk):
    worker, booking_id = await town.add_worker(1.0), await town.book()
    with pytest.raises(Conflict, match="zone"):
        await desk.assign(booking_id, worker, area=False)


async def test_another_organisations_worker_and_booking_are_not_there(town: Town, desk: Desk):
    other = await Town(town.pool, town.redis, town.clock).found()
    with pytest.raises(NotFound):
        await desk.assign(await town.book(), await other.add_worker(1.0))
    with pytest.raises(NotFound):
        await desk.assign(await other.book(), await town.add_worker(1.0))


async def test_a_pinned_worker_alone_is_asked(town: Town, desk: Desk, pool: asyncpg.Pool):
    near, wanted = await town.add_worker(0.2), await town.add_worker(3.0)
    booking_id = await town.book()
    await desk.round()
    assert (await town.asked(booking_id)).person_id == near.person_id
    assert await desk.pin(booking_id, wanted) == []
    assert await town.state(booking_id) is BookingState.SEARCHING
    assert await pool.fetchval("SELECT ended_reason FROM offer") == "pinned"
    await desk.round()
    assert (await town.asked(booking_id)).person_id == wanted.person_id
    assert await desk.pin(booking_id, wanted) == [], "and rings on when it is said again"
    assert (await desk.answer(booking_id, accept=True)).person_id == wanted.person_id
    assert [action for action, _ in await desk.audit()] == ["booking.pinned", "booking.pinned"]


async def test_a_pin_voids_what_a_matcher_has_in_hand_and_can_be_let_go(town: Town, desk: Desk, clock: ManualClock):
    near, wanted = await town.add_worker(0.2), await town.add_worker(3.0)
    booking_id = await town.book()
    fence = await town.pool.fetchval("SELECT fence FROM booking")
    await desk.pin(booking_id, wanted)
    assert await town.pool.fetchval("SELECT fence FROM booking") > fence
    await is_off_duty(town, wanted)
    await desk.round()
    assert await town.open_offer(booking_id) is None, "it waits for the one who is wanted"
    async with town.pool.acquire() as conn:
        await desk_assignment.unpin(conn, booking_id, actor=desk.person, now_ms=clock.now_ms())
        with pytest.raises(NotFound):
            await desk_assignment.unpin(conn, booking_id, actor=desk.person, now_ms=clock.now_ms())
    await desk.round()
    assert (await town.asked(booking_id)).person_id == near.person_id


@pytest.mark.parametrize(("by", "is_assigned_by_desk"), [("worker", False), ("desk", True)])
async def test_a_job_handed_back_searches_at_once_and_never_asks_them_again(
    town: Town, desk: Desk, clock: ManualClock, pool: asyncpg.Pool, by: str, *, is_assigned_by_desk: bool
):
    worker = await town.add_worker(0.2)
    booking_id = await town.book()
    if is_assigned_by_desk:
        await desk.assign(booking_id, worker)
    else:
        await desk.round()
        await desk.answer(booking_id, accept=True)
    clock.step_ms(1_000)
    other = await town.add_worker(3.0)
    actor = worker if by == "worker" else desk.person
    view = await desk.hand_back(booking_id, actor)
    assert (view["state"], view["worker"], view["eta_s"]) == ("searching", None, None)
    row = await pool.fetchrow(
        "SELECT hand_backs, pinned_worker_id, worker_id, next_attempt_at, search_until FROM booking"
    )
    assert (row["hand_backs"], row["pinned_worker_id"], row["worker_id"]) == (1, None, None)
    assert ms_from_utc(row["next_attempt_at"]) == clock.now_ms()
    assert ms_from_utc(row["search_until"]) == clock.now_ms() + BOOKING_SEARCH_MS_MAX
    told = await pool.fetchval(
        "SELECT body->>'state' FROM outbox WHERE topic = $1 ORDER BY event_id DESC LIMIT 1", f"user:{worker.person_id}"
    )
    assert told == "searching"
    assert await pool.fetchval("SELECT idle_since FROM worker WHERE worker_id = $1", worker.person_id) is not None
    await desk.round()
    assert (await town.asked(booking_id)).person_id == other.person_id
    await is_off_duty(town, other)
    await desk.dispatcher.sweep()
    clock.step_ms(20 * OFFER_ASK_AGAIN_MS)
    await pool.execute("UPDATE booking SET search_until = '2100-01-01Z'")
    await town.place(worker, 0.2)
    await desk.round()
    assert await town.open_offer(booking_id) is None
    audited = await pool.fetchrow("SELECT actor_id, detail->>'by' FROM audit_log ORDER BY audit_id DESC LIMIT 1")
    assert tuple(audited) == (actor.person_id, actor.role)


async def test_a_hand_back_from_the_way_keeps_the_watch_over_the_worker(town: Town, desk: Desk, pool: asyncpg.Pool):
    worker, booking_id = await town.add_worker(0.2), await town.book()
    await desk.assign(booking_id, worker)
    async with pool.acquire() as conn, conn.transaction():
        await transition(
            conn,
            booking_id=booking_id,
            to=BookingState.EN_ROUTE,
            actor=worker,
            reason="",
            now_ms=town.clock.now_ms(),
        )
    await desk.hand_back(booking_id)
    phases = dict(await pool.fetch("SELECT role, phase FROM silence_watch"))
    assert phases == {"worker": "leaving"}
    with pytest.raises(Conflict, match="nobody's to hand back"):
        await desk.hand_back(booking_id)


async def test_what_was_given_up_is_searched_for_again_by_the_same_rules(
    town: Town, desk: Desk, clock: ManualClock, pool: asyncpg.Pool
):
    worker, booking_id = await town.add_worker(0.2), await town.book()

    async def search_again() -> dict[str, object]:
        async with pool.acquire() as conn:
            return await desk_assignment.search_again(
                conn, booking_id, actor=desk.person, reason="", expected_version=None, now_ms=clock.now_ms()
            )

    with pytest.raises(Conflict, match="searching was not given up"):
        await search_again()
    # As many have said no as may.
    await pool.execute(
        """INSERT INTO offer (offer_id, org_id, booking_id, worker_id, state, cost_min, eta_s, sent_at, expires_at)
           SELECT gen_random_uuid(), $1, $2, $3, 'expired', 1, 60, $4, $4 FROM generate_series(1, $5)""",
        town.org_id, booking_id, worker.person_id, utc_from_ms(clock.now_ms()), OFFERS_PER_BOOKING_MAX,
    )  # fmt: skip
    await pool.execute("UPDATE booking SET version = 2")
    await pool.execute("UPDATE booking_event SET version = 2")
    await desk.round()
    assert await town.state(booking_id) is BookingState.UNSERVED
    other = await town.add_worker(1.0)
    hold_id = await town.hold(person_id=await pool.fetchval("SELECT customer_id FROM booking"))
    clock.step_ms(1)
    view = await search_again()
    assert (view["state"], view["worker"]) == ("searching", None)
    until = await pool.fetchval("SELECT search_until FROM booking")
    assert ms_from_utc(until) == clock.now_ms() + BOOKING_SEARCH_MS_MAX
    await desk.round()
    assert await town.open_offer(booking_id) is None, "no desk's word goes against a hold"
    await pool.execute(
        "UPDATE safety_hold SET released_at = $2 WHERE hold_id = $1", hold_id, utc_from_ms(clock.now_ms())
    )
    await pool.execute("UPDATE booking SET next_attempt_at = created_at")
    await desk.round()
    assert (await town.asked(booking_id)).person_id == other.person_id, "who has said no is not asked first"
    assert [action for action, _ in await desk.audit()] == ["booking.searched_again"]


async def test_whoever_left_is_not_searched_for_again(town: Town, desk: Desk, clock: ManualClock, pool: asyncpg.Pool):
    booking_id = await town.book()
    await pool.execute("UPDATE booking SET search_until = created_at")
    await desk.round()
    assert await town.state(booking_id) is BookingState.UNSERVED
    await pool.execute("UPDATE person SET status = 'suspended' WHERE role = 'customer'")
    stranger = replace(desk.person, org_id=OrgId(uuid4()))
    for actor, error in ((desk.person, Conflict), (stranger, NotFound)):
        async with pool.acquire() as conn:
            with pytest.raises(error):
                await desk_assignment.search_again(
                    conn, booking_id, actor=actor, reason="", expected_version=None, now_ms=clock.now_ms()
                )


async def test_only_who_has_a_job_hands_it_back(town: Town, desk: Desk):
    worker, other, booking_id = await town.add_worker(0.2), await town.add_worker(1.0), await town.book()
    await desk.assign(booking_id, worker)
    customer_id = await town.pool.fetchval("SELECT customer_id FROM booking")
    customer = Principal(customer_id, Role.CUSTOMER, town.org_id, town.region_id, None, uuid4(), 0, 2**52)
    for actor, error in ((other, NotFound), (customer, NotAllowed)):
        with pytest.raises(error):
            await desk.hand_back(booking_id, actor)
    with pytest.raises(Conflict, match="version"):
        await desk.hand_back(booking_id, version=1)
    assert await town.state(booking_id) is BookingState.ASSIGNED
