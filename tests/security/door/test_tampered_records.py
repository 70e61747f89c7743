"""Line 16: whatever is done to the record afterwards is found. Generated from the columns that the tables have."""

from collections.abc import Sequence
from uuid import UUID, uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from config.settings import Settings
from engine.core.errors import InvalidInput
from engine.core.ids import IncidentId
from engine.people.audit import append_audit
from engine.run_safetap_verify import describe, look, main
from engine.safetap.audit_head import AuditHead
from engine.safetap.chain_reading import verify_everything
from engine.safetap.desk import acknowledge, close
from engine.safetap.trigger_store import store_trigger
from tests.integration.safetap.world import NOW_MS, World

CHAINED = ("incident_event", "audit_log", "audit_chain")
ENTRIES = 6

CHANGES = {
    "uuid": "'00000000-0000-4000-8000-000000000001'", "integer": "{} + 1000", "bigint": "{} + 1000",
    "text": "coalesce({}, '') || 'x'", "jsonb": "{} || '{{\"x\": 1}}'", "bytea": "sha256({})",
    "timestamp with time zone": "{} + interval '1 microsecond'",
}  # fmt: skip
"""What is done to a value, by the type of its column; a type that is not here fails the test."""


@pytest.fixture
async def incident_id(world: World) -> IncidentId:
    """A history, and an audit log of several acts."""
    async with world.pool.acquire() as conn:
        incident_id = IncidentId(await store_trigger(conn, world.received(), new_id=uuid4))
        actor = world.principal(world.dispatcher)
        await acknowledge(conn, incident_id=incident_id, actor=actor, now_ms=NOW_MS + 1)
        await close(conn, incident_id=incident_id, actor=actor, reason="safe", now_ms=NOW_MS + 2)
        for n in range(ENTRIES - 2):
            async with conn.transaction():
                await append_audit(
                    conn, org_id=world.org_id, actor_id=world.admin, action=f"act.{n}", subject="x:y", now_ms=NOW_MS + n
                )
    return incident_id


async def found_after(world: World, *statements: str) -> Sequence[str]:
    """What `verify` says after somebody with a superuser's rights did this; then it is undone."""
    async with world.pool.acquire() as conn:
        undo = conn.transaction()
        await undo.start()
        await conn.execute("SET LOCAL session_replication_role = replica")
        try:
            for statement in statements:
                assert await conn.execute(statement) not in ("UPDATE 0", "DELETE 0"), statement
            return [f"{one.chain}: {one.place} {one.problem}" for one in (await verify_everything(conn)).broken]
        finally:
            await undo.rollback()


async def columns(pool: asyncpg.Pool, table: str) -> list[tuple[str, str]]:
    rows = await pool.fetch(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = $1 ORDER BY 1", table
    )
    return [(row["column_name"], row["data_type"]) for row in rows]


@pytest.mark.usefixtures("incident_id")
async def test_line_16_a_change_of_any_column_of_any_entry_is_found(world: World) -> None:
    assert await found_after(world) == []
    for table in CHAINED:
        ids = [row[0] for row in await world.pool.fetch(f"SELECT ctid::text FROM {table}")]
        assert len(ids) >= 3
        for name, kind in await columns(world.pool, table):
            for ctid in (ids[0], ids[-1]):
                change = CHANGES[kind].format(name)
                assert await found_after(world, f"UPDATE {table} SET {name} = {change} WHERE ctid = '{ctid}'"), (
                    table, name,
                )  # fmt: skip


@pytest.mark.usefixtures("incident_id")
async def test_line_16_a_row_that_is_gone_or_put_elsewhere_is_found(world: World) -> None:
    swap = "UPDATE incident_event SET version = 9 WHERE version = 1"
    assert await found_after(world, swap, "UPDATE incident_event SET version = 1 WHERE version = 2",
                             "UPDATE incident_event SET version = 2 WHERE version = 9")  # fmt: skip
    turned = "UPDATE audit_chain SET position = position + 100"
    assert await found_after(world, turned, "UPDATE audit_chain SET position = 107 - position")
    for position in range(1, ENTRIES):
        assert await found_after(world, f"DELETE FROM audit_chain WHERE position = {position}")
    for table, key in (("incident_event", "version"), ("audit_log", "audit_id")):
        for value in [row[0] for row in await world.pool.fetch(f"SELECT {key} FROM {table}")]:
            assert await found_after(world, f"DELETE FROM {table} WHERE {key} = {value}"), (table, value)


@pytest.mark.usefixtures("incident_id")
async def test_line_16_a_history_that_was_cut_is_found(world: World) -> None:
    assert await found_after(world, "DELETE FROM incident_event WHERE version >= 2")
    assert await found_after(world, "DELETE FROM incident_event")


@pytest.mark.usefixtures("incident_id")
async def test_line_16_an_audit_log_that_was_cut_is_found_by_the_head_that_somebody_noted(
    world: World, database_url: str
) -> None:
    settings = Settings(database_url=SecretStr(database_url))
    verified, head = await look(settings, None)
    assert describe(verified, head).splitlines()[0] == f"audit head {head}"
    assert (head.position, AuditHead.parse(str(head))) == (ENTRIES, head)
    async with world.pool.acquire() as conn, conn.transaction():
        await append_audit(conn, org_id=world.org_id, actor_id=None, action="later", subject="x:y", now_ms=NOW_MS)
    assert (await look(settings, None, head))[0].broken == [], "it only grew"
    last: UUID
    async with world.pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        for last in [
            row[0] for row in await conn.fetch("DELETE FROM audit_chain WHERE position > 4 RETURNING audit_id")
        ]:
            await conn.execute("DELETE FROM audit_log WHERE audit_id = $1", last)
    verified, _ = await look(settings, None, head)
    assert [(one.place, one.problem.split(":")[0]) for one in verified.broken] == [(ENTRIES, "is missing")]
    async with world.pool.acquire() as conn, conn.transaction():
        for n in range(4):  # and written anew, in a chain that holds by itself
            await append_audit(
                conn, org_id=world.org_id, actor_id=None, action=f"new.{n}", subject="x:y", now_ms=NOW_MS
            )
    verified, longer = await look(settings, None, head)
    assert longer.position > head.position
    assert [(one.place, one.problem) for one in verified.broken] == [(ENTRIES, "is not what was noted down")]


@pytest.mark.parametrize("text", ["", "5", "5:abc", "x:" + "0" * 64, "-1:" + "0" * 64])
def test_line_16_what_is_no_head_is_said_so(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidInput):
        AuditHead.parse(text)
    assert main(["--audit-head=" + text]) == 2
    assert "cannot look: a head is" in capsys.readouterr().err
