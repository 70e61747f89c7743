"""Postgres goes away and comes back: an alarm is kept on this machine's disk, and committed exactly once."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from clenzy.child import store_account
from clenzy.migrations import migrate
from clenzy.ports import any_free
from clenzy.stores.home import StoreHome, store_home
from clenzy.stores.postgres import Postgres
from engine.people.devices import new_token
from engine.people.tokens import AccessTokens
from engine.safetap.trigger_store import store_trigger
from tests.conftest import TokenKeys
from tests.integration.safetap.doors import CLOCK, OpenDoor, door_settings, open_door
from tests.integration.safetap.world import World
from tests.servers import running


class OwnPostgres:
    """A Postgres that the test may stop and start."""

    def __init__(self, home: StoreHome) -> None:
        self._home = home
        self._server = Postgres(home, password="outage", port=any_free(), durable=True)
        self._server.prepare()
        self.url = self._server.url

    @contextmanager
    def up(self) -> Iterator[None]:
        with running(self._server.command(), self._server.answers, self._home.folder / "postgres.log"):
            yield


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> OwnPostgres:
    return OwnPostgres(store_home(tmp_path_factory.mktemp("postgres"), store_account()))


async def build_world(url: str) -> World:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        return await World(pool).build()


async def stored(url: str) -> list[tuple[str, str]]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            """SELECT t.trigger_id, i.state
                 FROM safetap_trigger t JOIN incident i USING (incident_id) ORDER BY t.received_at"""
        )
        return [(str(row["trigger_id"]), row["state"]) for row in rows]
    finally:
        await connection.close()


async def committed(url: str, trigger_ids: list[str]) -> None:
    async with asyncio.timeout(30):
        while [trigger_id for trigger_id, _ in await stored(url)] != trigger_ids:
            await CLOCK.sleep_ms(50)


def trigger() -> dict[str, object]:
    return {"trigger_id": str(uuid4()), "kind": "button"}


async def test_triggers_are_spooled_while_postgres_is_away_and_committed_once_when_it_is_back(
    postgres: OwnPostgres, tmp_path: Path, token_keys: TokenKeys, tokens: AccessTokens
) -> None:
    settings = door_settings(tmp_path, postgres.url, token_keys.public_pem)
    with postgres.up():
        await asyncio.to_thread(migrate, postgres.url)
        world = await build_world(postgres.url)
    worker = world.token(tokens, world.worker, now_ms=CLOCK.now_ms())
    customer = world.token(tokens, world.customer, now_ms=CLOCK.now_ms())
    async with open_door(settings) as door:  # which starts without a database
        first, second = trigger(), trigger()
        assert await door.trigger(worker, first) == (202, {"trigger_id": first["trigger_id"], "state": "spooled"})
        assert (await door.trigger(worker, first))[0] == 202
        assert (await door.trigger(customer, second))[0] == 202
        # Whose tracker it is only Postgres knows: kept apart, and the phone sends it again.
        device = {"Authorization": f"Device {new_token()}"}
        status, answer = await door.trigger("", trigger(), headers=device, through_socket=True)
        assert (status, answer["state"]) == (202, "received")
        await readiness_says(door, "spool only")
        with postgres.up():
            await committed(postgres.url, [str(first["trigger_id"]), str(second["trigger_id"])])
            again = await door.trigger(worker, first)
            assert again == (200, {"trigger_id": first["trigger_id"], "state": "committed"})
            await readiness_says(door, "database")
        third = trigger()
        assert (await door.trigger(customer, third))[0] == 202  # it went away under a running door
        with postgres.up():
            await committed(postgres.url, [str(one["trigger_id"]) for one in (first, second, third)])
            await spool_is_empty(tmp_path)


@pytest.mark.parametrize("has_open_incident", [False, True])
async def test_a_spooled_alarm_is_on_the_desk_at_once_and_once_only_when_it_is_committed(
    postgres: OwnPostgres, tmp_path: Path, token_keys: TokenKeys, tokens: AccessTokens, *, has_open_incident: bool
) -> None:
    settings = door_settings(tmp_path, postgres.url, token_keys.public_pem)
    with postgres.up():
        await asyncio.to_thread(migrate, postgres.url)
        world = await build_world(postgres.url)
        if has_open_incident:
            async with asyncpg.create_pool(postgres.url, min_size=1, max_size=1) as pool, pool.acquire() as conn:
                await store_trigger(conn, world.received(at_ms=CLOCK.now_ms()), new_id=uuid4)
    worker = world.token(tokens, world.worker, now_ms=CLOCK.now_ms())
    desk = world.token(tokens, world.dispatcher, now_ms=CLOCK.now_ms())
    async with open_door(settings) as door, door.by_port.ws_connect("/v1/safetap/live") as socket:
        await socket.send_json({"token": desk})
        snapshot = await socket.receive_json(timeout=5)
        assert (snapshot["type"], snapshot["is_partial"], snapshot["incidents"]) == ("snapshot", True, [])
        for _press in range(2):
            sent_ns = CLOCK.steady_ns()
            assert (await door.trigger(worker, trigger()))[0] == 202
            shown = await socket.receive_json(timeout=5)
            assert CLOCK.steady_ns() - sent_ns < 2_000_000_000
            assert (shown["type"], shown["incident"]["spooled"], shown["incident"]["version"]) == ("incident", True, 0)
            assert shown["incident"]["person"]["person_id"] == str(world.worker)
        spooled_id = shown["incident"]["incident_id"]
        on_desk = {spooled_id: shown["incident"]}
        with postgres.up():
            async with asyncio.timeout(30):
                while len(on_desk) != 1 or any("spooled" in row for row in on_desk.values()):
                    take(on_desk, await socket.receive_json())
        (incident_id,) = on_desk
        assert (incident_id != spooled_id) is has_open_incident


def take(on_desk: dict[str, dict[str, object]], message: dict[str, Any]) -> None:
    """What a desk does with what it hears."""
    if message["type"] == "snapshot":
        on_desk.clear()
        on_desk.update((incident["incident_id"], incident) for incident in message["incidents"])
    elif message["type"] == "incident":
        on_desk[message["incident"]["incident_id"]] = message["incident"]
    elif message["type"] == "replaced":
        on_desk.pop(message["incident_id"], None)


async def test_a_postgres_that_does_not_answer_delays_nobody_for_long(
    postgres: OwnPostgres, tmp_path: Path, token_keys: TokenKeys, tokens: AccessTokens
) -> None:
    """Hung, not gone: the connection stands, the answer never comes."""
    settings = door_settings(tmp_path, postgres.url, token_keys.public_pem)
    with postgres.up():
        await asyncio.to_thread(migrate, postgres.url)
        world = await build_world(postgres.url)
        worker = world.token(tokens, world.worker, now_ms=CLOCK.now_ms())
        blocker = await asyncpg.connect(postgres.url)
        async with open_door(settings) as door:
            lock = blocker.transaction()
            await lock.start()
            await blocker.execute("LOCK TABLE incident IN ACCESS EXCLUSIVE MODE")
            body = trigger()
            started_ns = CLOCK.steady_ns()
            status, _answer = await door.trigger(worker, body)
            took_ms = (CLOCK.steady_ns() - started_ns) / 1e6
            await lock.rollback()
            await blocker.close()
            assert status == 202
            assert took_ms < 2_000
            await committed(postgres.url, [str(body["trigger_id"])])


async def test_what_a_killed_door_spooled_is_committed_by_the_next(
    postgres: OwnPostgres, tmp_path: Path, token_keys: TokenKeys, tokens: AccessTokens
) -> None:
    settings = door_settings(tmp_path, postgres.url, token_keys.public_pem)
    with postgres.up():
        await asyncio.to_thread(migrate, postgres.url)
        world = await build_world(postgres.url)
    worker = world.token(tokens, world.worker, now_ms=CLOCK.now_ms())
    body = trigger()
    async with open_door(settings) as door:
        assert (await door.trigger(worker, body))[0] == 202
    with postgres.up():
        async with open_door(settings.model_copy(update={"safetap_port": any_free()})):
            await committed(postgres.url, [str(body["trigger_id"])])
            await spool_is_empty(tmp_path)


async def test_without_disk_and_database_the_phone_is_told_to_go_elsewhere(
    tmp_path: Path, token_keys: TokenKeys, tokens: AccessTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://nobody@127.0.0.1:{any_free()}/nothing"
    async with open_door(door_settings(tmp_path, url, token_keys.public_pem)) as door:
        monkeypatch.setattr("engine.safetap.spool.os.fdatasync", disk_error)
        nobody = World(None)  # type: ignore[arg-type]
        token = nobody.token(tokens, nobody.worker, now_ms=CLOCK.now_ms())
        status, problem = await door.trigger(token, trigger())
        assert (status, problem["code"]) == (503, "unavailable")
        monkeypatch.undo()
        assert (await door.trigger(token, trigger()))[0] == 202


def disk_error(_fd: int) -> None:
    raise OSError(5, "Input/output error")


async def readiness_says(door: OpenDoor, words: str) -> None:
    """Ready either way; the check says where triggers go."""
    async with asyncio.timeout(20):
        while True:
            async with door.by_port.get("/readyz") as answer:
                assert answer.status == 200
                if words in (await answer.json())["checks"]["intake"]["detail"]:
                    return
            await CLOCK.sleep_ms(50)


async def spool_is_empty(folder: Path) -> None:
    async with asyncio.timeout(20):
        while any(path.stat().st_size for path in spool_files(folder)):
            await CLOCK.sleep_ms(20)


def spool_files(folder: Path) -> list[Path]:
    return list((folder / "spool").glob("*"))
