"""`/ws/ping` through real sockets: every frame of the protocol, every refusal, every close code."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgpack
import numpy as np
import pytest
from redis.asyncio import Redis

from config.limits import ACCESS_TOKEN_MS, BAD_FRAMES_MAX, CONNECTION_FIXES_BURST, TOKEN_GRACE_MS
from engine.core.clock import SystemClock
from engine.core.database import Pool
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Role
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cell_of
from engine.geo.fixes import FIX, RECORD
from engine.geo.verify import verify
from gateway_ws.engine_calls import EngineCalls
from tests.integration.gateway.harness import PORTO, City, FakeDoor, Stage, eventually, gateway_on, phone_on

pytestmark = pytest.mark.integration

NEAR = (PORTO[0] + 0.0001, PORTO[1])


BOTH_PATHS = pytest.mark.parametrize("stage", [True, False], ids=["lane", "plain"], indirect=True)
"""A gateway that takes ping frames in the lane, and one whose aiohttp has none: both do the same."""


@pytest.fixture
async def stage(
    request: pytest.FixtureRequest,
    redis: Redis,
    pool: Pool,
    token_keys: Any,
    tmp_path: Path,
    door: FakeDoor,  # noqa: ARG001 - serves on a socket in the same folder
) -> AsyncIterator[Stage]:
    async with gateway_on(redis, pool, token_keys, tmp_path, lane=getattr(request, "param", True)) as stage:
        yield stage


@pytest.fixture
async def worker(city: City, stage: Stage) -> str:
    """The token of a worker on duty in slot 5."""
    return stage.token(Role.WORKER, await city.worker(5), slot=5)


async def test_hello_is_answered_with_the_present_state(stage: Stage, worker: str) -> None:
    async with phone_on(stage, worker) as phone:
        _, slot, state = await phone.hear(0)
    assert slot == 5
    assert (state["duty"], state["offer"], state["booking"]) == ("on", None, None)
    assert state["cadence_ms"] > 0
    assert abs(state["server_ms"] - stage.clock.now_ms()) < 5_000


@BOTH_PATHS
async def test_an_acknowledged_fix_is_in_its_cell(stage: Stage, worker: str) -> None:
    async with phone_on(stage, worker) as phone:
        await phone.send(1, 1, stage.fixes(PORTO, NEAR))
        assert await phone.hear(2) == [2, 1, 0]
        record = (await CellIndex(stage.redis).records([5]))[0]
    assert (record["lat_e7"], record["cell"]) == (round(NEAR[0] * 1e7), cell_of(*NEAR))
    assert (await verify(stage.redis)).is_right


async def test_a_phone_that_is_signed_in_has_no_task_and_counts_until_it_leaves(stage: Stage, worker: str) -> None:
    before, admission = len(asyncio.all_tasks()), stage.gateway._admission
    async with phone_on(stage, worker) as phone:
        await phone.hear(0)
        await eventually(lambda: len(asyncio.all_tasks()) == before)
        assert (admission.sockets, len(stage.gateway.services.registry)) == (1, 1)
        await phone.send(1, 1, stage.fixes(PORTO))
        assert await phone.hear(2) == [2, 1, 0]
    await eventually(lambda: (admission.sockets, len(stage.gateway.services.registry)) == (0, 0))


@BOTH_PATHS
async def test_acknowledgements_are_cumulative(stage: Stage, worker: str) -> None:
    async with phone_on(stage, worker) as phone:
        for seq in range(1, 51):
            await phone.send(1, seq, stage.fixes(PORTO))
        assert (await phone.hear(2, where=lambda frame: frame[1] == 50))[2] == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lat_e7": 2**31 - 1}, "invalid"),
        ({"lat_e7": 0, "lng_e7": 0}, "zero"),
        ({"accuracy_dm": 2_001}, "inaccurate"),
        ({"lat_e7": 415_000_000}, "jump"),
        ({"ts_ms": 1_000}, "past"),
        ({"ts_ms": 4_000_000_000_000}, "future"),
    ],
)
async def test_a_bad_fix_is_refused_counted_acknowledged_and_moves_nobody(
    stage: Stage, worker: str, change: dict[str, int], reason: str
) -> None:
    async with phone_on(stage, worker) as phone:
        await phone.send(1, 1, stage.fixes(PORTO, at_ms=stage.clock.now_ms() - 1_000))
        await phone.send(1, 2, stage.fixes(NEAR, **change))
        await phone.hear(2, where=lambda frame: frame[1] == 2)
        _, name, body = await phone.hear(6)
    assert (name, body) == ("fixes.refused", {"reasons": {reason: 1}, "total": 1})
    record = (await CellIndex(stage.redis).records([5]))[0]
    assert record["lat_e7"] == round(PORTO[0] * 1e7)


@BOTH_PATHS
async def test_off_duty_fixes_leave_no_trace(stage: Stage, city: City) -> None:
    token = stage.token(Role.WORKER, await city.worker(6, duty="off"), slot=6)
    async with phone_on(stage, token) as phone:
        await phone.send(1, 1, stage.fixes(PORTO))
        assert await phone.hear(2) == [2, 1, 0]
        _, _, body = await phone.hear(6)
    assert body["reasons"] == {"off_duty": 1}
    assert await stage.redis.keys("geo:*") == []


@BOTH_PATHS
async def test_duty_off_takes_the_worker_out_and_on_brings_the_worker_back(stage: Stage, worker: str) -> None:
    index = CellIndex(stage.redis)
    async with phone_on(stage, worker) as phone:
        await phone.send(1, 1, stage.fixes(PORTO))
        await phone.hear(2)
        await phone.send(4, 77, "duty", {"duty": "off"})
        assert await phone.hear(5) == [5, 77, True, {"duty": "off"}]

        async def is_out() -> bool:
            return not (await index.cell_members([cell_of(*PORTO)]))[cell_of(*PORTO)]

        await eventually(is_out)
        assert (await index.records([5]))[0]["lat_e7"] == 0
        await phone.send(4, 78, "duty", {"duty": "on"})
        await phone.hear(5)
        await phone.send(1, 2, stage.fixes(PORTO))
        await phone.hear(2, where=lambda frame: frame[1] == 2)
        assert await index.cell_members([cell_of(*PORTO)]) == {cell_of(*PORTO): [5]}


@BOTH_PATHS
@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ([1, 1, bytes(24 * 51)], "too_many_fixes"),
        ([1, 1, bytes(23)], "malformed_frame"),
        ([55], "unknown_type"),
        ("not an array", "malformed_frame"),
        ([7, "rubbish"], "not_signed_in"),
        ([0, "again"], "malformed_frame"),
    ],
)
async def test_a_refused_frame_is_named_and_the_connection_lives(
    stage: Stage, worker: str, frame: Any, code: str
) -> None:
    async with phone_on(stage, worker) as phone:
        await phone.socket.send_bytes(msgpack.packb(frame))
        assert (await phone.hear(8))[1]["code"] == code
        await phone.send(1, 9, stage.fixes(PORTO))
        assert await phone.hear(2) == [2, 9, 0]


@BOTH_PATHS
async def test_text_is_refused_as_malformed(stage: Stage, worker: str) -> None:
    async with phone_on(stage, worker) as phone:
        await phone.socket.send_str("hello")
        assert (await phone.hear(8))[1]["code"] == "malformed_frame"


@BOTH_PATHS
async def test_abuse_closes_with_4408(stage: Stage, worker: str) -> None:
    async with phone_on(stage, worker) as phone:
        for _ in range(BAD_FRAMES_MAX):
            await phone.socket.send_bytes(b"\xc1")
        assert await phone.close_code() == 4408
    assert sum(frame[0] == 8 for frame in phone.frames) == BAD_FRAMES_MAX


@BOTH_PATHS
async def test_an_oversized_frame_closes_with_1009(stage: Stage, worker: str) -> None:
    async with phone_on(stage, worker) as phone:
        await phone.hear(0)
        await phone.socket.send_bytes(bytes(70_000))
        assert await phone.close_code() == 1009


@BOTH_PATHS
async def test_a_flood_is_refused_by_name(stage: Stage, worker: str) -> None:
    async with phone_on(stage, worker) as phone:
        for seq in range(CONNECTION_FIXES_BURST // 50 + 10):
            await phone.send(1, seq, stage.fixes(*[PORTO] * 50))
        refused = (await phone.hear(8))[1]
    assert refused["code"] == "too_many"
    assert refused["seq"] > CONNECTION_FIXES_BURST // 50 - 1


@pytest.mark.parametrize("hello", [[0, "rubbish", {}], [1, 1, bytes(24)], [99], [0]])
async def test_who_does_not_sign_in_first_is_closed_with_4401(stage: Stage, hello: list[Any]) -> None:
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{stage.url}/ws/ping") as socket:
        await socket.send_bytes(msgpack.packb(hello))
        assert msgpack.unpackb((await socket.receive()).data)[0] == 8
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4401


async def test_others_than_workers_are_closed_with_4403(stage: Stage, city: City) -> None:
    token = stage.token(Role.CUSTOMER, await city.person(Role.CUSTOMER, "C"))
    async with phone_on(stage, token) as phone:
        assert await phone.close_code() == 4403


async def test_a_foreign_origin_may_not_open_a_socket(stage: Stage, worker: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with phone_on(stage, worker, origin="https://evil.example"):
            pass
    assert refused.value.status == 403
    async with phone_on(stage, worker, origin="https://desk.example") as phone:
        await phone.hear(0)


async def test_the_same_worker_again_replaces_the_older_connection(stage: Stage, worker: str) -> None:
    async with phone_on(stage, worker) as old:
        await old.hear(0)
        async with phone_on(stage, worker) as new:
            await new.hear(0)
            assert await old.close_code() == 4409
            await new.send(1, 1, stage.fixes(PORTO))
            assert await new.hear(2) == [2, 1, 0]


async def test_the_same_worker_on_another_gateway_replaces_too(
    stage: Stage, worker: str, token_keys: Any, tmp_path: Path
) -> None:
    async with gateway_on(stage.redis, stage.pool, token_keys, tmp_path) as second, phone_on(stage, worker) as old:
        await old.hear(0)
        await old.send(1, 1, stage.fixes(PORTO))
        await old.hear(2)
        async with phone_on(second, worker) as new:
            await new.hear(0)
            assert await old.close_code() == 4409
            far = (PORTO[0] + 1, PORTO[1])
            await new.send(1, 2, stage.fixes(far))
            _, _, body = await new.hear(6)
    assert body["reasons"] == {"jump": 1}, "the second gateway knows where the worker was"


async def test_a_token_expires_with_a_grace_and_can_be_refreshed(stage: Stage, city: City) -> None:
    worker_id = await city.worker(8)
    nearly = stage.token(Role.WORKER, worker_id, slot=8, age_ms=ACCESS_TOKEN_MS - MS_PER_S)
    async with phone_on(stage, nearly) as phone:
        await phone.hear(0)
        await phone.send(7, stage.token(Role.WORKER, worker_id, slot=8))
        await phone.send(1, 1, stage.fixes(PORTO))
        await phone.hear(2)
        (session,) = stage.gateway.services.registry
        assert session.principal.expires_at_ms > stage.clock.now_ms() + ACCESS_TOKEN_MS / 2
        stage.gateway.services.registry.close_expired(stage.clock.now_ms() + ACCESS_TOKEN_MS)
        stage.gateway.services.registry.close_expired(stage.clock.now_ms() + ACCESS_TOKEN_MS + TOKEN_GRACE_MS + 1)
        assert await phone.close_code() == 4401


async def test_somebody_elses_token_closes_with_4403(stage: Stage, city: City, worker: str) -> None:
    async with phone_on(stage, worker) as phone:
        await phone.send(7, stage.token(Role.WORKER, await city.worker(9), slot=9))
        assert await phone.close_code() == 4403


@BOTH_PATHS
async def test_a_slow_reader_is_cut_off_and_costs_nobody_else(stage: Stage, worker: str, city: City) -> None:
    worker_id = await stage.pool.fetchval("SELECT worker_id FROM worker WHERE slot = 5")
    other = stage.token(Role.WORKER, await city.worker(10), slot=10)
    async with phone_on(stage, other) as healthy:
        await healthy.hear(0)
        reader, writer = await _stalled_phone(stage, worker)
        registry = stage.gateway.services.registry
        await eventually(lambda: len(registry) == 2)
        padding = "x" * 30_000
        for number in range(1_000):
            await stage.publish(f"user:{worker_id}", "note", {"number": number, "padding": padding})
            if len(registry) == 1:
                break
        await eventually(lambda: len(registry) == 1)
        await healthy.send(1, 1, stage.fixes(PORTO))
        assert await healthy.hear(2) == [2, 1, 0]
        writer.close()
        del reader


async def _stalled_phone(stage: Stage, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that says hello and never reads again."""
    host, port = stage.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1)
    writer.write(
        b"GET /ws/ping HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    payload = msgpack.packb([0, token, {}])
    writer.write(b"\x82\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload)
    await writer.drain()
    writer.transport.pause_reading()
    return reader, writer


async def test_events_of_the_outbox_reach_the_phone(stage: Stage, worker: str) -> None:
    worker_id = await stage.pool.fetchval("SELECT worker_id FROM worker WHERE slot = 5")
    async with phone_on(stage, worker) as phone:
        await phone.hear(0)
        await stage.publish(f"user:{worker_id}", "offer", {"offer_id": "o"})
        assert await phone.hear(6) == [6, "offer", {"offer_id": "o"}]


async def test_commands_without_postgres_are_unavailable_and_pings_flow_on(
    redis: Redis, token_keys: Any, tmp_path: Path
) -> None:
    async with gateway_on(redis, None, token_keys, tmp_path) as stage:
        token = stage.token(Role.WORKER, uuid4(), slot=3)
        await _put_in_cell(stage, slot=3)
        async with phone_on(stage, token) as phone:
            assert (await phone.hear(0))[2]["duty"] == "on", "who is in a cell is on duty"
            await phone.send(4, 1, "duty", {"duty": "off"})
            _, _, is_done, body = await phone.hear(5)
            assert (is_done, body["code"]) == (False, "unavailable")
            await phone.send(1, 1, stage.fixes(NEAR))
            assert await phone.hear(2) == [2, 1, 0]
    assert (await CellIndex(redis).records([3]))[0]["lat_e7"] == round(NEAR[0] * 1e7)


async def test_while_nobody_knows_the_duty_a_fix_stays_with_the_phone(
    redis: Redis, pool: Any, token_keys: Any, tmp_path: Path, city: City
) -> None:
    worker_id = await city.worker(3)
    calls = EngineCalls(SystemClock())
    async with (
        gateway_on(redis, None, token_keys, tmp_path, calls=calls) as stage,
        phone_on(stage, stage.token(Role.WORKER, worker_id, slot=3)) as phone,
    ):
        await phone.hear(0)
        for seq in range(1, BAD_FRAMES_MAX + 2):
            await phone.send(1, seq, stage.fixes(PORTO))
            refused = (await phone.hear(8))[1]
            assert (refused["code"], refused["seq"]) == ("unavailable", seq)
        calls.use(pool)
        assert (await phone.hear(0))[2]["duty"] == "on", "told again as soon as Postgres answers"
        await phone.send(1, 99, stage.fixes(PORTO))
        assert await phone.hear(2) == [2, 99, 0]


async def _put_in_cell(stage: Stage, *, slot: int) -> None:
    record = np.zeros(1, RECORD)
    fix = np.frombuffer(stage.fixes(PORTO, at_ms=stage.clock.now_ms() - 5_000), FIX)
    for name in FIX.names or ():
        record[name] = fix[name]
    record["cell"] = cell_of(*PORTO)
    await CellIndex(stage.redis).move(np.array([slot]), record)


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        ("fly", {}, "unknown_type"),
        ("duty", {"duty": "maybe"}, "invalid_input"),
        ("offer.accept", {"offer_id": 5}, "invalid_input"),
        ("offer.accept", {"offer_id": "00000000-0000-0000-0000-000000000001"}, "not_found"),
        ("booking.transition", {"booking_id": "00000000-0000-0000-0000-000000000001", "to": "arrived"}, "not_found"),
        ("booking.transition", {"booking_id": "00000000-0000-0000-0000-000000000001", "to": "moon"}, "invalid_input"),
    ],
)
async def test_a_refused_command_says_why(
    stage: Stage, worker: str, name: str, body: dict[str, Any], code: str
) -> None:
    async with phone_on(stage, worker) as phone:
        await phone.send(4, 2**40, name, body)
        _, command_id, is_done, answer = await phone.hear(5)
    assert (command_id, is_done, answer["code"]) == (2**40, False, code)


async def test_state_returns_the_welcome(stage: Stage, worker: str) -> None:
    async with phone_on(stage, worker) as phone:
        welcome = (await phone.hear(0))[2]
        await phone.send(4, 1, "state", {})
        state = (await phone.hear(5))[3]
    assert {**state, "server_ms": 0} == {
        name: value
        for name, value in {**welcome, "server_ms": 0}.items()
        if name not in {"recovered", "epoch", "offset"}
    }


async def test_stopping_acknowledges_what_is_pending_and_says_going_away(
    redis: Redis, pool: Any, token_keys: Any, tmp_path: Path, city: City
) -> None:
    worker_id = await city.worker(11)
    async with gateway_on(redis, pool, token_keys, tmp_path) as stage:
        token = stage.token(Role.WORKER, worker_id, slot=11)
        client = aiohttp.ClientSession()
        socket = await client.ws_connect(f"{stage.url}/ws/ping")
        await socket.send_bytes(msgpack.packb([0, token, {}]))
        assert (await socket.receive()).type is aiohttp.WSMsgType.BINARY
        reading = asyncio.create_task(_read_all(socket))
        await socket.send_bytes(msgpack.packb([1, 1, stage.fixes(PORTO)]))
        # The frame must have come in before the gateway stops; that it is acknowledged then is what is tested.
        await eventually(lambda: bool(stage.gateway.services.table.last[11]["ts_ms"]))
    frames = await reading
    assert [2, 1, 0] in frames
    assert socket.close_code == 1001
    await client.close()


async def _read_all(socket: aiohttp.ClientWebSocketResponse) -> list[Any]:
    return [msgpack.unpackb(message.data) async for message in socket]
