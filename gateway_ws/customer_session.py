"""One connected customer: their bookings, and where the worker is while that is theirs to see."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.limits import SESSION_STATE_TIMEOUT_MS
from engine.outbox.history import Position
from engine.people.tokens import Principal
from gateway_ws.connection import Connection
from gateway_ws.fan_out.event_line import Told
from gateway_ws.fan_out.message import Message
from gateway_ws.jobs import FOLLOWED_STATES, WATCHED_STATES
from gateway_ws.services import Services
from gateway_ws.session import NOWHERE, PhoneSession


@dataclass(frozen=True, slots=True)
class Followed:
    """A booking whose worker's topic is listened to."""

    version: int
    is_watched: bool
    """The worker may be seen: what comes before is dropped."""


class CustomerSession(PhoneSession):
    """Follows the bookings that can still change, and the workers on their way to them."""

    kind = "customer"

    def __init__(self, principal: Principal, token: str, connection: Connection, services: Services) -> None:
        super().__init__(principal, token, connection, services)
        self._followed: dict[str, Followed] = {}
        """By booking, from its assignment on: so that nothing is missed once the worker sets off."""

    async def closed(self) -> None:
        """Let go of everything."""
        self._services.registry.remove(self)
        await self._services.fan_out.unsubscribe(self.topic, self._hear)
        for booking_id in list(self._followed):
            await self._unfollow(booking_id)

    async def _state(self) -> tuple[Position, list[dict[str, Any]]]:
        return await self._services.calls.customer_snapshot(self.principal.person_id)

    def _welcome(self, state: list[dict[str, Any]], place: dict[str, Any]) -> None:
        for booking in state:
            self._follow(booking)
        for booking_id in set(self._followed) - {str(booking["booking_id"]) for booking in state}:
            del self._followed[booking_id]
            self._services.background.start(self._unfollow(booking_id), name="customer.watch")
        self._connection.welcome({"bookings": state, **place})

    def _welcome_without_state(self) -> None:
        self._connection.welcome({"bookings": [], **NOWHERE})

    def _hear_position(self, message: Message) -> None:
        topic = message.topic
        booking_id = topic.removeprefix("booking:")
        # The gateway of the worker may learn of a new state a moment before or after us: never outside of these.
        followed = self._followed.get(booking_id)
        if followed is not None and followed.is_watched:
            self._connection.latest(topic, "position", message.json(), shared=message.encodings)

    def _tell(self, told: Told) -> None:
        if told.kind == "booking":
            self._follow(told.body)
        self._connection.event(told.kind, told.body, told.seq, shared=told.shared)

    def _follow(self, booking: Mapping[str, Any]) -> None:
        booking_id, version = str(booking["booking_id"]), int(booking["version"])
        followed = self._followed.get(booking_id)
        if followed is not None and version < followed.version:
            return
        start = self._services.background.start
        if (state := booking["state"]) in FOLLOWED_STATES:
            self._followed[booking_id] = Followed(version, state in WATCHED_STATES)
            if followed is None:
                start(self._listen_to(booking_id), name="customer.watch")
        elif followed is not None:
            start(self._unfollow(booking_id), name="customer.watch")

    async def _listen_to(self, booking_id: str) -> None:
        fan_out, topic = self._services.fan_out, f"booking:{booking_id}"
        await fan_out.subscribe(topic, self._hear_position, timeout_ms=SESSION_STATE_TIMEOUT_MS)
        if self._connection.is_closed or booking_id not in self._followed:
            await fan_out.unsubscribe(topic, self._hear_position)

    async def _unfollow(self, booking_id: str) -> None:
        self._followed.pop(booking_id, None)
        await self._services.fan_out.unsubscribe(f"booking:{booking_id}", self._hear_position)
