"""Why this worker: what was written with an offer is read, told and decided again, on real stores."""

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from api_rest.why import WhyList
from config.limits import DECISION_RECORD_DAYS
from engine.core.clock import SystemClock
from engine.core.errors import NotFound
from engine.core.ids import BookingId, OrgId
from engine.core.units import MS_PER_DAY
from engine.core.vocabulary import Role
from engine.geo.cell_index import CellIndex
from engine.geo.followed_mirror import FollowedMirror
from engine.geo.mirror import Mirror
from engine.matcher.cost_policy import DEFAULT_POLICY, CostPolicy
from engine.matcher.decision_record import arrays_of, decode, encode
from engine.matcher.decision_replay import replay, sent_by
from engine.matcher.dispatch import Dispatcher
from engine.matcher.record_keeping import keep_records
from engine.matcher.record_store import StoredDecision, read_decisions, read_window
from engine.matcher.why_reading import read_why, weights_of
from engine.matcher.window_record import decode_window, replay_window
from engine.people.erasure import erase_person
from engine.run_explain import explain
from tests.fakes import ManualClock
from tests.integration.matcher.town import Town

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.integration


async def stored(town: Town, booking_id: BookingId) -> list[StoredDecision]:
    async with town.pool.acquire() as conn:
        return await read_decisions(conn, booking_id, org_id=town.org_id, limit=10)


async def told(town: Town, booking_id: BookingId) -> list[dict[str, object]]:
    async with town.pool.acquire() as conn, conn.transaction():
        items = await read_why(
            conn, booking_id, org_id=town.org_id, actor_id=None, limit=10, now_ms=town.clock.now_ms()
        )
    WhyList.model_validate_json(orjson.dumps({"items": items}))  # what the route promises
    return items


def differs(decision: StoredDecision) -> list[str]:
    assert decision.body is not None
    assert decision.policy is not None
    record = decode(decision.body)
    return replay(record, weights_of(decision.policy, decision.org_id, record))


class Standing(FollowedMirror):
    """Nothing moves once it was whole: what it holds stays true, however slow the machine is."""

    @property
    def whole(self) -> Mirror | None:
        return self.mirror


async def dispatched_from_the_kept_frame(town: Town) -> None:
    """One round of a matcher with a copy of the cells, as the running one has."""
    places = Standing(town.redis, CellIndex(town.redis), clock=SystemClock())
    dispatcher = Dispatcher(pool=town.pool, redis=town.redis, clock=town.clock, fix_clock=town.clock, places=places)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(places.run())
        await places.until_whole()
        following.cancel()
    await dispatcher.dispatch_due()


async def test_a_decision_of_real_stores_is_told_and_is_the_same_again(town: Town) -> None:
    second = await town.add_worker(2.0)
    first = await town.add_worker(0.5)
    unskilled = await town.add_worker(0.1, skills=0b10)
    held = await town.add_worker(0.2)
    await town.hold(person_id=held.person_id)
    far = await town.add_worker(11.9)
    customer = await town.add_person(Role.CUSTOMER)
    booking_id = await town.book(customer)
    await dispatched_from_the_kept_frame(town)

    (decision,) = await stored(town, booking_id)
    radius_km = decode(decision.body or b"").asked.radius_m / 1_000
    (why,) = await told(town, booking_id)
    assert (why["outcome"], why["record"], why["looked_at"]) == ("offered", "kept", 5)
    ranked, losers = why["ranked"], why["near_losers"]
    assert [each["worker_id"] for each in ranked] == [str(each.person_id) for each in (first, second)]
    assert [each["answer"] for each in ranked] == ["open", None]
    assert ranked[0]["distance_m"] == pytest.approx(500, abs=2)
    assert ranked[0]["needed"] is None
    assert ranked[1]["needed"] == f"to cost {ranked[1]['cost_min'] - ranked[0]['cost_min']:.2f} min less"
    assert list(ranked[1]["against_first"]) == ["eta"]
    for each in ranked:
        assert sum(each["terms"].values()) == pytest.approx(each["cost_min"], abs=0.02)
    assert [(each["worker_id"], each["rules"], each["place_without_rules"]) for each in losers] == [
        (str(held.person_id), ["safety_hold"], 1),
        (str(far.person_id), ["too_far"], 3),
    ], "the first of them would have been asked but for a rule"
    assert losers[1]["needed"] == f"to be within {radius_km:g} km: no further was looked"
    assert str(unskilled.person_id) not in str(why), "of those without the skill there is a count"
    assert why["ruled_out"] == {"skill": 1, "safety_hold": 1, "too_far": 1}
    assert why["policy"]["label"] == DEFAULT_POLICY.label
    assert why["policy"]["weights"]["risk_gap_min"] == DEFAULT_POLICY.weights.risk_gap_min
    assert differs(decision) == []


async def test_bookings_of_one_moment_share_one_problem(town: Town, dispatcher: Dispatcher) -> None:
    for north_km in (0.2, 0.9, 2.5):
        await town.add_worker(north_km)
    bookings = [await town.book(north_km=north_km) for north_km in (0.0, 0.1)]
    await dispatcher.dispatch_due()
    windows = set()
    for booking_id in bookings:
        (decision,) = await stored(town, booking_id)
        assert differs(decision) == []
        assert decision.window_id is not None
        assert decision.body is not None
        async with town.pool.acquire() as conn:
            body = await read_window(conn, decision.window_id, at_ms=decision.at_ms)
        assert body is not None
        problem, plan = decode_window(body)
        assert replay_window(problem, plan) == []
        assert sent_by(decode(decision.body), problem, plan)
        windows.add(decision.window_id)
        worse = replace(problem, candidates=replace(problem.candidates, cost_min=problem.candidates.cost_min[::-1]))
        assert replay_window(worse, plan) != []
    assert len(windows) == 1
    assert await town.pool.fetchval("SELECT count(*) FROM window_record") == 1


async def test_a_byte_that_changed_is_told(town: Town, dispatcher: Dispatcher) -> None:
    await town.add_worker(0.5)
    booking_id = await town.book()
    await dispatcher.dispatch_due()
    await town.pool.execute("UPDATE decision_record SET body = set_byte(body, 100, get_byte(body, 100) # 1)")
    (why,) = await told(town, booking_id)
    assert (why["record"], why["near_losers"]) == ("damaged", [])
    assert [each["name"] for each in why["ranked"]] == ["Somebody"], "what the log says is told"


async def test_nobody_is_explained_too_and_a_repetition_is_kept_once(
    town: Town, dispatcher: Dispatcher, clock: ManualClock
) -> None:
    busy = await town.add_worker(0.5, duty="off")
    booking_id = await town.book()
    for _ in range(3):
        await dispatcher.dispatch_due()
        await clock.advance_ms(10_000)
    (why,) = await told(town, booking_id)
    assert (why["outcome"], why["ranked"]) == ("nobody", [])
    assert [each["worker_id"] for each in why["near_losers"]] in ([], [str(busy.person_id)])
    assert await town.pool.fetchval("SELECT count(*) FROM decision_record") == len(await town.log(booking_id))


async def test_a_policy_is_kept_whole_and_once(town: Town, redis: Redis, clock: ManualClock) -> None:
    own = replace(DEFAULT_POLICY.weights, risk_gap_min=3.5)
    policy = CostPolicy("nights", 2, DEFAULT_POLICY.weights, {town.org_id: own}, {})
    dispatcher = Dispatcher(pool=town.pool, redis=redis, clock=clock, fix_clock=clock, policy=lambda: policy)
    for _ in range(2):
        await town.add_worker(0.5)
        booking_id = await town.book()
        await dispatcher.dispatch_due()
        await again(dispatcher)
    (decision,) = await stored(town, booking_id)
    assert decision.policy == policy
    assert differs(decision) == []
    assert await town.pool.fetchval("SELECT count(*) FROM cost_policy") == 1
    record = decode(decision.body or b"")
    assert "query.numbers" in replay(record, DEFAULT_POLICY.weights), "other weights decide otherwise"


async def test_nobody_elses_organisation_and_no_unknown_booking_is_told(town: Town, dispatcher: Dispatcher) -> None:
    await town.add_worker(0.5)
    booking_id = await town.book()
    await dispatcher.dispatch_due()
    for wanted, org_id in ((booking_id, OrgId(uuid4())), (BookingId(uuid4()), town.org_id)):
        async with town.pool.acquire() as conn, conn.transaction():
            with pytest.raises(NotFound):
                await read_why(conn, wanted, org_id=org_id, actor_id=None, limit=10, now_ms=town.clock.now_ms())
    assert await town.pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'decision.read'") == 0
    await told(town, booking_id)
    subject = await town.pool.fetchval("SELECT subject FROM audit_log WHERE action = 'decision.read'")
    assert subject == f"booking:{booking_id}"


async def test_records_go_by_their_days_and_the_log_stays(
    town: Town, dispatcher: Dispatcher, clock: ManualClock
) -> None:
    await town.add_worker(0.5)
    booking_id = await town.book()
    await dispatcher.dispatch_due()

    async def kept(after_days: int) -> int:
        async with town.pool.acquire() as conn:
            await keep_records(conn, now_ms=clock.now_ms() + after_days * MS_PER_DAY, kept_days=DECISION_RECORD_DAYS)
        return await town.pool.fetchval("SELECT count(*) FROM decision_record")

    assert [await kept(days) for days in (0, DECISION_RECORD_DAYS, DECISION_RECORD_DAYS + 1)] == [1, 1, 0]
    assert await town.pool.fetchval("SELECT count(*) FROM cost_policy") == 1
    (why,) = await told(town, booking_id)
    assert (why["record"], why["outcome"], why["near_losers"]) == ("none", "offered", [])
    assert [(each["place"], each["answer"]) for each in why["ranked"]] == [(1, "open")]
    await kept(DECISION_RECORD_DAYS + 3)
    assert await town.pool.fetchval("SELECT count(*) FROM cost_policy") == 0


async def test_an_erasure_takes_every_record_that_the_person_is_in(town: Town, dispatcher: Dispatcher) -> None:
    await town.add_worker(0.5)
    weighed, admin = await town.add_worker(0.9), await town.add_person(Role.ADMIN)
    for _ in range(2):
        await town.book()
        await dispatcher.dispatch_due()
        await again(dispatcher)
    alone = await town.pool.fetchval(
        "SELECT count(*) FROM decision_record WHERE NOT $1 = ANY(worker_ids)", weighed.person_id
    )
    assert await town.pool.fetchval("SELECT count(*) FROM decision_record") > alone
    await town.pool.execute("UPDATE offer SET state = 'expired' WHERE state = 'open'")
    async with town.pool.acquire() as conn:
        await erase_person(conn, weighed.person_id, admin=admin, now_ms=town.clock.now_ms())
    assert await town.pool.fetchval("SELECT count(*) FROM decision_record") == alone


async def again(dispatcher: Dispatcher) -> None:
    """Read everybody anew, as the running feed would."""
    dispatcher.feed.notified("")
    await dispatcher.feed.read()


async def test_a_record_is_in_the_table_of_its_day(town: Town, dispatcher: Dispatcher, pool: asyncpg.Pool) -> None:
    await town.add_worker(0.5)
    booking_id = await town.book()
    await dispatcher.dispatch_due()
    (decision,) = await stored(town, booking_id)
    slot = decision.at_ms // MS_PER_DAY % 32
    assert await pool.fetchval(f"SELECT count(*) FROM decision_record_{slot:02}") == 1
    assert decision.body is not None
    assert sorted(arrays_of(decode(decision.body)))[:2] == ["listed.cost", "listed.eta_s"]


def clenzy(*arguments: str, database_url: str, state_dir: Path) -> "subprocess.CompletedProcess[str]":
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("CLENZY_", "DATABASE_", "REDIS_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "clenzy", *arguments, "--state-dir", str(state_dir)],
        env={**outside, "COLUMNS": "240", "DATABASE_URL": database_url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.timeout(300)
async def test_the_terminal_shows_who_and_why_and_makes_it_again(
    town: Town, dispatcher: Dispatcher, database_url: str, tmp_path: Path
) -> None:
    for north_km in (0.5, 1.5):
        await town.add_worker(north_km)
    booking_id, other = await town.book(), await town.book()
    await dispatcher.dispatch_due()

    async def said_of(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return await asyncio.to_thread(clenzy, "explain", *arguments, database_url=database_url, state_dir=tmp_path)

    said = await said_of(str(booking_id), "--replay")
    assert said.returncode == 0, said.stderr
    for part in ("Somebody  open", "0.5 km", "Who could go", "eta 3.97", "the same to the bit", "with 1 other"):
        assert part in said.stdout, part
    await town.pool.execute("UPDATE window_record SET body = set_byte(body, 90, get_byte(body, 90) # 1)")
    assert "not as it was written" in (await said_of(str(other), "--replay")).stdout
    nobody = await said_of(str(uuid4()))
    assert (nobody.returncode, "no such booking" in nobody.stderr) == (1, True)


async def test_a_decision_that_was_rewritten_is_told_by_what_differs(town: Town, dispatcher: Dispatcher) -> None:
    await town.add_worker(0.5)
    await town.add_worker(1.0)
    booking_id = await town.book()
    await dispatcher.dispatch_due()
    (decision,) = await stored(town, booking_id)
    record = decode(decision.body or b"")
    cheaper = replace(record.ranked, cost=record.ranked.cost - 1)
    await town.pool.execute("UPDATE decision_record SET body = $1", encode(replace(record, ranked=cheaper)))
    async with town.pool.acquire() as conn:
        found = await explain(conn, booking_id, must_replay=True, clock=town.clock)
    (item,) = found["items"]
    assert item["replay"] == {"problem": None, "differs": ["ranked.cost"]}
