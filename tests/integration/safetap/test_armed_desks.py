"""Desks that say that somebody watches them, through a real websocket, and ladders that believe it for a lease."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from config.limits import ARMED_ACTIVE_MS, ARMED_LEASE_MS, ARMED_REPORT_MS
from engine.core.ids import PersonId
from engine.core.units import ms_from_utc
from engine.outbox.listener import Wake
from engine.people.tokens import AccessTokens
from engine.safetap.armed_desks import arm, armed_desks, disarm, lease_ms
from engine.safetap.escalation_loop import EscalationLoop
from engine.safetap.incident_store import read_clock
from tests.integration.safetap.doors import CLOCK, OpenDoor
from tests.integration.safetap.test_escalation_loop import press
from tests.integration.safetap.test_live_desks import Live, closing, desk, hear
from tests.integration.safetap.world import NOW_MS, World

WATCHED = {"type": "armed", "is_sound_unlocked": True, "active_ms_ago": 2_000}


@pytest.fixture
async def unwatched(world: World) -> World:
    await world.pool.execute("DELETE FROM armed_desk")
    return world


@pytest.fixture
def loop(world: World) -> EscalationLoop:
    return EscalationLoop(pool=world.pool, wake=Wake(), new_id=uuid4)


async def steps(world: World, loop: EscalationLoop, now_ms: int) -> int:
    async with world.pool.acquire() as conn:
        await loop.hurry(conn, now_ms)
        return await loop.cycle(conn, now_ms)


async def watch(world: World, person_id: PersonId, *, now_ms: int, for_ms: int = ARMED_LEASE_MS) -> bool:
    async with world.pool.acquire() as conn:
        return await arm(conn, desk_id=uuid4(), org_id=world.org_id, person_id=person_id, now_ms=now_ms, for_ms=for_ms)


def test_sound_and_a_living_human_arm_a_desk() -> None:
    assert lease_ms(is_sound_unlocked=True, active_ms_ago=0) == ARMED_LEASE_MS
    assert lease_ms(is_sound_unlocked=False, active_ms_ago=0) == 0
    assert lease_ms(is_sound_unlocked=True, active_ms_ago=ARMED_ACTIVE_MS - 1_000) == 1_000
    assert lease_ms(is_sound_unlocked=True, active_ms_ago=ARMED_ACTIVE_MS + 1) == 0


async def hear_armed(socket: Live) -> dict[str, Any]:
    """Return the next answer to a report; a door that has just begun to listen shows everything once more."""
    while (message := await hear(socket))["type"] != "armed":
        pass
    return message


async def test_a_desk_arms_itself_and_its_end_disarms_it(
    unwatched: World, door: OpenDoor, tokens: AccessTokens
) -> None:
    token = unwatched.token(tokens, unwatched.dispatcher, now_ms=CLOCK.now_ms())
    async with desk(door, token) as socket:
        assert (await hear(socket))["type"] == "snapshot"
        await socket.send_json(WATCHED)
        told = {"type": "armed", "is_armed": True, "report_ms": ARMED_REPORT_MS, "desks_armed": 1}
        assert await hear_armed(socket) == told
        row = await unwatched.pool.fetchrow("SELECT * FROM armed_desk")
        async with unwatched.pool.acquire() as conn:
            now_ms = await read_clock(conn)
        assert row["person_id"] == unwatched.dispatcher
        assert 0 < ms_from_utc(row["lease_until"]) - now_ms <= ARMED_LEASE_MS
        await socket.send_json({**WATCHED, "is_sound_unlocked": False})
        assert (await hear_armed(socket))["is_armed"] is False
        assert await unwatched.pool.fetchval("SELECT count(*) FROM armed_desk") == 0
        await socket.send_json(WATCHED)
        assert (await hear_armed(socket))["is_armed"] is True
        await socket.send_json({**WATCHED, "active_ms_ago": "long"})
        assert await closing(socket) == 4400
    while await unwatched.pool.fetchval("SELECT count(*) FROM armed_desk"):
        await CLOCK.sleep_ms(10)


async def test_who_no_longer_works_at_the_desk_arms_none(unwatched: World) -> None:
    await unwatched.pool.execute("UPDATE person SET status = 'suspended' WHERE person_id = $1", unwatched.dispatcher)
    assert not await watch(unwatched, unwatched.dispatcher, now_ms=NOW_MS)
    assert not await watch(unwatched, unwatched.worker, now_ms=NOW_MS)
    assert await watch(unwatched, unwatched.admin, now_ms=NOW_MS)


async def test_the_list_names_who_watches_until_the_lease_ends(unwatched: World) -> None:
    await watch(unwatched, unwatched.admin, now_ms=NOW_MS)
    async with unwatched.pool.acquire() as conn:
        (one,) = await armed_desks(conn, org_id=unwatched.org_id, now_ms=NOW_MS + ARMED_LEASE_MS - 1)
        assert (one.person_id, one.name) == (unwatched.admin, "Ada Admin")
        assert await armed_desks(conn, org_id=unwatched.org_id, now_ms=NOW_MS + ARMED_LEASE_MS) == []


async def test_without_an_armed_desk_the_ladder_starts_at_the_phones(unwatched: World, loop: EscalationLoop) -> None:
    await press(unwatched)
    assert await steps(unwatched, loop, NOW_MS) == 1
    assert await steps(unwatched, loop, NOW_MS) == 1, "the desk's 20 s are not waited for"
    assert await steps(unwatched, loop, NOW_MS) == 0, "the next step is no longer the desk's"
    bodies = await unwatched.pool.fetch(
        "SELECT body ->> 'haste' AS haste, body -> 'is_desk_armed' AS armed FROM incident_event WHERE kind = 'step'"
        " ORDER BY version"
    )
    assert [tuple(row) for row in bodies] == [("no_armed_desk", "false"), (None, "false")]


async def test_a_desk_that_is_left_hurries_what_waited_for_it(unwatched: World, loop: EscalationLoop) -> None:
    await watch(unwatched, unwatched.dispatcher, now_ms=NOW_MS, for_ms=5_000)
    await watch(unwatched, unwatched.worker, now_ms=NOW_MS)  # arms nothing
    await press(unwatched)
    assert await steps(unwatched, loop, NOW_MS) == 1
    assert await steps(unwatched, loop, NOW_MS + 4_999) == 0
    assert await steps(unwatched, loop, NOW_MS + 5_000) == 1
    assert (await unwatched.incident())["step"] == 2


async def test_a_desk_that_disarms_itself_does_too(unwatched: World, loop: EscalationLoop) -> None:
    await watch(unwatched, unwatched.dispatcher, now_ms=NOW_MS)
    await press(unwatched)
    assert await steps(unwatched, loop, NOW_MS) == 1
    async with unwatched.pool.acquire() as conn:
        await disarm(conn, desk_id=await conn.fetchval("SELECT desk_id FROM armed_desk"))
    assert await steps(unwatched, loop, NOW_MS + 1) == 1


async def test_an_acknowledged_incident_is_not_hurried(unwatched: World, loop: EscalationLoop) -> None:
    await watch(unwatched, unwatched.dispatcher, now_ms=NOW_MS, for_ms=5_000)
    await press(unwatched)
    assert await steps(unwatched, loop, NOW_MS) == 1
    await unwatched.pool.execute("UPDATE incident SET state = 'acknowledged'")
    assert await steps(unwatched, loop, NOW_MS + 6_000) == 0


async def test_the_desk_of_who_has_a_stake_does_not_count(unwatched: World, loop: EscalationLoop) -> None:
    await unwatched.pool.execute("UPDATE booking SET customer_id = $1", unwatched.dispatcher)
    await watch(unwatched, unwatched.dispatcher, now_ms=NOW_MS)
    await press(unwatched)
    assert await steps(unwatched, loop, NOW_MS) == 1
    assert await steps(unwatched, loop, NOW_MS) == 1


async def test_looking_for_deserted_ladders_wakes_nobody(unwatched: World, loop: EscalationLoop) -> None:
    await watch(unwatched, unwatched.dispatcher, now_ms=NOW_MS)
    await press(unwatched)
    assert await steps(unwatched, loop, NOW_MS) == 1
    heard: list[str] = []
    last = asyncio.Event()

    def hear_wake(_conn: object, _pid: int, _channel: str, payload: object) -> None:
        heard.append(str(payload))
        if payload == "last":
            last.set()

    async with unwatched.pool.acquire() as listening, unwatched.pool.acquire() as conn:
        await listening.add_listener("clenzy_safetap", hear_wake)
        await loop.hurry(conn, NOW_MS + 1)
        await conn.execute("SELECT pg_notify('clenzy_safetap', 'last')")
        async with asyncio.timeout(5):
            await last.wait()
        await listening.remove_listener("clenzy_safetap", hear_wake)
    assert heard == ["last"]
