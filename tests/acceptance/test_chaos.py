"""Kills every process and both stores while people book, work and press the alarm: nothing acknowledged is lost."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import asyncpg
import pytest
import redis.asyncio

from engine.core.clock import SystemClock
from engine.geo.cell_index import CellIndex
from engine.geo.verify import verify
from sim.client.rest import Account, Rest, sign_in
from sim.client.roster import Person, Roster, TokenCache
from tests.acceptance import stack as stacks
from tests.acceptance.ledger import audit
from tests.acceptance.people import ChaosWorker, History, book_and_confirm, press_safetap

WORKERS: Final = 12
CUSTOMERS: Final = 6
BOOKINGS_EACH: Final = 4
IN_DANGER: Final = 6
"""They do not book: a safety hold keeps everybody from the door of somebody who raised an alarm."""
SEED: Final = 20
VICTIMS: Final = ("gateway_ws", "redis", "matcher", "api_rest", "safetap_door", "notify", "postgres", "zones", "keeper")
SETTLE_S: Final = 120
PRESENT_S: Final = 20

pytestmark = [pytest.mark.acceptance, pytest.mark.chaos, pytest.mark.timeout(420)]


@pytest.fixture
async def stack() -> AsyncIterator[stacks.Stack]:
    with stacks.state_folder() as folder:
        stack = stacks.start(folder)
        try:
            await stacks.wait_ready(stack)
            yield stack
        finally:
            stack.stop()


async def test_nothing_acknowledged_is_lost_whatever_is_killed(stack: stacks.Stack) -> None:
    history = History()
    environment = stack.environment
    async with aiohttp.ClientSession() as http:
        rest = Rest(http, stack.api_url)
        admin = await sign_in(rest, "admin@demo.clenzy.test", stack.password("admin@demo.clenzy.test"))
        config = await rest.get("/v1/config")
        workers, customers, in_danger = await _people(rest, admin)
        phones = [
            ChaosWorker(http, config["gateway_url"], account, history, random.Random(SEED + number))
            for number, account in enumerate(workers)
        ]
        async with _alive(phones):
            async with asyncio.TaskGroup() as day:
                for number, account in enumerate(customers):
                    day.create_task(_customer_day(rest, account, history, random.Random(SEED - number)))
                for number, account in enumerate(in_danger):
                    day.create_task(_alarm_day(http, rest, config["safetap_url"], account, history, number))
                day.create_task(_kill_everything(stack))
            await stacks.wait_for(
                lambda: all(phone.socket.connected.is_set() for phone in phones), what="everybody at the gateway"
            )
            await _check_presence(environment["REDIS_URL"], phones)
        await _check_ledger(environment["DATABASE_URL"], history)
    assert len(history.bookings) == CUSTOMERS * BOOKINGS_EACH
    assert len(history.triggers) == IN_DANGER * 2
    assert history.accepted


async def _people(rest: Rest, admin: Account) -> tuple[list[Account], list[Account], list[Account]]:
    workers = [Person(f"chaos-worker-{n}", "worker", f"Worker {n}", skills=("cleaning",)) for n in range(WORKERS)]
    customers = [Person(f"chaos-customer-{n}", "customer", f"Customer {n}") for n in range(CUSTOMERS)]
    in_danger = [Person(f"chaos-danger-{n}", "customer", f"Somebody {n}") for n in range(IN_DANGER)]
    arrived: dict[str, Account] = {}
    roster = Roster(rest, admin, TokenCache(None, server=rest.base_url))
    await roster.bring(
        [*workers, *customers, *in_danger],
        lambda person, account: arrived.__setitem__(person.external_ref, account),
    )
    signed_in = [[arrived[person.external_ref] for person in group] for group in (workers, customers, in_danger)]
    return signed_in[0], signed_in[1], signed_in[2]


async def _customer_day(rest: Rest, account: Account, history: History, rng: random.Random) -> None:
    for _ in range(BOOKINGS_EACH):
        await book_and_confirm(rest, account, history, rng)


async def _alarm_day(
    http: aiohttp.ClientSession, rest: Rest, safetap_url: str, account: Account, history: History, number: int
) -> None:
    await asyncio.sleep(3 * number)  # spread over the storm
    await press_safetap(http, rest, safetap_url, account, history)


async def _kill_everything(stack: stacks.Stack) -> None:
    for name in VICTIMS:
        before = stack.kill(name)
        await stacks.wait_for(lambda name=name, before=before: _came_back(stack, name, before), what=f"{name} again")
        await stacks.wait_ready(stack)


def _came_back(stack: stacks.Stack, name: str, before: int) -> bool:
    try:
        return stack.pid(name) != before
    except LookupError:
        return False


@asynccontextmanager
async def _alive(phones: Sequence[ChaosWorker]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(phone.live()) for phone in phones]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


async def _check_presence(redis_url: str, phones: Sequence[ChaosWorker]) -> None:
    """After a Redis that forgot everything: every worker is back, in exactly the right cell."""
    client = redis.asyncio.Redis.from_url(redis_url, protocol=2)
    try:
        await asyncio.sleep(2 * 0.5 + 0.2)  # one ping interval: the promise that is tested
        slots = [phone.socket.slot for phone in phones]
        async with asyncio.timeout(PRESENT_S):  # they drive on: a look may fall between a record and its set
            while not (report := await verify(client)).is_right or report.slots < WORKERS:
                continue
        assert report.slots == WORKERS
        records = await CellIndex(client).records([slot for slot in slots if slot is not None])
        now_ms = SystemClock().now_ms()
        assert (records["ts_ms"] > now_ms - 5_000).all()
        assert (records["cell"] != 0).all()
    finally:
        await client.aclose()


async def _check_ledger(database_url: str, history: History) -> None:
    conn = await asyncpg.connect(database_url)
    try:
        wrong: list[str] = ["not looked yet"]
        async with asyncio.timeout(SETTLE_S):
            while wrong:  # the second step of the last alarm is due twenty seconds after it
                wrong = await audit(conn, history)
                await asyncio.sleep(0.5)
    except TimeoutError:
        pytest.fail("\n".join(wrong))
    finally:
        await conn.close()
