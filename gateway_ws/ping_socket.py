"""`/ws/ping`: the thin connection of a worker's phone (docs/protocol.md, section 2)."""

import asyncio

from aiohttp import WSMsgType, web

from config.limits import (
    CLOSE_TIMEOUT_MS,
    COMMANDS_PENDING_MAX,
    FRAME_BYTES_MAX,
    FRAMES_PER_TURN_MAX,
    HEARTBEAT_INTERVAL_MS,
    HELLO_TIMEOUT_MS,
)
from engine.core.errors import ClenzyError, NotAllowed, NotSignedIn, TooMany, WireError
from engine.core.units import MS_PER_S
from gateway_ws import wire
from gateway_ws.closing import Close
from gateway_ws.lane import LaneSocket
from gateway_ws.metrics import CLOSED, FIX_FRAMES, FRAMES, REFUSED
from gateway_ws.raw_connection import RawConnection
from gateway_ws.services import Services
from gateway_ws.stalled import StalledConnections
from gateway_ws.wire import Command, Fixes, FreshToken, Hello, Trigger
from gateway_ws.worker_session import WorkerSession


class PingSocket:
    """The handler of one route."""

    def __init__(
        self, services: Services, stalled: StalledConnections, origins: frozenset[str], *, has_lane: bool
    ) -> None:
        self._services = services
        self._stalled = stalled
        self._origins = origins
        self._socket_type = LaneSocket if has_lane else web.WebSocketResponse

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one connection until either side ends it."""
        origin = request.headers.get("Origin")
        if origin is not None and origin not in self._origins:
            raise web.HTTPForbidden(text="this origin may not open sockets here")
        socket = self._socket_type(
            compress=False,
            max_msg_size=FRAME_BYTES_MAX,
            heartbeat=HEARTBEAT_INTERVAL_MS / MS_PER_S,
            timeout=CLOSE_TIMEOUT_MS / 1000,
            autoclose=False,
        )
        await socket.prepare(request)
        try:
            session, connection = await self._greet(socket, request)
        except _Refused:
            return socket
        try:
            await session.open()
            await self._listen(socket, session, connection)
        finally:
            await session.closed()
            await connection.end()
        return socket

    async def _greet(self, socket: web.WebSocketResponse, request: web.Request) -> tuple[WorkerSession, RawConnection]:
        """Wait for the hello and sign the worker in; refused frames before it end the connection."""
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
            return self._sign_in(frame, socket, request)
        except NotAllowed as error:
            raise await _refuse(socket, Close.NOT_ALLOWED, error) from None
        except TooMany as error:
            raise await _refuse(socket, Close.GOING_AWAY, error) from None
        except ClenzyError as error:
            raise await _refuse(socket, Close.NOT_SIGNED_IN, error) from None

    def _sign_in(
        self, hello: Hello, socket: web.WebSocketResponse, request: web.Request
    ) -> tuple[WorkerSession, RawConnection]:
        services = self._services
        principal = services.tokens.verify(hello.token, services.clock.now_ms())
        if principal.slot is None:
            raise NotAllowed("only workers send pings")
        services.table.ensure(principal.slot)
        transport = request.transport
        if transport is None:
            raise _Refused
        connection = RawConnection(
            socket,
            transport,
            slot=principal.slot,
            stalled=self._stalled,
            background=services.background,
        )
        session = WorkerSession(principal, hello.token, connection, services)
        session.resume_from(hello.resume)
        services.registry.add(session)
        return session, connection

    async def _listen(self, socket: web.WebSocketResponse, session: WorkerSession, connection: RawConnection) -> None:
        phone = _Phone(session, connection, self._services)
        if isinstance(socket, LaneSocket):
            with socket.lane(phone.take_fixes):
                await self._read(socket, session, connection, phone)
        else:
            await self._read(socket, session, connection, phone)
        if socket.close_code == Close.FRAME_TOO_LARGE.websocket_code and not connection.is_closed:
            CLOSED.labels(Close.FRAME_TOO_LARGE.code).inc()

    async def _read(
        self, socket: web.WebSocketResponse, session: WorkerSession, connection: RawConnection, phone: "_Phone"
    ) -> None:
        handled = 0
        async for message in socket:
            # Nothing is awaited before the message is handled: the lane would let a later one overtake it.
            if connection.is_closed:
                pass  # until the peer answers our close frame
            elif message.type is WSMsgType.BINARY:
                phone.take(message.data)
            elif message.type is WSMsgType.TEXT:
                session.refused(WireError("frames are binary"))
            if isinstance(socket, LaneSocket):
                socket.next_turn()
            handled += 1
            if handled % FRAMES_PER_TURN_MAX == 0:
                await self._services.clock.sleep_ms(0)  # a full queue would never make us wait


class _Phone:
    """Takes the frames of one signed-in connection."""

    def __init__(self, session: WorkerSession, connection: RawConnection, services: Services) -> None:
        self._session = session
        self._connection = connection
        self._services = services
        self._commands = 0
        self._in_order = asyncio.Lock()

    def take_fixes(self, data: bytes) -> bool:
        """Handle a message that is a plain ping frame, and only such a one; return whether it was."""
        found = wire.peel_fixes(data)
        if found is None:
            return False
        if self._connection.is_closed:
            return True
        seq, payload = found
        FIX_FRAMES.frames += 1
        try:
            self._session.fixes(seq, payload)
        except ClenzyError as error:
            FIX_FRAMES.settle()
            self._session.refused(error, seq)
        return True

    def take(self, data: bytes) -> None:
        """Handle one message; whatever is wrong with it is told to the sender by name."""
        seq: int | None = None
        try:
            frame = wire.decode(data)
            FRAMES.labels(type(frame).__name__).inc()
            match frame:
                case Fixes():
                    seq = frame.seq
                    self._session.fixes(frame.seq, frame.payload)
                case Trigger():
                    self._session.trigger_frame(frame)
                case Command():
                    self._start(frame)
                case FreshToken():
                    self._refresh(frame)
                case Hello():
                    raise WireError("the hello was said already")
        except ClenzyError as error:
            self._session.refused(error, seq)

    def _refresh(self, frame: FreshToken) -> None:
        try:
            self._session.refresh(frame.token)
        except NotAllowed as error:
            self._connection.close(Close.NOT_ALLOWED, error.detail)

    def _start(self, command: Command) -> None:
        self._session.spend(1)
        if self._commands >= COMMANDS_PENDING_MAX:
            self._answer(command, TooMany("wait for the answers to the commands before"))
            return
        self._commands += 1
        self._services.background.start(self._run(command), name="worker.command")

    async def _run(self, command: Command) -> None:
        try:
            async with self._in_order:
                result = await self._session.command(command.name, command.body)
        except ClenzyError as error:
            self._answer(command, error)
        else:
            self._connection.answer(command.command_id, is_done=True, result=result)
        finally:
            self._commands -= 1

    def _answer(self, command: Command, error: ClenzyError) -> None:
        REFUSED.labels(error.code).inc()
        self._connection.answer(command.command_id, is_done=False, result=wire.refusal_body(error))


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """The connection was closed before a session began."""


async def _refuse(socket: web.WebSocketResponse, reason: Close, error: ClenzyError) -> _Refused:
    REFUSED.labels(error.code).inc()
    CLOSED.labels(reason.code).inc()
    if not socket.closed:
        await socket.send_bytes(wire.pack(wire.FrameType.REFUSED, wire.refusal_body(error)))
        await socket.close(code=reason.websocket_code, message=error.detail.encode()[:123])
    return _Refused()
