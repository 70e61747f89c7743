"""The real door in a process of its own, killed at every named place of intake: what it acknowledged is kept.

A phone's part is played as the protocol asks: the same trigger again until `committed`.
"""

import asyncio
import os
import shutil
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest
from pydantic import SecretStr

from clenzy.ports import any_free
from config.settings import Settings
from engine.core.crash_point import VARIABLE, CrashPoints
from engine.people.tokens import AccessTokens
from tests.conftest import TokenKeys
from tests.integration.safetap.doors import CLOCK, OpenDoor, door_settings, open_door
from tests.integration.safetap.world import World

NOWHERE = SecretStr("postgresql://nobody@127.0.0.1:1/nothing")


@dataclass(frozen=True)
class Case:
    """A place to die at, and what must be true of an alarm that was under way there."""

    crash_at: str
    has_postgres: bool
    is_on_disk: bool | None
    """`None`: either is right, the phone was told nothing."""


CASES = (
    Case("after_parse", has_postgres=True, is_on_disk=False),
    Case("before_commit", has_postgres=True, is_on_disk=False),
    Case("after_commit", has_postgres=True, is_on_disk=True),
    Case("before_answer", has_postgres=True, is_on_disk=True),
    Case("before_spool_sync", has_postgres=False, is_on_disk=None),
    Case("after_spool_sync", has_postgres=False, is_on_disk=True),
    Case("before_answer", has_postgres=False, is_on_disk=True),
)


@dataclass
class Phone:
    """A worker's phone with one alarm to send."""

    world: World
    token: str
    body: dict[str, str] = field(default_factory=lambda: {"trigger_id": str(uuid4()), "kind": "button"})

    async def rows(self) -> int:
        """How often Postgres has the alarm."""
        return await self.world.pool.fetchval(
            "SELECT count(*) FROM safetap_trigger WHERE trigger_id = $1", UUID(self.body["trigger_id"])
        )

    async def send_until_committed(self, door: OpenDoor) -> None:
        async with asyncio.timeout(20):
            while (await door.trigger(self.token, self.body))[0] != 200:
                await CLOCK.sleep_ms(100)
        assert await self.rows() == 1
        incident = await self.world.incident()
        assert incident["severity"] == 1
        events = await self.world.pool.fetch(
            "SELECT kind FROM incident_event WHERE incident_id = $1 AND kind LIKE '%triggered'", incident["incident_id"]
        )
        assert [event["kind"] for event in events] == ["triggered"]


async def run_until_killed(settings: Settings, crash_at: str, phone: Phone | None = None) -> None:
    """Run the door until it dies where it should; a phone that sends to it hears nothing."""
    assert settings.database_url is not None
    env = {
        **os.environ,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "CLENZY_STATE_DIR": str(settings.state_dir),
        "CLENZY_SAFETAP_SOCKET": str(settings.safetap_socket_path),
        "CLENZY_SAFETAP_PORT": str(settings.safetap_port),
        "CLENZY_JWT_PUBLIC_KEY_FILE": str(settings.jwt_public_key_file),
        "CLENZY_LOG_LEVEL": "ERROR",
        VARIABLE: crash_at,
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "safetap_door", env=env)
    try:
        async with asyncio.timeout(60):
            if phone is not None:
                await send_to_the_doomed(settings.safetap_port, phone)
            assert await process.wait() == -signal.SIGKILL, crash_at
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def send_to_the_doomed(port: int, phone: Phone) -> None:
    headers = {"Authorization": f"Bearer {phone.token}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        while True:
            try:
                async with client.post("/v1/safetap", headers=headers, json=phone.body) as answer:
                    assert answer.status == 202, "only the spool may answer before a commit that was killed"
                    return
            except aiohttp.ClientConnectorError:
                await CLOCK.sleep_ms(20)  # it is starting
            except aiohttp.ClientError:
                return


@pytest.fixture
def settings(tmp_path: Path, database_url: str, token_keys: TokenKeys) -> Settings:
    return door_settings(tmp_path, database_url, token_keys.public_pem)


def elsewhere(settings: Settings, number: int, *, has_postgres: bool) -> Settings:
    """The same installation's disk, another door."""
    return settings.model_copy(
        update={
            "safetap_port": any_free(),
            "safetap_socket": settings.state_dir / f"door-{number}.sock",
            "database_url": settings.database_url if has_postgres else NOWHERE,
        }
    )


@pytest.mark.timeout(120)
async def test_a_door_killed_at_each_place_where_it_takes_an_alarm(
    settings: Settings, pool: asyncpg.Pool, tokens: AccessTokens
) -> None:
    worlds = [await World(pool).build() for _ in CASES]
    phones = [Phone(world, world.token(tokens, world.worker, now_ms=CLOCK.now_ms())) for world in worlds]
    doors = [elsewhere(settings, number, has_postgres=case.has_postgres) for number, case in enumerate(CASES)]
    for door in doors:
        if door.database_url != NOWHERE:  # on the others' disk it would bring their alarms to Postgres, and die of that
            door.state_dir = settings.state_dir / f"disk-of-{door.safetap_port}"
            door.state_dir.mkdir()
    await asyncio.gather(
        *(run_until_killed(door, case.crash_at, phone) for door, case, phone in zip(doors, CASES, phones, strict=True))
    )
    for case, phone in zip(CASES, phones, strict=True):
        # Where nobody knows (None), another door of this disk may have brought it to Postgres already.
        assert case.is_on_disk is not False or not await phone.rows(), case
    for door, case, phone in zip(doors, CASES, phones, strict=True):
        # On the same disk: where Postgres was slow to answer, the alarm may be there and not in Postgres.
        after = settings.model_copy(update={"safetap_port": any_free(), "state_dir": door.state_dir})
        async with open_door(after) as successor:
            async with asyncio.timeout(20):
                while case.is_on_disk and not await phone.rows():  # before the phone sends again
                    await CLOCK.sleep_ms(20)
            await phone.send_until_committed(successor)


@pytest.mark.timeout(120)
async def test_a_door_killed_while_it_brings_the_spool_to_postgres(
    settings: Settings, world: World, tokens: AccessTokens
) -> None:
    phone = Phone(world, world.token(tokens, world.worker, now_ms=CLOCK.now_ms()))
    async with open_door(elsewhere(settings, 0, has_postgres=False)) as away:
        assert (await away.trigger(phone.token, phone.body))[0] == 202
    await run_until_killed(elsewhere(settings, 1, has_postgres=True), "after_replay_commit")
    assert await phone.rows() == 1
    async with open_door(settings) as successor:
        async with asyncio.timeout(20):
            while any(path.stat().st_size for path in (settings.state_dir / "spool").glob("*.spool")):
                await CLOCK.sleep_ms(20)
        await phone.send_until_committed(successor)


async def test_the_disk_is_lost_after_it_acknowledged_and_the_phone_sends_again(
    tmp_path: Path, settings: Settings, world: World, tokens: AccessTokens
) -> None:
    phone = Phone(world, world.token(tokens, world.worker, now_ms=CLOCK.now_ms()))
    node = tmp_path / "node"
    node.mkdir()
    lost = elsewhere(settings, 0, has_postgres=False).model_copy(update={"state_dir": node})
    async with open_door(lost) as door:
        assert (await door.trigger(phone.token, phone.body))[0] == 202
    shutil.rmtree(node)
    async with open_door(settings) as successor:
        await phone.send_until_committed(successor)


def test_without_the_variable_nothing_dies_and_the_number_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr("engine.core.crash_point.os.kill", lambda _pid, number: killed.append(number))
    points = CrashPoints("here:2")
    points.passing("there")
    points.passing("here")
    assert killed == []
    points.passing("here")
    assert killed == [9]
