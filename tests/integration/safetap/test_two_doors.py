"""Two doors that write for the same people at once: nobody waits in a circle."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID, uuid4

import asyncpg
import pytest

from engine.core.ids import PersonId
from engine.core.vocabulary import Role
from engine.safetap import trigger_store
from engine.safetap.trigger_store import rehearse, store_triggers
from tests.integration.safetap.world import World

WAIT_S = 30
BOTH_WAYS = pytest.mark.parametrize("in_one", [True, False], ids=["in one way", "statement by statement"])


@asynccontextmanager
async def connection(database_url: str, *, in_one: bool) -> AsyncIterator[asyncpg.Connection]:
    """A connection of its own, as the door's are; it ends with the test, and what was defined on it."""
    conn = await asyncpg.connect(database_url)
    try:
        if in_one:
            await rehearse(conn)
        yield conn
    finally:
        await conn.close()


@pytest.fixture
async def people(world: World) -> list[PersonId]:
    found = [PersonId(UUID(int=uuid4().int >> 32 << 32 | number)) for number in range(8)]
    async with world.pool.acquire() as conn:
        for person_id in found:
            await world.add_person(conn, person_id, Role.WORKER, "Wanda")
    return found


@BOTH_WAYS
async def test_who_looks_first_and_locks_later_makes_no_circle(
    world: World, people: list[PersonId], database_url: str, in_one: bool
) -> None:
    """One door has just made the first person's incident and goes on to the second's; another takes both at once."""
    first, second = people[:2]
    store = partial(store_triggers, new_id=uuid4, in_one=in_one)
    async with (
        asyncio.timeout(WAIT_S),
        connection(database_url, in_one=in_one) as one,
        connection(database_url, in_one=in_one) as two,
    ):
        await store(one, [world.received(person_id=second)])
        async with one.transaction():
            await store(one, [world.received(person_id=first)])
            both = [world.received(person_id=first), world.received(person_id=second)]
            async with asyncio.TaskGroup() as tasks:
                other = tasks.create_task(store(two, both))
                while not await world.pool.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $1", two.get_server_pid()
                ):
                    assert not other.done()
                # Who waits for the first must not hold the second: it would be waited for in turn.
                await world.pool.fetch("SELECT FROM incident WHERE person_id = $1 FOR UPDATE NOWAIT", second)
                await store(one, [world.received(person_id=second)])
                await one.execute("COMMIT; BEGIN")
        assert None not in other.result()
    severities = await world.pool.fetch("SELECT severity FROM incident WHERE person_id = ANY($1)", [first, second])
    assert sorted(row["severity"] for row in severities) == [2, 3]


@BOTH_WAYS
async def test_a_storm_at_two_doors_has_no_deadlock(
    world: World, people: list[PersonId], monkeypatch: pytest.MonkeyPatch, database_url: str, in_one: bool
) -> None:
    monkeypatch.setattr(trigger_store, "ATTEMPTS_MAX", 1)  # whoever is chosen to end a circle says so
    dice = random.Random(5)
    store = partial(store_triggers, new_id=uuid4, in_one=in_one)

    async def door() -> None:
        async with connection(database_url, in_one=in_one) as conn:
            for _ in range(40):
                crowd = dice.sample(people, dice.randint(1, len(people)))
                batch = [world.received(person_id=person_id) for person_id in crowd]
                assert None not in await store(conn, batch)
                if dice.random() < 0.3:
                    await conn.execute(
                        "UPDATE incident SET state = 'closed' WHERE incident_id ="
                        " (SELECT incident_id FROM incident WHERE state <> 'closed' LIMIT 1 FOR UPDATE SKIP LOCKED)"
                    )

    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as doors:
        for _ in range(3):
            doors.create_task(door())
    assert await world.pool.fetchval("SELECT count(*) FROM safetap_trigger") > 40
