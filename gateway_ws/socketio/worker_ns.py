"""`/worker`: a worker's phone over Socket.IO, the same session as the raw websocket's."""

from functools import partial
from typing import Any, ClassVar, Final

from config.limits import FIXES_PER_FRAME_MAX
from engine.core.errors import ClenzyError, WireError
from engine.core.vocabulary import Role
from engine.geo.fixes import payload_of_objects
from engine.people.tokens import Principal
from gateway_ws.closing import TooManyFixes
from gateway_ws.engineio.session import EngineSession
from gateway_ws.metrics import FRAMES
from gateway_ws.raw.wire import SEQ_MAX, check_fixes
from gateway_ws.socketio import ping_frame
from gateway_ws.socketio.connection import SocketIoConnection
from gateway_ws.socketio.namespace import Entry, SessionNamespace
from gateway_ws.worker_session import WorkerSession

_PING_FRAMES: Final = FRAMES.labels("ping frame")
_COMMANDS = frozenset({"duty", "offer.accept", "offer.decline", "booking.transition", "check.in", "state"})


class WorkerNamespace(SessionNamespace[WorkerSession]):
    """Pings stay in order; commands and alarms wait for their stores beside them."""

    roles: ClassVar = frozenset({Role.WORKER})
    events: ClassVar = _COMMANDS | {"ping", "safetap", "token"}
    unordered: ClassVar = _COMMANDS | {"safetap"}

    def session(self, principal: Principal, token: str, connection: SocketIoConnection) -> WorkerSession:
        """Return a new session."""
        return WorkerSession(principal, token, connection, self._services)

    def entered(self, entry: Entry[WorkerSession], line: EngineSession) -> None:
        """Have the ping frames of this connection from now on."""
        line.take_ping = partial(self._take_ping, entry, line)

    async def receive_ping(self, sid: str, data: bytes) -> None:
        """Take a ping frame that came before the session was open, or behind an event that is not handled yet."""
        entry = self._entries.get(sid)
        if entry is not None:
            await entry.is_open.wait()
            _ping_frame(entry, data)

    def _take_ping(self, entry: Entry[WorkerSession], line: EngineSession, data: bytes) -> bool:
        if not ping_frame.is_ping(data) or self.server.awaits_attachment(line.sid) or not entry.is_open.is_set():
            return False
        _ping_frame(entry, data)
        return True

    async def handle(self, session: WorkerSession, event: str, body: Any) -> dict[str, Any]:  # noqa: ANN401
        """Take a ping or run a command."""
        if not isinstance(body, dict):
            raise WireError("an event carries one object")
        if event != "ping":
            session.spend(1)
            return await session.command(event, body)
        seq, payload = _ping(body)
        session.fixes(seq, payload)
        return {}


def _ping_frame(entry: Entry[WorkerSession], data: bytes) -> None:
    if entry.connection.is_closed:
        return
    seq: int | None = None
    try:
        if ping_frame.is_trigger(data):
            entry.session.trigger_frame(ping_frame.decode_trigger(data))
            return
        _PING_FRAMES.inc()
        seq, payload = ping_frame.decode(data)
        entry.session.fixes(seq, payload)
    except ClenzyError as error:
        entry.session.refused(error, seq)


def _ping(body: dict[str, Any]) -> tuple[int, bytes]:
    seq, fixes = body.get("seq"), body.get("fixes")
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq <= SEQ_MAX:
        raise WireError("seq is an unsigned integer", field="seq")
    if isinstance(fixes, list):
        if len(fixes) > FIXES_PER_FRAME_MAX:
            raise TooManyFixes(f"a ping holds at most {FIXES_PER_FRAME_MAX} fixes", field="fixes")
        return seq, payload_of_objects(fixes)
    return seq, check_fixes(fixes)
