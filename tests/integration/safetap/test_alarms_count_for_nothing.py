"""Rule 14 by what happens: an alarm leaves what decides on work as it was, but for the hold that protects."""

import asyncpg

from engine.core.ids import IncidentId
from engine.core.vocabulary import IncidentKind
from engine.safetap import incident_work as work
from engine.safetap.desk import acknowledge, close
from tests.integration.safetap.test_intake import take
from tests.integration.safetap.world import NOW_MS, World
from tests.unit.safetap.test_never_against_anyone import READ_BY_DECISIONS

KEYS = {"person_key", "safety_hold"}
"""A person gets a key when something is first sealed for them; the hold is the protection itself."""


async def weighed(pool: asyncpg.Pool) -> dict[str, list[str]]:
    """Every row of every table that decisions read."""
    return {
        table: [row[0] for row in await pool.fetch(f"SELECT t::text FROM {table} t ORDER BY 1")]
        for table in sorted(READ_BY_DECISIONS - KEYS)
    }


async def test_alarms_true_false_and_drills_leave_no_trace_where_work_is_decided(world: World) -> None:
    before = await weighed(world.pool)
    assert sum(map(len, before.values())) >= 8
    desk = world.principal(world.dispatcher)
    for kind in (IncidentKind.BUTTON, IncidentKind.CHECK_IN_MISSED, IncidentKind.DRILL):
        incident_id = IncidentId(await take(world, world.received(kind=kind, booking_id=world.booking_id)))
        assert await weighed(world.pool) == before, "while it is live"
        async with world.pool.acquire() as conn, conn.transaction():
            await acknowledge(conn, incident_id=incident_id, actor=desk, now_ms=NOW_MS + 1)
            await work.add_note(conn, incident_id=incident_id, actor=desk, text="nothing was", now_ms=NOW_MS + 2)
            await work.mark_false_alarm(
                conn, incident_id=incident_id, actor=desk, is_false_alarm=True, now_ms=NOW_MS + 3
            )
        async with world.pool.acquire() as conn:
            await close(conn, incident_id=incident_id, actor=desk, reason="reviewed", now_ms=NOW_MS + 4)
        assert await weighed(world.pool) == before, "and after"
    assert await world.pool.fetchval("SELECT count(*) FROM safety_hold WHERE released_at IS NULL") == 0
