"""Who comes back is told what happened meanwhile, once and in order, or that this is not possible."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import orjson
import pytest

from config.limits import RECOVERY_EVENTS_MAX, RECOVERY_TOPICS_MAX
from engine.core.clock import SystemClock
from engine.core.database import Pool
from engine.core.vocabulary import Role
from engine.outbox.events import append_event
from engine.outbox.history import History
from engine.outbox.relay import Relay
from gateway_ws.engine_calls import EngineCalls
from tests.integration.gateway.harness import ORG, TIMEOUT_S, City, Phone, Stage, eventually, gateway_on, phone_on

pytestmark = pytest.mark.integration


@pytest.fixture
async def _relay(redis: Any, pool: Pool) -> AsyncIterator[None]:
    relay = Relay(pool=pool, redis=redis, clock=SystemClock())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(relay.run())
        yield
        running.cancel()


async def tell(pool: Pool, topic: str, *numbers: int) -> None:
    for number in numbers:
        async with pool.acquire() as conn:
            await append_event(conn, topic=topic, kind="test", body={"n": number}, now_ms=SystemClock().now_ms())


async def told(pool: Pool) -> None:
    """Wait until the relay has published everything."""
    await eventually(
        lambda: pool.fetchval("SELECT NOT EXISTS (SELECT FROM outbox WHERE published_at IS NULL)"),
    )


async def events(phone: Phone, count: int) -> list[tuple[int, int]]:
    """Return number and offset of the next events."""
    frames = [await phone.hear(6) for _ in range(count)]
    return [(frame[2]["n"], frame[3]) for frame in frames]


@pytest.fixture
async def worker(city: City) -> UUID:
    return await city.worker(5)


class Worker:
    """A raw phone that keeps its place."""

    def __init__(self, stage: Stage, worker_id: UUID) -> None:
        self._stage = stage
        self._token = stage.token(Role.WORKER, worker_id, slot=5)
        self.topic = f"user:{worker_id}"
        self.place: dict[str, Any] = {}

    async def connect(self) -> tuple[aiohttp.ClientSession, Phone]:
        client = aiohttp.ClientSession()
        phone = Phone(await client.ws_connect(f"{self._stage.url}/ws/ping"))
        await phone.send(0, self._token, self.place)
        return client, phone


@pytest.mark.usefixtures("_relay")
async def test_a_phone_gets_what_it_missed_before_its_welcome(stage: Stage, pool: Pool, worker: UUID) -> None:
    phone_of = Worker(stage, worker)
    client, phone = await phone_of.connect()
    welcome = (await phone.hear(0))[2]
    assert (welcome["recovered"], welcome["offset"]) == (False, 0)
    await tell(pool, phone_of.topic, 1)
    assert await events(phone, 1) == [(1, 1)]
    await hang_up(client, phone)
    await tell(pool, phone_of.topic, 2)
    await tell(pool, "user:somebody-else", 3)
    await tell(pool, phone_of.topic, 4)
    await told(pool)
    phone_of.place = {"epoch": welcome["epoch"], "offset": 1}
    client, phone = await phone_of.connect()
    again = (await phone.hear(0))[2]
    assert [(frame[0], frame[2]["n"], frame[3]) for frame in phone.frames] == [(6, 2, 2), (6, 4, 4)]
    assert (again["recovered"], again["epoch"], again["offset"]) == (True, welcome["epoch"], 4)
    assert again["duty"] == "on", "the welcome tells the present state all the same"
    phone.frames.clear()
    await tell(pool, phone_of.topic, 5)
    assert await events(phone, 1) == [(5, 5)]
    await hang_up(client, phone)


@pytest.mark.usefixtures("_relay")
@pytest.mark.parametrize("why", ["epoch", "beyond", "deleted", "too many", "nonsense"])
async def test_a_phone_whose_history_is_gone_is_told_so(stage: Stage, pool: Pool, worker: UUID, why: str) -> None:
    phone_of = Worker(stage, worker)
    await tell(pool, phone_of.topic, *range(1, 4))
    if why == "too many":
        await tell(pool, phone_of.topic, *range(4, RECOVERY_EVENTS_MAX + 10))
    await told(pool)
    newest = await pool.fetchval("SELECT max(seq) FROM outbox")
    epoch = await pool.fetchval("SELECT epoch::text FROM outbox_epoch")
    phone_of.place = {"epoch": epoch, "offset": 2}
    if why == "epoch":
        phone_of.place["epoch"] = str(uuid4())
    elif why == "beyond":
        phone_of.place["offset"] = newest + 1
    elif why == "nonsense":
        phone_of.place = {"epoch": 7, "offset": -3}
    elif why == "deleted":
        await pool.execute("UPDATE outbox_epoch SET floor_seq = 3")
        await pool.execute("DELETE FROM outbox")
    client, phone = await phone_of.connect()
    welcome = (await phone.hear(0))[2]
    assert (welcome["recovered"], welcome["epoch"], welcome["offset"]) == (False, epoch, newest)
    await tell(pool, phone_of.topic, 1_000)
    assert await events(phone, 1) == [(1_000, newest + 1)]
    assert phone.frames == []
    await hang_up(client, phone)


async def hang_up(client: aiohttp.ClientSession, phone: Phone) -> None:
    await phone.socket.close()
    await client.close()


class Packets:
    """A Socket.IO client by hand: a namespace over a plain websocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, namespace: str) -> None:
        self._socket = socket
        self._namespace = namespace

    async def connect(self, auth: dict[str, Any]) -> dict[str, Any]:
        await self._socket.send_str(f"40{self._namespace},{orjson.dumps(auth).decode()}")
        answer: dict[str, Any] = orjson.loads(await self._next(f"40{self._namespace},"))
        return answer

    async def event(self) -> list[Any]:
        arguments: list[Any] = orjson.loads(await self._next(f"42{self._namespace},"))
        return arguments

    async def next(self, name: str) -> list[Any]:
        """Return the next event of this name; a console also gets figures."""
        while (arguments := await self.event())[0] != name:
            pass
        return arguments

    async def _next(self, start: str) -> str:
        while True:
            text = await self._socket.receive_str(timeout=TIMEOUT_S)
            if text.startswith(start):
                return text.removeprefix(start)


@asynccontextmanager
async def packets(stage: Stage, namespace: str = "/customer") -> AsyncIterator[Packets]:
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{stage.url}/socket.io/?EIO=4&transport=websocket") as socket,
    ):
        yield Packets(socket, namespace)


@pytest.mark.usefixtures("_relay")
async def test_the_pid_of_a_connect_says_recovered_or_not(stage: Stage, city: City, pool: Pool) -> None:
    customer = await city.person(Role.CUSTOMER, "C")
    token, topic = stage.token(Role.CUSTOMER, customer), f"user:{customer}"
    async with packets(stage) as first:
        answer = await first.connect({"token": token})
        name, body, offset = await first.event()
        assert (name, body["recovered"], offset) == ("welcome", False, str(body["offset"]))
        assert answer["pid"].startswith(body["epoch"])
    await tell(pool, topic, 1, 2)
    await told(pool)
    async with packets(stage) as second:
        again = await second.connect({"token": token, "pid": answer["pid"], "offset": offset})
        assert again["pid"] == answer["pid"]
        assert [await second.event() for _ in range(2)] == [["test", {"n": 1}, "1"], ["test", {"n": 2}, "2"]]
        name, body, offset = await second.event()
        assert (name, body["recovered"], offset) == ("welcome", True, "2")
    async with packets(stage) as third:
        anew = await third.connect({"token": token, "pid": answer["pid"], "offset": "3"})
        assert anew["pid"] not in {answer["pid"], None}
        assert (await third.event())[1]["recovered"] is False
    # Cut off before that welcome arrived, a stock client brings the same useless offset under the new pid.
    await tell(pool, topic, 3)
    await told(pool)
    async with packets(stage) as fourth:
        assert (await fourth.connect({"token": token, "pid": anew["pid"], "offset": "3"}))["pid"] != anew["pid"]
        assert (await fourth.event())[1]["recovered"] is False


@pytest.mark.usefixtures("_relay")
async def test_a_pid_is_good_for_one_person(stage: Stage, city: City) -> None:
    one, other = [await city.person(Role.CUSTOMER, name) for name in "AB"]
    async with packets(stage) as first, packets(stage) as second:
        pid = (await first.connect({"token": stage.token(Role.CUSTOMER, one)}))["pid"]
        auth = {"token": stage.token(Role.CUSTOMER, other), "pid": pid, "offset": "0"}
        assert (await second.connect(auth))["pid"] != pid
        assert (await second.event())[1]["recovered"] is False


class CountingCalls(EngineCalls):
    """Counts the statements that close gaps."""

    readings = 0

    async def missed(self, after: Any) -> History:
        self.readings += 1
        return await super().missed(after)


async def test_a_gap_is_closed_with_few_statements_and_without_welcomes(
    redis: Any, pool: Pool, token_keys: Any, tmp_path: Any, city: City
) -> None:
    """Pub/sub loses its connection while events are told: each of many sessions gets its own, once and in order."""
    count = RECOVERY_TOPICS_MAX // 2
    customers = [await city.person(Role.CUSTOMER, f"C{number}") for number in range(count)]
    calls = CountingCalls(SystemClock(), pool)
    async with (
        gateway_on(redis, pool, token_keys, tmp_path, calls=calls) as stage,
        AsyncExitStack() as opened,
    ):
        clients = []
        for customer in customers:
            clients.append(await opened.enter_async_context(packets(stage)))
            await clients[-1].connect({"token": stage.token(Role.CUSTOMER, customer)})
            assert (await clients[-1].event())[0] == "welcome"
        await eventually(lambda: all(session.is_open for session in stage.gateway.services.registry))
        relay = Relay(pool=pool, redis=redis, clock=SystemClock())
        for number, customer in enumerate(customers):
            await tell(pool, f"user:{customer}", number)
        async with relay.turn() as turn:
            assert turn is not None
            await redis.client_kill_filter(_type="pubsub")
            while await turn.relay_batch():
                pass  # whoever has subscribed again already hears some of it
        for number, each in enumerate(clients):
            assert await each.event() == ["test", {"n": number}, str(number + 1)]
        await tell(pool, f"user:{customers[0]}", -1)
        async with relay.turn() as turn:
            assert turn is not None
            await turn.relay_batch()
        assert await clients[0].event() == ["test", {"n": -1}, str(count + 1)]
    assert 1 <= calls.readings <= 3


@pytest.mark.usefixtures("_relay")
async def test_a_console_misses_nothing_of_its_desk(stage: Stage, city: City, pool: Pool) -> None:
    token = stage.token(Role.DISPATCHER, await city.person(Role.DISPATCHER, "D"))
    async with packets(stage, "/console") as first:
        answer = await first.connect({"token": token})
        await first.next("welcome")  # what was told before it is in the snapshot
        await tell(pool, f"desk:{ORG}", 1)
        assert (await first.next("test"))[1:] == [{"n": 1}, "1"]
    await tell(pool, f"desk:{ORG}", 2)
    await told(pool)
    async with packets(stage, "/console") as second:
        assert (await second.connect({"token": token, "pid": answer["pid"], "offset": "1"}))["pid"] == answer["pid"]
        assert await second.next("test") == ["test", {"n": 2}, "2"]
        assert (await second.next("welcome"))[1]["recovered"] is True


async def test_events_wait_until_postgres_has_told_the_state(
    redis: Any, pool: Pool, token_keys: Any, tmp_path: Any, city: City
) -> None:
    """A session that began without Postgres says so, and loses nothing of what is told before Postgres answers."""
    worker_id = await city.worker(5)
    calls = EngineCalls(SystemClock())
    async with (
        gateway_on(redis, None, token_keys, tmp_path, calls=calls) as stage,
        phone_on(stage, stage.token(Role.WORKER, worker_id, slot=5)) as phone,
    ):
        first = (await phone.hear(0))[2]
        assert (first["recovered"], first["epoch"], first["offset"]) == (False, None, None)
        await tell(pool, f"user:{worker_id}", 1)
        relay = Relay(pool=pool, redis=redis, clock=SystemClock())
        async with relay.turn() as turn:
            assert turn is not None
            await turn.relay_batch()
            calls.use(pool)
            second = (await phone.hear(0))[2]
            assert (second["recovered"], second["offset"]) == (False, 1)
            await tell(pool, f"user:{worker_id}", 2)
            await turn.relay_batch()
        assert await events(phone, 1) == [(2, 2)]
