"""Who watches the watchers: peers on a real Postgres, a killed process, a ping that stops when the ladder does."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from clenzy.doctor import Verdict, judge_outside, judge_peers
from clenzy.ports import any_free
from config.limits import BEAT_FRESH_MS, BEAT_KEPT_MS, BEAT_MISSED_MS, BEAT_MS, OUTSIDE_RETRY_MS, WATCH_LATE_MS_MAX
from engine.core.database import Connection
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Channel
from engine.people.tokens import AccessTokens
from engine.safetap.channels.notifier import NotSent
from engine.safetap.channels.outside_ping import OutsidePing
from engine.safetap.trigger_store import store_trigger
from engine.safetap.watchdog import peer_watch
from engine.safetap.watchdog.health import Health, Part
from engine.safetap.watchdog.outside import OutsideWatchdog
from engine.safetap.watchdog.peer_watch import PeerWatch, Pulse
from tests.fakes import ManualClock
from tests.integration.safetap.doors import CLOCK, OpenDoor
from tests.integration.safetap.senders import add_notice
from tests.integration.safetap.world import NOW_MS, World

EVERY_MS = 60_000


@dataclass
class Watched:
    """Processes that watch each other, on a clock under the test's control, over the real rows."""

    pool: asyncpg.Pool
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW_MS))
    pulses: dict[Part, Pulse] = field(default_factory=dict)
    watches: dict[Part, PeerWatch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in Part:
            self.pulses[part] = Pulse(self.clock)
            self.watches[part] = PeerWatch(
                pool=self.pool, clock=self.clock, seat=part.value, pulses={part: self.pulses[part]},
                read_clock=self.read_clock,
            )  # fmt: skip

    async def read_clock(self, _conn: Connection) -> int:
        return self.clock.now_ms()

    async def live(self, span_ms: int, *, hung: Part | None = None, dead: Part | None = None) -> Health:
        """Let everybody work and watch for so long; return what the last look saw."""
        health = None
        for _ in range(0, span_ms, BEAT_MS):
            self.clock.step_ms(BEAT_MS)
            async with self.pool.acquire() as conn:
                for part, watch in self.watches.items():
                    if part is dead:
                        continue
                    if part is not hung:
                        self.pulses[part].beat()
                    health = await watch.look(conn)
        assert health is not None
        return health

    def watchdog(self, ping: "Outside") -> OutsideWatchdog:
        return OutsideWatchdog(
            pool=self.pool, clock=self.clock, ping=ping, every_ms=EVERY_MS, read_clock=self.read_clock
        )


@dataclass
class Outside:
    """Counts pings, or refuses them."""

    pings: int = 0
    refusal: str = ""

    async def __call__(self) -> None:
        if self.refusal:
            raise NotSent(self.refusal)
        self.pings += 1


@pytest.fixture
def watched(pool: asyncpg.Pool) -> Watched:
    return Watched(pool)


def parts(health: Health) -> list[tuple[str, Part]]:
    return [(one.seat, one.part) for one in health.missing]


async def test_all_are_heard_while_all_work(watched: Watched) -> None:
    health = await watched.live(2 * BEAT_MISSED_MS)
    assert health.working == dict.fromkeys(Part, 1)
    assert parts(health) == []


@pytest.mark.parametrize("fate", ["hung", "dead"])
async def test_a_peer_that_hangs_or_dies_is_missed_and_comes_back(watched: Watched, fate: str) -> None:
    await watched.live(2 * BEAT_MISSED_MS)
    span_ms = BEAT_FRESH_MS + BEAT_MISSED_MS + 2 * BEAT_MS
    lost = {"hung": Part.ESCALATOR} if fate == "hung" else {"dead": Part.ESCALATOR}
    health = await watched.live(span_ms, **lost)
    assert parts(health) == [("escalator", Part.ESCALATOR)]
    assert health.working[Part.ESCALATOR] == 0
    assert judge_peers(["door"], ["escalator at escalator"]).verdict is Verdict.FAIL
    assert parts(await watched.live(2 * BEAT_MS)) == []


async def test_nobody_is_missed_after_an_outage_of_all_or_by_a_newcomer(watched: Watched) -> None:
    await watched.live(2 * BEAT_MISSED_MS)
    watched.clock.step_ms(10 * BEAT_MISSED_MS)  # Postgres was away: nobody could beat
    again = Watched(watched.pool, watched.clock)
    assert parts(await again.live(2 * BEAT_MISSED_MS)) == []


async def test_who_leaves_is_not_missed_and_who_never_returns_is_forgotten(watched: Watched) -> None:
    await watched.live(2 * BEAT_MISSED_MS)
    task = asyncio.create_task(watched.watches[Part.SENDER].run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await watched.pool.fetch("SELECT FROM process_beat WHERE part = 'sender'") == []
    health = await watched.live(3 * BEAT_MISSED_MS, dead=Part.SENDER)
    assert parts(health) == []
    assert parts(await watched.live(3 * BEAT_MISSED_MS, dead=Part.DOOR)) == [("door", Part.DOOR)]
    watched.clock.step_ms(BEAT_KEPT_MS)
    for watch in watched.watches.values():
        async with watched.pool.acquire() as conn:
            watched.pulses[Part.ESCALATOR].beat()
            await watch.look(conn)
    assert await watched.pool.fetch("SELECT FROM process_beat WHERE part = 'door'") == []


async def test_pings_go_out_once_for_all_and_stop_with_any_link(watched: Watched) -> None:
    outside = Outside()
    one, other = watched.watchdog(outside), watched.watchdog(outside)
    assert "no_sender" in (await one.look() or ""), "nobody was heard of yet"
    await watched.live(2 * BEAT_MISSED_MS)
    assert sorted(map(str, await asyncio.gather(one.look(), other.look()))) == ["", "None"]
    assert await one.look() is None, "not due again"
    assert outside.pings == 1
    for part in Part:
        await watched.live(EVERY_MS, hung=part)
        assert await other.look() == f"no_{part}"
        await watched.live(2 * BEAT_MISSED_MS)
        assert await one.look() == "", "what was withheld is made up for soon"
    assert outside.pings == 1 + len(Part)


async def test_work_that_lies_about_stops_the_pings_although_everybody_beats(watched: Watched, world: World) -> None:
    outside = Outside()
    watchdog = watched.watchdog(outside)
    async with world.pool.acquire() as conn:
        await store_trigger(conn, world.received(), new_id=uuid4)
    await watched.live(WATCH_LATE_MS_MAX + 2 * BEAT_MS)
    assert await watchdog.look() == "steps_late"
    await add_notice(world, Channel.SMS, "+351910000001", target=f"person:{world.dispatcher}")
    await world.pool.execute("DELETE FROM incident_timer")
    await world.pool.execute("UPDATE notice SET due_at = $1, created_at = $1", utc_from_ms(NOW_MS))
    watched.clock.step_ms(OUTSIDE_RETRY_MS)
    assert await watchdog.look() == "notices_late"
    await world.pool.execute("UPDATE notice SET attempts = 1")  # a receiver that is down: not our standing still
    watched.clock.step_ms(OUTSIDE_RETRY_MS)
    assert (await watchdog.look(), outside.pings) == ("", 1)


async def test_a_ping_that_nobody_took_is_tried_again_soon(watched: Watched) -> None:
    outside = Outside(refusal="the watchdog answered 500")
    watchdog = watched.watchdog(outside)
    await watched.live(2 * BEAT_MISSED_MS)
    assert await watchdog.look() == "the watchdog answered 500"
    trouble = await watched.pool.fetchval("SELECT trouble FROM outside_ping")
    assert [one.verdict for one in judge_outside(trouble)] == [Verdict.FAIL]
    outside.refusal = ""
    assert await watchdog.look() is None
    watched.clock.step_ms(OUTSIDE_RETRY_MS)
    assert await watchdog.look() == ""
    assert await watched.pool.fetchval("SELECT trouble FROM outside_ping") == ""


@dataclass
class PingReceiver:
    """A watchdog of the test's own."""

    status: int = 200
    url: str = ""
    pings: int = 0
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, _request: web.Request) -> web.Response:
        self.pings += 1
        self.called.set()
        headers = {"Location": self.url} if 300 <= self.status < 400 else {}
        return web.Response(status=self.status, headers=headers)


@asynccontextmanager
async def open_outside() -> AsyncIterator[PingReceiver]:
    receiver = PingReceiver()
    app = web.Application()
    app.router.add_get("/ping/secret", receiver.take)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/ping/secret"))
        yield receiver


async def test_a_ping_keeps_the_rules_of_webhooks() -> None:
    async with open_outside() as outside:
        async with OutsidePing(outside.url, is_private_allowed=True) as ping:
            await ping.send()
            for status in (302, 404, 500):
                outside.status = status
                with pytest.raises(NotSent, match=str(status)) as refused:
                    await ping.send()
                assert "secret" not in str(refused.value)
            assert outside.pings == 4, "no redirect is followed"
        for url in (outside.url, "https://127.0.0.1/ping", "https://user:word@example.com/", "nothing"):
            async with OutsidePing(url) as ping:
                with pytest.raises(NotSent):
                    await ping.send()
        assert outside.pings == 4


@dataclass
class Notify:
    """The real process that sends."""

    database_url: str
    folder: Path
    url: str
    port: int = field(default_factory=any_free)

    async def start(self) -> asyncio.subprocess.Process:
        settings = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": f"redis://127.0.0.1:{any_free()}/0",
            "CLENZY_STATE_DIR": str(self.folder),
            "CLENZY_OPS_PORT": str(self.port),
            "CLENZY_WATCHDOG_URL": self.url,
            "CLENZY_WEBHOOK_PRIVATE_NETWORKS": "true",
        }
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "engine.run_notify", env=os.environ | settings,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip


async def test_a_killed_sender_is_told_to_desks_and_ends_the_pings(
    door: OpenDoor,
    world: World,
    tokens: AccessTokens,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A door and a real process: the door misses the sender that was killed; the next one in its place is heard."""
    monkeypatch.setattr(peer_watch, "BEAT_MISSED_MS", 0)  # the door need not have watched for 15 s
    async with open_outside() as outside:
        notify = Notify(database_url, tmp_path, outside.url)
        process = await notify.start()
        async with asyncio.timeout(60):
            await outside.called.wait()
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        await world.pool.execute("UPDATE process_beat SET beat_at = beat_at - interval '15 s' WHERE part = 'sender'")
        token = world.token(tokens, world.dispatcher, now_ms=CLOCK.now_ms())
        async with door.by_port.ws_connect("/v1/safetap/live") as socket:
            await socket.send_json({"token": token})
            assert await watch_news(socket) == ["sender"]
            heard = outside.pings
            process = await notify.start()
            try:
                assert await watch_news(socket) == []
            finally:
                process.terminate()
                async with asyncio.timeout(30):
                    await process.wait()
        assert heard == 1
    assert await world.pool.fetch("SELECT FROM process_beat WHERE part = 'sender'") == []


async def watch_news(socket: aiohttp.ClientWebSocketResponse) -> list[str]:
    """Return which parts the desk is told to be missing, once it is told."""
    async with asyncio.timeout(60):
        while True:
            message = await socket.receive_json()
            if message["type"] == "watch":
                return [one["part"] for one in message["missing"]]
