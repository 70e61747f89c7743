"""`/customer`: a customer's phone or page."""

from typing import Any, ClassVar

from engine.core.errors import WireError
from engine.core.vocabulary import Role
from engine.people.tokens import Principal
from gateway_ws.closing import UnknownType
from gateway_ws.customer_session import CustomerSession
from gateway_ws.socketio.connection import SocketIoConnection
from gateway_ws.socketio.namespace import SessionNamespace


class CustomerNamespace(SessionNamespace[CustomerSession]):
    """Customers only listen; what they send is a fresh token, an alarm, or that all is well."""

    roles: ClassVar = frozenset({Role.CUSTOMER})
    events: ClassVar = frozenset({"check.in", "safetap", "token"})
    unordered: ClassVar = frozenset({"check.in", "safetap"})

    def session(self, principal: Principal, token: str, connection: SocketIoConnection) -> CustomerSession:
        """Return a new session."""
        return CustomerSession(principal, token, connection, self._services)

    async def handle(self, session: CustomerSession, event: str, body: Any) -> dict[str, Any]:  # noqa: ANN401
        """Take the answer to a check-in; there is nothing else to ask for."""
        if event != "check.in":
            raise UnknownType(f"there is no event {event!r}")
        if not isinstance(body, dict):
            raise WireError("an event carries one object")
        return await session.check_in(body)
