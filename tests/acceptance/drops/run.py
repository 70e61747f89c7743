"""The forced-drops run: events without end, connections that are cut, processes that are killed, then the reckoning."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg

from engine.core.clock import SystemClock
from engine.core.ids import PersonId, WorkerSlot
from engine.core.vocabulary import Role
from engine.outbox.events import Event, append_events
from engine.people.tokens import AccessTokens
from tests.acceptance.drops.clients import Client, RawPhone, SocketIoClient
from tests.acceptance.drops.cutting_proxy import CuttingProxy
from tests.acceptance.drops.history import Verdict, check
from tests.acceptance.drops.installation import Installation
from tests.conftest import TokenKeys
from tests.integration.gateway.harness import ORG, REGION, City, eventually

BODY_BYTES_MAX = 6_000
"""Larger than the proxy's chunk, so that many cuts fall into a frame."""
SETTLE_S = 60


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is to happen."""

    drops: int
    clients: int
    mean_life_s: float
    events_per_s: float
    gateway_kills: int
    relay_kills: int
    redis_restarts: int
    seed: int
    seconds_max: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened and what the checker says of it."""

    plan: Plan
    seconds: float
    drops: int
    connects: int
    gateway_kills: int
    relay_kills: int
    redis_restarts: int
    outbox_events: int
    useless_offsets: int
    verdict: Verdict


async def run(plan: Plan, pool: asyncpg.Pool, database_url: str, keys: TokenKeys, folder: Path) -> Outcome:
    """Do it all and judge it."""
    (folder / "public.pem").write_bytes(keys.public_pem)
    installation = Installation(folder, database_url, folder / "public.pem")
    rng = random.Random(plan.seed)
    proxy = CuttingProxy(installation.ports, mean_life_s=plan.mean_life_s, rng=rng)
    began_s = asyncio.get_running_loop().time()
    async with installation.running(), proxy.serving(), aiohttp.ClientSession() as http:
        clients = await _clients(plan, pool, keys, f"http://127.0.0.1:{proxy.port}", http)
        began_s = asyncio.get_running_loop().time()
        async with _running([client.live() for client in clients]):
            async with _running([_produce(plan, pool, clients, rng)]):
                await _harm(plan, installation, proxy)
            proxy.is_cutting = False
            await _settle(pool, clients)
        seconds = asyncio.get_running_loop().time() - began_s
    histories = [client.history for client in clients]
    outbox = await _outbox(pool)
    return Outcome(
        plan,
        seconds,
        proxy.cuts,
        sum(history.connects for history in histories),
        sum(gateway.kills for gateway in installation.gateways),
        installation.relay.kills,
        installation.redis.kills,
        sum(map(len, outbox.values())),
        sum(history.useless_offsets for history in histories),
        check(histories, outbox),
    )


@asynccontextmanager
async def _running(works: Sequence[Any]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work) for work in works]
        yield
        for each in running:
            each.cancel()


async def _clients(
    plan: Plan, pool: asyncpg.Pool, keys: TokenKeys, url: str, http: aiohttp.ClientSession
) -> list[Client]:
    """One of each kind in turn: raw phone, phone over Socket.IO, customer, console."""
    city = await City(pool, SystemClock()).found()
    tokens = AccessTokens(public_key_pem=keys.public_pem, private_key_pem=keys.private_pem)
    clients: list[Client] = []
    for number in range(plan.clients):
        role = (Role.WORKER, Role.WORKER, Role.CUSTOMER, Role.DISPATCHER)[number % 4]
        slot = number if role is Role.WORKER else None
        person_id = await (city.worker(number) if slot is not None else city.person(role, f"Person {number}"))
        token = _token(tokens, person_id, role, slot)
        topic = f"desk:{ORG}" if role is Role.DISPATCHER else f"user:{person_id}"
        name = f"{role.value} {number}"
        if number % 4 == 0:
            clients.append(RawPhone(f"raw {name}", topic, token, url, http))
        else:
            namespace = {Role.WORKER: "/worker", Role.CUSTOMER: "/customer", Role.DISPATCHER: "/console"}[role]
            clients.append(SocketIoClient(name, topic, token, url, http, namespace))
    return clients


def _token(tokens: AccessTokens, person_id: UUID, role: Role, slot: int | None) -> str:
    return tokens.issue(
        person_id=PersonId(person_id),
        role=role,
        org_id=ORG,
        region_id=REGION,
        slot=None if slot is None else WorkerSlot(slot),
        session_id=uuid4(),
        now_ms=SystemClock().now_ms(),
    )


async def _produce(plan: Plan, pool: asyncpg.Pool, clients: Sequence[Client], rng: random.Random) -> None:
    """Commit events, one to five a transaction; now and then one that commits long after it took its number."""
    topics = sorted({client.history.topic for client in clients})
    number = 0
    async with asyncio.TaskGroup() as tasks:
        while True:
            events = []
            for _ in range(rng.randint(1, 5)):
                number += 1
                body = {"n": number, "pad": "x" * int(rng.paretovariate(1) * 50 % BODY_BYTES_MAX)}
                events.append(Event(rng.choice(topics), "test", body))
            tasks.create_task(_commit(pool, events, delay_s=rng.choice([0, 0, 0, 0.1])))
            await asyncio.sleep(len(events) / plan.events_per_s)


async def _commit(pool: asyncpg.Pool, events: list[Event], *, delay_s: float) -> None:
    async with pool.acquire() as conn, conn.transaction():
        await append_events(conn, events, now_ms=SystemClock().now_ms())
        await asyncio.sleep(delay_s)


async def _harm(plan: Plan, installation: Installation, proxy: CuttingProxy) -> None:
    """Kill what is to be killed, spread over the drops; return when there have been enough."""
    kills = [installation.gateways[number % 2].kill_and_restart for number in range(plan.gateway_kills)]
    kills += [installation.relay.kill_and_restart] * plan.relay_kills
    kills += [installation.redis.kill_and_restart] * plan.redis_restarts
    random.Random(plan.seed).shuffle(kills)
    async with asyncio.TaskGroup() as tasks:
        for number, kill in enumerate(kills):
            await _wait_for_cuts(proxy, plan.drops * (number + 1) // (len(kills) + 2), plan)
            tasks.create_task(kill())
        await _wait_for_cuts(proxy, plan.drops, plan)


async def _wait_for_cuts(proxy: CuttingProxy, count: int, plan: Plan) -> None:
    await eventually(lambda: proxy.cuts >= count, timeout_s=plan.seconds_max)


async def _settle(pool: asyncpg.Pool, clients: Sequence[Client]) -> None:
    """Wait until every client is where its topic ends; the checker says by how much one is not."""

    async def is_told() -> bool:
        if await pool.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE published_at IS NULL)"):
            return False
        ends = {topic: rows[-1][0] for topic, rows in (await _outbox(pool)).items()}
        return all(client.history.newest >= ends.get(client.history.topic, 0) for client in clients)

    with suppress(TimeoutError):
        await eventually(is_told, timeout_s=SETTLE_S)


async def _outbox(pool: asyncpg.Pool) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for row in await pool.fetch(
        "SELECT topic, seq, (body->>'n')::int AS n FROM outbox WHERE kind = 'test' ORDER BY seq"
    ):
        found.setdefault(row["topic"], []).append((row["seq"], row["n"]))
    return found


def describe(outcome: Outcome) -> str:
    """Return the figures, a line each."""
    plan, verdict = outcome.plan, outcome.verdict
    lines = [
        f"{outcome.drops:,} forced drops in {outcome.seconds:.0f} s",
        f"{plan.clients} clients, {outcome.connects:,} connections",
        f"killed: {outcome.gateway_kills} gateways, {outcome.relay_kills} relays, {outcome.redis_restarts} Redis",
        f"{outcome.outbox_events:,} durable events, {verdict.events:,} deliveries",
        f"{verdict.recoveries:,} recovered, {verdict.snapshots:,} not ({outcome.useless_offsets:,} brought an offset)",
        f"{len(verdict.lost)} lost, {len(verdict.doubled)} doubled, {len(verdict.wrong)} wrong",
    ]
    return "\n".join(lines + verdict.faults[:20])
