"""A websocket whose commonest messages are taken where they are read from the line, without waking a task.

Private names of aiohttp 3.14 are used here and nowhere else: `has_lane` tries them once, and where they no longer work
the gateway serves the same connections through aiohttp's public interface alone.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import structlog
from aiohttp import WSMsgType, web
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

from config.limits import FRAMES_PER_TURN_MAX

if TYPE_CHECKING:
    from aiohttp.base_protocol import BaseProtocol

log = structlog.get_logger(__name__)

Take: TypeAlias = Callable[[bytes], bool]
"""Takes a binary message, or returns False for what belongs to the ordinary path. Must not raise."""

_QUEUE_BYTES: Final = 65_536
"""aiohttp stops reading from a line when twice as much waits for its task."""
_BINARY: Final = WSMsgType.BINARY


class LaneQueue(WebSocketDataQueue):
    """Offers a binary message to `take` first, unless an earlier one still waits: messages stay in order."""

    def __init__(self, protocol: "BaseProtocol", limit: int, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(protocol, limit, loop=loop)
        self.take: Take | None = None
        self.turns = 0
        self.has_taken = False
        """Whether anything was taken since somebody last looked: a sign of life."""
        self.when_queued: Callable[[], None] | None = None

    def feed_data(self, data: Any, size: int) -> None:  # noqa: ANN401 - one of aiohttp's tuples (type, data, extra)
        """Take or queue one message."""
        if self.turns and data[0] is _BINARY and not self._buffer and self.take is not None and self.take(data[1]):
            self.turns -= 1
            self.has_taken = True
            return
        if self.when_queued is not None:
            self.when_queued()
        WebSocketDataQueue.feed_data(self, data, size)


class LaneSocket(web.WebSocketResponse):
    """A websocket with a lane. After `FRAMES_PER_TURN_MAX` messages in a row one goes through the queue.

    So a flooding peer has no more than that of a turn: what it has sent beyond waits for its task like everybody's,
    and when too much waits aiohttp stops reading from its line.

    aiohttp puts the next heartbeat off with a callback a read, which takes a fifth as long as the whole frame. Here a
    taken message only leaves a mark, and the heartbeat that is due looks for it.
    """

    @contextmanager
    def lane(self, take: Take) -> Iterator[None]:
        """Offer binary messages to `take` while the block runs."""
        queue = cast("LaneQueue", self._reader)
        queue.take, queue.turns = take, FRAMES_PER_TURN_MAX
        try:
            yield
        finally:
            queue.take = None

    def next_turn(self) -> None:
        """Let the lane take messages again. Called for every message that came through the queue."""
        cast("LaneQueue", self._reader).turns = FRAMES_PER_TURN_MAX

    def _post_start(self, request: Any, protocol: str | None, writer: Any) -> None:  # noqa: ANN401 - aiohttp's own
        """As the overridden method, but for the class of the queue: its parser can be given no other one later."""
        self._ws_protocol = protocol
        self._writer = writer
        self._reset_heartbeat()
        self._reader = queue = LaneQueue(request.protocol, _QUEUE_BYTES, loop=asyncio.get_running_loop())
        self._parser = _reader(queue, self._max_msg_size)
        if self._heartbeat is not None:
            queue.when_queued = self._on_data_received
        request.protocol.set_parser(self._parser)
        request.protocol.keep_alive(False)  # noqa: FBT003 - aiohttp's signature

    def _send_heartbeat(self) -> None:
        if not self._puts_off():
            super()._send_heartbeat()

    def _pong_not_received(self) -> None:
        if not self._puts_off():
            super()._pong_not_received()

    def _puts_off(self) -> bool:
        """Begin a new wait where the peer was heard during the last one; return whether it was."""
        queue = cast("LaneQueue", self._reader)
        has_taken, queue.has_taken = queue.has_taken, False
        if has_taken:
            self._heartbeat_cb = None
            self._reset_heartbeat()
        return has_taken


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
    loop = asyncio.get_running_loop()
    taken: list[bytes] = []

    def take(data: bytes) -> bool:
        is_odd = len(data) % 2 == 1
        if is_odd:
            taken.append(data)
        return is_odd

    queue = LaneQueue(cast("BaseProtocol", None), _QUEUE_BYTES, loop=loop)
    queue.take, queue.turns = take, FRAMES_PER_TURN_MAX
    reader = _reader(queue, _QUEUE_BYTES)
    for message in (b"a", b"bb", b"c"):
        reader.feed_data(bytes((0x82, 0x80 | len(message))) + bytes(4) + message)
    queued = [data[1] for data, _ in queue._buffer]  # noqa: SLF001 - what the probe is about
    names = ("_reset_heartbeat", "_send_heartbeat", "_pong_not_received", "_on_data_received", "_post_start")
    return taken == [b"a"] and queued == [b"bb", b"c"] and all(hasattr(web.WebSocketResponse, name) for name in names)


def _reader(queue: WebSocketDataQueue, message_bytes_max: int) -> WebSocketReader:
    return WebSocketReader(queue, message_bytes_max, compress=False, decode_text=True)
