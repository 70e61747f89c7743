"""A websocket whose messages are taken where they are read from the line, without a task to be woken for them.

Private names of aiohttp 3.14 are used here and nowhere else: `has_lane` tries them once, and where they no longer work
the gateway serves the same connections through aiohttp's public interface alone.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

import structlog
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.http_websocket import WebSocketError
from aiohttp.web_protocol import RequestHandler

from config.limits import FRAMES_PER_TURN_MAX

if TYPE_CHECKING:
    from aiohttp.base_protocol import BaseProtocol

log = structlog.get_logger(__name__)

Take: TypeAlias = Callable[[bytes], bool]
"""Takes a binary message, or returns False for what belongs to the ordinary path. Must not raise."""

_QUEUE_BYTES: Final = 65_536
"""Reading from a line stops when twice as much waits."""
_BINARY: Final = WSMsgType.BINARY


class Peer(Protocol):
    """Who is at the other end of a line that needs no task. Nothing here may raise."""

    def take(self, data: bytes) -> bool:
        """Take a binary message, or return False: then `serve` gets it."""
        ...

    def serve(self, message: WSMessage) -> None:
        """Take a message of any kind, also a ping, a pong or a close frame."""
        ...

    def failed(self, code: int) -> None:
        """Take note, with the close code that says why, that what follows on the line cannot be read."""
        ...

    def lost(self) -> None:
        """Take note that the line has ended."""
        ...


class LaneQueue(WebSocketDataQueue):
    """Offers a message to who takes it at once, unless an earlier one still waits: messages stay in order."""

    __slots__ = ("_is_due", "serve", "take", "turns")

    def __init__(self, protocol: "BaseProtocol", limit: int, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(protocol, limit, loop=loop)
        self.take: Take | None = None
        self.serve: Callable[[WSMessage], None] | None = None
        """Takes what `take` did not; None: a task reads it from here."""
        self.turns = 0
        self._is_due = False

    def feed_data(self, data: Any, size: int) -> None:  # noqa: ANN401 - one of aiohttp's tuples (type, data, extra)
        """Take, serve or queue one message."""
        if self.turns and not self._buffer:
            if data[0] is _BINARY and self.take is not None and self.take(data[1]):
                self.turns -= 1
                return
            if self.serve is not None:
                self.turns -= 1
                self.serve(data)
                return
        WebSocketDataQueue.feed_data(self, data, size)
        if self.serve is not None:
            self.go_on_soon()

    def go_on_soon(self) -> None:
        """Let what waits have another turn when all others have had theirs."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def hand_out(self, messages_max: int | None = None) -> None:
        """Hand out what waits, in order."""
        self.turns = 0  # reading may make the parser go on: what it finds goes to the end of the queue
        while self._buffer and self.take is not None and self.serve is not None and messages_max != 0:
            message = _done(self.read())
            if message[0] is not _BINARY or not self.take(message[1]):
                self.serve(message)
            if messages_max is not None:
                messages_max -= 1

    def _go_on(self) -> None:
        self.hand_out(FRAMES_PER_TURN_MAX)
        self.turns, self._is_due = FRAMES_PER_TURN_MAX, False
        if self._buffer and self.serve is not None:
            self.go_on_soon()


class Line(asyncio.Protocol):
    """What the transport of an upgraded connection calls: what it reads goes to the websocket's parser at once.

    All else aiohttp hears as before, until the line is released: then nothing of aiohttp is left but the parser.
    """

    __slots__ = ("_handler", "_parser", "_peer", "_queue", "_reading_paused", "_transport", "is_heard")

    def __init__(self, handler: RequestHandler, transport: asyncio.Transport, message_bytes_max: int) -> None:
        self._handler: RequestHandler | None = handler
        self._transport = transport
        self._peer: Peer | None = None
        self._queue = LaneQueue(cast("BaseProtocol", self), _QUEUE_BYTES, loop=asyncio.get_running_loop())
        self._parser: WebSocketReader | None = _reader(self._queue, message_bytes_max)
        self._reading_paused = False
        """Read by the queue."""
        self.is_heard = False
        """Whether anything came since somebody last looked: a sign of life."""
        handler.set_parser(self._parser)  # hands over what has come already
        transport.set_protocol(self)

    @property
    def queue(self) -> LaneQueue:
        """Where messages wait that were not taken."""
        return self._queue

    @property
    def parser(self) -> WebSocketReader | None:
        """What the bytes of the line are fed to; None: it has ended."""
        return self._parser

    def release(self, peer: Peer) -> bool:
        """Let `peer` be called for everything from here on; return False where the line has failed or ended already."""
        handler = self._handler
        if handler is None or handler.transport is None or self._queue.is_eof():
            return False
        self._handler, self._peer = None, peer
        handler.transport = None  # else it would be closed
        handler.connection_lost(None)
        queue = self._queue
        queue.take, queue.serve, queue.turns = peer.take, peer.serve, FRAMES_PER_TURN_MAX
        if queue._buffer:  # noqa: SLF001 - the queue is a part of ours
            queue.go_on_soon()
        return True

    # ------------------------------------------------------------ for the transport

    def data_received(self, data: bytes) -> None:
        """Parse what came, and have done with every whole message."""
        self.is_heard = True
        if self._parser is not None:
            has_failed, _ = self._parser.feed_data(data)
            if has_failed and self._peer is not None:
                error = self._queue.exception()
                self._peer.failed(error.code if isinstance(error, WebSocketError) else WSCloseCode.INTERNAL_ERROR)

    def eof_received(self) -> None:
        """Let the transport close itself: nobody speaks to who hears no more."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and let everything go that refers to each other."""
        if self._handler is not None:
            self._handler.connection_lost(exc)
        elif self._peer is not None:
            self._queue.hand_out()
            peer, self._peer, self._parser = self._peer, None, None
            self._queue.take = self._queue.serve = None
            peer.lost()

    def pause_writing(self) -> None:
        """Tell aiohttp; who writes to the transport itself asks how much waits there."""
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        """Tell aiohttp."""
        if self._handler is not None:
            self._handler.resume_writing()

    # ------------------------------------------------------------ for the queue

    def pause_reading(self) -> None:
        """Let the peer wait: too much of it does so here."""
        self._reading_paused = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._reading_paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()


class LaneSocket(web.WebSocketResponse):
    """A websocket with a lane. After `FRAMES_PER_TURN_MAX` messages in a row one goes through the queue.

    So a flooding peer has no more than that of a turn: what it has sent beyond waits like everybody's, and when too
    much waits nothing more is read from its line.
    """

    _line: Line | None = None
    _is_released = False

    @property
    def line(self) -> Line:
        """The line of a prepared socket."""
        assert self._line is not None
        return self._line

    @contextmanager
    def lane(self, take: Take) -> Iterator[None]:
        """Offer binary messages to `take` while the block runs."""
        queue = self.line.queue
        queue.take, queue.turns = take, FRAMES_PER_TURN_MAX
        try:
            yield
        finally:
            queue.take = None

    def next_turn(self) -> None:
        """Let the lane take messages again. Called for every message that came through the queue."""
        self.line.queue.turns = FRAMES_PER_TURN_MAX

    def release(self, peer: Peer) -> bool:
        """Serve `peer` without a task from here on, which may end with this response; False: read on as before."""
        self._is_released = self.line.release(peer)
        return self._is_released

    async def write_eof(self) -> None:  # type: ignore[override]
        """End the response: a released line lives on."""
        if not self._is_released:
            await super().write_eof()

    def _post_start(self, request: Any, protocol: str | None, writer: Any) -> None:  # noqa: ANN401 - aiohttp's own
        """As the overridden method, but for the class of the queue, and who is told what is read."""
        self._ws_protocol = protocol
        self._writer = writer
        if request.transport is None:
            raise ConnectionResetError("Connection lost")
        self._line = Line(request.protocol, request.transport, self._max_msg_size)
        self._reader, self._parser = self._line.queue, self._line.parser
        request.protocol.keep_alive(False)  # noqa: FBT003 - aiohttp's signature


def has_lane() -> bool:
    """Return whether the aiohttp that is installed still works as `LaneSocket` needs it: tried, not guessed."""
    try:
        is_usable = _tries_well()
    except Exception:
        log.exception("lane.probe_failed")
        return False
    if not is_usable:
        log.warning("lane.not_usable")
    return is_usable


def _tries_well() -> bool:
    """Send a taken, a queued and, behind it, a third message through a queue; the third may not overtake."""
    taken: list[bytes] = []
    served: list[WSMessage] = []

    def take(data: bytes) -> bool:
        is_odd = len(data) % 2 == 1
        if is_odd:
            taken.append(data)
        return is_odd

    queue = LaneQueue(cast("BaseProtocol", _Steady()), _QUEUE_BYTES, loop=asyncio.get_running_loop())
    queue.take, queue.turns = take, FRAMES_PER_TURN_MAX
    reader = _reader(queue, _QUEUE_BYTES)
    for message in (b"a", b"bb", b"c"):
        reader.feed_data(bytes((0x82, 0x80 | len(message))) + bytes(4) + message)
    had_waited = taken == [b"a"]
    queue.serve = served.append
    queue.hand_out()
    has_failed, _ = reader.feed_data(b"\xff\xff")
    has_names = hasattr(web.WebSocketResponse, "_post_start") and all(
        hasattr(RequestHandler, name) for name in ("set_parser", "connection_lost", "keep_alive", "pause_writing")
    )
    return had_waited and taken == [b"a", b"c"] and [each[1] for each in served] == [b"bb"] and has_failed and has_names


class _Steady:
    """A protocol that reads on whatever waits."""

    _reading_paused = False


def _done(read: Any) -> WSMessage:  # noqa: ANN401 - a coroutine of aiohttp's
    """Return the result of a coroutine that has nothing to wait for."""
    try:
        read.send(None)
    except StopIteration as stop:
        return cast("WSMessage", stop.value)
    raise AssertionError("nothing waits in this queue")


def _reader(queue: WebSocketDataQueue, message_bytes_max: int) -> WebSocketReader:
    return WebSocketReader(queue, message_bytes_max, compress=False, decode_text=True)
