"""The way out to a client in a namespace of Socket.IO."""

import asyncio
from collections.abc import Hashable, Mapping
from typing import Any

import socketio

from config.limits import OUTBOX_BUFFER_BYTES_MAX, OUTBOX_RETRY_MS
from engine.core.clock import Clock
from engine.core.errors import ClenzyError
from gateway_ws import wire
from gateway_ws.background import Background
from gateway_ws.closing import Close
from gateway_ws.message import Encodings
from gateway_ws.metrics import CLOSED, OUTBOX_DROPPED, REFUSED
from gateway_ws.outbox import Outbox
from gateway_ws.wire import AckState


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
        self.event("welcome", body, body["offset"])

    def event(
        self, name: str, body: Mapping[str, Any], offset: int | None = None, *, shared: Encodings | None = None
    ) -> None:
        """Emit an event; an offset is its last argument, as text: stock clients bring that back as `auth.offset`."""
        if self._is_closed:
            return
        if self._outbox.put((name, body if offset is None else (body, str(offset)))):
            self._wake.set()
        else:
            self.close(Close.SLOW_READER)

    def latest(self, key: Hashable, name: str, body: object, *, shared: Encodings | None = None) -> None:
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

    def cadence(self, body: Mapping[str, int]) -> None:
        """Emit `cadence`."""
        self.latest("cadence", "cadence", body)

    def refuse(self, error: ClenzyError, seq: int | None = None) -> None:
        """Emit `error`."""
        REFUSED.labels(error.code).inc()
        self.event("error", wire.refusal_body(error, seq))

    def close(self, reason: Close, detail: str = "", *, retry_after_ms: int | None = None) -> None:
        """Say why in an `error` event, then disconnect the namespace."""
        if self._is_closed:
            return
        self.mark_closed()
        CLOSED.labels(reason.code).inc()
        self._background.start(self._close(reason, reason.told(detail, retry_after_ms)), name="connection.close")

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

    async def _close(self, reason: Close, body: Mapping[str, Any]) -> None:
        if reason is Close.SLOW_READER:
            self._transport.abort()
            return
        await self._server.emit("error", body, to=self._sid, namespace=self._namespace)
        await self._server.disconnect(self._sid, namespace=self._namespace)
