"""An alarm on a job for several workers: everybody of the crew is a party to it, whichever seat they have."""

from uuid import uuid4

import asyncpg
import pytest

from config.jurisdictions import load_jurisdictions
from engine.core.errors import NotAllowed
from engine.core.ids import IncidentId, PersonId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Role
from engine.outbox.listener import Wake
from engine.people.legal_holds import what_holds
from engine.people.tracking import read_tracking
from engine.safetap.call_card import read_call_card
from engine.safetap.desk import acknowledge
from engine.safetap.escalation_loop import EscalationLoop
from engine.safetap.incident_work import hand_over
from engine.safetap.trigger_store import store_trigger
from tests.integration.safetap.world import NOW_MS, World

LATER_MS = NOW_MS + 5_000


@pytest.fixture
async def mate(world: World) -> PersonId:
    """Who has the second seat of the job under way."""
    who = PersonId(uuid4())
    async with world.pool.acquire() as conn, conn.transaction():
        await world.add_person(conn, who, Role.WORKER, "Mate Worker")
        await sit(conn, world, who)
    return who


async def sit(conn: asyncpg.Connection, world: World, person_id: PersonId) -> None:
    at = utc_from_ms(NOW_MS)
    await conn.execute("INSERT INTO worker (worker_id, updated_at) VALUES ($1, $2)", person_id, at)
    await conn.execute("INSERT INTO crew VALUES ($1, $2, 1)", world.booking_id, world.org_id)
    await conn.execute(
        "UPDATE booking SET crew_id = booking_id, seat_role = 'lead' WHERE booking_id = $1", world.booking_id
    )
    await conn.execute(
        """INSERT INTO booking (booking_id, org_id, region_id, customer_id, service_id, address_id, state, version,
                                worker_id, tz, created_at, updated_at, search_until, crew_id, seat, seat_role)
           SELECT $2, org_id, region_id, customer_id, service_id, address_id, state, version, $3, tz, created_at,
                  updated_at, search_until, booking_id, 2, 'assistant' FROM booking WHERE booking_id = $1""",
        world.booking_id,
        uuid4(),
        person_id,
    )


async def press(world: World, person_id: PersonId | None = None, **changes: object) -> IncidentId:
    async with world.pool.acquire() as conn:
        received = world.received(person_id, **changes)  # type: ignore[arg-type]  # each of its own kind
        return IncidentId(await store_trigger(conn, received, new_id=uuid4))


async def test_an_alarm_may_name_any_seat_and_everybody_stands_on_the_card(world: World, mate: PersonId) -> None:
    seat = await world.pool.fetchval("SELECT booking_id FROM booking WHERE worker_id = $1", mate)
    incident_id = await press(world, booking_id=seat)
    assert (await world.incident())["booking_id"] == seat
    async with world.pool.acquire() as conn:
        card = await read_call_card(conn, incident_id, jurisdictions=load_jurisdictions(), now_ms=LATER_MS)
        held = await what_holds(conn, mate)
    people = card["people"]
    assert isinstance(people, list)
    assert {one["name"] for one in people} == {"Walter Worker", "Mate Worker", "Carla Customer"}
    assert [one["name"] for one in people if one["called_for_help"]] == ["Walter Worker"]
    assert any(str(incident_id) in what for what in held), "a mate of who calls for help is not erased meanwhile"
    assert await world.pool.fetchval("SELECT address_id FROM safety_hold") == world.address_id


async def test_the_customer_loses_sight_of_the_whole_crew(world: World, mate: PersonId) -> None:
    async with world.pool.acquire() as conn:
        assert (await read_tracking(conn, mate)).is_in_sight
    incident_id = await press(world)
    async with world.pool.acquire() as conn:
        assert not (await read_tracking(conn, mate)).is_in_sight
        await conn.execute("UPDATE incident SET state = 'closed' WHERE incident_id = $1", incident_id)
        assert not (await read_tracking(conn, mate)).is_in_sight, "until a human has looked"
        await conn.execute("UPDATE safety_hold SET released_at = created_at")
        assert (await read_tracking(conn, mate)).is_in_sight


async def test_nobody_of_a_crew_is_told_or_acts(world: World) -> None:
    """Even one who has become a dispatcher since."""
    who = world.dispatcher
    async with world.pool.acquire() as conn, conn.transaction():
        await sit(conn, world, who)
    incident_id = await press(world, booking_id=world.booking_id)
    loop = EscalationLoop(pool=world.pool, wake=Wake(), new_id=uuid4)
    async with world.pool.acquire() as conn:
        for at_ms in (NOW_MS, NOW_MS + 20_000):
            await loop.cycle(conn, at_ms)
        told = await conn.fetch("SELECT target FROM notice WHERE channel = 'email'")
        assert {row["target"] for row in told} == {f"person:{world.other_dispatcher}", f"person:{world.admin}"}
        with pytest.raises(NotAllowed, match="party"):
            await acknowledge(conn, incident_id=incident_id, actor=world.principal(who), now_ms=LATER_MS)
        await acknowledge(conn, incident_id=incident_id, actor=world.principal(world.admin), now_ms=LATER_MS)
        with pytest.raises(NotAllowed, match="party"):
            await hand_over(
                conn,
                incident_id=incident_id,
                actor=world.principal(world.admin),
                to=who,
                note="",
                now_ms=LATER_MS,
            )
