"""The two ways out to a client behind one interface: a raw websocket, or a namespace of Socket.IO."""

import asyncio
from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import socketio
from aiohttp import web

from config.limits import CLOSE_TIMEOUT_MS, OUTBOX_BUFFER_BYTES_MAX, OUTBOX_RETRY_MS
from engine.core.clock import Clock
from engine.core.errors import ClenzyError
from gateway_ws import wire
from gateway_ws.background import Background
from gateway_ws.closing import Close
from gateway_ws.metrics import CLOSED, OUTBOX_DROPPED, REFUSED
from gateway_ws.outbox import Outbox
from gateway_ws.wire import AckState, FrameType


class Connection(Protocol):
    """One client. Nothing here waits: what the socket does not take at once waits in a bounded outbox."""

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        ...

    def welcome(self, body: Mapping[str, Any]) -> None:
        """Send the present state."""
        ...

    def event(self, name: str, body: Mapping[str, Any]) -> None:
        """Send an event that must not get lost."""
        ...

    def latest(self, key: Hashable, name: str, body: object) -> None:
        """Send an event that a newer one under the same key replaces."""
        ...

    def acknowledge(self, seq: int, state: AckState) -> None:
        """Confirm ping frames up to `seq`, or with a `state` the trigger `seq`."""
        ...

    def cadence(self, cadence_ms: int) -> None:
        """Ask for a fix this often."""
        ...

    def refuse(self, error: ClenzyError, seq: int | None = None) -> None:
        """Tell that a frame was refused and why."""
        ...

    def close(self, reason: Close, detail: str = "") -> None:
        """End the connection for a named reason; a second call changes nothing."""
        ...


class StalledConnections:
    """Raw connections whose outbox waits for the socket; one task looks at all of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stalled: set[RawConnection] = set()

    def add(self, connection: "RawConnection") -> None:
        """Look at `connection` until its outbox is empty."""
        self._stalled.add(connection)

    async def run(self) -> None:
        """Send on what can be sent, for ever."""
        while True:
            await self._clock.sleep_ms(OUTBOX_RETRY_MS)
            self._stalled = {connection for connection in self._stalled if not connection.pump()}


class RawConnection:
    """`/ws/ping`: frames are written to the transport as they are, without a task or a copy per message."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        *,
        slot: int,
        stalled: StalledConnections,
        background: Background,
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._slot = slot
        self._stalled = stalled
        self._background = background
        self._outbox: Outbox[bytes] = Outbox()
        self._is_closed = False
        self._has_ended = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more; the line may end before anybody was told."""
        return self._is_closed or self._transport.is_closing()

    def welcome(self, body: Mapping[str, Any]) -> None:
        """Send frame 0."""
        self._durable(FrameType.HELLO, self._slot, body)

    def event(self, name: str, body: Mapping[str, Any]) -> None:
        """Send frame 6."""
        self._durable(FrameType.EVENT, name, body)

    def latest(self, key: Hashable, name: str, body: object) -> None:
        """Send frame 6, replaceable."""
        self._latest(key, FrameType.EVENT, name, body)

    def acknowledge(self, seq: int, state: AckState) -> None:
        """Send frame 2. Ordinary ones are cumulative: only the newest of those that wait is sent."""
        if state is AckState.INDEXED:
            self._latest(FrameType.ACK, FrameType.ACK, seq, state)
        else:
            self._durable(FrameType.ACK, seq, state)

    def cadence(self, cadence_ms: int) -> None:
        """Send frame 9."""
        self._latest(FrameType.CADENCE, FrameType.CADENCE, {"cadence_ms": cadence_ms})

    def answer(self, command_id: int, *, is_done: bool, result: Mapping[str, Any]) -> None:
        """Send frame 5."""
        self._durable(FrameType.ANSWER, command_id, is_done, result)

    def refuse(self, error: ClenzyError, seq: int | None = None) -> None:
        """Send frame 8."""
        REFUSED.labels(error.code).inc()
        self._durable(FrameType.REFUSED, wire.refusal_body(error, seq))

    def close(self, reason: Close, detail: str = "") -> None:
        """Close with the reason's code."""
        if self._is_closed:
            return
        self._is_closed = True
        self._outbox.clear()
        CLOSED.labels(reason.code).inc()
        if self._transport.is_closing():
            return
        # Written here and not by aiohttp, which would hang up without waiting for the peer's answer.
        self._transport.write(wire.close_frame(reason.websocket_code, detail or reason.code))
        self._background.start(self._hang_up(), name="connection.close")

    def pump(self) -> bool:
        """Send on what waits; return whether nothing waits any more."""
        while not self.is_closed and self._is_writable and (frame := self._outbox.take()) is not None:
            self._transport.write(frame)
        return self.is_closed or not self._outbox

    async def end(self) -> None:
        """Take note that the peer has closed, or answered our close."""
        self._outbox.clear()
        self._has_ended.set()
        if self._is_closed:
            self._transport.close()
        else:
            self._is_closed = True
            await self._socket.close()

    @property
    def _is_writable(self) -> bool:
        return self._transport.get_write_buffer_size() <= OUTBOX_BUFFER_BYTES_MAX

    def _durable(self, *elements: object) -> None:
        if self.is_closed:
            return
        frame = wire.websocket_frame(wire.pack(*elements))
        if not self._outbox and self._is_writable:
            self._transport.write(frame)
        elif self._outbox.put(frame):
            self._stalled.add(self)
        else:
            self.close(Close.SLOW_READER)

    def _latest(self, key: Hashable, *elements: object) -> None:
        if self.is_closed:
            return
        frame = wire.websocket_frame(wire.pack(*elements))
        if not self._outbox and self._is_writable:
            self._transport.write(frame)
            return
        if self._outbox.put_latest(key, frame):
            OUTBOX_DROPPED.inc()
        self._stalled.add(self)

    async def _hang_up(self) -> None:
        """Cut off a peer that does not answer the close frame; a slow reader will not even have read it."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_MS / 1000):
                await self._has_ended.wait()
        except TimeoutError:
            self._transport.abort()


class SocketIoConnection:
    """One client in one namespace.

    python-socketio queues without bound and wakes a task per message, so events wait here while the socket is busy.
    """

    def __init__(
        self,
        server: socketio.AsyncServer,
        namespace: str,
        sid: str,
        transport: asyncio.Transport,
        *,
        clock: Clock,
        background: Background,
    ) -> None:
        self._server = server
        self._namespace = namespace
        self._sid = sid
        self._transport = transport
        self._clock = clock
        self._outbox: Outbox[tuple[str, object]] = Outbox()
        self._wake = asyncio.Event()
        self._background = background
        self._is_closed = False
        background.start(self._write(), name="connection.write")

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._is_closed

    def welcome(self, body: Mapping[str, Any]) -> None:
        """Emit `welcome`."""
        self.event("welcome", body)

    def event(self, name: str, body: Mapping[str, Any]) -> None:
        """Emit an event."""
        if self._is_closed:
            return
        if self._outbox.put((name, body)):
            self._wake.set()
        else:
            self.close(Close.SLOW_READER)

    def latest(self, key: Hashable, name: str, body: object) -> None:
        """Emit a replaceable event."""
        if self._is_closed:
            return
        if self._outbox.put_latest(key, (name, body)):
            OUTBOX_DROPPED.inc()
        self._wake.set()

    def is_waiting(self, key: Hashable) -> bool:
        """Return whether the last replaceable event of this key has not been sent yet."""
        return self._outbox.is_waiting(key)

    def acknowledge(self, seq: int, state: AckState) -> None:
        """Emit `ack`."""
        self.latest(("ack", state), "ack", {"seq": seq, "state": int(state)})

    def cadence(self, cadence_ms: int) -> None:
        """Emit `cadence`."""
        self.latest("cadence", "cadence", {"cadence_ms": cadence_ms})

    def refuse(self, error: ClenzyError, seq: int | None = None) -> None:
        """Emit `error`."""
        REFUSED.labels(error.code).inc()
        self.event("error", wire.refusal_body(error, seq))

    def close(self, reason: Close, detail: str = "") -> None:
        """Say why in an `error` event, then disconnect the namespace."""
        if self._is_closed:
            return
        self.mark_closed()
        CLOSED.labels(reason.code).inc()
        self._background.start(self._close(reason, detail or reason.code), name="connection.close")

    def mark_closed(self) -> None:
        """Take note that the peer is gone."""
        self._is_closed = True
        self._outbox.clear()
        self._wake.set()

    async def _write(self) -> None:
        while not self._is_closed:
            await self._wake.wait()
            self._wake.clear()
            while (waiting := self._outbox.take()) is not None:
                name, body = waiting
                await self._server.emit(name, body, to=self._sid, namespace=self._namespace)
                while not self.is_closed and self._transport.get_write_buffer_size() > OUTBOX_BUFFER_BYTES_MAX:
                    await self._clock.sleep_ms(OUTBOX_RETRY_MS)

    async def _close(self, reason: Close, detail: str) -> None:
        if reason is Close.SLOW_READER:
            self._transport.abort()
            return
        body = {"code": reason.code, "detail": detail}
        await self._server.emit("error", body, to=self._sid, namespace=self._namespace)
        await self._server.disconnect(self._sid, namespace=self._namespace)
