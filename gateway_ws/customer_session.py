"""One connected customer: their bookings, and where the worker is while that is theirs to see."""

from collections.abc import Mapping
from typing import Any

from config.limits import SESSION_STATE_TIMEOUT_MS
from engine.outbox.history import Position
from engine.people.tokens import Principal
from gateway_ws.connection import Connection
from gateway_ws.event_line import Told
from gateway_ws.jobs import WATCHED_STATES
from gateway_ws.message import Message
from gateway_ws.services import Services
from gateway_ws.session import NOWHERE, PhoneSession


class CustomerSession(PhoneSession):
    """Follows the bookings that can still change, and the workers on their way to them."""

    kind = "customer"

    def __init__(self, principal: Principal, token: str, connection: Connection, services: Services) -> None:
        super().__init__(principal, token, connection, services)
        self._watched: dict[str, int] = {}
        """Booking -> its version, while its worker may be seen."""

    async def closed(self) -> None:
        """Let go of everything."""
        self._services.registry.remove(self)
        await self._services.fan_out.unsubscribe(self.topic, self._hear)
        for booking_id in list(self._watched):
            await self._unwatch(booking_id)

    async def _state(self) -> tuple[Position, list[dict[str, Any]]]:
        return await self._services.calls.customer_snapshot(self.principal.person_id)

    def _welcome(self, state: list[dict[str, Any]], place: dict[str, Any]) -> None:
        for booking in state:
            self._follow(booking)
        for booking_id in set(self._watched) - {str(booking["booking_id"]) for booking in state}:
            del self._watched[booking_id]
            self._services.background.start(self._unwatch(booking_id), name="customer.watch")
        self._connection.welcome({"bookings": state, **place})

    def _welcome_without_state(self) -> None:
        self._connection.welcome({"bookings": [], **NOWHERE})

    def _hear_position(self, message: Message) -> None:
        topic = message.topic
        booking_id = topic.removeprefix("booking:")
        # The gateway of the worker may learn of a new state a moment after us: never after the end.
        if booking_id in self._watched:
            self._connection.latest(topic, "position", message.json(), shared=message.encodings)

    def _tell(self, told: Told) -> None:
        if told.kind == "booking":
            self._follow(told.body)
        self._connection.event(told.kind, told.body, told.seq, shared=told.shared)

    def _follow(self, booking: Mapping[str, Any]) -> None:
        booking_id, version = str(booking["booking_id"]), int(booking["version"])
        is_watched = booking_id in self._watched
        if is_watched and version < self._watched[booking_id]:
            return
        start = self._services.background.start
        if booking["state"] in WATCHED_STATES:
            self._watched[booking_id] = version
            if not is_watched:
                start(self._watch(booking_id), name="customer.watch")
        elif is_watched:
            start(self._unwatch(booking_id), name="customer.watch")

    async def _watch(self, booking_id: str) -> None:
        fan_out, topic = self._services.fan_out, f"booking:{booking_id}"
        await fan_out.subscribe(topic, self._hear_position, timeout_ms=SESSION_STATE_TIMEOUT_MS)
        if self._connection.is_closed or booking_id not in self._watched:
            await fan_out.unsubscribe(topic, self._hear_position)

    async def _unwatch(self, booking_id: str) -> None:
        self._watched.pop(booking_id, None)
        await self._services.fan_out.unsubscribe(f"booking:{booking_id}", self._hear_position)
