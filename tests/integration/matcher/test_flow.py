"""What a matcher decides by beside the straight line: travel times, other bookings, who soon finishes; and faults."""

from dataclasses import replace
from uuid import UUID

import numpy as np
import orjson
import pytest

from config.limits import CLAIM_LEASE_MS, DISPATCH_RETRY_MS, PRESSURE_BOOKINGS_MIN, WINDOW_BUSY_MS
from engine.core.ids import BookingId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import BookingState
from engine.eta.road_source import MissingRoads
from engine.eta.router_source import RouterSource
from engine.eta.router_wire import RouterKind
from engine.eta.source import EtaMatrix, EtaOutcome, StraightLineSource
from engine.matcher.cost_policy import DEFAULT_POLICY
from engine.matcher.dispatch import Dispatcher
from engine.matcher.policy_watch import PolicyWatch
from engine.matcher.recorder import Recorder
from engine.people.tokens import Principal
from tests.fakes import ManualClock
from tests.integration.matcher.town import Town

pytestmark = pytest.mark.integration


class RiverInBetween:
    """Roads on which whoever is nearer needs longer; `meanwhile` happens while they are asked."""

    def __init__(self, meanwhile=None) -> None:
        self.meanwhile = meanwhile

    async def answers(self, questions, *, at_ms) -> list[EtaMatrix]:
        del at_ms
        if self.meanwhile is not None:
            await self.meanwhile()
        return [self._answer(1_200 - np.abs(each.from_lat_deg - each.to_lat_deg) * 20_000) for each in questions]

    def _answer(self, seconds) -> EtaMatrix:
        return EtaMatrix(seconds, seconds, seconds, np.full(len(seconds), EtaOutcome.ROADS, np.uint8))


def matcher(town: Town, **parts) -> Dispatcher:
    return Dispatcher(pool=town.pool, redis=town.redis, clock=town.clock, fix_clock=town.clock, **parts)


async def last(town: Town, booking_id: BookingId) -> tuple[str, dict]:
    entry = (await town.log(booking_id))[-1]
    return entry["outcome"], orjson.loads(entry["detail"])


async def busy(town: Town, worker: Principal, *, for_min: float, north_km: float) -> None:
    """Let a worker be in the middle of a job of an hour."""
    booking_id = await town.book(north_km=north_km)
    await town.pool.execute(
        "UPDATE booking SET state = 'in_progress', worker_id = $2, actual_start = $3, next_attempt_at = NULL"
        " WHERE booking_id = $1",
        booking_id,
        worker.person_id,
        utc_from_ms(town.clock.now_ms() - round(for_min * 60_000)),
    )


async def rush(town: Town, dispatcher: Dispatcher) -> None:
    """Let so many bookings have come and gone that the next ones are collected."""
    gone = [await town.book() for _ in range(PRESSURE_BOOKINGS_MIN)]
    assert await dispatcher.dispatch_due() == len(gone)
    for booking_id in gone:
        await town.cancel(booking_id)
    await dispatcher.sweep()
    dispatcher.feed.notified("")
    await dispatcher.feed.read()


async def test_whom_roads_bring_first_is_asked(town: Town):
    near, far = await town.add_worker(0.5), await town.add_worker(3.0)
    booking_id = await town.book()
    await matcher(town, eta=RiverInBetween()).dispatch_due()
    outcome, detail = await last(town, booking_id)
    assert outcome == "offered"
    assert (await town.asked(booking_id)).person_id == far.person_id
    assert [each["slot"] for each in detail["candidates"]] == [far.slot, near.slot]
    assert {each["eta_by"] for each in detail["candidates"]} == {"roads"}
    assert detail["eta"] == {"roads": 2}
    assert detail["plan"] == {"mode": "immediate"}


async def test_without_its_road_graph_the_straight_line_decides_and_says_so(town: Town):
    near = await town.add_worker(0.5)
    await town.add_worker(3.0)
    booking_id = await town.book()
    await matcher(town, eta=MissingRoads()).dispatch_due()
    _, detail = await last(town, booking_id)
    assert (await town.asked(booking_id)).person_id == near.person_id
    assert detail["eta"] == {"graph_missing": 2}


async def test_a_router_that_is_down_costs_no_offer(town: Town):
    near = await town.add_worker(0.5)
    booking_id = await town.book()
    async with RouterSource(RouterKind.OSRM, "http://127.0.0.1:9", clock=town.clock) as down:
        await matcher(town, eta=down).dispatch_due()
    _, detail = await last(town, booking_id)
    assert (await town.asked(booking_id)).person_id == near.person_id
    assert detail["eta"] == {"router_down": 1}


async def test_nobody_beyond_the_longest_travel_time_is_asked(town: Town, tmp_path):
    await town.add_worker(0.5)
    file = tmp_path / "policy.toml"
    file.write_text('name = "short"\nversion = 3\n[weights]\neta_cap_min = 5.0\n')
    policies = PolicyWatch(file, clock=town.clock)
    policies.load()
    booking_id = await town.book()
    await matcher(town, eta=RiverInBetween(), policy=lambda: policies.policy).dispatch_due()
    outcome, detail = await last(town, booking_id)
    assert (outcome, detail["ruled_out"], detail["policy"]) == ("nobody", {"eta_cap": 1}, "short@3")


async def test_a_wrong_policy_file_leaves_the_good_one_in_force(town: Town, tmp_path):
    await town.add_worker(0.5)
    file = tmp_path / "policy.toml"
    file.write_text('name = "good"\nversion = 1\n')
    policies = PolicyWatch(file, clock=town.clock)
    policies.load()
    file.write_text('name = "bad"\nversion = 2\n[weights]\neta_cap_min = 0\n')
    policies.load()
    assert policies.problem is not None
    assert "eta_cap_min" in policies.problem
    booking_id = await town.book()
    await matcher(town, policy=lambda: policies.policy).dispatch_due()
    outcome, detail = await last(town, booking_id)
    assert (outcome, detail["policy"]) == ("offered", "good@1")


async def test_no_candidates_and_all_excluded_say_which(town: Town, dispatcher: Dispatcher):
    nobody_there = await town.book()
    await dispatcher.dispatch_due()
    outcome, detail = await last(town, nobody_there)
    assert (outcome, detail["looked_at"], detail["ruled_out"]) == ("nobody", 0, {})
    await town.add_worker(1.0, skills=0b10)
    booking_id = await town.book()
    again = matcher(town)
    await again.dispatch_due()
    outcome, detail = await last(town, booking_id)
    assert (outcome, detail["looked_at"], detail["ruled_out"]) == ("nobody", 1, {"skill": 1})


async def test_who_goes_off_duty_between_score_and_offer_is_passed_over(town: Town):
    near, far = await town.add_worker(0.5), await town.add_worker(3.0)
    booking_id = await town.book()

    async def leaves() -> None:
        await town.pool.execute("UPDATE worker SET duty = 'off' WHERE worker_id = $1", far.person_id)

    await matcher(town, eta=RiverInBetween(leaves)).dispatch_due()
    outcome, detail = await last(town, booking_id)
    assert outcome == "offered"
    assert (await town.asked(booking_id)).person_id == near.person_id
    assert detail["candidates"][0]["slot"] == far.slot


async def test_everybody_taken_while_travel_times_are_asked_for_is_tried_again_at_once(town: Town):
    worker = await town.add_worker(0.5)
    booking_id = await town.book()

    async def taken() -> None:
        dispatcher.table.reserve(worker.slot)

    dispatcher = matcher(town, eta=RiverInBetween(taken))
    assert await dispatcher.dispatch_due() == 1
    assert await town.state(booking_id) is BookingState.SEARCHING
    assert await town.log(booking_id) == []
    assert await town.pool.fetchval("SELECT lease_until FROM booking WHERE booking_id = $1", booking_id) is None


async def test_bookings_that_are_due_together_share_workers_out_at_the_least_cost(town: Town, dispatcher: Dispatcher):
    """The worker who is nearest to both stands before the second one's door."""
    left, right = await town.add_worker(-1.0), await town.add_worker(0.3)
    first = await town.book(north_km=0.0)
    second = await town.book(north_km=0.31)
    await dispatcher.dispatch_due()
    assert (await town.asked(first)).person_id == left.person_id
    assert (await town.asked(second)).person_id == right.person_id
    _, detail = await last(town, first)
    plan = detail["plan"]
    assert {key: plan[key] for key in ("mode", "window_ms", "bookings", "outcome")} == {
        "mode": "window",
        "window_ms": 0,
        "bookings": 2,
        "outcome": "sent",
    }
    assert plan["solver_us"] >= 0
    assert UUID(plan["gave_way"]["to_booking_id"]) == second
    assert UUID(plan["gave_way"]["worker_id"]) == right.person_id
    assert plan["gave_way"]["more"] > 0


async def test_while_hands_are_short_new_bookings_wait_for_the_end_of_their_window(
    town: Town, dispatcher: Dispatcher, clock: ManualClock
):
    for north_km in (0.5, 1.0):
        await town.add_worker(north_km)
    await rush(town, dispatcher)
    clock.step_ms(-clock.now_ms() % WINDOW_BUSY_MS + 100)
    pair = [await town.book(), await town.book()]
    assert await dispatcher.dispatch_due() == 2
    assert [await town.log(each) for each in pair] == [[], []], "collected, not decided"
    clock.step_ms(WINDOW_BUSY_MS - 101)
    assert await dispatcher.dispatch_due() == 0
    clock.step_ms(1)
    assert await dispatcher.dispatch_due() == 2
    for each in pair:
        outcome, detail = await last(town, each)
        assert (outcome, detail["plan"]["window_ms"]) == ("offered", WINDOW_BUSY_MS)
        assert detail["plan"]["bookings"] == 2


async def test_waits_for_who_is_about_to_finish_next_door(town: Town, clock: ManualClock):
    # How long a job may still take is not known well: were it dear to be late, it would be as good to wait for anybody.
    weights = replace(DEFAULT_POLICY.weights, late_min=0.0)
    dispatcher = matcher(town, policy=lambda: replace(DEFAULT_POLICY, weights=weights))
    far, next_door = await town.add_worker(9.0), await town.add_worker(0.1)
    await busy(town, next_door, for_min=59, north_km=0.1)
    await rush(town, dispatcher)
    booking_id = await town.book()
    clock.step_ms(2 * WINDOW_BUSY_MS)
    await dispatcher.dispatch_due()
    outcome, detail = await last(town, booking_id)
    assert (outcome, detail["plan"]["waits_for"]) == ("reserved", str(next_door.person_id))
    assert await town.state(booking_id) is BookingState.SEARCHING
    await town.pool.execute("UPDATE booking SET state = 'completed' WHERE worker_id = $1", next_door.person_id)
    dispatcher.feed.notified("")
    await dispatcher.feed.read()
    clock.step_ms(2 * WINDOW_BUSY_MS)
    await dispatcher.dispatch_due()
    assert (await town.asked(booking_id)).person_id == next_door.person_id
    assert far.person_id != next_door.person_id


async def test_who_should_have_finished_while_a_matcher_was_stopped_is_still_at_work(town: Town, clock: ManualClock):
    """The machine sleeps while travel times are asked for: then who was about to finish is overdue, not free."""
    next_door = await town.add_worker(0.1)
    await town.add_worker(9.0)
    await busy(town, next_door, for_min=59, north_km=0.1)

    class Sleepy(StraightLineSource):
        async def answers(self, questions, *, at_ms) -> list[EtaMatrix]:
            clock.step_ms(nap_ms)
            return await super().answers(questions, at_ms=at_ms)

    nap_ms = 0
    weights = replace(DEFAULT_POLICY.weights, late_min=0.0)
    dispatcher = matcher(town, eta=Sleepy(), policy=lambda: replace(DEFAULT_POLICY, weights=weights))
    await rush(town, dispatcher)
    booking_id = await town.book()
    clock.step_ms(2 * WINDOW_BUSY_MS)
    nap_ms = 180_000
    await dispatcher.dispatch_due()
    outcome, detail = await last(town, booking_id)
    assert (outcome, detail["plan"]["waits_for"]) == ("reserved", str(next_door.person_id))


async def test_bookings_that_cannot_be_planned_together_are_each_decided_alone(
    town: Town, capsys: pytest.CaptureFixture[str]
):
    """But a crew's: it is asked for together, or not at all."""

    class Broken(StraightLineSource):
        async def answers(self, questions, *, at_ms) -> list[EtaMatrix]:
            if len(questions) > 1:
                raise ValueError("too many")
            return await super().answers(questions, at_ms=at_ms)

    for north_km in (0.5, 1.0, 1.5, 2.0):
        await town.add_worker(north_km)
    singles = [await town.book(service_code="plumbing") for _ in range(2)]
    await town.pool.execute(
        """INSERT INTO service_seat SELECT s.service_id, 2, 'assistant', w.service_id FROM service s, service w
            WHERE s.org_id = $1 AND s.code = 'cleaning' AND w.org_id = $1 AND w.code = 'plumbing'""",
        town.org_id,
    )
    crew = await town.book()
    assert await matcher(town, eta=Broken()).dispatch_due() == 4
    assert [await town.state(each) for each in singles] == [BookingState.OFFERED] * 2
    states = await town.pool.fetch("SELECT state FROM booking WHERE crew_id = $1", crew)
    assert [row["state"] for row in states] == ["searching"] * 2
    assert "dispatch.window_failed" in capsys.readouterr().out


async def test_a_decision_that_cannot_be_kept_reserves_nobody(town: Town, dispatcher: Dispatcher, clock: ManualClock):
    await town.add_worker(0.5)
    booking_id = await town.book()

    class NoRecords(Recorder):
        def made(self, decision, *, window_id):
            del decision, window_id
            raise AssertionError("rows and names are bounded")

    good, dispatcher.recorder = dispatcher.recorder, NoRecords(clock=clock, worker_id=dispatcher.table.worker_id)
    await dispatcher.dispatch_due()
    assert await town.state(booking_id) is BookingState.SEARCHING
    dispatcher.recorder = good
    clock.step_ms(CLAIM_LEASE_MS)
    await dispatcher.feed.read()
    await dispatcher.dispatch_due()
    assert await town.open_offer(booking_id) is not None


async def test_windows_in_which_nobody_is_found_are_told_once(town: Town, clock: ManualClock):
    """However long the solver takes, and however many others were planned with it."""

    class Moving(ManualClock):
        def steady_ns(self) -> int:
            self._steady_ns += 1_234_567
            return self._steady_ns

    await town.add_worker(0.5, skills=0b10)
    moving = Moving(clock.now_ms())
    dispatcher = Dispatcher(pool=town.pool, redis=town.redis, clock=moving, fix_clock=clock)
    first = await town.book()
    for _ in range(3):
        await town.book()
        await dispatcher.dispatch_due()
        moving.step_ms(DISPATCH_RETRY_MS)
    assert [entry["outcome"] for entry in await town.log(first)] == ["nobody"]


async def test_who_is_pinned_is_asked_whoever_else_is_about_to_finish_next_door(town: Town, clock: ManualClock):
    weights = replace(DEFAULT_POLICY.weights, late_min=0.0)
    dispatcher = matcher(town, policy=lambda: replace(DEFAULT_POLICY, weights=weights))
    far, next_door = await town.add_worker(9.0), await town.add_worker(0.1)
    await busy(town, next_door, for_min=59, north_km=0.1)
    await rush(town, dispatcher)
    booking_id = await town.book()
    await town.pool.execute("UPDATE booking SET pinned_worker_id = $2 WHERE booking_id = $1", booking_id, far.person_id)
    clock.step_ms(2 * WINDOW_BUSY_MS)
    await dispatcher.dispatch_due()
    assert (await town.asked(booking_id)).person_id == far.person_id
