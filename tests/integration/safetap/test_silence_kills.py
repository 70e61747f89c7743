"""The process that watches, killed in the middle of asking and of climbing: one question, one incident all the same."""

import asyncio
import signal
from pathlib import Path

import pytest

from engine.core.units import utc_from_ms
from tests.integration.safetap.doors import CLOCK
from tests.integration.safetap.test_notify_kills import Notify
from tests.integration.safetap.world import NOW_MS, World
from tests.peers.twilio import open_twilio

LEASES_END = "UPDATE silence_watch SET lease_until = NULL"
"""What time would do: the leases of a killed watcher are over."""
GRACE_ENDS = "UPDATE silence_watch SET asked_at = asked_at - interval '1 hour', due_at = asked_at WHERE stage = 'asked'"


async def has(world: World, question: str) -> None:
    async with asyncio.timeout(60):
        while not await world.pool.fetchval(question):
            await CLOCK.sleep_ms(20)


@pytest.mark.timeout(180)
async def test_a_watcher_that_is_killed_is_taken_over_and_nobody_is_alarmed_twice(
    world: World, database_url: str, tmp_path: Path
) -> None:
    pool = world.pool
    await pool.execute("UPDATE person SET phone = '+351910000001' WHERE person_id = $1", world.worker)
    await pool.execute(
        "INSERT INTO safety_setup VALUES ($1, 'decoy', NULL, 'Your parcel is at the neighbours.', false, $2)",
        world.worker,
        utc_from_ms(NOW_MS),
    )
    async with open_twilio() as twilio:
        notify = Notify(world, database_url, tmp_path, twilio)
        process = await notify.start()
        await has(world, "SELECT state = 'sent' FROM silence_ask")
        assert [(sent.to, sent.text) for sent in twilio.messages] == [
            ("+351910000001", "Your parcel is at the neighbours.")
        ]
        await notify.kill(process)
        await pool.execute(GRACE_ENDS)
        await pool.execute(LEASES_END)
        assert await notify.ends(await notify.start(crash_at="silence_before_commit")) == -signal.SIGKILL
        assert await pool.fetchval("SELECT count(*) FROM incident") == 0
        await pool.execute(LEASES_END)
        both = await asyncio.gather(notify.start(), notify.start())
        await has(world, "SELECT count(*) > 0 FROM incident")
        await has(world, "SELECT stage = 'climbed' FROM silence_watch WHERE role = 'worker'")
        for process in both:
            await notify.kill(process)
    assert await pool.fetchval("SELECT count(*) FROM incident") == 1
    triggers = await pool.fetch("SELECT door, kind FROM safetap_trigger")
    assert [tuple(row) for row in triggers] == [("watch", "silence")]
    kinds = await pool.fetch("SELECT kind FROM silence_event ORDER BY event_id")
    assert [row["kind"] for row in kinds] == ["asked", "climbed"]
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE kind = 'check.in'") == 1
