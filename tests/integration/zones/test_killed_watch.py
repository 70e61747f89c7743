"""Watches that are killed, cut off and left without Postgres: no change is lost, none is told twice."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
from redis.asyncio import Redis

from clenzy.ports import any_free
from config.limits import STOP_TIMEOUT_MS, ZONE_STALL_MS
from engine.zones.metrics import TURNS_ENDED
from engine.zones.zone_turn import TooMuchWaitsError
from tests.integration.zones.yard import PATIENCE_S, STREET, Yard, watching
from tests.servers import Servers

pytestmark = pytest.mark.integration

SHOP, PARK = 0.0, 0.02
PLACES = {"shop": 0.005, "park": 0.025, "street": STREET}
WORKERS, STEPS, KILLS = 8, 10, 3


@dataclass
class Watch:
    """`engine.run_zones` as a process."""

    process: asyncio.subprocess.Process
    port: int

    async def is_active(self) -> bool:
        return "clenzy_zone_watch_active 1.0" in (await self.metrics() or "")

    async def metrics(self) -> str | None:
        url = f"http://127.0.0.1:{self.port}/metrics"
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return await answer.text()
        except aiohttp.ClientError:
            return None


class Watches:
    """Two processes at any time: one that watches, one that stands by."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._environment = os.environ | {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
        self._running: list[Watch] = []

    async def start(self) -> None:
        port = any_free()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "engine.run_zones",
            env=self._environment | {"CLENZY_OPS_PORT": str(port)},
            stderr=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
        self._running.append(Watch(process, port))

    async def active(self) -> Watch:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for watch in self._running:
                    if await watch.is_active():
                        return watch
                await asyncio.sleep(0.02)

    async def kill(self, watch: Watch) -> None:
        self._running.remove(watch)
        watch.process.kill()
        await watch.process.wait()

    async def stop(self) -> list[int]:
        """Ask every watch to end, once it has come up; return their exit codes."""
        for watch in self._running:
            async with asyncio.timeout(PATIENCE_S):
                while await watch.metrics() is None:  # noqa: ASYNC110 - a process sends no event
                    await asyncio.sleep(0.02)
            watch.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_TIMEOUT_MS / 1_000):
            return [await watch.process.wait() for watch in self._running]

    async def close(self) -> None:
        for watch in list(self._running):
            if watch.process.returncode is None:
                await self.kill(watch)


@asynccontextmanager
async def two_watches(database_url: str, redis_url: str) -> AsyncIterator[Watches]:
    watches = Watches(database_url, redis_url)
    try:
        await watches.start()
        await watches.start()
        yield watches
    finally:
        await watches.close()


@pytest.fixture
async def yard(pool: asyncpg.Pool, redis: Redis) -> Yard:
    yard = await Yard(pool, redis).found(WORKERS)
    await yard.draw("shop", SHOP)
    await yard.draw("park", PARK)
    return yard


def expected_events(walks: list[list[str]]) -> list[list[tuple[str, str]]]:
    """What the walks of each worker must have told: kind and zone, in order."""
    told = []
    for walk in walks:
        events, before = [], "street"
        for place in walk:
            if place != before:
                events += [("exit", before)] * (before != "street") + [("enter", place)] * (place != "street")
            before = place
        told.append(events)
    return told


async def check_walks(yard: Yard, walks: list[list[str]]) -> None:
    told = await yard.told()
    found = [[(kind, zone) for worker, kind, zone, _ in told if worker == each] for each in range(len(walks))]
    assert found == expected_events(walks)
    await yard.check_books()


def present(places: list[str]) -> set[tuple[int, str]]:
    return {(worker, place) for worker, place in enumerate(places) if place != "street"}


@pytest.mark.timeout(120)
async def test_watches_that_are_killed_at_any_moment_lose_and_double_nothing(
    yard: Yard, database_url: str, redis_url: str
) -> None:
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    kills = set(dice.sample(range(1, STEPS), KILLS))
    walks: list[list[str]] = [[] for _ in range(WORKERS)]
    async with two_watches(database_url, redis_url) as watches:
        await watches.active()
        for step in range(STEPS):
            places = [dice.choice([*PLACES]) for _ in range(WORKERS)]
            for walk, place in zip(walks, places, strict=True):
                walk.append(place)
            victim = await watches.active() if step in kills else None
            await yard.move(*(PLACES[place] for place in places))
            if victim is not None:
                await asyncio.sleep(dice.uniform(0, 0.15))
                await watches.kill(victim)
                await watches.start()
            await yard.until_present(present(places))
        generations = await yard.pool.fetchval("SELECT generation FROM zone_watch")
        assert await watches.stop() == [0, 0]
    print(f"seed {seed}, {generations} turns")  # noqa: T201 - shown when the test fails
    assert generations >= KILLS
    await check_walks(yard, walks)


@contextmanager
def stopped(process: asyncio.subprocess.Process) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.timeout(120)
async def test_a_watch_that_stands_still_is_replaced_and_writes_nothing_when_it_wakes_up(
    yard: Yard, database_url: str, redis_url: str
) -> None:
    async with two_watches(database_url, redis_url) as watches:
        sleeper = await watches.active()
        await yard.move(PLACES["shop"])
        await yard.until_present({(0, "shop")})
        with stopped(sleeper.process):
            await yard.move(PLACES["park"])
            async with asyncio.timeout(PATIENCE_S + ZONE_STALL_MS / 1_000):
                while await yard.present() != {(0, "park")}:  # noqa: ASYNC110 - a table sends no event
                    await asyncio.sleep(0.05)
        await yard.move(PLACES["street"])
        await yard.until_present(set())
    await check_walks(yard, [["shop", "park", "street"]])


async def test_what_is_seen_while_postgres_is_away_waits_in_order(
    yard: Yard, servers: Servers, database_url: str
) -> None:
    own = await asyncpg.create_pool(database_url, min_size=0, max_size=3)
    walk = ["shop", "park", "street", "shop", "street", "park"]
    async with watching(own, yard.redis):
        await yard.move(PLACES["shop"])
        await yard.until_present({(0, "shop")})
        async with postgres_away(servers, database_url):
            for place in walk[1:]:
                await yard.move(PLACES[place])
        await yard.until_present({(0, "park")})
    own.terminate()
    await check_walks(yard, [walk])
    assert {reason for _, _, _, reason in await yard.told()} == {"moved"}


async def test_what_a_lost_line_to_redis_did_not_bring_is_found_again(yard: Yard) -> None:
    walk = ["shop", "park", "street", "park"]
    async with watching(yard.pool, yard.redis):
        for place in walk:
            await yard.redis.client_kill_filter(_type="pubsub")
            await yard.move(PLACES[place])
            await yard.until_present(present([place]))
    await check_walks(yard, [walk])


async def test_a_worker_who_is_deleted_stops_nobody_elses_events(yard: Yard) -> None:
    async with watching(yard.pool, yard.redis):
        await yard.move(PLACES["shop"], PLACES["shop"])
        await yard.until_present({(0, "shop"), (1, "shop")})
        await yard.pool.execute("DELETE FROM worker WHERE worker_id = $1", yard.worker_ids[0])
        await yard.move(PLACES["park"], PLACES["street"])
        told = await yard.until_told(2)
    assert [row[:3] for row in told] == [(1, "enter", "shop"), (1, "exit", "shop")]


async def test_what_is_too_much_to_wait_is_recovered_by_comparing(
    yard: Yard, servers: Servers, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.zones.zone_turn.ZONE_PENDING_MAX", 3)
    own, ended = await asyncpg.create_pool(database_url, min_size=0, max_size=3), turns_ended()
    async with watching(own, yard.redis):
        await yard.move(PLACES["shop"])
        await yard.until_present({(0, "shop")})
        async with postgres_away(servers, database_url):
            for place in ("park", "shop", "street", "park"):
                await yard.move(PLACES[place])
            await until_turn_ended(after=ended)
        await yard.until_present({(0, "park")})
    own.terminate()
    told = await yard.told()
    assert [row[1:] for row in told] == [
        ("enter", "shop", "moved"),
        ("exit", "shop", "recovered"),
        ("enter", "park", "recovered"),
    ]
    await yard.check_books()


async def until_turn_ended(*, after: float) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while turns_ended() == after:  # noqa: ASYNC110 - a counter sends no event
            await asyncio.sleep(0.02)


def turns_ended() -> float:
    return TURNS_ENDED.labels(TooMuchWaitsError.__name__)._value.get()


@asynccontextmanager
async def postgres_away(servers: Servers, database_url: str) -> AsyncIterator[None]:
    """Cut every connection to the test's database, and let nobody in."""
    name = urlsplit(database_url).path.removeprefix("/")
    conn = await asyncpg.connect(servers.database_url)
    try:
        await conn.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        await conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        yield
    finally:
        await conn.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
        await conn.close()
