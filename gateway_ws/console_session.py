"""One dispatcher's console: events of the organisation, the live map of a view, figures."""

from collections.abc import Mapping
from typing import Any

from config.limits import SESSION_STATE_TIMEOUT_MS
from engine.people.tokens import Principal
from gateway_ws.live_map import LiveMap
from gateway_ws.map_view import MapView
from gateway_ws.message import Message
from gateway_ws.services import Services
from gateway_ws.session import OpenSession
from gateway_ws.socketio_connection import SocketIoConnection

_MAP = "map"


class ConsoleSession(OpenSession[SocketIoConnection]):
    """Sees what the organisation's desk may see."""

    kind = "console"

    def __init__(self, principal: Principal, connection: SocketIoConnection, services: Services) -> None:
        super().__init__(principal, connection, services)
        self.view: MapView | None = None
        self._topic = f"desk:{principal.org_id}"

    async def open(self) -> None:
        """Listen to the organisation's desk."""
        await self._services.fan_out.subscribe(self._topic, self._hear, timeout_ms=SESSION_STATE_TIMEOUT_MS)
        self._connection.welcome({"server_ms": self._services.clock.now_ms()})

    async def closed(self) -> None:
        """Let go of everything."""
        self._services.registry.remove(self)
        await self._services.fan_out.unsubscribe(self._topic, self._hear)

    async def reload(self) -> bool:
        """Tell the console that it may have missed events: it reads its lists again over REST."""
        self._connection.welcome({"server_ms": self._services.clock.now_ms()})
        return True

    def show(self, live: LiveMap, now_ms: int) -> None:
        """Send the next frame of the map; a console that has not taken the last one gets one less."""
        if self.view is None or self._connection.is_waiting(_MAP):
            return
        frame = self.view.frame(live, now_ms)
        if frame is not None:
            self._connection.latest(_MAP, _MAP, frame)

    def tell_figures(self, figures: Mapping[str, Any]) -> None:
        """Send `stats`."""
        self._connection.latest("stats", "stats", figures)

    def _hear(self, message: Message) -> None:
        event = message.json()
        self._connection.event(event["kind"], event["body"], shared=message.encodings)
