"""python-socketio with what it lacks for strangers on the line.

Stock clients work unchanged. What differs from the library's own server: broken packets are told to their sender
instead of logged with a traceback, reserved event names of clients run no handlers, attachments are bounded, nothing
is compressed (127 MB per 1,000 connections otherwise), and events that wait for a store do not hold up the ones behind
them. The overridden methods are private to python-socketio 5: the tests of this package hold them in place.
"""

import json
from typing import Any

import orjson
import socketio
import structlog
from aiohttp import web
from engineio.async_drivers import aiohttp as engineio_aiohttp

from config.limits import CLOSE_TIMEOUT_MS, FRAME_BYTES_MAX, HELLO_TIMEOUT_MS
from engine.core.clock import Clock
from engine.core.errors import ClenzyError, WireError
from gateway_ws.namespace import SessionNamespace

log = structlog.get_logger(__name__)

_ATTACHMENTS_MAX = 1
"""Binary values of one event: clients send fixes, nothing else."""
_PING_INTERVAL_S = 25
_PING_TIMEOUT_S = 20


class GatewayServer(socketio.AsyncServer):
    """The Socket.IO side of the gateway."""

    def __init__(self, clock: Clock, origins: frozenset[str]) -> None:
        super().__init__(
            async_mode="aiohttp",
            async_handlers=False,
            transports=["websocket"],
            max_http_buffer_size=FRAME_BYTES_MAX,
            http_compression=False,
            cors_allowed_origins=sorted(origins),
            ping_interval=_PING_INTERVAL_S,
            ping_timeout=_PING_TIMEOUT_S,
            json=_Json,
            logger=_Quiet(),
            engineio_logger=_Quiet(),
        )
        self._clock = clock
        self._silent_since_ms: dict[str, int] = {}
        self.eio._async = {**self.eio._async, "websocket": _PlainWebSocket}  # noqa: SLF001 - no public way to set it

    async def close_silent(self) -> None:
        """Disconnect clients that opened a socket and signed in to no namespace within `HELLO_TIMEOUT_MS`."""
        now_ms = self._clock.now_ms()
        for eio_sid, since_ms in list(self._silent_since_ms.items()):
            if self._namespaces_of(eio_sid):
                del self._silent_since_ms[eio_sid]
            elif now_ms - since_ms >= HELLO_TIMEOUT_MS:
                del self._silent_since_ms[eio_sid]
                await self.eio.disconnect(eio_sid)

    async def answer(self, eio_sid: str, namespace: str, ack_id: int, body: dict[str, Any]) -> None:
        """Answer an event that carried a callback."""
        packet = self.packet_class(socketio.packet.ACK, namespace=namespace, id=ack_id, data=[body])
        await self._send_packet(eio_sid, packet)

    async def _send_packet(self, eio_sid: str, pkt: socketio.packet.Packet) -> None:
        if pkt.packet_type == socketio.packet.CONNECT:
            handler = self.namespace_handlers.get(pkt.namespace)
            pid = handler.pid(pkt.data["sid"]) if isinstance(handler, SessionNamespace) else None
            if pid is not None:
                pkt.data["pid"] = pid
        await super()._send_packet(eio_sid, pkt)

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        self._silent_since_ms[eio_sid] = self._clock.now_ms()
        await super()._handle_eio_connect(eio_sid, environ)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        self._silent_since_ms.pop(eio_sid, None)
        await super()._handle_eio_disconnect(eio_sid, reason)

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        try:
            await super()._handle_eio_message(eio_sid, data)
        except ClenzyError as error:
            await self._refuse(eio_sid, error)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's packet makes the library raise
            log.debug("socketio.broken_packet", error=type(error).__name__)
            await self._refuse(eio_sid, WireError("this is not a packet of Socket.IO"))
        waiting = self._binary_packet.get(eio_sid)
        if waiting is not None and waiting.attachment_count > _ATTACHMENTS_MAX:
            del self._binary_packet[eio_sid]
            await self._refuse(eio_sid, WireError("an event carries at most one binary value"))

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:  # noqa: A002, ANN401 - the library's signature
        name = namespace or "/"
        sid = self.manager.sid_from_eio_sid(eio_sid, name)
        handler = self.namespace_handlers.get(name)
        if sid is None or not isinstance(handler, SessionNamespace) or not self.manager.is_connected(sid, name):
            return
        await handler.receive(sid, eio_sid, id, data)

    async def _refuse(self, eio_sid: str, error: ClenzyError) -> None:
        namespaces = self._namespaces_of(eio_sid)
        for sid, handler in namespaces:
            handler.refuse(sid, error)
        if not namespaces:
            await self.eio.disconnect(eio_sid)

    def _namespaces_of(self, eio_sid: str) -> list[tuple[str, SessionNamespace[Any]]]:
        found = []
        for name, handler in self.namespace_handlers.items():
            sid = self.manager.sid_from_eio_sid(eio_sid, name)
            if sid is not None and isinstance(handler, SessionNamespace):
                found.append((sid, handler))
        return found


class _Json:
    """The JSON of Socket.IO packets: reads NaN (a fix with it is counted, not the packet lost), writes fast."""

    @staticmethod
    def dumps(value: object, **_options: object) -> str:
        return orjson.dumps(value, default=str).decode()

    @staticmethod
    def loads(text: str) -> object:
        return json.loads(text)


class _PlainWebSocket(engineio_aiohttp.WebSocket):
    """The library's websocket without compression, and without seconds of waiting for a peer that is gone."""

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        self._sock = web.WebSocketResponse(
            compress=False, max_msg_size=FRAME_BYTES_MAX, timeout=CLOSE_TIMEOUT_MS / 1000
        )
        await self._sock.prepare(environ["aiohttp.request"])
        self.environ = environ
        await self.handler(self)
        return self._sock


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
