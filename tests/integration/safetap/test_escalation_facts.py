"""Whom a ladder finds in the database: on call, contacts, volunteers nearby, and nobody with a stake."""

from datetime import timedelta
from uuid import UUID, uuid4

import orjson
import pytest

from config.limits import VOLUNTEER_CELL_M
from engine.core.ids import PersonId
from engine.core.units import deg_to_e7, utc_from_ms
from engine.core.vocabulary import Role
from engine.outbox.listener import Wake
from engine.safetap.escalation_facts import Place, distance_m
from engine.safetap.escalation_loop import EscalationLoop
from tests.integration.safetap.test_escalation_loop import cycle, press
from tests.integration.safetap.world import NOW_MS, World

SCHEDULE = UUID(int=7)
PLACE = Place(41.15, -8.61)


@pytest.fixture
def loop(world: World) -> EscalationLoop:
    return EscalationLoop(pool=world.pool, wake=Wake(), new_id=uuid4)


async def told(world: World) -> set[tuple[str, str, str]]:
    return {tuple(row) for row in await world.pool.fetch("SELECT target, channel, address FROM notice")}


async def tell(world: World, *notify: object, **changes: object) -> None:
    await world.set_policy(steps=[{"delay_s": 0, "notify": list(notify)}], **changes)


async def add_schedule(world: World, *people: PersonId) -> None:
    layer = {"name": "", "every_days": 1, "at": "08:00", "starts_on": "2023-11-01", "people": [str(p) for p in people]}
    await world.pool.execute(
        "INSERT INTO on_call_schedule VALUES ($1, $2, 'First', $3::text::jsonb, 1, $4, $4)",
        SCHEDULE,
        world.org_id,
        orjson.dumps({"tz": "Europe/Lisbon", "layers": [layer]}).decode(),
        utc_from_ms(NOW_MS),
    )


ON_CALL = {"target": "on_call", "schedule_id": str(SCHEDULE), "channels": ["sms", "push", "fcm"]}


async def test_whoever_is_on_call_is_told_on_every_device(world: World, loop: EscalationLoop) -> None:
    await add_schedule(world, world.dispatcher, world.other_dispatcher)  # 2023-11-14 is the first one's: day 13 of 2
    on_call = world.other_dispatcher
    await world.pool.execute("UPDATE person SET phone = '00351 912-345-678' WHERE person_id = $1", on_call)
    devices = [uuid4(), uuid4()]
    for number, device_id in enumerate(devices):
        await world.pool.execute(
            "INSERT INTO push_device VALUES ($1, $2, $3, $4, $5, $6)",
            device_id,
            world.org_id,
            on_call,
            f"token {number}",
            bytes([number]),
            utc_from_ms(NOW_MS + number),
        )
    await tell(world, ON_CALL)
    await press(world)
    await cycle(world, loop, NOW_MS)
    assert await told(world) == {
        (f"person:{on_call}", "sms", "+351912345678"),
        (f"person:{on_call}", "fcm", str(devices[0])),
        (f"person:{on_call}/1", "fcm", str(devices[1])),
    }


async def test_an_override_counts_from_its_moment_on(world: World, loop: EscalationLoop) -> None:
    await add_schedule(world, world.other_dispatcher)
    await world.pool.execute("UPDATE person SET phone = '+351912345678' WHERE person_id = $1", world.admin)
    await world.pool.execute(
        "INSERT INTO on_call_override VALUES ($1, $2, $3, $4, $5, $6, $4, $5)",
        uuid4(),
        SCHEDULE,
        world.other_dispatcher,
        world.admin,
        utc_from_ms(NOW_MS - 1),
        utc_from_ms(NOW_MS + 1),
    )
    await tell(world, ON_CALL)
    await press(world)
    await cycle(world, loop, NOW_MS)
    assert await told(world) == {(f"person:{world.admin}", "sms", "+351912345678")}


@pytest.mark.parametrize("body", ["none", "broken"])
async def test_a_schedule_without_anybody_passes_the_word_on_at_once(
    world: World, loop: EscalationLoop, body: str
) -> None:
    if body == "broken":
        await add_schedule(world, world.dispatcher)
        await world.pool.execute("UPDATE on_call_schedule SET body = '{}'")
    await tell(world, ON_CALL)
    await press(world)
    assert await cycle(world, loop, NOW_MS) == 1
    assert await told(world) == set()
    assert await cycle(world, loop, NOW_MS) == 1, "the broadcast, at once"
    assert {channel for _, channel, _ in await told(world)} == {"desk", "email"}
    haste = await world.pool.fetchval("SELECT body ->> 'haste' FROM incident_event WHERE kind = 'step'")
    assert haste == "nobody_told"


async def add_contact(world: World, person_id: PersonId, position: int, **fields: object) -> str:
    contact_id = uuid4()
    await world.pool.execute(
        "INSERT INTO safety_contact VALUES ($1, $2, $3, 'A friend', $4, $5, $6, $7)",
        contact_id,
        person_id,
        position,
        fields.get("phone"),
        fields.get("email"),
        fields.get("may_be_at_address", False),
        utc_from_ms(NOW_MS),
    )
    return f"contact:{contact_id}"


CONTACTS = {"target": "contacts", "channels": ["sms", "email"]}


async def test_the_persons_own_contacts_are_told_but_for_one_at_the_address_and_the_other_party(
    world: World, loop: EscalationLoop
) -> None:
    await world.pool.execute("UPDATE person SET phone = '+351 933 333 333' WHERE person_id = $1", world.customer)
    friend = await add_contact(world, world.worker, 1, phone="+351911111111", email="friend@example.com")
    await add_contact(world, world.worker, 2, phone="+351922222222", may_be_at_address=True)
    await add_contact(world, world.worker, 3, phone="+351933333333")  # the customer, under another name
    await add_contact(world, world.customer, 1, phone="+351944444444")  # somebody else's
    await tell(world, CONTACTS)
    await press(world, world.worker, booking_id=world.booking_id)
    await cycle(world, loop, NOW_MS)
    assert await told(world) == {(friend, "sms", "+351911111111"), (friend, "email", "friend@example.com")}


async def test_nobody_outside_hears_of_a_drill(world: World, loop: EscalationLoop) -> None:
    await add_contact(world, world.worker, 1, phone="+351911111111")
    await tell(
        world,
        CONTACTS,
        {"target": "monitoring_centre", "channels": ["sms"]},
        {"target": "desk", "channels": ["desk"]},
        monitoring_centre={"phone": "+351211111111"},
    )
    await press(world)
    await world.pool.execute("UPDATE incident SET is_drill = true")
    await cycle(world, loop, NOW_MS)
    assert {target for target, _, _ in await told(world)} == {"desk"}


async def add_volunteer(world: World, name: str, *, north_m: float, age_s: int = 10, agrees: bool = True) -> PersonId:
    person_id = PersonId(uuid4())
    at = utc_from_ms(NOW_MS)
    async with world.pool.acquire() as conn:
        await world.add_person(conn, person_id, Role.WORKER, name)
        slot = await conn.fetchval(
            "INSERT INTO worker (worker_id, updated_at) VALUES ($1, $2) RETURNING slot", person_id, at
        )
        await conn.execute(
            "INSERT INTO safety_setup (person_id, contact_mode, volunteers, updated_at) VALUES ($1, 'none', $2, $3)",
            person_id,
            agrees,
            at,
        )
        await conn.execute(
            "INSERT INTO safety_volunteer VALUES ($1, $2, $3, $4)", person_id, at + timedelta(days=1), world.admin, at
        )
        lat_e7 = deg_to_e7(PLACE.lat_deg + north_m / 111_319.49)
        await conn.execute(
            "INSERT INTO trail VALUES ($1, $2, $3, $4, $5, -1, -1, -1)",
            at - timedelta(seconds=age_s),
            world.org_id,
            slot,
            lat_e7,
            deg_to_e7(PLACE.lng_deg),
        )
    return person_id


async def test_trained_volunteers_who_agreed_are_told_within_so_many_cells(world: World, loop: EscalationLoop) -> None:
    await world.pool.execute(
        "CREATE TABLE trail_then PARTITION OF trail FOR VALUES FROM ('2023-11-14') TO ('2023-11-16')"
    )
    near = await add_volunteer(world, "Near", north_m=2 * VOLUNTEER_CELL_M - 20)
    await add_volunteer(world, "Far", north_m=2 * VOLUNTEER_CELL_M + 20)
    await add_volunteer(world, "Silent", north_m=10, age_s=301)
    await add_volunteer(world, "Unwilling", north_m=10, agrees=False)
    untrained = await add_volunteer(world, "Untrained", north_m=10)
    await world.pool.execute("UPDATE safety_volunteer SET trained_until = $2 WHERE person_id = $1", untrained,
                             utc_from_ms(NOW_MS))  # fmt: skip
    volunteers = {"target": "volunteers", "within_cells": 2, "channels": ["email"]}
    await tell(world, volunteers, volunteers_enabled=True)
    await press(world)
    await cycle(world, loop, NOW_MS)
    assert {target for target, _, _ in await told(world)} == {f"volunteer:{near}"}


def test_distances_are_great_circles() -> None:
    assert distance_m(PLACE, PLACE) == 0
    assert distance_m(PLACE, Place(42.15, -8.61)) == pytest.approx(111_319.5, abs=1)
    assert distance_m(Place(41.15, 179.999), Place(41.15, -179.999)) == pytest.approx(167.7, abs=1)
