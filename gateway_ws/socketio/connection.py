"""The way out to a client in a namespace of Socket.IO."""

from collections.abc import Hashable, Mapping
from typing import Any

import socketio

from engine.core.errors import ClenzyError
from gateway_ws.background import Background
from gateway_ws.closing import Close
from gateway_ws.engineio.session import EngineSession
from gateway_ws.fan_out.message import Encodings
from gateway_ws.fan_out.outbox import Outbox
from gateway_ws.metrics import CLOSED, OUTBOX_DROPPED, REFUSED
from gateway_ws.raw import wire
from gateway_ws.raw.wire import AckState
from gateway_ws.socketio.event import SocketIoEvent


class SocketIoConnection:
    """One client in one namespace.

    Events are written to the connection at once, without a task and, where others get the same one, without encoding it
    again. While the connection takes nothing they wait here: python-socketio itself would queue without bound.
    """

    __slots__ = ("_background", "_is_closed", "_line", "_namespace", "_outbox", "_server", "_sid")

    def __init__(
        self,
        server: socketio.AsyncServer,
        namespace: str,
        sid: str,
        line: EngineSession,
        *,
        background: Background,
    ) -> None:
        self._server = server
        self._namespace = namespace
        self._sid = sid
        self._line = line
        self._background = background
        self._outbox: Outbox[SocketIoEvent] | None = None
        """Made when something has to wait for the first time."""
        self._is_closed = False

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
        if shared is None:
            event = self._encoded(name, body, offset)
        else:
            event = shared.frame((self._namespace, name, offset), self._encoded, name, body, offset)
        if not self._outbox and self._line.offer(event):
            return
        if self._waiting().put(event):
            self._line.wait(self)
        else:
            self.close(Close.SLOW_READER)

    def latest(self, key: Hashable, name: str, body: object, *, shared: Encodings | None = None) -> None:
        """Emit a replaceable event."""
        if self._is_closed:
            return
        if shared is None:
            event = self._encoded(name, body, None)
        else:
            event = shared.frame((self._namespace, name, None), self._encoded, name, body, None)
        if not self._outbox and self._line.offer(event):
            return
        if self._waiting().put_latest(key, event):
            OUTBOX_DROPPED.inc()
        self._line.wait(self)

    def is_waiting(self, key: Hashable) -> bool:
        """Return whether the last replaceable event of this key has not been sent yet."""
        return self._outbox is not None and self._outbox.is_waiting(key)

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
        """Say why in an `error` event, then disconnect the namespace; a slow reader is just cut off."""
        if self._is_closed:
            return
        self.mark_closed()
        CLOSED.labels(reason.code).inc()
        if reason is Close.SLOW_READER:
            self._line.abort()
            return
        self._line.offer(SocketIoEvent(self._namespace, "error", reason.told(detail, retry_after_ms)))
        self._background.start(self._disconnect(), name="connection.close")

    def mark_closed(self) -> None:
        """Take note that the peer is gone."""
        self._is_closed = True
        self._outbox = None

    def pump(self) -> bool:
        """Send on what waits; return whether nothing waits any more."""
        if self._outbox is None:
            return True
        while self._line.has_room and (event := self._outbox.take()) is not None:
            self._line.offer(event)
        if self._outbox:
            return False
        self._outbox = None
        return True

    def _encoded(self, name: str, body: object, offset: int | None) -> SocketIoEvent:
        arguments = (body,) if offset is None else (body, str(offset))
        return SocketIoEvent(self._namespace, name, *arguments)

    def _waiting(self) -> Outbox[SocketIoEvent]:
        if self._outbox is None:
            self._outbox = Outbox()
        return self._outbox

    async def _disconnect(self) -> None:
        await self._server.disconnect(self._sid, namespace=self._namespace)
