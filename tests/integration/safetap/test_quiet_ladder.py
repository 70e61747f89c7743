"""An alarm that nothing vouches for: told to the desk alone, dropped by nothing, raised by whoever vouches for it."""

from uuid import uuid4

import pytest

from config.limits import SEVERITY_MAX
from engine.core.errors import Conflict, NotAllowed
from engine.core.ids import IncidentId
from engine.outbox.listener import Wake
from engine.safetap.desk import acknowledge, close
from engine.safetap.escalation_loop import EscalationLoop
from engine.safetap.trigger import TokenState
from engine.safetap.trigger_store import store_trigger
from engine.safetap.vouching import vouch
from tests.integration.safetap.world import NOW_MS, World

pytestmark = pytest.mark.integration

CENTRE = {"url": "https://centre.example/alarm"}
STEPS = [
    {
        "delay_s": 0,
        "notify": [
            {"target": "desk", "channels": ["desk"]},
            {"target": "monitoring_centre", "channels": ["webhook"]},
        ],
    },
    {"delay_s": 20, "notify": [{"target": "webhook", "url": "https://police.example/", "channels": ["webhook"]}]},
]


@pytest.fixture
def loop(world: World) -> EscalationLoop:
    return EscalationLoop(pool=world.pool, wake=Wake(), new_id=uuid4)


async def press(world: World, token_state: TokenState = TokenState.FORGED) -> IncidentId:
    async with world.pool.acquire() as conn:
        return await store_trigger(conn, world.received(token_state=token_state), new_id=uuid4)


async def climb(world: World, loop: EscalationLoop, until_ms: int) -> int:
    """Take every step that becomes due until then; return how many."""
    taken = 0
    async with world.pool.acquire() as conn:
        while True:
            due_ms = await conn.fetchval("SELECT (extract(epoch FROM min(due_at)) * 1000)::bigint FROM incident_timer")
            if due_ms is None or due_ms > until_ms:
                return taken
            taken += await loop.cycle(conn, max(due_ms, NOW_MS))


async def told(world: World) -> set[str]:
    return {row["target"].partition(":")[0] for row in await world.pool.fetch("SELECT target FROM notice")}


async def test_only_people_of_the_desk_are_told_and_it_never_ends(world: World, loop: EscalationLoop) -> None:
    await world.set_policy(steps=STEPS, monitoring_centre=CENTRE, webhook_url="https://hook.example/")
    await press(world)
    assert await climb(world, loop, NOW_MS + 600_000) >= 10
    assert await told(world) == {"desk", "person"}
    timers = await world.pool.fetchval("SELECT count(*) FROM incident_timer")
    assert timers == 1, "somebody will be told again"


@pytest.mark.parametrize("by", ["a verified trigger", "a human"])
async def test_who_vouches_for_it_starts_the_whole_ladder(world: World, loop: EscalationLoop, by: str) -> None:
    await world.set_policy(steps=STEPS, monitoring_centre=CENTRE)
    incident_id = await press(world)
    for _ in range(SEVERITY_MAX + 1):
        await press(world)  # a forger can make it no more severe than can be
    await climb(world, loop, NOW_MS + 120_000)
    before = await world.pool.fetchrow("SELECT * FROM incident_timer")
    if by == "a human":
        async with world.pool.acquire() as conn:
            actor = world.principal(world.dispatcher)
            view = await vouch(conn, incident_id=incident_id, actor=actor, hold_id=uuid4(), now_ms=NOW_MS)
        assert (view["trust"], view["state"]) == ("verified", "open")
    else:
        assert await press(world, TokenState.VALID) == incident_id
    timer = await world.pool.fetchrow("SELECT * FROM incident_timer")
    assert (timer["step"], timer["loop"], timer["fence"]) == (1, before["loop"] + 1, before["fence"] + 1)
    await climb(world, loop, NOW_MS + 1_000)
    assert "monitoring_centre" in await told(world)
    assert await world.pool.fetchval("SELECT count(*) FROM safety_hold WHERE released_at IS NULL") == 1


async def test_vouching_leaves_what_somebody_has_taken_to_them(world: World) -> None:
    incident_id, actor = await press(world), world.principal(world.dispatcher)
    async with world.pool.acquire() as conn:
        await acknowledge(conn, incident_id=incident_id, actor=actor, now_ms=NOW_MS)
        before = await conn.fetchrow("SELECT * FROM incident_timer")
        for _ in range(2):
            view = await vouch(conn, incident_id=incident_id, actor=actor, hold_id=uuid4(), now_ms=NOW_MS)
        assert (view["trust"], view["state"]) == ("verified", "acknowledged")
        assert await conn.fetchrow("SELECT * FROM incident_timer") == before
        assert await world.events() == ["triggered", "acknowledged", "vouched"]
        assert await conn.fetchval("SELECT count(*) FROM safety_hold") == 1
        await close(conn, incident_id=incident_id, actor=actor, reason="over", now_ms=NOW_MS)
        with pytest.raises(Conflict):
            await vouch(conn, incident_id=incident_id, actor=actor, hold_id=uuid4(), now_ms=NOW_MS)


async def test_neither_the_person_nor_the_other_party_vouches(world: World) -> None:
    incident_id = await press(world)
    async with world.pool.acquire() as conn:
        for who in (world.worker, world.customer):
            with pytest.raises(NotAllowed):
                await vouch(conn, incident_id=incident_id, actor=world.principal(who), hold_id=uuid4(), now_ms=NOW_MS)
