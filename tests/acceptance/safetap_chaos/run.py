"""One run: people call for help, humans answer, everything is killed again and again; then the reckoning."""

import asyncio
import os
import random
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg

from engine.core.database import POSTGRES_ERRORS
from engine.core.ids import OrgId
from tests.acceptance.safetap_chaos.crash_points import named_in_the_code
from tests.acceptance.safetap_chaos.harm import DOOR_MORE, DOOR_ROUNDS, SENDER_MORE, SENDER_ROUNDS, Harm
from tests.acceptance.safetap_chaos.history import History, Rows, check
from tests.acceptance.safetap_chaos.installation import OTHERS, Installation
from tests.acceptance.safetap_chaos.lateness import Late, lateness
from tests.acceptance.safetap_chaos.phones import Crowd, Doors
from tests.acceptance.safetap_chaos.population import STEPS_S, Mint, Population, settle_people
from tests.acceptance.safetap_chaos.reading import (
    JOB_WATCH_DUE,
    PENDING,
    SILENT,
    UNBEGUN,
    read_rows,
    read_timer_changes,
)
from tests.acceptance.safetap_chaos.receivers import Receivers
from tests.acceptance.safetap_chaos.responders import Responders
from tests.conftest import TokenKeys
from tests.integration.safetap.world import World

SETTLE_S = 90
WATCH_S = 0.5
REPORT_S = 10
LAST_ACTS_S = 3
UNREADABLE = b"envelope.unreadable"
"""So long humans go on after the last press; what they leave is open at the end."""
Progress = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is to happen; a run ends when all of it has, or `minutes_max` are over: that is judged, too."""

    kills: int
    triggers: int
    per_s: float
    people: int
    on_sockets: int
    is_whole: bool
    """With gateway, API, matcher, zone watch and keeper among the victims."""
    gap_s: tuple[float, float]
    seed: int
    minutes_max: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened and what the checker says of it."""

    plan: Plan
    seconds: float
    history: History
    rows: Rows
    late: list[Late]
    faults: list[str]
    disks_lost: int
    bytes_lost: int
    answered: int
    chain: str


@dataclass
class Scene:
    """A running installation and everybody around it."""

    plan: Plan
    installation: Installation
    receivers: Receivers
    history: History
    http: aiohttp.ClientSession
    population: Population
    rng: random.Random
    progress: Progress


async def run(plan: Plan, keys: TokenKeys, folder: Path, progress: Progress) -> Outcome:
    """Do it all and judge it."""
    world = World(None)  # its pool is there once Postgres is
    history = History()
    receivers = Receivers(history.deliveries, OrgId(world.org_id))
    async with receivers.running(), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        installation = Installation(folder, keys, receivers.settings, is_whole=plan.is_whole)
        history.kills = installation.kills
        async with installation.stores():
            async with asyncpg.create_pool(installation.database_url, min_size=1, max_size=2) as pool:
                world.pool = pool
                mint = Mint(world, keys)
                population = await settle_people(
                    pool, mint, people=plan.people, on_sockets=plan.on_sockets, hook_url=receivers.places.hook_url
                )
            rng = random.Random(plan.seed)
            scene = Scene(plan, installation, receivers, history, http, population, rng, progress)
            async with installation.running():
                return await _storm(scene)


async def _storm(scene: Scene) -> Outcome:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    plan, installation = scene.plan, scene.installation
    urls = [f"http://127.0.0.1:{door.port}" for door in installation.doors]
    crowd = Crowd(scene.http, _doors(installation, urls), scene.population, scene.history, scene.rng)
    harm = Harm(installation, random.Random(plan.seed + 1), plan.gap_s)
    responders = Responders(
        scene.http, urls, scene.population.responder, scene.history, scene.receivers, random.Random(plan.seed + 2)
    )
    silent: set[str] = set()
    async with asyncio.TaskGroup() as tasks:
        background = [
            tasks.create_task(responders.work()),
            tasks.create_task(_watch(installation.database_url, silent)),
            tasks.create_task(_report(scene, crowd)),
        ]
        await _until_enough(scene, crowd, harm, until_s=began_s + plan.minutes_max * 60)
        await asyncio.sleep(LAST_ACTS_S)
        await _settle(scene)
        await scene.receivers.ended()
        for task in background:
            task.cancel()
    return await _judge(scene, harm, responders, silent, loop.time() - began_s)


def _doors(installation: Installation, urls: list[str]) -> Doors:
    ports = {name: victim.port for name, victim in installation.others.items()}
    api, gateway = (f"http://127.0.0.1:{ports[name]}" if name in ports else None for name in ("api", "gateway"))
    return Doors(urls, api, gateway)


async def _until_enough(scene: Scene, crowd: Crowd, harm: Harm, *, until_s: float) -> None:
    """Press and kill, until there was enough of both and every named place was reached, or the loop's time is up."""
    stop = asyncio.Event()
    plan, loop = scene.plan, asyncio.get_running_loop()

    def is_enough() -> bool:
        return not _missing(scene) or loop.time() >= until_s

    async with asyncio.TaskGroup() as people:
        people.create_task(crowd.press(plan.per_s, stop))
        if scene.population.on_sockets:
            people.create_task(crowd.press_on_sockets(stop))
        others = [*OTHERS, "redis"] if plan.is_whole else ["redis"]
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(_lane(harm.doors, DOOR_ROUNDS, DOOR_MORE, is_enough, harm.rng))
            lanes.create_task(_lane(harm.senders, SENDER_ROUNDS, SENDER_MORE, is_enough, harm.rng))
            lanes.create_task(_lane(harm.others, others, others, is_enough, harm.rng))
        stop.set()


def _missing(scene: Scene) -> list[str]:
    """Return what has not happened often enough, a line each."""
    plan, history = scene.plan, scene.history
    counts = {"triggers": (len(history.presses), plan.triggers), "kills": (len(history.kills), plan.kills)}
    return [f"{had:,} {what} instead of {wanted:,}" for what, (had, wanted) in counts.items() if had < wanted]


async def _lane(
    do: Callable[[Sequence[str]], Awaitable[None]],
    turn: Sequence[str],
    more: Sequence[str],
    is_enough: Callable[[], bool],
    rng: random.Random,
) -> None:
    """Do everything once in some order, then anything of `more` until it is enough."""
    await do(rng.sample(turn, len(turn)))
    while not is_enough():
        await do([rng.choice(more)])


async def _settle(scene: Scene) -> None:
    """Wait until every incident is on its way, end the ladders, and wait until all that they decided is sent.

    Ladders of open incidents go on for ever: without their end there is always something to send.
    """
    conn = await asyncpg.connect(scene.installation.database_url)
    try:
        async with asyncio.timeout(SETTLE_S):
            await _until_none(conn, UNBEGUN)
            for door in scene.installation.doors:
                door.stop()
            await _until_none(conn, PENDING)
    except TimeoutError:
        scene.progress(f"not settled within {SETTLE_S} s")
    finally:
        await conn.close()


async def _until_none(conn: asyncpg.Connection, count: str) -> None:
    while await conn.fetchval(count):  # noqa: ASYNC110 - rows of other processes
        await asyncio.sleep(0.1)


async def _watch(database_url: str, silent: set[str]) -> None:
    """Look again and again, as soon as there is a database to ask, for an incident that nobody will ever look at.

    And let the watch over the one job under way be due, so that there is always something to look at for it, too.
    """
    while True:
        with suppress(*POSTGRES_ERRORS):
            conn = await asyncpg.connect(database_url, timeout=2)
            try:
                while True:
                    silent.update(str(row["incident_id"]) for row in await conn.fetch(SILENT, timeout=5))
                    await conn.execute(JOB_WATCH_DUE, timeout=5)
                    await asyncio.sleep(WATCH_S)
            finally:
                conn.terminate()
        await asyncio.sleep(WATCH_S)


async def _report(scene: Scene, crowd: Crowd) -> None:
    began_s = asyncio.get_running_loop().time()
    while True:
        await asyncio.sleep(REPORT_S)
        seconds = asyncio.get_running_loop().time() - began_s
        history = scene.history
        scene.progress(
            f"{seconds:5.0f} s: {len(history.kills)} kills, {len(history.presses):,} triggers"
            f" ({crowd.under_way} under way), {len(history.deliveries):,} notices, {len(history.closed):,} closed"
        )


async def _judge(scene: Scene, harm: Harm, responders: Responders, silent: set[str], seconds: float) -> Outcome:
    installation, history = scene.installation, scene.history
    conn = await asyncpg.connect(installation.database_url)
    try:
        rows = await read_rows(conn, steps=len(STEPS_S))
        changes = await read_timer_changes(conn)
    finally:
        await conn.close()
    chain, is_whole = await _verify_chain(installation.database_url)
    died_at = {kill.where for kill in history.kills}
    faults = [
        *check(history, rows),
        *(f"incident {one}: at some moment nothing was due" for one in sorted(silent)),
        *(f"nobody died at {name}" for name in sorted(named_in_the_code() - died_at)),
        *([] if harm.bytes_lost else ["no disk was lost with an alarm on it"]),
        *([] if is_whole else [chain]),
        *_missing(scene),
        *(["an address that was sealed cannot be opened"] if UNREADABLE in installation.log.read_bytes() else []),
    ]
    late = lateness(changes, history.kills, last_step=len(STEPS_S))
    return Outcome(
        scene.plan, seconds, history, rows, late, faults, harm.disks_lost, harm.bytes_lost, responders.answered, chain
    )


async def _verify_chain(database_url: str) -> tuple[str, bool]:
    """Run what `clenzy safetap verify` runs; return its words and whether every link holds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine.run_safetap_verify", env=os.environ | {"DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    told, _ = await process.communicate()
    return told.decode().strip(), process.returncode == 0
