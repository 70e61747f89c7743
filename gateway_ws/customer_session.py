"""One connected customer: their bookings, and where the worker is while that is theirs to see."""

from collections.abc import Mapping
from typing import Any

from config.limits import SESSION_STATE_TIMEOUT_MS
from engine.core.errors import Unavailable
from engine.people.tokens import Principal
from gateway_ws.connection import Connection
from gateway_ws.jobs import WATCHED_STATES
from gateway_ws.message import Message
from gateway_ws.services import Services
from gateway_ws.session import PhoneSession


class CustomerSession(PhoneSession):
    """Follows the bookings that can still change, and the workers on their way to them."""

    kind = "customer"

    def __init__(self, principal: Principal, token: str, connection: Connection, services: Services) -> None:
        super().__init__(principal, token, connection, services)
        self._watched: dict[str, int] = {}
        """Booking -> its version, while its worker may be seen."""

    async def open(self) -> None:
        """Listen, load the bookings and welcome."""
        await self._services.fan_out.subscribe(self._topic, self._hear, timeout_ms=SESSION_STATE_TIMEOUT_MS)
        if not await self.reload():
            self._connection.welcome({"bookings": []})
            self._services.registry.needs_reload(self)

    async def closed(self) -> None:
        """Let go of everything."""
        self._services.registry.remove(self)
        await self._services.fan_out.unsubscribe(self._topic, self._hear)
        for booking_id in list(self._watched):
            await self._unwatch(booking_id)

    async def reload(self) -> bool:
        """Read the bookings from Postgres and welcome again; events that come meanwhile are sent after it."""
        self._hold()
        try:
            bookings = await self._services.calls.customer_bookings(self.principal.person_id)
        except Unavailable:
            self._release()
            return False
        for booking in bookings:
            self._follow(booking)
        for booking_id in set(self._watched) - {str(booking["booking_id"]) for booking in bookings}:
            await self._unwatch(booking_id)
        self._connection.welcome({"bookings": bookings})
        self._release()
        return True

    def _hear_position(self, message: Message) -> None:
        topic = message.topic
        booking_id = topic.removeprefix("booking:")
        # The gateway of the worker may learn of a new state a moment after us: never after the end.
        if booking_id in self._watched:
            self._connection.latest(topic, "position", message.json(), shared=message.encodings)

    def _tell(self, kind: str, body: dict[str, Any]) -> None:
        if kind == "booking":
            self._follow(body)
        self._connection.event(kind, body)

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
