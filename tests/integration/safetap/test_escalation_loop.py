"""Steps that happen when nobody acknowledges, exactly once, whoever takes them. Time is the test's."""

import asyncio
from uuid import uuid4

import orjson
import pytest

from config.limits import ESCALATION_BATCH_MAX, ESCALATION_LEASE_MS, FOLLOW_UP_MS
from engine.core.database import Connection
from engine.core.ids import PersonId
from engine.core.units import ms_from_utc
from engine.core.vocabulary import Role
from engine.outbox.listener import Wake
from engine.safetap.desk import acknowledge, close
from engine.safetap.escalation_loop import EscalationLoop
from engine.safetap.incident_store import read_clock
from engine.safetap.trigger_store import store_trigger
from tests.integration.safetap.world import NOW_MS, World


@pytest.fixture
def loop(world: World) -> EscalationLoop:
    return EscalationLoop(pool=world.pool, wake=Wake(), new_id=uuid4)


async def press(world: World, person_id: PersonId | None = None, **changes: object) -> object:
    async with world.pool.acquire() as conn:
        return await store_trigger(conn, world.received(person_id, **changes), new_id=uuid4)  # type: ignore[arg-type]


async def cycle(world: World, loop: EscalationLoop, now_ms: int) -> int:
    async with world.pool.acquire() as conn:
        return await loop.cycle(conn, now_ms)


async def notices(world: World) -> list[tuple[int, int, str, str]]:
    rows = await world.pool.fetch(
        "SELECT loop, step, channel, state FROM notice ORDER BY loop, step, channel, state, target"
    )
    return [tuple(row.values()) for row in rows]  # type: ignore[misc]


async def test_the_ladder_is_climbed_until_a_human_acts(world: World, loop: EscalationLoop) -> None:
    incident_id = await press(world)
    assert await cycle(world, loop, NOW_MS) == 1
    assert await notices(world) == [(0, 1, "desk", "sent")]
    assert await cycle(world, loop, NOW_MS + 19_999) == 0
    assert await cycle(world, loop, NOW_MS + 20_000) == 1
    assert (await notices(world))[1:] == [(0, 2, "desk", "sent"), *[(0, 2, "email", "pending")] * 3]
    assert (await world.incident())["step"] == 2
    async with world.pool.acquire() as conn:
        actor = world.principal(world.dispatcher)
        await acknowledge(conn, incident_id=incident_id, actor=actor, now_ms=NOW_MS + 30_000)  # type: ignore[arg-type]
    assert await cycle(world, loop, NOW_MS + 60_000) == 0
    assert await world.events() == ["triggered", "step", "step", "acknowledged"]


async def test_an_exhausted_ladder_broadcasts_again_and_again(world: World, loop: EscalationLoop) -> None:
    await press(world)
    at_ms = NOW_MS
    for step_ms in (0, 20_000, 40_000, 60_000, 60_000):
        at_ms += step_ms
        assert await cycle(world, loop, at_ms) == 1
    assert await world.events() == ["triggered", "step", "step", "step", "broadcast", "broadcast"]
    mails = [row for row in await notices(world) if row[2] == "email"]
    assert len(mails) == 4 * 3


async def test_an_acknowledgement_that_is_not_followed_by_a_close_lapses(world: World, loop: EscalationLoop) -> None:
    incident_id = await press(world)
    async with world.pool.acquire() as conn:
        actor = world.principal(world.dispatcher)
        await acknowledge(conn, incident_id=incident_id, actor=actor, now_ms=NOW_MS)  # type: ignore[arg-type]
    assert await cycle(world, loop, NOW_MS + FOLLOW_UP_MS - 1) == 0
    assert await cycle(world, loop, NOW_MS + FOLLOW_UP_MS) == 1
    incident = await world.incident()
    assert (incident["state"], incident["acknowledged_by"], incident["step"]) == ("open", None, 1)
    assert await world.events() == ["triggered", "acknowledged", "lapsed"]
    assert await cycle(world, loop, NOW_MS + FOLLOW_UP_MS + 20_000) == 1


async def test_a_closed_incident_takes_no_step(world: World, loop: EscalationLoop) -> None:
    incident_id = await press(world)
    async with world.pool.acquire() as conn:
        await cycle(world, loop, NOW_MS)
        await cycle(world, loop, NOW_MS + 20_000)
        actor = world.principal(world.admin)
        await close(conn, incident_id=incident_id, actor=actor, reason="safe", now_ms=NOW_MS + 21_000)  # type: ignore[arg-type]
    assert await cycle(world, loop, NOW_MS + 10_000_000) == 0
    states = {(row[2], row[3]) for row in await notices(world)}
    assert states == {("desk", "sent"), ("email", "failed")}


async def test_many_escalators_at_once_take_each_step_once(world: World) -> None:
    people = [PersonId(uuid4()) for _ in range(30)]
    async with world.pool.acquire() as conn:
        for person_id in people:
            await world.add_person(conn, person_id, Role.WORKER, "Some Worker")
            await store_trigger(conn, world.received(person_id), new_id=uuid4)
    loops = [EscalationLoop(pool=world.pool, wake=Wake(), new_id=uuid4) for _ in range(3)]

    for at_ms in (NOW_MS, NOW_MS + 20_000, NOW_MS + 60_000):
        claimed = await asyncio.gather(*(cycle(world, one, at_ms) for one in loops))
        assert sum(claimed) == len(people)
    counts = await world.pool.fetch(
        """SELECT count(*) FILTER (WHERE kind = 'step') AS steps, count(*) AS events
             FROM incident_event GROUP BY incident_id"""
    )
    assert [(row["steps"], row["events"]) for row in counts] == [(3, 4)] * len(people)
    doubled = await world.pool.fetchval(
        "SELECT count(*) FROM (SELECT FROM notice GROUP BY incident_id, step, target, channel HAVING count(*) > 1) d"
    )
    assert doubled == 0


async def test_a_step_whose_escalator_was_killed_is_taken_when_the_lease_ends(
    world: World, loop: EscalationLoop
) -> None:
    await press(world)
    async with world.pool.acquire() as conn:
        assert len(await loop.claim(conn, NOW_MS)) == 1  # and then it was killed
    assert await cycle(world, loop, NOW_MS + ESCALATION_LEASE_MS - 1) == 0
    assert await cycle(world, loop, NOW_MS + ESCALATION_LEASE_MS) == 1
    assert await world.events() == ["triggered", "step"]


async def test_an_escalator_that_slept_through_its_lease_changes_nothing(world: World, loop: EscalationLoop) -> None:
    await press(world)
    async with world.pool.acquire() as conn:
        stale = await loop.claim(conn, NOW_MS)
        assert await cycle(world, loop, NOW_MS + ESCALATION_LEASE_MS) == 1
        assert await loop.take(conn, stale, NOW_MS + ESCALATION_LEASE_MS) == 0
    assert await world.events() == ["triggered", "step"]


async def test_an_acknowledgement_between_claim_and_step_stops_the_step(world: World, loop: EscalationLoop) -> None:
    incident_id = await press(world)
    async with world.pool.acquire() as conn:
        claims = await loop.claim(conn, NOW_MS)
        actor = world.principal(world.dispatcher)
        await acknowledge(conn, incident_id=incident_id, actor=actor, now_ms=NOW_MS)  # type: ignore[arg-type]
        assert await loop.take(conn, claims, NOW_MS) == 0
    assert await notices(world) == []
    assert (await world.incident())["state"] == "acknowledged"


async def test_a_press_between_claim_and_step_is_not_lost(world: World, loop: EscalationLoop) -> None:
    await press(world)
    async with world.pool.acquire() as conn:
        claims = await loop.claim(conn, NOW_MS)
        await press(world)
        assert await loop.take(conn, claims, NOW_MS) == 0
        assert await loop.cycle(conn, NOW_MS) == 1
    assert await world.events() == ["triggered", "retriggered", "step"]


async def test_the_person_and_the_parties_are_never_told(world: World, loop: EscalationLoop) -> None:
    await world.pool.execute("UPDATE booking SET customer_id = $1", world.dispatcher)
    await press(world, booking_id=world.booking_id)
    await cycle(world, loop, NOW_MS)
    await cycle(world, loop, NOW_MS + 20_000)
    told = {row["target"] for row in await world.pool.fetch("SELECT target FROM notice WHERE channel = 'email'")}
    assert told == {f"person:{world.other_dispatcher}", f"person:{world.admin}"}


async def test_a_suspended_responder_is_not_told(world: World, loop: EscalationLoop) -> None:
    await world.pool.execute("UPDATE person SET status = 'suspended' WHERE person_id = $1", world.admin)
    await press(world)
    await cycle(world, loop, NOW_MS)
    await cycle(world, loop, NOW_MS + 20_000)
    assert await world.pool.fetchval("SELECT count(*) FROM notice WHERE channel = 'email'") == 2


async def test_a_policy_that_cannot_be_read_gives_way_to_the_default(world: World, loop: EscalationLoop) -> None:
    await press(world)
    await world.pool.execute('UPDATE incident SET policy = \'{"steps": "none"}\'')
    assert await cycle(world, loop, NOW_MS) == 1
    assert await notices(world) == [(0, 1, "desk", "sent")]


async def test_one_incident_that_cannot_be_saved_does_not_hold_up_the_others(
    world: World, loop: EscalationLoop
) -> None:
    bad = await press(world, world.worker)
    await press(world, world.customer)
    await world.pool.execute(
        f"ALTER TABLE incident_event ADD CONSTRAINT sabotage CHECK (kind <> 'step' OR incident_id <> '{bad}')"
    )
    await cycle(world, loop, NOW_MS)
    steps = await world.pool.fetch("SELECT incident_id FROM incident_event WHERE kind = 'step'")
    assert len(steps) == 1
    assert steps[0]["incident_id"] != bad


async def test_each_step_shows_at_the_desk(world: World, loop: EscalationLoop) -> None:
    await press(world)
    await cycle(world, loop, NOW_MS)
    bodies = [orjson.loads(row[0]) for row in await world.pool.fetch("SELECT body::text FROM outbox ORDER BY event_id")]
    assert [(body["version"], body["step"]) for body in bodies] == [(1, 0), (2, 1)]
    assert bodies[-1]["next_step_at"] == "2023-11-14T22:13:40.000Z"


async def test_a_round_takes_what_is_due_by_the_databases_clock(world: World) -> None:
    """The real clock of the database, and a wake-up by the trigger's own NOTIFY is not needed for what is due."""
    await press(world)  # due since 2023
    loop = EscalationLoop(pool=world.pool, wake=Wake(), new_id=uuid4)
    await loop.round()
    timer = await world.pool.fetchrow("SELECT * FROM incident_timer")
    async with world.pool.acquire() as conn:
        now_ms = await read_clock(conn)
    assert timer["step"] >= 2
    assert abs(now_ms - ms_from_utc(await world.pool.fetchval("SELECT max(at) FROM incident_event"))) < 5_000


async def test_a_batch_beyond_the_limit_is_taken_in_parts(world: World) -> None:
    async with world.pool.acquire() as conn:
        for _ in range(ESCALATION_BATCH_MAX + 5):
            person_id = PersonId(uuid4())
            await world.add_person(conn, person_id, Role.WORKER, "Some Worker")
            await store_trigger(conn, world.received(person_id), new_id=uuid4)

        async def fixed(_conn: Connection) -> int:
            return NOW_MS

        slow = EscalationLoop(pool=world.pool, wake=Wake(), new_id=uuid4, read_clock=fixed)
        assert await slow.cycle(conn, NOW_MS) == ESCALATION_BATCH_MAX
        assert await slow.cycle(conn, NOW_MS) == 5
        assert await slow.cycle(conn, NOW_MS) == 0
