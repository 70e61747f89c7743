"""The record of an incident cannot be changed unseen."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from config.jurisdictions import load_jurisdictions
from config.settings import Settings
from engine.core.ids import IncidentId
from engine.core.units import utc_from_ms
from engine.people.audit import append_audit
from engine.run_safetap_verify import describe, look
from engine.safetap.chain import GENESIS
from engine.safetap.chain_reading import verify_everything, verify_incident
from engine.safetap.desk import acknowledge, close
from engine.safetap.evidence import Chunk, add_chunk
from engine.safetap.incident_store import add_event
from engine.safetap.retention import expire
from engine.safetap.trigger_store import store_trigger
from tests.integration.safetap.world import NOW_MS, World

NOTES = ("one", 'two "quoted" \\ and \n\t\x01 control', "drei: äöü 🚨", "four")


@pytest.fixture
async def incident_id(world: World) -> IncidentId:
    """An incident with seven events, some of them with text that is hard to write."""
    async with world.pool.acquire() as conn:
        incident_id = IncidentId(await store_trigger(conn, world.received(booking_id=world.booking_id), new_id=uuid4))
        actor = world.principal(world.dispatcher)
        await acknowledge(conn, incident_id=incident_id, actor=actor, now_ms=NOW_MS + 1)
        for at, text in enumerate(NOTES):
            body = json.dumps({"text": text, "n": 1.50, "zz": None, "b": [True, {"x": -0.0}]})
            await add_event(
                conn, incident_id=incident_id, kind="note", actor_id=actor.person_id, body=body, now_ms=NOW_MS + 2 + at
            )
        await close(conn, incident_id=incident_id, actor=actor, reason="safe", now_ms=NOW_MS + 9)
    return incident_id


@asynccontextmanager
async def tampering(world: World) -> AsyncIterator[asyncpg.Connection]:
    """What somebody with the rights of a superuser can do: switch the triggers off."""
    async with world.pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        yield conn


async def broken(world: World, incident_id: IncidentId) -> list[tuple[int, str]]:
    async with world.pool.acquire() as conn:
        return [(one.place, one.problem) for one in (await verify_incident(conn, incident_id)).broken]


async def test_an_untouched_record_holds(world: World, incident_id: IncidentId) -> None:
    async with world.pool.acquire() as conn:
        verified = await verify_everything(conn)
    assert (verified.incidents, verified.events, verified.audit_entries, verified.broken) == (1, 7, 2, [])
    first = await world.pool.fetchrow("SELECT prev_hash FROM incident_event WHERE version = 1")
    assert first["prev_hash"] == GENESIS
    assert incident_id


async def test_many_writers_at_once_make_one_chain(world: World) -> None:
    """Triggers, notes and acknowledgements race for the incident's row; each event follows the one before it."""
    received = [world.received() for _ in range(12)]

    async def press(n: int) -> None:
        async with world.pool.acquire() as conn:
            await store_trigger(conn, received[n], new_id=uuid4)

    await asyncio.gather(*(press(n) for n in range(12)))
    incident = await world.incident()
    assert incident["version"] == 12
    assert await broken(world, incident["incident_id"]) == []


async def test_two_events_of_one_statement_follow_each_other(world: World, incident_id: IncidentId) -> None:
    await world.pool.execute(
        """WITH changed AS (UPDATE incident SET version = version + 2 WHERE incident_id = $1 RETURNING version)
           INSERT INTO incident_event (incident_id, version, kind, at)
           SELECT $1, version - 1 + n, 'note', $2 FROM changed, generate_series(0, 1) AS n ORDER BY n""",
        incident_id,
        utc_from_ms(NOW_MS),
    )
    assert await broken(world, incident_id) == []


@pytest.mark.parametrize(
    "statement",
    ["UPDATE incident_event SET kind = 'x'", "DELETE FROM incident_event", "TRUNCATE incident_event",
     "UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log", "DELETE FROM audit_chain"],
)  # fmt: skip
@pytest.mark.usefixtures("incident_id")
async def test_the_record_refuses_to_be_changed(world: World, statement: str) -> None:
    with pytest.raises(asyncpg.RestrictViolationError):
        await world.pool.execute(statement)


@pytest.mark.parametrize(
    ("statement", "place", "problem"),
    [
        ('UPDATE incident_event SET body = \'{"text": "other"}\' WHERE version = 4', 4, "is not what was written"),
        (
            "UPDATE incident_event SET at = at + interval '1 microsecond' WHERE version = 1",
            1,
            "is not what was written",
        ),
        ("UPDATE incident_event SET actor_id = NULL WHERE version = 2", 2, "is not what was written"),
        ("UPDATE incident_event SET kind = 'step' WHERE version = 7", 7, "is not what was written"),
        ("DELETE FROM incident_event WHERE version = 3", 3, "is missing"),
        ("DELETE FROM incident_event WHERE version = 7", 7, "is missing"),
        ("DELETE FROM incident_event WHERE version >= 1", 1, "is missing"),
        (
            """UPDATE incident_event e SET kind = 'step',
                 hash = incident_event_hash(prev_hash, incident_id, version, 'step', actor_id, body, at)
               WHERE version = 4""",
            5,
            "does not follow the one before it",
        ),
        (
            """INSERT INTO incident_event SELECT incident_id, 8, 'note', NULL, '{}', at, hash,
                 incident_event_hash(hash, incident_id, 8, 'note', NULL, '{}', at)
               FROM incident_event WHERE version = 7""",
            8,
            "is more than the incident knows of",
        ),
    ],
)
async def test_the_first_broken_link_is_named(
    world: World, incident_id: IncidentId, statement: str, place: int, problem: str
) -> None:
    async with tampering(world) as conn:
        await conn.execute(statement)
    assert await broken(world, incident_id) == [(place, problem)]


@pytest.mark.parametrize(
    ("statement", "place", "problem"),
    [
        ("UPDATE audit_log SET actor_id = NULL", 1, "is not what was written"),
        ("UPDATE audit_log SET detail = '{\"a\": 1}' WHERE action = 'incident.closed'", 2, "is not what was written"),
        ("DELETE FROM audit_log WHERE action = 'incident.acknowledged'", 1, "is missing"),
        ("DELETE FROM audit_chain WHERE position = 1", 1, "is missing"),
    ],
)
@pytest.mark.usefixtures("incident_id")
async def test_the_audit_log_is_chained_too(world: World, statement: str, place: int, problem: str) -> None:
    async with tampering(world) as conn:
        await conn.execute(statement)
    async with world.pool.acquire() as conn:
        (found,) = (await verify_everything(conn)).broken
    assert (found.chain, found.place, found.problem) == ("audit log", place, problem)


@pytest.mark.usefixtures("incident_id")
async def test_an_audit_entry_that_was_slipped_in_is_found(world: World) -> None:
    async with tampering(world) as conn:
        await conn.execute("INSERT INTO audit_log (action, subject, at) SELECT 'x', 'y', at FROM audit_log LIMIT 1")
    async with world.pool.acquire() as conn:
        (found,) = (await verify_everything(conn)).broken
    assert found.problem == "was slipped in: it is in no chain"


async def test_audits_that_commit_at_once_make_one_chain(world: World) -> None:
    async def act(n: int) -> None:
        async with world.pool.acquire() as conn, conn.transaction():
            for _ in range(3):
                await append_audit(
                    conn, org_id=world.org_id, actor_id=world.admin, action=f"a{n}", subject="x:y", now_ms=NOW_MS
                )

    await asyncio.gather(*(act(n) for n in range(8)))
    async with world.pool.acquire() as conn:
        verified = await verify_everything(conn)
    assert (verified.audit_entries, verified.broken) == (24, [])


async def test_the_command_names_the_broken_link(world: World, incident_id: IncidentId, database_url: str) -> None:
    settings = Settings(database_url=SecretStr(database_url))
    assert describe(*await look(settings, None)).endswith(": no broken")
    async with tampering(world) as conn:
        await conn.execute("UPDATE incident_event SET kind = 'x' WHERE version = 2")
    for found in (await look(settings, incident_id), await look(settings, None)):
        assert describe(*found).splitlines()[0] == f"BROKEN: incident {incident_id}, entry 2 is not what was written"


@pytest.mark.parametrize("part", ["evidence", "evidence_chunk"])
async def test_a_piece_of_evidence_that_vanished_is_found(world: World, incident_id: IncidentId, part: str) -> None:
    evidence_id = uuid4()
    await add_piece(world, incident_id, evidence_id)
    assert await broken(world, incident_id) == []
    async with tampering(world) as conn:
        await conn.execute("DELETE FROM evidence_chunk")
        if part == "evidence":
            await conn.execute("DELETE FROM evidence")
    async with world.pool.acquire() as conn:
        (found,) = (await verify_incident(conn, incident_id)).broken
    assert found.chain == f"evidence {evidence_id}"


async def test_evidence_whose_time_was_up_is_not_missed(world: World, incident_id: IncidentId) -> None:
    await add_piece(world, incident_id, uuid4())
    await world.pool.execute("UPDATE safety_hold SET released_at = created_at")
    async with world.pool.acquire() as conn:
        rules = load_jurisdictions()
        days = rules.of("PT").retention.days_of("evidence")
        expired = await expire(conn, rules, now_ms=NOW_MS + (days + 1) * 86_400_000)
    assert (expired["evidence"], expired["all"]) == (1, 0)
    assert await broken(world, incident_id) == []


async def add_piece(world: World, incident_id: IncidentId, evidence_id: UUID) -> None:
    """Add a whole piece of evidence of one chunk."""
    async with world.pool.acquire() as conn, conn.transaction():
        await add_chunk(
            conn,
            incident_id=incident_id,
            actor=world.principal(world.dispatcher),
            chunk=Chunk(evidence_id, 0, GENESIS, b"sound", "audio/webm", is_last=True),
            now_ms=NOW_MS + 5,
        )
