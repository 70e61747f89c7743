"""In a crowd that Postgres is slow with, the disk acknowledges and the desk sees; each alarm is committed once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import aiohttp
import pytest

from config.limits import CROWD_ALARMS, CROWD_COMMIT_MS
from engine.core.ids import PersonId
from engine.core.vocabulary import Role
from engine.people.tokens import AccessTokens
from engine.safetap import intake
from engine.safetap.trigger_store import TAKE_TURNS, TURNS
from tests.integration.safetap.doors import CLOCK, OpenDoor
from tests.integration.safetap.test_outage import spool_is_empty
from tests.integration.safetap.world import World

STATES: Final = {200: "committed", 202: "spooled"}
LONG_MS: Final = 60_000
"""Beyond any test: nobody is answered because Postgres took too long."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone alarm waits for Postgres for as long as the test likes."""
    monkeypatch.setattr(intake, "TRIGGER_COMMIT_MS_MAX", LONG_MS)


@pytest.fixture
async def crowd(world: World) -> list[PersonId]:
    """Customers of the organisation."""
    people = [PersonId(uuid4()) for _ in range(2 * CROWD_ALARMS)]
    async with world.pool.acquire() as conn:
        for number, person_id in enumerate(people):
            await world.add_person(conn, person_id, Role.CUSTOMER, f"Carla{number} Caller")
    return people


@pytest.fixture
async def desk(world: World, door: OpenDoor, tokens: AccessTokens) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with door.by_port.ws_connect("/v1/safetap/live") as socket:
        await socket.send_json({"token": world.token(tokens, world.dispatcher, now_ms=CLOCK.now_ms())})
        assert (await socket.receive_json(timeout=20))["type"] == "snapshot"
        yield socket


async def test_whoever_waits_in_a_crowd_is_acknowledged_by_the_disk_and_shown_from_memory(
    world: World, door: OpenDoor, tokens: AccessTokens, tmp_path: Path, crowd: list[PersonId],
    desk: aiohttp.ClientWebSocketResponse,
) -> None:  # fmt: skip
    tokens_of = [customer_token(world, tokens, person_id) for person_id in crowd]
    sent = [{"trigger_id": str(uuid4()), "kind": "button"} for _ in crowd]
    async with world.pool.acquire() as slow, slow.transaction():
        await slow.execute(TAKE_TURNS, TURNS, [turn(person_id) for person_id in crowd])
        answers = await asyncio.gather(*(door.trigger(*one) for one in zip(tokens_of, sent, strict=True)))
        assert {status for status, _ in answers} == {202}
        shown = [await incident(desk) for _ in crowd]
        assert {one["person"]["person_id"] for one in shown} == {str(person_id) for person_id in crowd}
        assert all(one["spooled"] for one in shown)
        assert await world.pool.fetchval("SELECT count(*) FROM safetap_trigger") == 0
    await spool_is_empty(tmp_path)
    rows = await world.pool.fetch("SELECT incident_id, kind FROM incident_event WHERE kind LIKE '%triggered'")
    assert len(rows) == len(crowd), "once each"
    assert {row["kind"] for row in rows} == {"triggered"}
    assert {str(row["incident_id"]) for row in rows} == {one["incident_id"] for one in shown}, "the desk's rows stay"


async def test_who_calls_alone_is_left_to_postgres(
    world: World, door: OpenDoor, tokens: AccessTokens, tmp_path: Path, crowd: list[PersonId]
) -> None:
    person_id, *_ = crowd
    async with world.pool.acquire() as slow:
        async with slow.transaction():
            await slow.execute(TAKE_TURNS, TURNS, [turn(person_id)])
            called = asyncio.create_task(
                door.trigger(customer_token(world, tokens, person_id), {"trigger_id": str(uuid4()), "kind": "button"})
            )
            await waits_for_its_turn(world)
            await CLOCK.sleep_ms(4 * CROWD_COMMIT_MS)  # a crowd's patience is at an end
        assert (await called)[0] == 200
    await spool_is_empty(tmp_path)


def customer_token(world: World, tokens: AccessTokens, person_id: PersonId) -> str:
    return tokens.issue(
        person_id=person_id, role=Role.CUSTOMER, org_id=world.org_id, region_id=world.region_id, slot=None,
        session_id=uuid4(), now_ms=CLOCK.now_ms(),
    )  # fmt: skip


def turn(person_id: PersonId) -> int:
    return int.from_bytes(person_id.bytes[-4:], signed=True)


async def incident(desk: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    while (told := await desk.receive_json(timeout=20))["type"] != "incident":
        pass
    found: dict[str, Any] = told["incident"]
    return found


async def waits_for_its_turn(world: World) -> None:
    async with asyncio.timeout(20):
        while not await world.pool.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        ):
            await CLOCK.sleep_ms(5)
