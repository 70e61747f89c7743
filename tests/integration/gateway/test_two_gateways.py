"""Two gateways on one port, as real processes: what one of them knows, forgets or loses, the other makes up for."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import msgpack
import numpy as np
import pytest
from redis.asyncio import Redis

from engine.core.clock import SystemClock
from engine.core.database import Pool
from engine.core.ids import DeviceId, PersonId
from engine.core.vocabulary import DeviceKind
from engine.geo.cell_index import CellIndex
from engine.geo.fixes import FIX
from engine.people.devices import add_device, new_token
from tests.conftest import TokenKeys
from tests.integration.gateway.harness import ORG, PORTO, City, eventually
from tests.integration.gateway.processes import (
    GatewayProcess,
    drivers,
    fix_now,
    gateway_processes,
    stores_of,
    token_of,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

WORKERS = 40


async def _sockets_of(gateway: GatewayProcess) -> int:
    return int(await gateway.metric("clenzy_gateway_connections"))


async def _has_sockets(gateway: GatewayProcess, count: int) -> bool:
    return await _sockets_of(gateway) == count


async def test_a_killed_gateways_clients_go_on_at_the_other_and_nothing_acknowledged_is_lost(
    city: City, redis: Redis, database_url: str, redis_url: str, token_keys: TokenKeys, tmp_path: Path
) -> None:
    stores = stores_of(database_url, redis_url, token_keys, tmp_path)
    async with (
        gateway_processes(2, tmp_path, stores) as (victim, other),
        drivers(victim.url, city, token_keys, WORKERS) as crowd,
    ):
        spread = await _sockets_of(victim), await _sockets_of(other)
        assert sum(spread) == WORKERS
        assert min(spread) > 0, "the kernel spreads connections over both"
        await eventually(lambda: all(one.acknowledged for one in crowd))
        cut_off = await _phones_in_mid_frame(victim.url, city, token_keys)
        victim.process.kill()  # with frames of everybody on their way
        await victim.process.wait()
        assert {await phone.finishes_at(other.url) for phone in cut_off} == {"the victim", "the other"}
        records = await CellIndex(redis).records([phone.slot for phone in cut_off])
        assert records["ts_ms"].tolist() == [phone.newest_ms for phone in cut_off]
        for phone in cut_off:
            phone.hang_up()
        await eventually(lambda: all(one.socket.connected.is_set() for one in crowd), timeout_s=30)
        await eventually(lambda: _has_sockets(other, WORKERS))
        newest = {one.slot: one.sent for one in crowd}
        await eventually(lambda: all(one.sent > newest[one.slot] for one in crowd))
        await asyncio.gather(*(one.socket.settled() for one in crowd))
        records = await CellIndex(redis).records([one.slot for one in crowd])
        assert (records["ts_ms"] >= [one.acknowledged_ms for one in crowd]).all(), "what was acknowledged is indexed"
        assert sum(one.socket.counts.fixes_dropped for one in crowd) == 0


@dataclass
class HalfSent:
    """A phone whose second frame is only half on the line."""

    slot: int
    token: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    newest_ms: int = 0
    _frame: bytes = b""

    @classmethod
    async def begin(cls, url: str, slot: int, token: str) -> "HalfSent":
        """Sign in, send a frame, have it acknowledged, and send half of the next one."""
        phone = cls(slot, token, *await _signed_in(url, token))
        await phone._send_and_hear(1, fix_now(1))
        fix = fix_now(2)
        phone.newest_ms = int(np.frombuffer(fix, FIX)["ts_ms"][0])
        phone._frame = _frame([1, 2, fix])
        phone.writer.write(phone._frame[: len(phone._frame) // 2])
        await phone.writer.drain()
        return phone

    async def finishes_at(self, other_url: str) -> str:
        """Send the other half, or the whole frame again where the gateway is gone; return which gateway it was."""
        self.writer.write(self._frame[len(self._frame) // 2 :])
        try:
            await _acknowledgement(self.reader, 2)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hang_up()
            self.reader, self.writer = await _signed_in(other_url, self.token)
            self.writer.write(self._frame)
            await _acknowledgement(self.reader, 2)
            return "the victim"
        return "the other"

    def hang_up(self) -> None:
        self.writer.transport.abort()

    async def _send_and_hear(self, seq: int, fix: bytes) -> None:
        self.writer.write(_frame([1, seq, fix]))
        await _acknowledgement(self.reader, seq)


async def _phones_in_mid_frame(url: str, city: City, keys: TokenKeys) -> list[HalfSent]:
    slots = range(WORKERS, WORKERS + 20)
    tokens = [token_of(await city.worker(slot), keys, slot=slot) for slot in slots]
    return [await HalfSent.begin(url, slot, token) for slot, token in zip(slots, tokens, strict=True)]


async def _signed_in(url: str, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    there = urlsplit(url)
    reader, writer = await asyncio.open_connection(there.hostname, there.port)
    writer.write(
        b"GET /ws/ping HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.write(_frame([0, token, {}]))
    return reader, writer


async def _acknowledgement(reader: asyncio.StreamReader, seq: int) -> None:
    async with asyncio.timeout(10):
        await reader.readuntil(b"\x93\x02\xce" + seq.to_bytes(4) + b"\x00")  # msgpack's [2, seq, 0], seq in four bytes


def _frame(message: list[object]) -> bytes:
    payload = msgpack.packb(message)
    size = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2)
    return b"\x82" + size + bytes(4) + payload


async def test_who_connects_again_is_replaced_at_whichever_gateway_they_were(
    city: City, database_url: str, redis_url: str, token_keys: TokenKeys, tmp_path: Path
) -> None:
    stores = stores_of(database_url, redis_url, token_keys, tmp_path)
    token = token_of(await city.worker(5), token_keys, slot=5)
    async with gateway_processes(2, tmp_path, stores) as gateways, aiohttp.ClientSession() as client:
        seen: set[int] = set()
        before: aiohttp.ClientWebSocketResponse | None = None
        for _ in range(30):
            socket = await client.ws_connect(f"{gateways[0].url}/ws/ping")
            await socket.send_bytes(msgpack.packb([0, token, {}]))
            assert msgpack.unpackb((await socket.receive(timeout=10)).data)[0] == 0
            if before is not None:
                assert await _close_code(before) == 4409
            before = socket
            seen |= {at for at, gateway in enumerate(gateways) if await _sockets_of(gateway) == 1}
            if seen == {0, 1}:
                break
        assert seen == {0, 1}
        assert sum([await _sockets_of(gateway) for gateway in gateways]) == 1
        await socket.close()


async def test_a_tracker_may_post_to_either_gateway(
    city: City, pool: Pool, redis: Redis, database_url: str, redis_url: str, token_keys: TokenKeys, tmp_path: Path
) -> None:
    stores = stores_of(database_url, redis_url, token_keys, tmp_path)
    worker_id, token = await city.worker(5), new_token()
    now_ms = SystemClock().now_ms()
    async with pool.acquire() as conn, conn.transaction():
        await add_device(
            conn, device_id=DeviceId(uuid4()), token=token, worker_id=PersonId(worker_id), org_id=ORG,
            kind=DeviceKind.OSMAND, label="", actor_id=None, now_ms=now_ms,
        )  # fmt: skip
    async with gateway_processes(2, tmp_path, stores) as gateways, aiohttp.ClientSession() as client:
        taken = [0.0, 0.0]
        for number in range(30):
            at_ms = SystemClock().now_ms()
            query = {"id": token, "lat": str(PORTO[0] + number * 1e-6), "lon": str(PORTO[1]), "timestamp": str(at_ms)}
            # A connection of its own each time, so that the kernel chooses anew.
            async with client.get(
                f"{gateways[0].url}/ingest/osmand", params=query, headers={"Connection": "close"}
            ) as response:
                assert response.status == 200
            record = (await CellIndex(redis).records([5]))[0]
            assert record["ts_ms"] == at_ms, "the newest fix counts, whichever gateway took it"
            taken = [await gateway.metric("clenzy_gateway_tracker_requests_total") for gateway in gateways]
            if min(taken) > 2:
                break
        assert min(taken) > 0


async def _close_code(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    async for _ in socket:
        pass
    return socket.close_code
