"""One dispatcher's console: events of the organisation, the live map of a view, figures."""

from collections.abc import Mapping
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import structlog

from config.limits import LIVE_READS_MAX, MAP_LOOK_MS
from engine.core.errors import Unavailable
from engine.core.ids import IncidentId
from engine.outbox.history import Position
from engine.people.tokens import Principal
from engine.safetap.live_reads import LiveRead
from gateway_ws.fan_out.event_line import Told
from gateway_ws.fan_out.message import Encodings
from gateway_ws.live_map.columns import LiveMap
from gateway_ws.live_map.view import MapView, ViewState
from gateway_ws.services import Services
from gateway_ws.session import NOWHERE, OpenSession
from gateway_ws.socketio.connection import SocketIoConnection

log = structlog.get_logger(__name__)

_MAP = "map"

MadeFrames: TypeAlias = dict[ViewState, tuple[MapView, bytes | None, Encodings]]
"""State of a view -> the view whose frame was made, the frame, its encodings."""


class ConsoleSession(OpenSession[SocketIoConnection]):
    """Sees what the organisation's desk may see."""

    kind = "console"

    def __init__(self, principal: Principal, connection: SocketIoConnection, services: Services) -> None:
        super().__init__(principal, connection, services, f"desk:{principal.org_id}")
        self.view: MapView | None = None
        self._look_noted_ms: int | None = None
        self._socket_id = uuid4()
        self._incidents_shown: set[IncidentId] = set()

    async def closed(self) -> None:
        """Let go of everything."""
        self._services.registry.remove(self)
        await self._services.fan_out.unsubscribe(self.topic, self._hear)

    def show(self, live: LiveMap, now_ms: int, made: MadeFrames) -> None:
        """Send the next frame of the map; a console that has not taken the last one gets one less.

        `made`: the frames of this moment. Consoles that look at the same, as on a wall of screens, share one.
        """
        if self.view is None or self._connection.is_waiting(_MAP):
            return
        state = self.view.state
        if state in made:
            leader, frame, shared = made[state]
            self.view.follow(leader)
        else:
            frame, shared = self.view.frame(live, now_ms), Encodings()
            made[state] = self.view, frame, shared
        if frame is not None:
            self._connection.latest(_MAP, _MAP, frame, shared=shared)

    async def note_look(self) -> None:
        """Record that this console looks at the map, once in `limits.MAP_LOOK_MS` however it is moved.

        With Postgres away the desk still sees where its people are: what could not be recorded is logged instead.
        """
        now_ms = self._services.clock.now_ms()
        if self._look_noted_ms is not None and now_ms - self._look_noted_ms < MAP_LOOK_MS:
            return
        try:
            await self._services.calls.note_map_look(self.principal)
        except Unavailable:
            log.warning("map.look_not_recorded", person_id=str(self.principal.person_id))
            return
        self._look_noted_ms = now_ms

    def tell_figures(self, figures: Mapping[str, Any], shared: Encodings) -> None:
        """Send `stats`."""
        self._connection.latest("stats", "stats", figures, shared=shared)

    async def _state(self) -> tuple[Position, None]:
        return await self._services.calls.position(), None

    def _welcome(self, state: None, place: Mapping[str, Any]) -> None:
        del state  # a console reads its lists over REST
        self._connection.welcome({"server_ms": self._services.clock.now_ms(), **place})

    def _welcome_without_state(self) -> None:
        self._welcome(None, NOWHERE)

    def _tell(self, told: Told) -> None:
        self._connection.event(told.kind, told.body, told.seq, shared=told.shared)
        if told.kind == "incident":
            self._note_incident(IncidentId(UUID(told.body["incident_id"])))

    def _note_incident(self, incident_id: IncidentId) -> None:
        """Have recorded that this console shows an incident, once however often it changes."""
        if incident_id in self._incidents_shown:
            return
        if len(self._incidents_shown) >= LIVE_READS_MAX:
            self._incidents_shown.clear()
        self._incidents_shown.add(incident_id)
        read = LiveRead(incident_id, self.principal.person_id, self._socket_id, self._services.clock.now_ms())
        self._services.background.start(self._note_live_read(read), name="console.look")

    async def _note_live_read(self, read: LiveRead) -> None:
        try:
            await self._services.calls.note_live_read(read)
        except Unavailable:
            self._incidents_shown.discard(read.incident_id)  # its next frame is a look, too
            log.warning("incident.look_not_recorded", person_id=str(read.actor_id))
