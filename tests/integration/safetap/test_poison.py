"""An alarm that Postgres cannot take for a reason of its own stays on the disk, and holds up nobody else's."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from engine.core.ids import PersonId
from engine.safetap import trigger, unverified
from engine.safetap.senders import Stranger
from engine.safetap.spool import Spool
from engine.safetap.trigger import TokenState
from engine.safetap.unverified import UnverifiedTrigger
from tests.conftest import TokenKeys
from tests.integration.safetap.doors import CLOCK, door_settings, open_door
from tests.integration.safetap.world import World

pytestmark = pytest.mark.integration

BREAK = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a defect of ours'; END $$;
CREATE TRIGGER fail BEFORE INSERT ON incident FOR EACH ROW WHEN (NEW.person_id = '{person_id}') EXECUTE FUNCTION fail();
"""


def record_of(world: World, person_id: PersonId, *, is_verified: bool) -> bytes:
    received = world.received(person_id)
    if is_verified:
        return trigger.to_record(received)
    stranger = Stranger(TokenState.FORGED, "00", person_id, world.org_id)
    return unverified.to_record(
        UnverifiedTrigger(received.trigger, stranger, received.door, received.received_at_ms, received.incident_id)
    )


@pytest.mark.parametrize(("folder", "is_verified"), [("spool", True), ("spool-unverified", False)])
async def test_what_cannot_be_committed_holds_up_nobody_behind_it(
    world: World, tmp_path: Path, database_url: str, token_keys: TokenKeys, folder: str, *, is_verified: bool
) -> None:
    await world.pool.execute(BREAK.format(person_id=world.worker))
    async with Spool(tmp_path / folder, name=uuid4()) as dead:
        for person_id in (world.worker, world.customer):
            await dead.append(record_of(world, person_id, is_verified=is_verified), person_id)
    async with open_door(door_settings(tmp_path, database_url, token_keys.public_pem)):
        async with asyncio.timeout(10):
            while not await world.pool.fetchval("SELECT EXISTS (SELECT FROM incident)"):
                await CLOCK.sleep_ms(20)
        assert (await world.incident())["person_id"] == world.customer
        await world.pool.execute("DROP TRIGGER fail ON incident")
        async with asyncio.timeout(10):
            while await world.pool.fetchval("SELECT count(*) FROM incident") < 2:
                await CLOCK.sleep_ms(20)
