"""The process that tells people, killed between claim, send and record: everybody is told, at most once more a kill."""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from clenzy.ports import any_free
from engine.core.crash_point import VARIABLE
from engine.core.vocabulary import Channel
from tests.integration.safetap.doors import CLOCK
from tests.integration.safetap.senders import add_notice
from tests.integration.safetap.world import World
from tests.peers.twilio import ACCOUNT, NUMBER, SECRET, FakeTwilio, Fault, open_twilio

PEOPLE = 6
LEASES_END = "UPDATE notice SET lease_until = created_at WHERE state = 'pending'"
"""What time would do: the leases of a killed sender are over."""


@dataclass
class Notify:
    """The real process, as the supervisor starts it."""

    world: World
    database_url: str
    folder: Path
    twilio: FakeTwilio

    async def start(self, *, crash_at: str = "") -> asyncio.subprocess.Process:
        settings = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": f"redis://127.0.0.1:{any_free()}/0",
            "CLENZY_STATE_DIR": str(self.folder),
            "CLENZY_PHONE_API_URL": self.twilio.url,
            "CLENZY_PHONE_ACCOUNT": ACCOUNT,
            "CLENZY_PHONE_SECRET": SECRET,
            "CLENZY_PHONE_SENDER": NUMBER,
            VARIABLE: crash_at,
        }
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "engine.run_notify", env=os.environ | settings,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    async def ends(self, process: asyncio.subprocess.Process) -> int:
        async with asyncio.timeout(30):
            return await process.wait()

    async def kill(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        assert await self.ends(process) == -signal.SIGKILL
        await self.world.pool.execute(LEASES_END)

    async def everybody_is_told(self) -> None:
        process = await self.start()
        try:
            async with asyncio.timeout(30):
                while await self.world.pool.fetchval("SELECT count(*) FROM notice WHERE state <> 'sent'"):
                    await CLOCK.sleep_ms(20)
        finally:
            process.terminate()
            await self.ends(process)

    async def check(self, kills: int) -> Counter[str]:
        """Everybody is told, under the notice's own key, at most once more a kill; the history tells it once."""
        told = Counter(sent.key for sent in (*self.twilio.messages, *self.twilio.calls))
        keys = [row["idempotency_key"] for row in await self.world.pool.fetch("SELECT idempotency_key FROM notice")]
        assert set(told) == set(keys)
        assert max(told.values()) <= 1 + kills
        assert (await self.world.events()).count("notified") == len(keys)
        return told


@pytest.fixture
async def notify(world: World, database_url: str, tmp_path: Path):
    for number in range(PEOPLE):
        channel = Channel.VOICE if number % 3 == 0 else Channel.SMS
        await add_notice(world, channel, f"+35191000{number}001", target=f"person:{world.dispatcher}")
    async with open_twilio() as twilio:
        yield Notify(world, database_url, tmp_path, twilio)


@pytest.mark.parametrize(
    ("crash_at", "extra_max"), [("notice_claimed:2", 0), ("notice_sent:3", PEOPLE), ("notice_recorded:2", PEOPLE)]
)
async def test_a_kill_at_a_named_place(notify: Notify, crash_at: str, extra_max: int) -> None:
    process = await notify.start(crash_at=crash_at)
    assert await notify.ends(process) == -signal.SIGKILL
    await notify.world.pool.execute(LEASES_END)
    await notify.everybody_is_told()
    told = await notify.check(kills=1)
    assert sum(told.values()) - PEOPLE <= extra_max


async def test_a_kill_while_the_provider_holds_the_requests(notify: Notify) -> None:
    """Taken or not, the sender never heard: each is sent once more with the same key, and no more than that."""
    notify.twilio.fault = Fault.HANG
    process = await notify.start()
    await notify.twilio.was_asked(PEOPLE)
    await notify.kill(process)
    notify.twilio.fault = None
    notify.twilio.released.set()
    await notify.everybody_is_told()
    await notify.check(kills=1)


@pytest.mark.chaos
async def test_kills_at_random_moments(notify: Notify) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 - shown when it fails
    chance = random.Random(seed)
    notify.twilio.delay_ms = 30
    kills = 3
    for _ in range(kills):
        asked = notify.twilio.requests
        process = await notify.start()
        if await notify.world.pool.fetchval("SELECT count(*) FROM notice WHERE state = 'pending'"):
            await notify.twilio.was_asked(asked + 1)
        await CLOCK.sleep_ms(chance.randrange(60))
        await notify.kill(process)
    notify.twilio.delay_ms = 0
    await notify.everybody_is_told()
    await notify.check(kills)
