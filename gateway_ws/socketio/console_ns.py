"""`/console`: the page of dispatchers and admins."""

from typing import Any, ClassVar

from engine.core.vocabulary import Role
from engine.people.tokens import Principal
from gateway_ws.console_session import ConsoleSession
from gateway_ws.live_map.hub import MapHub
from gateway_ws.live_map.view import Box
from gateway_ws.services import Services
from gateway_ws.socketio.connection import SocketIoConnection
from gateway_ws.socketio.namespace import SessionNamespace


class ConsoleNamespace(SessionNamespace[ConsoleSession]):
    """Consoles choose what to see."""

    roles: ClassVar = frozenset({Role.DISPATCHER, Role.ADMIN})
    events: ClassVar = frozenset({"view", "token"})

    def __init__(self, namespace: str, services: Services, hub: MapHub) -> None:
        super().__init__(namespace, services)
        self._hub = hub

    def session(self, principal: Principal, token: str, connection: SocketIoConnection) -> ConsoleSession:
        """Return a new session."""
        session = ConsoleSession(principal, connection, self._services)
        self._hub.add(session)
        return session

    async def leave(self, session: ConsoleSession) -> None:
        """Let the map forget the console."""
        await self._hub.remove(session)

    async def handle(self, session: ConsoleSession, event: str, body: Any) -> dict[str, Any]:  # noqa: ANN401
        """Choose the view."""
        box = Box.parse(body)
        await session.note_look()
        await self._hub.look(session, box)
        return {}
