"""Engine.IO 4 on aiohttp: opens sessions, checks requests, carries packets. What they mean is the handlers' business.

Written for python-socketio, which asks of its Engine.IO server just `on`, `send`, `send_packet`, `disconnect`,
`generate_id` and `attach`. Source: github.com/socketio/engine.io-protocol.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import engineio
import orjson
import structlog
from aiohttp import WSMessage, WSMsgType, web

from config.limits import (
    BODY_READ_MS,
    CLOSE_TIMEOUT_MS,
    CONNECTIONS_MAX,
    FRAME_BYTES_MAX,
    FRAMES_PER_TURN_MAX,
    HEARTBEAT_INTERVAL_MS,
    HEARTBEAT_TIMEOUT_MS,
    HELLO_TIMEOUT_MS,
)
from engine.core.clock import Clock
from engine.core.errors import WireError
from engine.core.units import MS_PER_S
from gateway_ws.background import Background
from gateway_ws.engineio.heartbeat import Heartbeat
from gateway_ws.engineio.packets import (
    CLOSE,
    MESSAGE,
    OPEN,
    PING,
    PONG,
    PROBE,
    PROBED,
    UPGRADE,
    Packet,
    checked,
    packets_of,
    websocket_frame,
)
from gateway_ws.engineio.session import Ended, EngineSession
from gateway_ws.fan_out.stalled import StalledConnections
from gateway_ws.raw.lane import LaneSocket

log = structlog.get_logger(__name__)

_TICKS_PER_DELAY: Final = 20
"""How much finer than the shortest delay of the heartbeat it is looked after."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What two servers may differ in."""

    origins: frozenset[str] = frozenset()
    """Web origins that may connect; clients that are no browsers name none."""
    transports: tuple[str, ...] = ("polling", "websocket")
    interval_ms: int = HEARTBEAT_INTERVAL_MS
    timeout_ms: int = HEARTBEAT_TIMEOUT_MS
    payload_bytes_max: int = FRAME_BYTES_MAX
    has_lane: bool = True
    """Whether ping frames are taken where they are read."""


class EngineServer:
    """All sessions of one process."""

    async_mode = "aiohttp"

    def __init__(
        self, clock: Clock, background: Background, stalled: StalledConnections, options: EngineOptions
    ) -> None:
        self.sessions: dict[str, EngineSession] = {}
        self.stalled = stalled
        self._clock = clock
        self._background = background
        self._options = options
        self._heartbeat: Heartbeat[str] = Heartbeat(interval_ms=options.interval_ms, timeout_ms=options.timeout_ms)
        self._handlers: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {}

    # ------------------------------------------------------------ for python-socketio

    def on(self, event: str, handler: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        """Call `handler` for `connect` (sid, environ), `message` (sid, data) or `disconnect` (sid, reason)."""
        self._handlers[event] = handler

    def attach(self, app: web.Application, path: str) -> None:
        """Serve all methods at `path`."""
        app.router.add_route("*", f"/{path.strip('/')}/", self.handle)

    def generate_id(self) -> str:
        """Return an id that nobody can guess."""
        return secrets.token_urlsafe(15)

    def transport(self, sid: str) -> str:
        """Return `polling` or `websocket`."""
        return "websocket" if self.sessions[sid].has_websocket else "polling"

    async def send(self, sid: str, data: str | bytes) -> None:
        """Send a message; to a session that is gone, to nobody."""
        session = self.sessions.get(sid)
        if session is not None:
            session.send(MESSAGE + data if isinstance(data, str) else data)

    async def send_packet(self, sid: str, packet: engineio.packet.Packet) -> None:
        """Send a packet of the library's own making."""
        session = self.sessions.get(sid)
        if session is not None:
            session.send(packet.encode())

    async def disconnect(self, sid: str) -> None:
        """End a session."""
        session = self.sessions.get(sid)
        if session is not None:
            session.close(Ended.BY_SERVER)

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Ping whom it is time to ping and end whoever does not answer, for ever."""
        options = self._options
        tick_ms = min(options.interval_ms, options.timeout_ms, MS_PER_S * _TICKS_PER_DELAY) / _TICKS_PER_DELAY
        while True:
            await self._clock.sleep_ms(tick_ms)
            now_ms = self._now_ms()
            for sid in self._heartbeat.dead(now_ms):
                self.sessions[sid].close(Ended.PING_TIMEOUT)
            for sid in self._heartbeat.to_ping(now_ms):
                self.sessions[sid].send(PING)

    def session_ended(self, session: EngineSession, reason: Ended) -> None:
        """Let go of a session and tell the handlers."""
        del self.sessions[session.sid]
        self._heartbeat.stop(session.sid)
        session.ended = reason
        self._tell_end(session)

    def _tell_end(self, session: EngineSession) -> None:
        """Tell the handlers, once: not while one of them is busy with what the session sent."""
        if session.ended is not None and not session.in_work:
            told = self._handlers["disconnect"](session.sid, str(session.ended))
            session.ended = None
            self._background.start(told, name="engineio.end")

    def _now_ms(self) -> int:
        return self._clock.steady_ns() // 1_000_000

    async def _open(self, request: web.Request) -> EngineSession:
        session = EngineSession(self.generate_id(), self)
        self.sessions[session.sid] = session
        self._heartbeat.start(session.sid, self._now_ms())
        await self._handlers["connect"](session.sid, {"aiohttp.request": request})
        return session

    def _handshake(self, session: EngineSession, upgrades: tuple[str, ...]) -> str:
        options = self._options
        body = {
            "sid": session.sid,
            "upgrades": upgrades,
            "pingInterval": options.interval_ms,
            "pingTimeout": options.timeout_ms,
            "maxPayload": options.payload_bytes_max,
        }
        return OPEN + orjson.dumps(body).decode()

    # ------------------------------------------------------------ requests

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request of HTTP."""
        origin = request.headers.get("Origin")
        if origin is not None and origin not in self._options.origins:
            return web.Response(status=403, text="this origin may not open sockets here")
        if request.method == "OPTIONS":
            response: web.StreamResponse = web.Response(status=204, headers=_PREFLIGHT)
        else:
            try:
                response = await self._answer(request)
            except _BadRequest as error:
                response = web.json_response({"code": error.number, "message": error.message}, status=400)
        if origin is not None and not response.prepared:
            response.headers.update(
                {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true", "Vary": "Origin"}
            )
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        transport, sid = request.query.get("transport"), request.query.get("sid")
        if transport not in self._options.transports:
            raise _BadRequest(0, "Transport unknown")
        if request.query.get("EIO") != "4":
            raise _BadRequest(5, "Unsupported protocol version")
        is_websocket = request.headers.get("Upgrade", "").lower() == "websocket"
        if is_websocket != (transport == "websocket"):
            raise _BadRequest(3, "Bad request")
        if sid is None:
            return await self._begin(request, is_websocket=is_websocket)
        session = self.sessions.get(sid)
        if session is not None and self._heartbeat.is_dead(sid, self._now_ms()):
            session.close(Ended.PING_TIMEOUT)
        if session is None or session.is_closed:
            raise _BadRequest(1, "Session ID unknown")
        if is_websocket:
            return await self._upgrade(request, session)
        return await self._serve_polling(request, session)

    async def _begin(self, request: web.Request, *, is_websocket: bool) -> web.StreamResponse:
        if request.method != "GET":
            raise _BadRequest(2, "Bad handshake method")
        if len(self.sessions) >= CONNECTIONS_MAX:
            return web.Response(status=503, text="this gateway is full")
        if is_websocket:
            return await self._serve_websocket(request)
        session = await self._open(request)
        upgrades = tuple(name for name in self._options.transports if name != "polling")
        return _text(self._handshake(session, upgrades))

    # ------------------------------------------------------------ polling

    async def _serve_polling(self, request: web.Request, session: EngineSession) -> web.Response:
        if session.has_websocket:
            raise _BadRequest(3, "Bad request")
        if request.method == "GET":
            if session.is_polled:
                session.close(Ended.TRANSPORT_FAILED)
                raise _BadRequest(3, "Bad request")
            return _text(await session.poll())
        if request.method != "POST" or session.is_posting:
            session.close(Ended.TRANSPORT_FAILED)
            raise _BadRequest(3, "Bad request")
        session.is_posting = True
        try:
            for packet in packets_of(await self._body(request)):
                await self._receive(session, packet)
        except WireError:
            session.close(Ended.TRANSPORT_FAILED)
            raise _BadRequest(3, "Bad request") from None
        finally:
            session.is_posting = False
        return web.Response(text="ok", content_type="text/html")

    async def _body(self, request: web.Request) -> str:
        limit = self._options.payload_bytes_max
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_READ_MS / MS_PER_S):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > limit:
                        raise WireError(f"a payload holds at most {limit} bytes")
            return body.decode()
        except (TimeoutError, UnicodeDecodeError, web.RequestPayloadError) as error:
            raise WireError("the payload did not arrive, or is not UTF-8") from error

    # ------------------------------------------------------------ websockets

    async def _serve_websocket(self, request: web.Request) -> web.StreamResponse:
        socket = self._socket()
        await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket
        session = await self._open(request)
        session.use_websocket(transport)
        session.send(self._handshake(session, ()))
        await self._listen(request, socket, session)
        return socket

    async def _upgrade(self, request: web.Request, session: EngineSession) -> web.StreamResponse:
        socket = self._socket()
        await socket.prepare(request)
        transport = request.transport
        if transport is None or session.has_websocket or session.is_upgrading:
            await socket.close()
            return socket
        session.start_upgrade()
        try:
            has_upgraded = await self._probe(socket, transport)
        finally:
            session.is_upgrading = False
        if not has_upgraded or session.is_closed:
            await socket.close()
            return socket
        session.use_websocket(transport)
        await self._listen(request, socket, session)
        return socket

    async def _probe(self, socket: web.WebSocketResponse, transport: asyncio.Transport) -> bool:
        """Say over a new websocket that it works; return whether the client moves there."""
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_MS / MS_PER_S):
                if (await socket.receive()).data != PROBE:
                    return False
                transport.write(websocket_frame(PROBED))
                return bool((await socket.receive()).data == UPGRADE)
        except TimeoutError:
            return False

    def _socket(self) -> web.WebSocketResponse:
        kind = LaneSocket if self._options.has_lane else web.WebSocketResponse
        return kind(
            compress=False,
            max_msg_size=self._options.payload_bytes_max,
            timeout=CLOSE_TIMEOUT_MS / MS_PER_S,
            autoclose=False,
        )

    async def _listen(self, request: web.Request, socket: web.WebSocketResponse, session: EngineSession) -> None:
        def take(data: bytes) -> bool:
            return not session.in_work and session.take_binary(data)

        handled = 0
        try:
            with socket.lane(take) if isinstance(socket, LaneSocket) else nullcontext():
                while (message := await socket.receive()).type in _DATA:
                    await self._take(session, message)
                    handled += 1
                    if isinstance(socket, LaneSocket):
                        socket.next_turn()
                    if handled % FRAMES_PER_TURN_MAX == 0:
                        # A full queue would never make us wait: without this the others would not get their turn.
                        await self._clock.sleep_ms(0)
        finally:
            has_said_goodbye = session.is_closed
            session.line_ended()
            if has_said_goodbye and request.transport is not None:
                request.transport.close()
            else:
                await socket.close()

    async def _take(self, session: EngineSession, message: WSMessage) -> None:
        if session.is_closed:
            return  # until the peer answers our close frame
        try:
            await self._receive(session, checked(message.data))
        except WireError:
            session.close(Ended.TRANSPORT_FAILED)

    # ------------------------------------------------------------ packets

    async def _receive(self, session: EngineSession, packet: Packet) -> None:
        if session.is_closed:
            return
        if isinstance(packet, bytes):
            if not session.take_binary(packet):
                await self._hand_over(session, packet)
        elif packet[0] == MESSAGE:
            await self._hand_over(session, packet[1:])
        elif packet[0] == PONG:
            self._heartbeat.answered(session.sid, self._now_ms())
        elif packet[0] == CLOSE:
            session.close(Ended.BY_CLIENT)
        # What only servers send, and an upgrade that is done, mean nothing.

    async def _hand_over(self, session: EngineSession, data: str | bytes) -> None:
        session.in_work += 1
        try:
            await self._handlers["message"](session.sid, data)
        finally:
            session.in_work -= 1
            self._tell_end(session)


class _BadRequest(Exception):  # noqa: N818 - never leaves this module
    """The request is refused, with a number and a text of Engine.IO's own."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number
        self.message = message


_DATA: Final = frozenset({WSMsgType.TEXT, WSMsgType.BINARY})
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
}


def _text(payload: str) -> web.Response:
    return web.Response(text=payload, headers={"Cache-Control": "no-store"})
