"""The way out to a client on a raw websocket."""

import asyncio
from collections.abc import Hashable, Mapping
from typing import Any

from aiohttp import WSCloseCode

from config.limits import CLOSE_TIMEOUT_MS, OUTBOX_BUFFER_BYTES_MAX
from engine.core.errors import ClenzyError
from gateway_ws.background import Background
from gateway_ws.closing import Close
from gateway_ws.fan_out.message import Encodings
from gateway_ws.fan_out.outbox import Outbox
from gateway_ws.fan_out.stalled import StalledConnections
from gateway_ws.metrics import CLOSED, OUTBOX_DROPPED, REFUSED
from gateway_ws.raw import wire
from gateway_ws.raw.wire import AckState, FrameType


class RawConnection:
    """`/ws/ping`: frames are written to the transport as they are, without a task or a copy per message."""

    __slots__ = (
        "_background",
        "_has_ended",
        "_has_waiting",
        "_is_closed",
        "_outbox",
        "_slot",
        "_stalled",
        "_transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        slot: int,
        stalled: StalledConnections,
        background: Background,
    ) -> None:
        self._transport = transport
        self._slot = slot
        self._stalled = stalled
        self._background = background
        self._outbox: Outbox[bytes] = Outbox()
        self._has_waiting = False
        """Whether frames may be in the outbox: asked for every acknowledgement."""
        self._is_closed = False
        self._has_ended: asyncio.Event | None = None
        """Made when we close: until then nobody waits for it."""

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more; the line may end before anybody was told."""
        return self._is_closed or self._transport.is_closing()

    def welcome(self, body: Mapping[str, Any]) -> None:
        """Send frame 0."""
        self._durable(FrameType.HELLO, self._slot, body)

    def event(
        self, name: str, body: Mapping[str, Any], offset: int | None = None, *, shared: Encodings | None = None
    ) -> None:
        """Send frame 6."""
        del shared  # what a worker hears, nobody else does
        if offset is None:
            self._durable(FrameType.EVENT, name, body)
        else:
            self._durable(FrameType.EVENT, name, body, offset)

    def latest(self, key: Hashable, name: str, body: object, *, shared: Encodings | None = None) -> None:
        """Send frame 6, replaceable."""
        del shared
        self._latest(key, FrameType.EVENT, name, body)

    def acknowledge(self, seq: int, state: AckState) -> None:
        """Send frame 2. Ordinary ones are cumulative: only the newest of those that wait is sent."""
        if state is AckState.INDEXED:
            frame, transport = wire.ack_frame(seq), self._transport
            if self._has_waiting or self._is_closed or transport.is_closing() or not self._is_writable:
                self._send_latest(FrameType.ACK, frame)
            else:
                transport.write(frame)
        else:
            # Not packed as other frames are: whoever counts bytes must not tell an alarm's from a ping's.
            self._durable_frame(wire.ack_frame(seq, state))

    def cadence(self, body: Mapping[str, int]) -> None:
        """Send frame 9."""
        self._latest(FrameType.CADENCE, FrameType.CADENCE, body)

    def answer(self, command_id: int, *, is_done: bool, result: Mapping[str, Any]) -> None:
        """Send frame 5."""
        self._durable(FrameType.ANSWER, command_id, is_done, result)

    def refuse(self, error: ClenzyError, seq: int | None = None) -> None:
        """Send frame 8."""
        REFUSED.labels(error.code).inc()
        self._durable(FrameType.REFUSED, wire.refusal_body(error, seq))

    def close(self, reason: Close, detail: str = "", *, retry_after_ms: int | None = None) -> None:
        """Close with the reason's code; a time to come back goes before it in a frame 8."""
        if self._is_closed:
            return
        self._is_closed = True
        self._outbox.clear()
        CLOSED.labels(reason.code).inc()
        if self._transport.is_closing():
            return
        if retry_after_ms is not None:
            told = wire.pack(FrameType.REFUSED, reason.told(detail, retry_after_ms))
            self._transport.write(wire.websocket_frame(told))
        # Written here and not by aiohttp, which would hang up without waiting for the peer's answer.
        self._transport.write(wire.close_frame(reason.websocket_code, detail or reason.code))
        self._has_ended = asyncio.Event()
        self._background.start(self._hang_up(self._has_ended), name="connection.close")

    def pump(self) -> bool:
        """Send on what waits; return whether nothing waits any more."""
        while not self.is_closed and self._is_writable and (frame := self._outbox.take()) is not None:
            self._transport.write(frame)
        self._has_waiting = not self.is_closed and bool(self._outbox)
        return not self._has_waiting

    def ping(self) -> None:
        """Ask whether the peer is still there."""
        self._send_latest("ping", wire.PING_FRAME)

    def pong(self, payload: bytes) -> None:
        """Answer a ping; where several wait for a slow reader only the newest is answered (RFC 6455, 5.5.3)."""
        self._send_latest("pong", wire.pong_frame(payload))

    def fail(self, code: int) -> None:
        """End the connection with a close code of the websocket's own: what the peer sends cannot be read."""
        if not self._is_closed:
            self._is_closed = True
            self._outbox.clear()
            if not self._transport.is_closing():
                self._transport.write(wire.close_frame(code, ""))
        self._transport.close()

    def end(self, *, has_vanished: bool = False) -> None:
        """Take note that the peer has closed, or answered our close, or has not been heard for too long."""
        self._outbox.clear()
        if self._has_ended is not None:
            self._has_ended.set()
        if has_vanished:
            # What is not sent would keep the line for as long as the kernel tries.
            self._transport.abort()
        elif self._is_closed:
            self._transport.close()
        else:
            self.fail(WSCloseCode.OK)
        self._is_closed = True

    @property
    def _is_writable(self) -> bool:
        return self._transport.get_write_buffer_size() <= OUTBOX_BUFFER_BYTES_MAX

    def _durable(self, *elements: object) -> None:
        self._durable_frame(wire.websocket_frame(wire.pack(*elements)))

    def _durable_frame(self, frame: bytes) -> None:
        if self.is_closed:
            return
        if not self._has_waiting and self._is_writable:
            self._transport.write(frame)
        elif self._outbox.put(frame):
            self._wait()
        else:
            self.close(Close.SLOW_READER)

    def _latest(self, key: Hashable, *elements: object) -> None:
        self._send_latest(key, wire.websocket_frame(wire.pack(*elements)))

    def _send_latest(self, key: Hashable, frame: bytes) -> None:
        if self.is_closed:
            return
        if not self._has_waiting and self._is_writable:
            self._transport.write(frame)
            return
        if self._outbox.put_latest(key, frame):
            OUTBOX_DROPPED.inc()
        self._wait()

    def _wait(self) -> None:
        self._has_waiting = True
        self._stalled.add(self)

    async def _hang_up(self, has_ended: asyncio.Event) -> None:
        """Cut off a peer that does not answer the close frame; a slow reader will not even have read it."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_MS / 1000):
                await has_ended.wait()
        except TimeoutError:
            self._transport.abort()
