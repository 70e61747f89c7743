"""One connected customer: their bookings, and where the worker is while that is theirs to see."""

from collections.abc import Mapping
from typing import Any

import orjson

from config.limits import OUTBOX_FRAMES_MAX, SESSION_STATE_TIMEOUT_MS
from engine.core.errors import ClenzyError, NotAllowed, Unavailable
from engine.people.tokens import Principal
from gateway_ws.budget import BadFrames
from gateway_ws.closing import Close
from gateway_ws.connection import Connection
from gateway_ws.jobs import WATCHED_STATES
from gateway_ws.safetap_client import DoorAnswer
from gateway_ws.services import Services


class CustomerSession:
    """Lives as long as its connection."""

    kind = "customer"

    def __init__(self, principal: Principal, token: str, connection: Connection, services: Services) -> None:
        self.principal = principal
        self._token = token
        self._connection = connection
        self._services = services
        self._bad_frames = BadFrames()
        self._topic = f"user:{principal.person_id}"
        self._watched: dict[str, int] = {}
        """Booking -> its version, while its worker may be seen."""
        self._held: list[tuple[str, dict[str, Any]]] | None = []

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

    def close(self, reason: Close, detail: str = "") -> None:
        """End the connection."""
        self._connection.close(reason, detail)

    async def reload(self) -> bool:
        """Read the bookings from Postgres and welcome again; events that come meanwhile are sent after it."""
        if self._held is None:
            self._held = []
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

    def refresh(self, token: str) -> None:
        """Take a fresh access token of the same person.

        Raises:
            NotSignedIn: the token is not valid.
            NotAllowed: it is somebody else's.
        """
        principal = self._services.tokens.verify(token, self._services.clock.now_ms())
        if principal.person_id != self.principal.person_id:
            raise NotAllowed("this token belongs to somebody else")
        self.principal = principal
        self._token = token

    def refused(self, error: ClenzyError) -> None:
        """Tell the client that a message was refused, and end the connection where that becomes abuse."""
        self._connection.refuse(error)
        if self._bad_frames.add(self._services.clock.now_ms()):
            self._connection.close(Close.ABUSE, "too many refused messages")

    async def trigger(self, body: Mapping[str, Any]) -> DoorAnswer:
        """Forward a trigger.

        Raises:
            ClenzyError: SafeTap refused it, or is not there.
        """
        return await self._services.safetap.trigger(body, self._token)

    def _hear(self, _topic: str, payload: bytes) -> None:
        event = orjson.loads(payload)
        if self._held is not None and len(self._held) < OUTBOX_FRAMES_MAX:
            self._held.append((event["kind"], event["body"]))
        else:
            self._tell(event["kind"], event["body"])

    def _hear_position(self, topic: str, payload: bytes) -> None:
        booking_id = topic.removeprefix("booking:")
        # The gateway of the worker may learn of a new state a moment after us: never after the end.
        if booking_id in self._watched:
            self._connection.latest(topic, "position", orjson.loads(payload))

    def _tell(self, kind: str, body: dict[str, Any]) -> None:
        if kind == "booking":
            self._follow(body)
        self._connection.event(kind, body)

    def _release(self) -> None:
        held, self._held = self._held or [], None
        for kind, body in held:
            self._tell(kind, body)

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
