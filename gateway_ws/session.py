"""What the sessions of the gateway share: who speaks, a fresh token, refusals that become abuse, events in order."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from config.limits import SESSION_STATE_TIMEOUT_MS
from engine.core.errors import ClenzyError, NotAllowed, Unavailable
from engine.outbox.history import DurableEvent, History, Position
from engine.people.tokens import Principal
from gateway_ws.budget import BadFrames
from gateway_ws.closing import Close
from gateway_ws.connection import Connection
from gateway_ws.fan_out.event_line import EventLine, Told
from gateway_ws.fan_out.message import Message
from gateway_ws.fan_out.resume_point import ResumePoint
from gateway_ws.metrics import RECOVERIES
from gateway_ws.safetap_client import TriggerAnswer
from gateway_ws.services import Services

SomeConnection = TypeVar("SomeConnection", bound=Connection)

NOWHERE: Final = MappingProxyType({"recovered": False, "epoch": None, "offset": None})
"""What a welcome says of the client's place in the outbox while Postgres is away."""


class OpenSession(ABC, Generic[SomeConnection]):
    """One connected person. Lives as long as the connection.

    Its life: `prepare` (listen; read what a client that comes back has missed), `open` (send that, then welcome), then
    events as they are told. `reload` and `catch_up` close a gap later on: with a new welcome, or with what was missed.
    """

    def __init__(self, principal: Principal, connection: SomeConnection, services: Services, topic: str) -> None:
        self.principal = principal
        self.topic = topic
        self._connection = connection
        self._services = services
        self._bad_frames = BadFrames()
        self._line = EventLine()
        self._epoch: str | None = None
        self._resume: ResumePoint | None = None
        self._is_prepared = False
        self._missed: list[Told] | None = None
        """What a client that came back has missed, between `prepare` and `open`; None: it starts with a snapshot."""
        self._has_state = False
        self.is_open = False

    # ------------------------------------------------------------ durable events

    @property
    def position(self) -> int | None:
        """Up to which number of the outbox the client has everything; None before its first snapshot."""
        return self._line.position

    @property
    def is_behind(self) -> bool:
        """Whether events are held back until the outbox has been read."""
        return self._line.is_held

    @property
    def can_catch_up(self) -> bool:
        """Whether the missed events would do: the client has had a snapshot, or continues an earlier one."""
        return self._has_state

    def resume_from(self, point: ResumePoint | None) -> None:
        """Let the session continue where the client's last one stopped. To be called before `prepare`."""
        self._resume = point

    async def prepare(self) -> bool:
        """Listen, and look for what happened since the resume point; return whether all of that can be told."""
        self._is_prepared = True
        is_heard = await self._listen()
        self._line.begin(is_heard=is_heard)
        resume = self._resume
        if resume is None:
            return False
        with suppress(Unavailable):
            history = await self._services.calls.missed({self.topic: resume.offset})
            self._epoch = resume.epoch
            self._line.start_at(resume.offset)
            self._missed = self._fresh(history)
        RECOVERIES.labels(self.kind, "connect", "snapshot" if self._missed is None else "events").inc()
        return self._missed is not None

    async def open(self) -> None:
        """Send what was missed, or nothing, and welcome."""
        if not self._is_prepared:
            await self.prepare()
        if not await (self._start() if self._missed is None else self._continue(self._missed)):
            self._welcome_without_state()
        self.is_open = True
        if self._line.is_held:
            self._services.registry.needs_reload(self)

    async def reload(self) -> bool:
        """Read the state from Postgres and welcome again; return whether that worked."""
        self._line.begin(is_heard=self._services.fan_out.is_heard(self.topic))
        return await self._start()

    def interrupt(self) -> None:
        """Hold events back: some may be missing, until `reload` or `catch_up`."""
        self._line.interrupt()

    def expect(self) -> None:
        """Take note that the outbox is being read for `catch_up`."""
        self._line.begin(is_heard=self._services.fan_out.is_heard(self.topic))

    def catch_up(self, history: History) -> bool:
        """Send what was missed; return False where that is not all there any more."""
        missed = self._fresh(history)
        RECOVERIES.labels(self.kind, "gap", "events" if missed is not None else "snapshot").inc()
        if missed is None:
            return False
        self._send(missed)
        self._send(self._line.release())
        return True

    @property
    @abstractmethod
    def kind(self) -> str:
        """`worker`, `customer` or `console`."""

    @abstractmethod
    async def _state(self) -> tuple[Position, Any]:
        """Read a position, then the state, which thus holds everything up to there.

        Raises:
            Unavailable: Postgres is away.
        """

    @abstractmethod
    def _welcome(self, state: Any, place: dict[str, Any]) -> None:  # noqa: ANN401 - what `_state` of the same class read
        """Take over the state and send it, with `place`: `recovered`, `epoch` and `offset`."""

    @abstractmethod
    def _welcome_without_state(self) -> None:
        """Start a session while Postgres is away; the state follows."""

    @abstractmethod
    def _tell(self, told: Told) -> None:
        """Take note of an event and send it."""

    async def _listen(self) -> bool:
        """Subscribe; return whether that was confirmed."""
        return await self._services.fan_out.subscribe(self.topic, self._hear, timeout_ms=SESSION_STATE_TIMEOUT_MS)

    def _hear(self, message: Message) -> None:
        for told in self._line.hear(message.encodings.frame(Told, _told_by, message)):
            self._tell(told)

    def _send(self, events: Iterable[Told]) -> None:
        for told in events:
            self._tell(told)

    async def _start(self) -> bool:
        try:
            position, state = await self._state()
        except Unavailable:
            return False
        if self._connection.is_closed:
            return True
        self._epoch = position.epoch
        self._line.start_at(position.newest)
        self._has_state = True
        self._welcome(state, self._place(is_recovered=False))
        self._send(self._line.release())
        return True

    async def _continue(self, missed: list[Told]) -> bool:
        """Send what was missed before the welcome: a client that is cut off between them comes back for the rest."""
        self._missed = None
        self._send(missed)
        try:
            _, state = await self._state()
        except Unavailable:
            return False
        if self._connection.is_closed:
            return True
        self._has_state = True
        self._welcome(state, self._place(is_recovered=True))
        self._send(self._line.release())
        return True

    def _fresh(self, history: History) -> list[Told] | None:
        position = self._line.position
        if position is None or history.position.epoch != self._epoch:
            return None
        missed = history.after(self.topic, position)
        if missed is None:
            return None
        return self._line.catch_up(map(_told, missed), history.position.newest)

    def _place(self, *, is_recovered: bool) -> dict[str, Any]:
        return {"recovered": is_recovered, "epoch": self._epoch, "offset": self._line.position}

    # ------------------------------------------------------------ who speaks

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


class PhoneSession(OpenSession[Connection]):
    """A customer or a worker: hears events of their own, may raise the silent alarm."""

    def __init__(self, principal: Principal, token: str, connection: Connection, services: Services) -> None:
        super().__init__(principal, connection, services, f"user:{principal.person_id}")
        self._token = token

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

    async def check_in(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Say that all is well, or with a duress PIN that it is not: the answer is the same.

        Raises:
            ClenzyError: SafeTap refused it, or is not there.
        """
        return await self._services.safetap.check_in(body, self._token)


def _told(event: DurableEvent) -> Told:
    return Told(event.seq, event.kind, event.body)


def _told_by(message: Message) -> Told:
    event = message.json()
    return Told(event.get("seq"), event["kind"], event["body"], message.encodings)


def _side(principal: Principal) -> tuple[object, ...]:
    return principal.person_id, principal.slot, principal.is_desk
