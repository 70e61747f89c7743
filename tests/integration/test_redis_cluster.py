"""What besides the cell index speaks to Redis does so on a cluster as well: publications, figures, commands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from clenzy import doctor
from clenzy.doctor import Verdict
from config.settings import Settings
from engine.core.clock import SystemClock
from engine.core.redis_store import RedisClient, ask, own_connection, publish_together
from engine.geo.cell_index import STATUS_KEY, CellIndex
from engine.run_keeper import CellKeeper
from engine.wiring import open_redis
from gateway_ws.fan_out.message import Message
from gateway_ws.fan_out.subscriptions import FanOut
from tests.fakes import ManualClock
from tests.integration.test_cell_index_races import rows_at, slots_of
from tests.servers import RedisNodes

pytestmark = pytest.mark.integration


@asynccontextmanager
async def listening(redis: RedisClient, last: bytes) -> AsyncIterator[tuple[FanOut, list[bytes], asyncio.Event]]:
    """A gateway's fan-out with one topic; every payload heard; set when it hears `last`."""
    heard: list[bytes] = []
    is_over = asyncio.Event()

    def hear(message: Message) -> None:
        heard.append(message.payload)
        if message.payload == last:
            is_over.set()

    fan_out = FanOut(redis, clock=SystemClock(), on_break=lambda: None, on_gap=lambda: None)
    running = asyncio.ensure_future(fan_out.run())
    try:
        assert await fan_out.subscribe("user:1", hear, timeout_ms=5_000)
        yield fan_out, heard, is_over
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_many_publications_arrive_in_order_wherever_one_listens(
    either_settings: Settings, either_redis: RedisClient
) -> None:
    other = open_redis(either_settings)
    told = [b"%d" % number for number in range(300)]
    async with (
        listening(either_redis, told[-1]) as (_, heard, is_over),
        listening(either_redis, told[-1]) as (_, heard_too, is_over_too),
    ):
        for start in range(0, 300, 50):
            await publish_together(other, [("fan:user:1", each) for each in told[start : start + 50]])
        await asyncio.wait_for(asyncio.gather(is_over.wait(), is_over_too.wait()), 10)
        assert heard == heard_too == told
    await other.aclose()


async def test_a_gateway_tells_another_one(either_redis: RedisClient) -> None:
    async with listening(either_redis, b"hello") as (fan_out, _, is_over):
        await fan_out.publish("user:1", b"hello")
        await asyncio.wait_for(is_over.wait(), 10)


async def test_what_a_flush_tells_is_told_after_it_is_stored(either_redis: RedisClient) -> None:
    async with listening(either_redis, b"moved") as (_, heard, is_over):
        index = CellIndex(either_redis)
        told = [("fan:user:1", b"first"), ("fan:user:1", b"moved")]
        assert (await index.move(slots_of(3), rows_at((1_000, 0)), publish=told)).accepted == 1
        await asyncio.wait_for(is_over.wait(), 10)
        assert heard == [b"first", b"moved"]
        await index.remove([3], publish=[("fan:user:1", b"gone")])
        assert (await index.records([3]))["cell"].tolist() == [0]


async def test_the_fan_out_outlives_every_node_of_the_cluster(redis_cluster: RedisNodes) -> None:
    redis = open_redis(Settings(redis_url=redis_cluster.url, redis_cluster=True))
    async with listening(redis, b"back") as (fan_out, _, is_over):
        for number in range(3):
            redis_cluster.restart(number)
        async with asyncio.timeout(20):
            while not is_over.is_set():
                with suppress(RedisError, OSError):
                    await fan_out.publish("user:1", b"back")
                with suppress(TimeoutError):
                    await asyncio.wait_for(is_over.wait(), 0.1)
    await redis.aclose()


async def test_a_cluster_that_is_away_is_told_as_a_redis_error() -> None:
    away = Settings(redis_url="redis://127.0.0.1:1", redis_cluster=True)
    redis = open_redis(away)
    for asked in (
        ask(redis, [("GET", "x")]),
        publish_together(redis, [("a", b"b")]),
        redis.get("x"),
        CellIndex(redis).pages(),
    ):
        with pytest.raises(RedisError):
            await asked
    await redis.aclose()


def test_a_line_that_just_ended_is_told_as_a_redis_error(either_settings: Settings) -> None:
    """On the loop that the processes run on, which raises an error of its own for a write to it."""

    async def write_to_an_ended_line() -> None:
        async with aclosing(open_redis(either_settings)) as redis:
            line = await own_connection(redis)
            await line.connect()
            assert line._writer is not None
            line._writer.transport.abort()
            with pytest.raises(RedisConnectionError):
                await line.send_command("PING")

    uvloop.run(write_to_an_ended_line())


async def test_plain_commands_of_the_processes(either_redis: RedisClient) -> None:
    """Those of the matcher and of the gateways' figures."""
    assert await either_redis.ping()
    await ask(either_redis, [("SETRANGE", STATUS_KEY, 2, b"\x01"), ("SETRANGE", STATUS_KEY, 0, b"\x03")])
    assert await CellIndex(either_redis).statuses() == b"\x03\x00\x01"
    await either_redis.hset("gateway:rates", "g1", b"{}")
    assert await either_redis.hgetall("gateway:rates") == {b"g1": b"{}"}
    await either_redis.hdel("gateway:rates", "g1")


async def test_the_keeper_mends_the_cells(either_redis: RedisClient, clock: ManualClock) -> None:
    index, keeper = CellIndex(either_redis), CellKeeper(redis=either_redis, clock=clock)
    await index.move(slots_of(3), rows_at((1_000, 0)))
    cell = int(rows_at((1_000, 0))["cell"][0])
    await either_redis.delete(*[key async for key in either_redis.scan_iter(match="geo:{cells:*")])
    assert await index.cell_members([cell]) == {cell: []}
    assert (await keeper.run_once()).missing == 1
    assert await index.cell_members([cell]) == {cell: [3]}
    assert (await keeper.run_once()).total == 0


def test_the_doctor_looks_at_every_node(redis_cluster: RedisNodes, redis_url: str) -> None:
    def verdicts(url: str, *, is_cluster: bool) -> dict[str, Verdict]:
        return {each.subject: each.verdict for each in doctor.check_redis(url, is_cluster=is_cluster)}

    whole = {"redis": Verdict.OK, "redis kind": Verdict.OK, "redis slots": Verdict.OK, "redis memory": Verdict.OK}
    assert verdicts(redis_cluster.url, is_cluster=True) == whole
    assert verdicts(redis_cluster.url, is_cluster=False)["redis kind"] is Verdict.FAIL
    assert verdicts(redis_url, is_cluster=True)["redis kind"] is Verdict.FAIL
    clients = redis_cluster.clients()
    try:
        clients[2].config_set("maxmemory-policy", "allkeys-lru")
        clients[0].execute_command("CLUSTER DELSLOTS", 5)
        sick = verdicts(redis_cluster.url, is_cluster=True)
        assert (sick["redis slots"], sick["redis memory"]) == (Verdict.FAIL, Verdict.FAIL)
    finally:
        clients[2].config_set("maxmemory-policy", "noeviction")
        clients[0].execute_command("CLUSTER ADDSLOTS", 5)
        redis_cluster.wait_until_whole()
        for client in clients:
            client.close()
