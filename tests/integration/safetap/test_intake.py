"""What one statement does with a trigger, on a real Postgres."""

import asyncio
from uuid import uuid4

import asyncpg
import orjson
import pytest

from config.limits import SEVERITY_MAX
from engine.core.clock import SystemClock
from engine.core.ids import BookingId, PersonId
from engine.core.units import ms_from_utc, utc_from_ms
from engine.core.vocabulary import IncidentKind
from engine.outbox.listener import Wake
from engine.safetap.desk import acknowledge
from engine.safetap.escalation_loop import EscalationLoop
from engine.safetap.incident_store import read_clock
from engine.safetap.incident_views import incident_detail, incident_view
from engine.safetap.policy import default_policy
from engine.safetap.trigger import ReceivedTrigger, TokenState, TriggerFix
from engine.safetap.trigger_store import store_trigger
from tests.integration.safetap.world import FIX, NOW_MS, World


async def take(world: World, received: ReceivedTrigger) -> object:
    async with world.pool.acquire() as conn:
        return await store_trigger(conn, received, new_id=uuid4)


async def count(world: World, table: str) -> int:
    return await world.pool.fetchval(f"SELECT count(*) FROM {table}")


async def test_a_trigger_stores_everything_at_once(world: World) -> None:
    incident_id = await take(world, world.received(booking_id=world.booking_id))
    incident = await world.incident()
    assert incident["incident_id"] == incident_id
    assert (incident["state"], incident["version"], incident["severity"]) == ("open", 1, 1)
    assert (incident["lat"], incident["lng"], incident["accuracy_m"]) == (FIX.lat_deg, FIX.lng_deg, FIX.accuracy_m)
    assert orjson.loads(incident["policy"]) == default_policy()
    assert await world.events() == ["triggered"]
    timer = await world.pool.fetchrow("SELECT * FROM incident_timer")
    assert (timer["step"], timer["loop"], ms_from_utc(timer["due_at"])) == (1, 0, NOW_MS)
    hold = await world.pool.fetchrow("SELECT * FROM safety_hold")
    assert (hold["person_id"], hold["address_id"], hold["released_at"]) == (world.worker, world.address_id, None)
    shown = await world.pool.fetchrow("SELECT topic, kind, body::text FROM outbox")
    assert (shown["topic"], shown["kind"]) == (f"desk:{world.org_id}", "incident")
    async with world.pool.acquire() as conn:
        assert orjson.loads(shown["body"]) == await incident_view(conn, incident_id)


async def test_the_view_is_the_protocols_incident(world: World) -> None:
    incident_id = await take(world, world.received(booking_id=world.booking_id))
    async with world.pool.acquire() as conn:
        view = await incident_view(conn, incident_id, org_id=world.org_id)
    assert view == {
        "incident_id": str(incident_id),
        "person": {"person_id": str(world.worker), "name": "Walter Worker", "role": "worker"},
        "booking_id": str(world.booking_id),
        "kind": "button",
        "is_drill": False,
        "trust": "verified",
        "state": "open",
        "version": 1,
        "severity": 1,
        "step": 0,
        "next_step_at": "2023-11-14T22:13:20.000Z",
        "fix": {"lat": 41.15, "lng": -8.61, "accuracy_m": 12, "ts_ms": NOW_MS - 1_000},
        "address": {"line": "Rua das Flores 1", "floor": "2", "entry_notes": "ring twice"},
        "opened_at": "2023-11-14T22:13:20.000Z",
        "acknowledged_at": None,
        "acknowledged_by": None,
        "closed_at": None,
        "close_reason": None,
        "says_safe_at": None,
        "police_reference": None,
        "is_false_alarm": False,
        "close_asked": None,
    }


async def test_the_same_trigger_again_changes_nothing(world: World) -> None:
    received = world.received()
    first = await take(world, received)
    assert await take(world, received) == first
    assert (await world.incident())["severity"] == 1
    assert await world.events() == ["triggered"]
    assert await count(world, "outbox") == 1


async def test_the_same_trigger_through_many_doors_at_once_is_one(world: World) -> None:
    received = world.received()
    answers = await asyncio.gather(*(take(world, received) for _ in range(8)))
    assert len(set(answers)) == 1
    incident = await world.incident()
    assert (incident["severity"], incident["version"]) == (1, 1)
    assert await world.events() == ["triggered"]
    assert await count(world, "safetap_trigger") == 1


async def test_many_triggers_of_one_person_at_once_join_one_incident(world: World) -> None:
    answers = await asyncio.gather(*(take(world, world.received()) for _ in range(8)))
    assert len(set(answers)) == 1
    assert (await world.incident())["severity"] == SEVERITY_MAX
    assert await world.events() == ["triggered", *["retriggered"] * 7]
    assert await count(world, "safetap_trigger") == 8
    assert await count(world, "incident_timer") == 1


async def test_an_id_that_somebody_else_used_swallows_no_alarm(world: World) -> None:
    trigger_id = uuid4()
    first = await take(world, world.received(world.worker, trigger_id=trigger_id))
    second = await take(world, world.received(world.customer, trigger_id=trigger_id))
    assert first != second
    assert await count(world, "incident") == 2


async def test_a_further_trigger_brings_the_newer_fix_and_keeps_it(world: World) -> None:
    newer = TriggerFix(41.16, -8.62, None, NOW_MS)
    await take(world, world.received(fix=FIX))
    await take(world, world.received(fix=newer))
    await take(world, world.received(fix=FIX))
    await take(world, world.received(fix=None))
    incident = await world.incident()
    assert (incident["lat"], incident["lng"], incident["accuracy_m"]) == (41.16, -8.62, None)
    assert ms_from_utc(incident["fix_at"]) == NOW_MS


async def test_a_further_trigger_hastens_the_next_step_until_the_severity_is_at_its_limit(world: World) -> None:
    await take(world, world.received())
    later = utc_from_ms(NOW_MS + 60_000)
    for _press in range(SEVERITY_MAX - 2):
        await world.pool.execute("UPDATE incident_timer SET due_at = $1, step = 2", later)
        await take(world, world.received(at_ms=NOW_MS + 1_000))
        assert ms_from_utc(await world.pool.fetchval("SELECT due_at FROM incident_timer")) == NOW_MS + 1_000
    await world.pool.execute("UPDATE incident_timer SET due_at = $1", later)
    await take(world, world.received(at_ms=NOW_MS + 1_000))
    assert (await world.incident())["severity"] == SEVERITY_MAX
    assert await world.pool.fetchval("SELECT due_at FROM incident_timer") == later


async def test_a_further_trigger_opens_an_acknowledged_incident_again(world: World) -> None:
    incident_id = await take(world, world.received())
    async with world.pool.acquire() as conn:
        await acknowledge(conn, incident_id=incident_id, actor=world.principal(world.dispatcher), now_ms=NOW_MS)
    assert await take(world, world.received(at_ms=NOW_MS + 5_000)) == incident_id
    incident = await world.incident()
    assert (incident["state"], incident["acknowledged_by"], incident["acknowledged_at"]) == ("open", None, None)
    timer = await world.pool.fetchrow("SELECT * FROM incident_timer")
    assert (timer["step"], timer["loop"], ms_from_utc(timer["due_at"])) == (1, 1, NOW_MS + 5_000)


async def test_a_closed_incident_is_not_joined(world: World) -> None:
    first = await take(world, world.received())
    await world.pool.execute("UPDATE incident SET state = 'closed'")
    assert await take(world, world.received()) != first
    assert await count(world, "incident") == 2


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_booking_that_is_not_theirs_is_left_out_and_noted(world: World, *, is_known: bool) -> None:
    stranger = PersonId(uuid4())
    async with world.pool.acquire() as conn:
        await world.add_person(conn, stranger, world.principal(world.customer).role, "Stella Stranger")
    foreign = world.booking_id if is_known else BookingId(uuid4())
    received = world.received(stranger, booking_id=foreign)
    incident_id = await take(world, received)
    incident = await world.incident()
    assert incident["booking_id"] is None
    async with world.pool.acquire() as conn:
        detail = await incident_detail(conn, incident_id)
    assert detail["events"][0]["body"]["booking_refused"] == str(foreign)
    assert detail["address"] is None


async def test_without_a_named_booking_the_job_under_way_gives_the_address(world: World) -> None:
    await take(world, world.received(world.customer))
    assert (await world.incident())["booking_id"] == world.booking_id


async def test_a_finished_job_is_not_guessed(world: World) -> None:
    await world.pool.execute("UPDATE booking SET state = 'completed'")
    await take(world, world.received())
    assert (await world.incident())["booking_id"] is None


async def test_a_drill_holds_nobody_back(world: World) -> None:
    await take(world, world.received(kind=IncidentKind.DRILL))
    assert (await world.incident())["is_drill"] is True
    assert await count(world, "safety_hold") == 0
    assert await count(world, "incident_timer") == 1


async def test_a_real_alarm_makes_a_drill_real(world: World) -> None:
    await take(world, world.received(kind=IncidentKind.DRILL))
    await take(world, world.received(kind=IncidentKind.DURESS_PIN))
    incident = await world.incident()
    assert (incident["is_drill"], incident["kind"]) == (False, "duress_pin")
    assert await count(world, "safety_hold") == 1


@pytest.mark.parametrize("trust_state", [TokenState.VALID, TokenState.FORGED])
async def test_the_ladder_of_a_drill_that_becomes_real_begins_anew(world: World, trust_state: TokenState) -> None:
    """Whoever was told of practice, or not at all, is told of the real thing: also when practice was acknowledged."""
    incident_id = await take(world, world.received(kind=IncidentKind.DRILL))
    await world.pool.execute("UPDATE incident_timer SET step = 3")
    async with world.pool.acquire() as conn:
        await acknowledge(conn, incident_id=incident_id, actor=world.principal(world.admin), now_ms=NOW_MS)
    await world.pool.execute("UPDATE incident_timer SET step = 3")
    loop = await world.pool.fetchval("SELECT loop FROM incident_timer")
    await take(world, world.received(token_state=trust_state))
    timer = await world.pool.fetchrow("SELECT step, loop, due_at FROM incident_timer")
    assert (timer["step"], timer["loop"], timer["due_at"]) == (1, loop + 1, utc_from_ms(NOW_MS))
    incident = await world.incident()
    assert (incident["is_drill"], incident["state"], incident["acknowledged_by"]) == (False, "open", None)


async def test_a_drill_never_softens_a_real_alarm(world: World) -> None:
    incident_id = await take(world, world.received())
    async with world.pool.acquire() as conn:
        await acknowledge(conn, incident_id=incident_id, actor=world.principal(world.admin), now_ms=NOW_MS)
    due_at = await world.pool.fetchval("SELECT due_at FROM incident_timer")
    await take(world, world.received(kind=IncidentKind.DRILL))
    incident = await world.incident()
    assert (incident["is_drill"], incident["kind"], incident["severity"]) == (False, "button", 1)
    assert (incident["state"], incident["acknowledged_by"]) == ("acknowledged", world.admin)
    assert await world.pool.fetchval("SELECT due_at FROM incident_timer") == due_at


async def test_the_regions_policy_is_frozen_into_the_incident(world: World) -> None:
    await world.set_policy(repeat_s=33)
    await take(world, world.received())
    await world.pool.execute("DELETE FROM escalation_policy")
    assert orjson.loads((await world.incident())["policy"])["repeat_s"] == 33


async def test_a_person_who_does_not_exist_is_refused_whole(world: World) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await take(world, world.received(PersonId(uuid4())))
    assert await count(world, "incident") == 0


async def test_a_duress_pin_stays_one_whatever_the_incident_was_before(world: World) -> None:
    """No safe PIN stands down what a duress PIN has raised, and it goes by the incident's kind."""
    async with world.pool.acquire() as conn:
        await store_trigger(conn, world.received(), new_id=uuid4)
        await store_trigger(conn, world.received(kind=IncidentKind.DURESS_PIN), new_id=uuid4)
        assert (await world.incident())["kind"] == "duress_pin"
        await store_trigger(conn, world.received(kind=IncidentKind.HOLD), new_id=uuid4)
        assert (await world.incident())["kind"] == "duress_pin"


async def test_no_doors_clock_puts_a_step_off(world: World) -> None:
    """Escalators go by the database's clock; a machine whose own is ahead must not keep an alarm waiting."""
    ahead_ms = SystemClock().now_ms() + 600_000
    loop = EscalationLoop(pool=world.pool, wake=Wake(), new_id=uuid4)
    await take(world, world.received(at_ms=ahead_ms))
    await loop.round()
    incident = await world.incident()
    assert incident["step"] == 1
    async with world.pool.acquire() as conn:
        actor = world.principal(world.dispatcher)
        now_ms = await read_clock(conn)
        await acknowledge(conn, incident_id=incident["incident_id"], actor=actor, now_ms=now_ms)
    await take(world, world.received(at_ms=ahead_ms))
    await loop.round()
    assert (await world.events())[-1] == "step"
    assert (await world.incident())["opened_at"] <= utc_from_ms(now_ms)


async def test_a_phone_whose_clock_is_ahead_does_not_hold_on_to_its_first_place(world: World) -> None:
    """What it says is from tomorrow is as new as its alarm, and what comes afterwards is newer."""
    tomorrow = TriggerFix(41.0, -8.0, 5.0, NOW_MS + 86_400_000)
    await take(world, world.received(fix=tomorrow))
    assert ms_from_utc((await world.incident())["fix_at"]) == NOW_MS
    await take(world, world.received(fix=TriggerFix(42.0, -9.0, 5.0, NOW_MS + 4_000), at_ms=NOW_MS + 5_000))
    incident = await world.incident()
    assert (incident["lat"], incident["lng"]) == (42.0, -9.0)
