"""Socket.IO as its protocol asks, on our own Engine.IO server: what python-socketio leaves out or does differently.

A broken packet ends the connection, an unknown namespace is refused in the protocol's words, attachments are bounded.
The overridden methods are private to python-socketio 5.18: the tests of this package hold them in place.
"""

import json
from typing import Any

import orjson
import socketio
import structlog

from engine.core.clock import Clock
from engine.core.errors import ClenzyError, WireError
from gateway_ws.engineio.server import EngineServer

log = structlog.get_logger(__name__)


class ProtocolServer(socketio.AsyncServer):
    """A Socket.IO server whose events are handled one after another."""

    def __init__(self, engine: EngineServer, clock: Clock, *, attachments_max: int, hello_timeout_ms: int) -> None:
        self._engine = engine
        self._clock = clock
        self._attachments_max = attachments_max
        self._hello_timeout_ms = hello_timeout_ms
        self._silent_since_ms: dict[str, int] = {}
        super().__init__(async_handlers=False, namespaces=[], json=_Json, logger=_Quiet())

    def _engineio_server_class(self) -> Any:  # noqa: ANN401 - the library calls it with the options of its own server
        return lambda **_options: self._engine

    async def close_silent(self) -> None:
        """Disconnect clients that connected and entered no namespace in time."""
        now_ms = self._clock.now_ms()
        for eio_sid, since_ms in list(self._silent_since_ms.items()):
            if any(self.manager.sid_from_eio_sid(eio_sid, name) for name in self.namespace_handlers):
                del self._silent_since_ms[eio_sid]
            elif now_ms - since_ms >= self._hello_timeout_ms:
                del self._silent_since_ms[eio_sid]
                await self._engine.disconnect(eio_sid)

    async def broken(self, eio_sid: str, error: ClenzyError) -> None:
        """Deal with a client that sent what is no packet."""
        log.debug("socketio.broken_packet", code=error.code)
        await self._engine.disconnect(eio_sid)

    def awaits_attachment(self, eio_sid: str) -> bool:
        """Return whether the next binary message belongs to an event that came before."""
        return eio_sid in self._binary_packet

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:  # noqa: ANN401
        name = namespace or "/"
        if name in self.namespace_handlers:
            await super()._handle_connect(eio_sid, name, data)
            return
        body = {"message": "Invalid namespace"}
        await self._send_packet(eio_sid, self.packet_class(socketio.packet.CONNECT_ERROR, body, namespace=name))

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        try:
            await super()._handle_eio_message(eio_sid, data)
            waiting = self._binary_packet.get(eio_sid)
            if waiting is not None and waiting.attachment_count > self._attachments_max:
                del self._binary_packet[eio_sid]
                raise WireError(f"an event carries at most {self._attachments_max} binary values")  # noqa: TRY301
        except ClenzyError as error:
            await self.broken(eio_sid, error)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's packet makes the library raise
            log.debug("socketio.packet_refused", error=type(error).__name__)
            await self.broken(eio_sid, WireError("this is not a packet of Socket.IO"))

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:  # noqa: A002, ANN401 - the library's signature
        if not isinstance(data, list) or not data:
            raise WireError("an event is an array that starts with its name")
        await self.take_event(eio_sid, namespace or "/", id, data)

    async def take_event(self, eio_sid: str, namespace: str, ack_id: int | None, data: list[Any]) -> None:
        """Handle an event: its name and its arguments."""
        await super()._handle_event(eio_sid, namespace, ack_id, data)

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        self._silent_since_ms[eio_sid] = self._clock.now_ms()
        await super()._handle_eio_connect(eio_sid, environ)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        self._silent_since_ms.pop(eio_sid, None)
        self._binary_packet.pop(eio_sid, None)
        await super()._handle_eio_disconnect(eio_sid, reason)


class _Json:
    """The JSON of Socket.IO packets: reads NaN (a fix with it is counted, not the packet lost), writes fast."""

    @staticmethod
    def dumps(value: object, **_options: object) -> str:
        return orjson.dumps(value, default=str).decode()

    @staticmethod
    def loads(text: str) -> object:
        return json.loads(text)


class _Quiet:
    """The library's log: per packet and with its content, so only its errors go on, without their arguments."""

    def info(self, *_args: object) -> None: ...

    def debug(self, *_args: object) -> None: ...

    def warning(self, message: str, *_args: object, **_options: object) -> None:
        log.debug("socketio.warning", template=message)

    def error(self, message: str, *_args: object, **_options: object) -> None:
        log.warning("socketio.error", template=message)

    def exception(self, message: str, *_args: object, **_options: object) -> None:
        log.exception("socketio.error", template=message)  # noqa: LOG004 - called inside the library's handlers
