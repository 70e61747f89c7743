"""Line 6: on the wire an alarm is a ping of two fixes, and its acknowledgement a ping's, byte by byte in number."""

import asyncio
from typing import Any
from uuid import uuid4

import aiohttp
import msgpack

from engine.core.vocabulary import Role
from gateway_ws.raw.wire import AckState, ack_frame
from sim.client import wire
from tests.integration.gateway.harness import PORTO, City, FakeDoor, Stage, phone_on


async def answer_to(socket: aiohttp.ClientWebSocketResponse, frame: bytes) -> bytes:
    await socket.send_bytes(frame)
    async with asyncio.timeout(15):
        while True:
            message = await socket.receive()
            assert message.type is aiohttp.WSMsgType.BINARY, message
            if msgpack.unpackb(message.data)[0] == 2:
                return bytes(message.data)


async def test_line_6_a_trigger_and_its_acknowledgement_have_the_size_of_a_pings(
    stage: Stage, city: City, door: FakeDoor
) -> None:
    token = stage.token(Role.WORKER, await city.worker(9), slot=9)
    sizes: dict[str, set[tuple[int, int]]] = {"ping": set(), "trigger": set()}
    async with phone_on(stage, token) as phone:
        await phone.hear(0)
        for seq in (5, 7):
            fixes = stage.fixes(PORTO, PORTO)
            frames: dict[str, Any] = {
                "ping": msgpack.packb([1, seq, fixes]),
                "trigger": msgpack.packb([3, seq + 1, fixes[24:] + uuid4().bytes + bytes([0]) + bytes(7)]),
            }
            for name, frame in frames.items():
                sizes[name].add((len(frame), len(await answer_to(phone.socket, frame))))
    assert sizes["ping"] == sizes["trigger"]
    assert len(sizes["ping"]) == 1
    assert door.received.qsize() == 2, "both alarms have reached SafeTap"


def test_line_6_every_state_of_an_acknowledgement_has_one_size() -> None:
    for seq in (0, 5, 2**32 - 1, 2**32, 2**64 - 1):
        assert len({len(ack_frame(seq, state)) for state in AckState}) == 1


def test_line_6_the_simulators_phone_keeps_to_it() -> None:
    fixes = bytes(48)
    ping = wire.ping(5, fixes)
    assert len(ping) == len(msgpack.packb([3, 5, bytes(48)]))
    assert ping[0] == msgpack.packb([3, 5, bytes(48)])[0], "of one family: an array of three"
