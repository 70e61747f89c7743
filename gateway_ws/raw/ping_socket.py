"""`/ws/ping`: the thin connection of a worker's phone (docs/protocol.md, section 2)."""

import asyncio
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web

from config.limits import (
    CLOSE_TIMEOUT_MS,
    FRAME_BYTES_MAX,
    FRAMES_PER_TURN_MAX,
    HEARTBEAT_INTERVAL_MS,
    HELLO_TIMEOUT_MS,
)
from engine.core.errors import ClenzyError, NotAllowed, NotSignedIn, TooMany, Unavailable, WireError
from engine.core.units import MS_PER_S, NS_PER_MS
from gateway_ws.admission import Admission
from gateway_ws.closing import Close
from gateway_ws.engineio.heartbeat import Heartbeat
from gateway_ws.fan_out.stalled import StalledConnections
from gateway_ws.metrics import CLOSED, REFUSED
from gateway_ws.raw import wire
from gateway_ws.raw.connection import RawConnection
from gateway_ws.raw.lane import LaneSocket
from gateway_ws.raw.phone import RawPhone
from gateway_ws.raw.wire import Hello
from gateway_ws.services import Services
from gateway_ws.worker_session import WorkerSession

_TICKS_PER_INTERVAL: Final = 20
"""How much finer than its interval the heartbeat is looked after."""


class PingSocket:
    """The handler of one route, and the heartbeat of those who came in by it."""

    def __init__(
        self,
        services: Services,
        stalled: StalledConnections,
        admission: Admission,
        origins: frozenset[str],
        *,
        has_lane: bool,
    ) -> None:
        self._services = services
        self._stalled = stalled
        self._admission = admission
        self._origins = origins
        self._has_lane = has_lane
        interval_ms = HEARTBEAT_INTERVAL_MS
        self._heartbeat: Heartbeat[RawPhone] = Heartbeat(interval_ms=interval_ms, timeout_ms=interval_ms // 2)
        self._tick_ms = interval_ms / _TICKS_PER_INTERVAL

    async def run(self) -> None:
        """Ask the silent whether they are there, and cut off who does not answer, for ever.

        Only of released lines: aiohttp looks after the others.
        """
        while True:
            await self._services.clock.sleep_ms(self._tick_ms)
            now_ms = self._now_ms()
            for phone in self._heartbeat.dead(now_ms):
                if phone.was_heard():
                    self._heartbeat.answered(phone, now_ms)
                else:
                    phone.cut_off()
            for phone in self._heartbeat.to_ping(now_ms):
                if phone.was_heard():
                    self._heartbeat.answered(phone, now_ms)
                else:
                    phone.ping()

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one connection until either side ends it, or until it needs no task any more."""
        origin = request.headers.get("Origin")
        if origin is not None and origin not in self._origins:
            raise web.HTTPForbidden(text="this origin may not open sockets here")
        socket = self._socket()
        await socket.prepare(request)
        try:
            session, connection = await self._let_in(socket, request)
        except _Refused:
            return socket
        phone = RawPhone(session, connection, self._services)
        is_released = False
        try:
            is_released = isinstance(socket, LaneSocket) and self._release(socket, phone)
            if not is_released:
                await self._listen(socket, connection, phone)
        finally:
            if not is_released:
                await _end(session, connection, socket)
        return socket

    def _socket(self) -> web.WebSocketResponse:
        options: dict[str, Any] = {
            "compress": False,
            "max_msg_size": FRAME_BYTES_MAX,
            "timeout": CLOSE_TIMEOUT_MS / MS_PER_S,
            "autoclose": False,
        }
        if self._has_lane:
            return LaneSocket(**options)
        return web.WebSocketResponse(**options, heartbeat=HEARTBEAT_INTERVAL_MS / MS_PER_S)

    def _release(self, socket: LaneSocket, phone: RawPhone) -> bool:
        """Let the line call the phone from here on; return False where it has ended or failed meanwhile."""
        if not socket.release(phone):
            return False
        phone.released(socket.line, self._left)
        self._admission.entered()
        self._heartbeat.start(phone, self._now_ms())
        return True

    def _left(self, phone: RawPhone) -> None:
        self._admission.left()
        self._heartbeat.stop(phone)

    def _now_ms(self) -> int:
        return self._services.clock.steady_ns() // NS_PER_MS

    async def _let_in(self, socket: web.WebSocketResponse, request: web.Request) -> tuple[WorkerSession, RawConnection]:
        """Wait for the hello and a place, sign the worker in and welcome them."""
        hello = await self._hello(socket)
        arrivals = self._services.arrivals
        try:
            async with arrivals.place():
                session, connection = await self._enter(hello, socket, request)
                try:
                    await session.open()
                except BaseException:
                    await _end(session, connection, socket)
                    raise
        except Unavailable as error:
            raise await _refuse(socket, Close.GOING_AWAY, error, retry_after_ms=arrivals.sent_away()) from None
        return session, connection

    async def _hello(self, socket: web.WebSocketResponse) -> Hello:
        """Wait for the hello; refused frames before it end the connection."""
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_MS / 1000):
                message = await socket.receive()
        except TimeoutError:
            raise await _refuse(socket, Close.NOT_SIGNED_IN, NotSignedIn("no hello came")) from None
        if message.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}:
            raise _Refused
        try:
            if message.type is not WSMsgType.BINARY:
                raise WireError("frames are binary")
            frame = wire.decode(message.data)
            if not isinstance(frame, Hello):
                raise NotSignedIn("the first frame is a hello")
        except ClenzyError as error:
            raise await _refuse(socket, Close.NOT_SIGNED_IN, error) from None
        return frame

    async def _enter(
        self, hello: Hello, socket: web.WebSocketResponse, request: web.Request
    ) -> tuple[WorkerSession, RawConnection]:
        try:
            return self._sign_in(hello, request)
        except NotAllowed as error:
            raise await _refuse(socket, Close.NOT_ALLOWED, error) from None
        except TooMany as error:
            raise await _refuse(socket, Close.GOING_AWAY, error) from None
        except ClenzyError as error:
            raise await _refuse(socket, Close.NOT_SIGNED_IN, error) from None

    def _sign_in(self, hello: Hello, request: web.Request) -> tuple[WorkerSession, RawConnection]:
        services = self._services
        principal = services.tokens.verify(hello.token, services.clock.now_ms())
        if principal.slot is None:
            raise NotAllowed("only workers send pings")
        services.table.ensure(principal.slot)
        transport = request.transport
        if transport is None or transport.is_closing():  # gone while it waited for a place
            raise _Refused
        connection = RawConnection(
            transport,
            slot=principal.slot,
            stalled=self._stalled,
            background=services.background,
        )
        session = WorkerSession(principal, hello.token, connection, services)
        session.resume_from(hello.resume)
        services.registry.add(session)
        return session, connection

    async def _listen(self, socket: web.WebSocketResponse, connection: RawConnection, phone: RawPhone) -> None:
        """Take messages as aiohttp hands them out."""
        handled = 0
        async for message in socket:
            phone.serve(message)
            handled += 1
            if handled % FRAMES_PER_TURN_MAX == 0:
                await self._services.clock.sleep_ms(0)  # a full queue would never make us wait
        if socket.close_code == Close.FRAME_TOO_LARGE.websocket_code and not connection.is_closed:
            CLOSED.labels(Close.FRAME_TOO_LARGE.code).inc()


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """The connection was closed before a session began."""


async def _end(session: WorkerSession, connection: RawConnection, socket: web.WebSocketResponse) -> None:
    await session.closed()
    connection.end(has_vanished=socket.close_code == WSCloseCode.ABNORMAL_CLOSURE)


async def _refuse(
    socket: web.WebSocketResponse, reason: Close, error: ClenzyError, *, retry_after_ms: int | None = None
) -> _Refused:
    REFUSED.labels(error.code).inc()
    CLOSED.labels(reason.code).inc()
    if not socket.closed:
        await socket.send_bytes(
            wire.pack(wire.FrameType.REFUSED, wire.refusal_body(error, retry_after_ms=retry_after_ms))
        )
        await socket.close(code=reason.websocket_code, message=error.detail.encode()[:123])
    return _Refused()
