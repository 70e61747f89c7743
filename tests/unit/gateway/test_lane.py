"""The lane of a raw socket: what it takes, what waits in order, how much of a turn one peer has."""

import asyncio

from aiohttp import WSMsgType, web
from aiohttp._websocket.reader import WebSocketReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import TestClient, TestServer

from config.limits import FRAMES_PER_TURN_MAX
from gateway_ws.lane import LaneQueue, LaneSocket, has_lane


def reader_on(taken: list[bytes]) -> tuple[WebSocketReader, LaneQueue]:
    def take(data: bytes) -> bool:
        if not data.startswith(b"\x93\x01"):
            return False
        taken.append(data)
        return True

    queue = LaneQueue(BaseProtocol(asyncio.get_running_loop()), 1 << 20, loop=asyncio.get_running_loop())
    queue.take, queue.turns = take, FRAMES_PER_TURN_MAX
    return WebSocketReader(queue, 1 << 16, compress=False, decode_text=True), queue


def frame(message: bytes, opcode: int = 2, *, is_last: bool = True) -> bytes:
    return bytes((opcode | (0x80 if is_last else 0), 0x80 | len(message))) + bytes(4) + message


async def test_this_installation_has_it() -> None:
    assert has_lane()


async def test_messages_behind_a_waiting_one_wait_too() -> None:
    taken: list[bytes] = []
    reader, queue = reader_on(taken)
    reader.feed_data(frame(b"\x93\x01a") + frame(b"other") + frame(b"\x93\x01b") + frame(b"\x93\x01c"))
    assert taken == [b"\x93\x01a"]
    assert [(await queue.read()).data for _ in range(3)] == [b"other", b"\x93\x01b", b"\x93\x01c"]
    reader.feed_data(frame(b"\x93\x01d"))
    assert taken == [b"\x93\x01a", b"\x93\x01d"]


async def test_text_close_and_ping_frames_are_never_taken() -> None:
    taken: list[bytes] = []
    reader, queue = reader_on(taken)
    reader.feed_data(frame(b"\x93\x01".decode("latin1").encode(), 1) + frame(b"x", 9) + frame(b"", 8))
    kinds = [(await queue.read()).type for _ in range(3)]
    assert (taken, kinds) == ([], [WSMsgType.TEXT, WSMsgType.PING, WSMsgType.CLOSE])


async def test_a_message_in_pieces_and_one_read_byte_by_byte_are_taken_whole() -> None:
    taken: list[bytes] = []
    reader, _ = reader_on(taken)
    reader.feed_data(frame(b"\x93", is_last=False) + frame(b"\x01abc", 0))
    for byte in frame(b"\x93\x01def"):
        reader.feed_data(bytes((byte,)))
    assert taken == [b"\x93\x01abc", b"\x93\x01def"]


async def test_a_flood_has_its_share_of_a_turn_and_then_waits() -> None:
    taken: list[bytes] = []
    reader, queue = reader_on(taken)
    reader.feed_data(frame(b"\x93\x01x") * (FRAMES_PER_TURN_MAX + 5))
    assert len(taken) == FRAMES_PER_TURN_MAX
    waiting = 0
    while queue._buffer:
        await queue.read()
        waiting += 1
    assert waiting == 5


HEARTBEAT_S = 0.1


async def client_on(taken: list[bytes]) -> TestClient[web.Request, web.Application]:
    async def serve(request: web.Request) -> web.StreamResponse:
        socket = LaneSocket(heartbeat=HEARTBEAT_S)
        await socket.prepare(request)
        with socket.lane(lambda data: taken.append(data) is None):
            async for _ in socket:
                socket.next_turn()
        return socket

    app = web.Application()
    app.router.add_get("/", serve)
    client = TestClient(TestServer(app))
    await client.start_server()
    return client


async def test_who_is_only_heard_in_the_lane_is_neither_asked_nor_cut_off() -> None:
    taken: list[bytes] = []
    client = await client_on(taken)
    async with client.ws_connect("/", autoping=False) as socket:
        for _ in range(30):
            await socket.send_bytes(b"fixes")
            await asyncio.sleep(HEARTBEAT_S / 5)
        await socket.send_str("the end")
        assert not socket.closed
        assert len(taken) == 30
        # Silent from here on: asked once, and not having answered cut off.
        async with asyncio.timeout(5):
            kinds = [(await socket.receive()).type, (await socket.receive()).type]
    assert kinds == [WSMsgType.PING, WSMsgType.CLOSED]
    await client.close()
