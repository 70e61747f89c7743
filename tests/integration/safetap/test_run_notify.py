"""The whole way: a trigger at the door, nobody acknowledges, mail arrives. Two real roots, no Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp
from pydantic import SecretStr

from clenzy.ports import any_free
from config.settings import Settings
from engine.people.tokens import AccessTokens
from engine.run_notify import root
from ops.process import Process
from tests.integration.safetap.doors import CLOCK, OpenDoor
from tests.integration.safetap.receivers import open_mailbox
from tests.integration.safetap.world import World

DESK = {"target": "desk", "channels": ["desk"]}
DISPATCHERS = {"target": "dispatchers", "channels": ["email"]}


@asynccontextmanager
async def notify_process(settings: Settings) -> AsyncIterator[Process]:
    process = Process("notify", settings)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(root(process))
        yield process
        process.stop.set()
        async with asyncio.timeout(10):
            await running


async def test_mail_arrives_when_nobody_acknowledges_even_without_redis(
    door: OpenDoor, world: World, tokens: AccessTokens, database_url: str, tmp_path: Path
) -> None:
    await world.set_policy(steps=[{"delay_s": 0, "notify": [DESK]}, {"delay_s": 1, "notify": [DESK, DISPATCHERS]}])
    async with open_mailbox() as mailbox:
        settings = Settings(
            state_dir=tmp_path,
            database_url=SecretStr(database_url),
            redis_url=SecretStr(f"redis://127.0.0.1:{any_free()}/0"),
            smtp_url=SecretStr(mailbox.url),
            ops_port=any_free(),
        )
        async with notify_process(settings):
            token = world.token(tokens, world.worker, now_ms=CLOCK.now_ms())
            started_ns = CLOCK.steady_ns()
            status, _answer = await door.trigger(token, {"trigger_id": str(uuid4()), "kind": "button"})
            assert status == 200
            await mailbox.has(2)
            assert CLOCK.steady_ns() - started_ns >= 900_000_000, "the second step is not before its time"
            checks = await readiness(settings.ops_port)
    assert len(set(mailbox.recipients)) == 2
    assert checks["database"]["ok"] is True
    assert checks["redis"]["ok"] is False


async def test_nobody_is_mailed_once_somebody_acknowledged(
    door: OpenDoor, world: World, tokens: AccessTokens, database_url: str, tmp_path: Path
) -> None:
    await world.set_policy(steps=[{"delay_s": 0, "notify": [DESK]}, {"delay_s": 1, "notify": [DISPATCHERS]}])
    async with open_mailbox() as mailbox:
        settings = Settings(
            state_dir=tmp_path,
            database_url=SecretStr(database_url),
            redis_url=SecretStr(f"redis://127.0.0.1:{any_free()}/0"),
            smtp_url=SecretStr(mailbox.url),
        )
        async with notify_process(settings):
            now_ms = CLOCK.now_ms()
            trigger = {"trigger_id": str(uuid4()), "kind": "button"}
            await door.trigger(world.token(tokens, world.worker, now_ms=now_ms), trigger)
            incident_id = (await world.incident())["incident_id"]
            await door.act(world.token(tokens, world.dispatcher, now_ms=now_ms), incident_id, "acknowledge")
            await CLOCK.sleep_ms(1_500)  # the time that must pass without a step: nothing happens that could be awaited
    assert mailbox.mails == []
    assert "step" not in (await world.events())[2:]


async def readiness(port: int | None) -> dict[str, dict[str, object]]:
    async with aiohttp.ClientSession() as session, asyncio.timeout(10):
        while True:
            async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                checks: dict[str, dict[str, object]] = (await answer.json())["checks"]
                if {"database", "redis"} <= checks.keys():
                    assert answer.status == 503
                    return checks
            await CLOCK.sleep_ms(20)
