"""Whether and how anybody contacts the person is their own choice, and whom they named is told with care."""

from uuid import uuid4

import pytest

from engine.core.errors import Conflict, NotAllowed
from engine.core.ids import IncidentId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Channel
from engine.outbox.listener import Wake
from engine.safetap.decoy import send_decoy
from engine.safetap.desk import close
from engine.safetap.escalation_loop import EscalationLoop
from engine.safetap.trigger_store import store_trigger
from tests.integration.safetap.senders import Desk, Recorder, add_notice
from tests.integration.safetap.world import NOW_MS, World

pytestmark = pytest.mark.integration

PHONE, WORDS = "+351910000007", "Your parcel is late"
SAFETAP_TABLES = {
    "incident", "incident_event", "incident_timer", "notice", "safety_hold", "safetap_trigger", "outbox", "audit_log",
    "audit_chain", "audit_head", "armed_desk", "reply_code", "wrong_reply", "person_key",
}  # fmt: skip
"""What an alarm may change; a party is shown nothing of any of them while it is live or held."""


async def choose(world: World, mode: str, text: str | None = None) -> None:
    await world.pool.execute(
        "INSERT INTO safety_setup (person_id, contact_mode, decoy_text, updated_at, code_word)"
        " VALUES ($1, $2, $3, $4, $5)",
        world.worker, mode, text, utc_from_ms(NOW_MS), "pineapple" if mode == "code_word" else None,
    )  # fmt: skip
    await world.pool.execute("UPDATE person SET phone = $2 WHERE person_id = $1", world.worker, PHONE)


async def press(world: World) -> IncidentId:
    async with world.pool.acquire() as conn:
        return await store_trigger(conn, world.received(), new_id=uuid4)


async def decoy(world: World, incident_id: IncidentId) -> None:
    async with world.pool.acquire() as conn, conn.transaction():
        actor = world.principal(world.dispatcher)
        await send_decoy(conn, incident_id=incident_id, actor=actor, notice_id=uuid4(), now_ms=NOW_MS)


async def test_the_decoy_goes_to_the_persons_phone_as_they_wrote_it_and_only_when_a_human_says_so(
    world: World,
) -> None:
    await choose(world, "decoy", WORDS)
    incident_id, recorder = await press(world), Recorder()
    await EscalationLoop(pool=world.pool, wake=Wake(), new_id=uuid4).round()
    assert await world.pool.fetchval("SELECT count(*) FROM notice WHERE address = $1", PHONE) == 0
    await world.pool.execute("DELETE FROM notice")
    await decoy(world, incident_id)
    await Desk(world, {Channel.SMS: recorder}).round()
    (sent,) = recorder.sent
    assert (sent.address, sent.decoy, sent.reply_code, sent.advice) == (PHONE, WORDS, None, None)
    assert "decoy" in await world.events()


@pytest.mark.parametrize("mode", ["none", "code_word"])
async def test_who_chose_no_decoy_gets_none(world: World, mode: str) -> None:
    await choose(world, mode)
    with pytest.raises(NotAllowed):
        await decoy(world, await press(world))
    assert await world.pool.fetchval("SELECT count(*) FROM notice") == 0


async def test_who_changes_their_mind_gets_nothing_least_of_all_an_alarm(world: World) -> None:
    await choose(world, "decoy", WORDS)
    incident_id, recorder = await press(world), Recorder()
    await decoy(world, incident_id)
    await world.pool.execute("UPDATE safety_setup SET contact_mode = 'none', decoy_text = NULL")
    desk = Desk(world, {Channel.SMS: recorder})
    await desk.round()
    notice = await desk.notice()
    assert (recorder.sent, notice["state"]) == ([], "failed")
    async with world.pool.acquire() as conn:
        actor = world.principal(world.dispatcher)
        await close(conn, incident_id=incident_id, actor=actor, reason="over", now_ms=NOW_MS)
    await world.pool.execute("UPDATE safety_setup SET contact_mode = 'decoy', decoy_text = $1", WORDS)
    with pytest.raises(Conflict):
        await decoy(world, incident_id)


async def test_bystanders_are_told_the_number_of_the_place_and_given_no_code(world: World) -> None:
    recorder = Recorder()
    for number, target in enumerate((f"volunteer:{uuid4()}", f"contact:{uuid4()}", f"person:{world.dispatcher}")):
        await add_notice(world, Channel.SMS, f"+35192000000{number}", target=target)
    await Desk(world, {Channel.SMS: recorder}).round()
    told = {message.target.partition(":")[0]: message for message in recorder.sent}
    assert set(told) == {"volunteer", "contact", "person"}
    for kind in ("volunteer", "contact"):
        advice = told[kind].advice
        assert advice is not None
        assert advice.endswith("call 112.")
        assert told[kind].reply_code is None
    assert told["person"].advice is None
    assert told["person"].reply_code is not None


async def snapshot(world: World) -> dict[str, list[object]]:
    """Every row of every table that an alarm has no business with."""
    tables = await world.pool.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'public' AND c.relkind = 'r'"
    )
    names = {row["relname"] for row in tables} - SAFETAP_TABLES
    return {
        name: sorted(
            (row[0] for row in await world.pool.fetch(f'SELECT to_jsonb(t)::text FROM "{name}" t')),
        )
        for name in sorted(names)
        if not name.startswith(("_yoyo", "yoyo"))
    }


@pytest.mark.parametrize("who", ["worker", "customer"])
async def test_an_alarm_changes_no_row_that_a_party_may_see_and_tells_the_desk_alone(world: World, who: str) -> None:
    """No version, no `updated_at`, no counter, no booking event, nothing for a party in the outbox."""
    before = await snapshot(world)
    assert before["booking"]
    assert before["person"]
    async with world.pool.acquire() as conn:
        received = world.received(world.worker if who == "worker" else world.customer)
        incident_id = await store_trigger(conn, received, new_id=uuid4)
    await EscalationLoop(pool=world.pool, wake=Wake(), new_id=uuid4).round()
    async with world.pool.acquire() as conn:
        actor = world.principal(world.dispatcher)
        await close(conn, incident_id=incident_id, actor=actor, reason="reviewed: all is well", now_ms=NOW_MS)
    assert await snapshot(world) == before
    told = await world.pool.fetch("SELECT DISTINCT topic, kind FROM outbox")
    assert {tuple(row) for row in told} == {(f"desk:{world.org_id}", "incident")}
