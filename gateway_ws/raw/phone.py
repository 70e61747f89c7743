"""A worker's phone on a raw websocket that has signed in: what each of its messages means.

Nothing here waits, so a phone needs no task: its line calls it. What a command has to wait for it does in a task of its
own.
"""

import asyncio
from collections.abc import Callable

import structlog
from aiohttp import WSMessage, WSMsgType

from config.limits import COMMANDS_PENDING_MAX
from engine.core.errors import ClenzyError, NotAllowed, TooMany, WireError
from gateway_ws.closing import Close
from gateway_ws.metrics import CLOSED, FAULTS, FIX_FRAMES, FRAMES, REFUSED
from gateway_ws.raw import wire
from gateway_ws.raw.connection import RawConnection
from gateway_ws.raw.lane import Line
from gateway_ws.raw.wire import Command, Fixes, FreshToken, Hello, Trigger
from gateway_ws.services import Services
from gateway_ws.worker_session import WorkerSession

log = structlog.get_logger(__name__)


class RawPhone:
    """One connection with its session."""

    __slots__ = ("_commands", "_connection", "_in_order", "_line", "_on_left", "_services", "_session")

    def __init__(self, session: WorkerSession, connection: RawConnection, services: Services) -> None:
        self._session = session
        self._connection = connection
        self._services = services
        self._commands = 0
        self._in_order: asyncio.Lock | None = None
        """Made with the first command."""
        self._line: Line | None = None
        self._on_left: Callable[[RawPhone], None] | None = None

    def released(self, line: Line, on_left: "Callable[[RawPhone], None]") -> None:
        """Take note that `line` calls us from here on; `on_left` is to be told when it has ended."""
        self._line = line
        self._on_left = on_left

    # ------------------------------------------------------------ for the line

    def take(self, data: bytes) -> bool:
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

    def serve(self, message: WSMessage) -> None:
        """Handle a message of any kind; an unexpected error ends this connection alone."""
        try:
            self._serve(message)
        except Exception:
            FAULTS.labels("worker.frame").inc()
            log.exception("frame.failed")
            self._connection.end(has_vanished=True)

    def failed(self, code: int) -> None:
        """End the connection: what follows on the line cannot be read."""
        if code == Close.FRAME_TOO_LARGE.websocket_code and not self._connection.is_closed:
            CLOSED.labels(Close.FRAME_TOO_LARGE.code).inc()
        self._connection.fail(code)

    def lost(self) -> None:
        """Let go of everything: the line has ended."""
        self._connection.end()
        if self._on_left is not None:
            self._on_left(self)
        self._line = self._on_left = None
        self._services.background.start(self._session.closed(), name="worker.leave")

    # ------------------------------------------------------------ for the heartbeat

    def was_heard(self) -> bool:
        """Return whether anything came since this was asked last."""
        if self._line is None:
            return False
        is_heard, self._line.is_heard = self._line.is_heard, False
        return is_heard

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._connection.ping()

    def cut_off(self) -> None:
        """Hang up: there was none."""
        self._connection.end(has_vanished=True)

    # ------------------------------------------------------------ inside

    def _serve(self, message: WSMessage) -> None:
        if message.type is WSMsgType.CLOSE:
            self._connection.end()
        elif self._connection.is_closed:
            pass  # until the peer answers our close frame
        elif message.type is WSMsgType.BINARY:
            self._handle(message.data)
        elif message.type is WSMsgType.TEXT:
            self._session.refused(WireError("frames are binary"))
        elif message.type is WSMsgType.PING:
            self._connection.pong(message.data)

    def _handle(self, data: bytes) -> None:
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
        if self._in_order is None:
            self._in_order = asyncio.Lock()
        self._services.background.start(self._run(command, self._in_order), name="worker.command")

    async def _run(self, command: Command, in_order: asyncio.Lock) -> None:
        try:
            async with in_order:
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
