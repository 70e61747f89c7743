"""What the sessions of the gateway share: who speaks, a fresh token, refusals that become abuse, events held back."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from config.limits import OUTBOX_FRAMES_MAX
from engine.core.errors import ClenzyError, NotAllowed, Unavailable
from engine.people.tokens import Principal
from gateway_ws.budget import BadFrames
from gateway_ws.closing import Close
from gateway_ws.connection import Connection
from gateway_ws.message import Message
from gateway_ws.safetap_client import TriggerAnswer
from gateway_ws.services import Services

SomeConnection = TypeVar("SomeConnection", bound=Connection)


class OpenSession(Generic[SomeConnection]):
    """One connected person. Lives as long as the connection."""

    def __init__(self, principal: Principal, connection: SomeConnection, services: Services) -> None:
        self.principal = principal
        self._connection = connection
        self._services = services
        self._bad_frames = BadFrames()

    def close(self, reason: Close, detail: str = "", *, retry_after_ms: int | None = None) -> None:
        """End the connection."""
        self._connection.close(reason, detail, retry_after_ms=retry_after_ms)

    def refresh(self, token: str) -> None:
        """Take a fresh access token of the same person.

        Raises:
            NotSignedIn: the token is not valid.
            NotAllowed: it is somebody else's, or of somebody who has changed sides.
        """
        principal = self._services.tokens.verify(token, self._services.clock.now_ms())
        if _side(principal) != _side(self.principal):
            raise NotAllowed("this token belongs to somebody else")
        self.principal = principal

    def refused(self, error: ClenzyError, seq: int | None = None) -> None:
        """Tell the client that a frame was refused, and end the connection where that becomes abuse."""
        self._connection.refuse(error, seq)
        if isinstance(error, Unavailable):
            return  # our fault, not the sender's
        if self._bad_frames.add(self._services.clock.now_ms()):
            self._connection.close(Close.ABUSE, "too many refused frames")


class PhoneSession(OpenSession[Connection], ABC):
    """A customer or a worker: hears events of their own, may raise the silent alarm.

    Between the subscription and the welcome events are held, so that the welcome is never older than what follows it.
    """

    def __init__(self, principal: Principal, token: str, connection: Connection, services: Services) -> None:
        super().__init__(principal, connection, services)
        self._token = token
        self._topic = f"user:{principal.person_id}"
        self._held: list[tuple[str, dict[str, Any]]] | None = []

    def refresh(self, token: str) -> None:
        """Take a fresh access token of the same person, also for alarms to come."""
        super().refresh(token)
        self._token = token

    async def trigger(self, body: Mapping[str, Any]) -> TriggerAnswer:
        """Forward a trigger in SafeTap's own form.

        Raises:
            ClenzyError: SafeTap refused it, or is not there.
        """
        return await self._services.safetap.trigger(body, self._token)

    @abstractmethod
    def _tell(self, kind: str, body: dict[str, Any]) -> None:
        """Take note of an event and send it."""

    def _hear(self, message: Message) -> None:
        event = message.json()
        self._take(event["kind"], event["body"])

    def _take(self, kind: str, body: dict[str, Any]) -> None:
        if self._held is not None and len(self._held) < OUTBOX_FRAMES_MAX:
            self._held.append((kind, body))
        else:
            self._tell(kind, body)

    def _hold(self) -> None:
        """Keep events back from now on."""
        if self._held is None:
            self._held = []

    def _release(self) -> None:
        """Send what was kept back, and everything later at once."""
        held, self._held = self._held or [], None
        for kind, body in held:
            self._tell(kind, body)


def _side(principal: Principal) -> tuple[object, ...]:
    return principal.person_id, principal.slot, principal.is_desk
