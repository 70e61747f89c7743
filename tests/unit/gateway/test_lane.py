"""The lane of a raw socket: what it takes, what waits in order, how much of a turn one peer has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSMessage, WSMsgType, web
from aiohttp._websocket.reader import WebSocketReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import TestClient, TestServer

from config.limits import FRAMES_PER_TURN_MAX
from gateway_ws.raw.lane import LaneQueue, LaneSocket, has_lane


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


class Recorder:
    """A peer that writes down what its line calls."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.has_ended = asyncio.Event()

    def take(self, data: bytes) -> bool:
        if data.startswith(b"\x93"):
            self.heard.append(data)
        return data.startswith(b"\x93")

    def serve(self, message: WSMessage) -> None:
        self.heard.append((message.type, message.data))

    def failed(self, code: int) -> None:
        self.heard.append(code)
        self.has_ended.set()

    def lost(self) -> None:
        self.heard.append("lost")
        self.has_ended.set()


@asynccontextmanager
async def released_line(*, ready: asyncio.Event | None = None) -> AsyncIterator[tuple[Recorder, asyncio.StreamWriter]]:
    """A line that is released when `ready` is set, and its other end after the upgrade."""
    peer, is_released = Recorder(), asyncio.Event()

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = LaneSocket(compress=False, max_msg_size=1 << 16, autoclose=False)
        await socket.prepare(request)
        if ready is not None:
            await ready.wait()
        assert socket.release(peer)
        is_released.set()
        return socket

    app = web.Application()
    app.router.add_get("/", serve)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        if ready is None:
            await is_released.wait()
        yield peer, writer
        writer.close()
        async with asyncio.timeout(5):
            await peer.has_ended.wait()


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


async def test_a_released_line_hands_everything_on_in_order_until_it_ends() -> None:
    async with released_line() as (peer, writer):
        writer.write(frame(b"\x93a") + frame(b"other") + frame(b"text", 1) + frame(b"?", 9) + frame(b"\x93b"))
        writer.write(frame(b"\x93", is_last=False) + frame(b"!", 9) + frame(b"c", 0))
        writer.write_eof()
        async with asyncio.timeout(5):
            await peer.has_ended.wait()
    kinds = WSMsgType
    assert peer.heard == [
        b"\x93a", (kinds.BINARY, b"other"), (kinds.TEXT, "text"), (kinds.PING, b"?"), b"\x93b",
        (kinds.PING, b"!"), b"\x93c", "lost",
    ]  # fmt: skip


async def test_what_came_before_the_release_is_handed_on_first_and_a_flood_whole() -> None:
    ready = asyncio.Event()
    sent = [b"\x93%06d" % number + b"." * 100 for number in range(60 * FRAMES_PER_TURN_MAX)]
    async with released_line(ready=ready) as (peer, writer):
        writer.write(b"".join(map(frame, sent[:1_000])))
        await asyncio.sleep(0.05)
        ready.set()
        writer.write(b"".join(map(frame, sent[1_000:])) + frame(b"", 8))
        writer.write_eof()
        async with asyncio.timeout(5):
            await peer.has_ended.wait()
    assert peer.heard == [*sent, (WSMsgType.CLOSE, 0), "lost"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"", 3), 1002),
        (frame(b"x", 0), 1002),
        (frame(b"", 9, is_last=False), 1002),
        (frame(b"\x93", is_last=False) + frame(b"y"), 1002),
        (b"\xc2\x80\0\0\0\0", 1002),
        (frame((1_005).to_bytes(2, "big"), 8), 1002),
        (frame(b"\xff\xfe", 1), 1007),
        (b"\x82\xff" + (70_000).to_bytes(8, "big"), 1009),
    ],
)
async def test_what_breaks_the_rules_of_websockets_is_told_with_its_code_after_what_did_not(
    data: bytes, code: int
) -> None:
    async with released_line() as (peer, writer):
        writer.write(frame(b"\x93a") + data)
        async with asyncio.timeout(5):
            await peer.has_ended.wait()
        assert peer.heard == [b"\x93a", code]


async def test_a_line_that_has_failed_is_not_released() -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        socket = LaneSocket()
        await socket.prepare(request)
        while not socket.line.queue.is_eof():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        released.append(socket.release(Recorder()))
        await socket.receive()
        return socket

    released: list[bool] = []
    app = web.Application()
    app.router.add_get("/", serve)
    async with TestClient(TestServer(app)) as client:
        connection = await client.ws_connect("/")
        connection._response.connection.transport.write(b"\xff\xff")
        assert (await connection.receive()).data == 1002
        await connection.close()
    assert released == [False]
