"""`/worker`: a worker's phone over Socket.IO, the same session as the raw websocket's."""

from typing import Any, ClassVar

from config.limits import FIXES_PER_FRAME_MAX
from engine.core.errors import WireError
from engine.core.vocabulary import Role
from engine.geo.fixes import payload_of_objects
from engine.people.tokens import Principal
from gateway_ws.closing import TooManyFixes
from gateway_ws.namespace import SessionNamespace
from gateway_ws.socketio_connection import SocketIoConnection
from gateway_ws.wire import SEQ_MAX, check_fixes
from gateway_ws.worker_session import WorkerSession

_COMMANDS = frozenset({"duty", "offer.accept", "offer.decline", "booking.transition", "state"})


class WorkerNamespace(SessionNamespace[WorkerSession]):
    """Pings stay in order; commands and alarms wait for their stores beside them."""

    roles: ClassVar = frozenset({Role.WORKER})
    events: ClassVar = _COMMANDS | {"ping", "safetap", "token"}
    unordered: ClassVar = _COMMANDS | {"safetap"}

    def session(self, principal: Principal, token: str, connection: SocketIoConnection) -> WorkerSession:
        """Return a new session."""
        return WorkerSession(principal, token, connection, self._services)

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


def _ping(body: dict[str, Any]) -> tuple[int, bytes]:
    seq, fixes = body.get("seq"), body.get("fixes")
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq <= SEQ_MAX:
        raise WireError("seq is an unsigned integer", field="seq")
    if isinstance(fixes, list):
        if len(fixes) > FIXES_PER_FRAME_MAX:
            raise TooManyFixes(f"a ping holds at most {FIXES_PER_FRAME_MAX} fixes", field="fixes")
        return seq, payload_of_objects(fixes)
    return seq, check_fixes(fixes)
