"""What the three namespaces of Socket.IO share: signing in, taking events apart, answering, refusing."""

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

import socketio
import structlog

from config.limits import COMMANDS_PENDING_MAX
from engine.core.errors import ClenzyError, NotAllowed, TooMany, Unavailable, WireError
from engine.core.ids import PersonId
from engine.core.vocabulary import Role
from engine.people.tokens import Principal
from gateway_ws.closing import Close, UnknownType
from gateway_ws.engineio.session import EngineSession
from gateway_ws.fan_out import resume_point
from gateway_ws.fan_out.resume_point import ResumePoint
from gateway_ws.metrics import FRAMES
from gateway_ws.raw import wire
from gateway_ws.registry import Session
from gateway_ws.services import Services
from gateway_ws.session import PhoneSession
from gateway_ws.socketio.connection import SocketIoConnection

log = structlog.get_logger(__name__)

_NONCE_BYTES = 9
"""Random part of a `pid`: two connections of a person never share one."""


class NamespaceSession(Session, Protocol):
    """What a namespace needs of its sessions."""

    def resume_from(self, point: ResumePoint | None) -> None:
        """Continue there."""
        ...

    async def prepare(self) -> bool:
        """Listen; return whether all that the client missed can be told."""
        ...

    async def open(self) -> None:
        """Start."""
        ...

    async def closed(self) -> None:
        """End: the connection is gone."""
        ...

    def refresh(self, token: str) -> None:
        """Take a fresh token."""
        ...

    def refused(self, error: ClenzyError) -> None:
        """Tell the client of a refused message."""
        ...


SomeSession = TypeVar("SomeSession", bound=NamespaceSession)


@dataclass(slots=True)
class Entry(Generic[SomeSession]):
    """One client in a namespace."""

    session: SomeSession
    connection: SocketIoConnection
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    in_order: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    pid: str | None = None


class SessionNamespace(socketio.AsyncNamespace, Generic[SomeSession]):
    """One namespace. Events of `unordered` run beside the others, a few at a time; all others one after another."""

    roles: ClassVar[frozenset[Role]]
    events: ClassVar[frozenset[str]]
    unordered: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, namespace: str, services: Services) -> None:
        super().__init__(namespace)
        self._services = services
        self._entries: dict[str, Entry[SomeSession]] = {}

    @abstractmethod
    def session(self, principal: Principal, token: str, connection: SocketIoConnection) -> SomeSession:
        """Return a new session for a client that signed in."""

    @abstractmethod
    async def handle(self, session: SomeSession, event: str, body: Any) -> dict[str, Any]:  # noqa: ANN401 - as received
        """Do what an event of `events` asks for and return its result.

        Raises:
            ClenzyError: refused, and why.
        """

    async def trigger_event(self, event: str, *args: Any) -> None:  # noqa: ANN401 - the library's signature
        """Handle the library's own two events; those of clients come through `receive`."""
        if event == "connect":
            sid, _environ, *auth = args
            await self._connect(sid, auth[0] if auth else None)
        elif event == "disconnect":
            await self._disconnect(args[0])

    async def receive(self, sid: str, eio_sid: str, ack_id: int | None, data: object) -> None:
        """Take one event of a client."""
        entry = self._entries.get(sid)
        if entry is None or entry.connection.is_closed:
            return
        match data:
            case [str(event), *arguments] if event in self.events:
                body = arguments[0] if arguments else {}
            case [str(event), *_]:
                await self._answer(entry, eio_sid, ack_id, UnknownType(f"there is no event {event[:40]!r}"))
                return
            case _:
                entry.session.refused(WireError("an event is an array that starts with its name"))
                return
        FRAMES.labels(event).inc()
        work = self._run(entry, eio_sid, ack_id, event, body)
        if event not in self.unordered:
            await work
        elif entry.waiting < COMMANDS_PENDING_MAX:
            entry.waiting += 1
            self._services.background.start(work, name="socketio.event")
        else:
            work.close()
            await self._answer(entry, eio_sid, ack_id, TooMany("wait for the answers to the events before"))

    def refuse(self, sid: str, error: ClenzyError) -> None:
        """Tell a client that one of its packets was refused."""
        entry = self._entries.get(sid)
        if entry is not None:
            entry.session.refused(error)

    async def receive_ping(self, sid: str, _data: bytes) -> None:
        """Take a ping frame that could not be taken at once."""
        self.refuse(sid, WireError("only workers send pings"))

    def pid(self, sid: str) -> str | None:
        """Return what a client's CONNECT is answered with besides its `sid`: the same as before means recovered."""
        entry = self._entries.get(sid)
        return None if entry is None else entry.pid

    async def _connect(self, sid: str, auth: object) -> None:
        fields: Mapping[str, Any] = auth if isinstance(auth, dict) else {}
        place = AsyncExitStack()
        try:
            await place.enter_async_context(self._services.arrivals.place())
        except Unavailable as error:
            later = wire.refusal_body(error, retry_after_ms=self._services.arrivals.sent_away())
            raise socketio.exceptions.ConnectionRefusedError(error.detail, later) from None
        try:
            match fields:
                case {"token": str(token)}:
                    principal = self._services.tokens.verify(token, self._services.clock.now_ms())
                case _:
                    raise NotAllowed("auth carries {token}")
            if principal.role not in self.roles:
                raise NotAllowed(f"{self.namespace} is not for the role {principal.role}")
            entry = self._enter(sid, principal, token)
        except ClenzyError as error:
            await place.aclose()
            raise socketio.exceptions.ConnectionRefusedError(error.detail, {"code": error.code}) from None
        try:
            await self._resume(entry, principal.person_id, fields)
        finally:
            self._services.background.start(self._open(entry, place), name="session.open")

    def _enter(self, sid: str, principal: Principal, token: str) -> Entry[SomeSession]:
        line: EngineSession | None = self.server.line(sid, self.namespace)
        if line is None:
            raise Unavailable
        if principal.slot is not None:
            self._services.table.ensure(principal.slot)
        connection = SocketIoConnection(self.server, self.namespace, sid, line, background=self._services.background)
        entry = Entry(self.session(principal, token, connection), connection)
        try:
            self._services.registry.add(entry.session)
        except TooMany:
            connection.mark_closed()
            raise
        self._entries[sid] = entry
        self.entered(entry, line)
        return entry

    async def _resume(self, entry: Entry[SomeSession], person_id: PersonId, auth: Mapping[str, Any]) -> None:
        """Find out whether the client can be told all that it missed: the answer to its CONNECT says so."""
        point = resume_point.from_auth(auth, person_id)
        entry.session.resume_from(point)
        if point is not None and await entry.session.prepare():
            entry.pid = auth["pid"]
        elif (epoch := await self._services.calls.epoch()) is not None:
            entry.pid = resume_point.new_pid(epoch, person_id, token_urlsafe(_NONCE_BYTES), auth)

    async def _open(self, entry: Entry[SomeSession], place: AsyncExitStack) -> None:
        try:
            async with place:
                await entry.session.open()
        except Exception:
            entry.session.close(Close.GOING_AWAY)  # without a welcome nothing would ever come
            raise
        finally:
            entry.is_open.set()

    async def _disconnect(self, sid: str) -> None:
        entry = self._entries.pop(sid, None)
        if entry is None:
            return
        entry.connection.mark_closed()
        await entry.is_open.wait()
        await self.leave(entry.session)
        await entry.session.closed()

    def entered(self, entry: Entry[SomeSession], line: EngineSession) -> None:
        """Take note that a client of this connection is in."""

    async def leave(self, session: SomeSession) -> None:
        """Take note that a session ends."""

    async def _run(self, entry: Entry[SomeSession], eio_sid: str, ack_id: int | None, event: str, body: object) -> None:
        try:
            outcome = await self._outcome(entry, event, body)
        finally:
            if event in self.unordered:
                entry.waiting -= 1
        await self._answer(entry, eio_sid, ack_id, outcome)

    async def _outcome(self, entry: Entry[SomeSession], event: str, body: object) -> dict[str, Any] | ClenzyError:
        await entry.is_open.wait()
        try:
            if event == "token":
                return self._refresh(entry, body)
            if event == "safetap":
                return await _trigger(cast("PhoneSession", entry.session), body)
            if event not in self.unordered:
                return await self.handle(entry.session, event, body)
            async with entry.in_order:
                return await self.handle(entry.session, event, body)
        except ClenzyError as error:
            return error

    async def _answer(
        self, entry: Entry[SomeSession], eio_sid: str, ack_id: int | None, outcome: dict[str, Any] | ClenzyError
    ) -> None:
        if entry.connection.is_closed:
            return
        if isinstance(outcome, ClenzyError):
            if ack_id is None or isinstance(outcome, (WireError, UnknownType, TooMany)):
                entry.session.refused(outcome)
            answer: dict[str, Any] = {"ok": False, "error": wire.refusal_body(outcome)}
        else:
            answer = {"ok": True, "result": outcome}
        if ack_id is not None:
            await self.server.answer(eio_sid, self.namespace, ack_id, answer)

    def _refresh(self, entry: Entry[SomeSession], body: object) -> dict[str, Any]:
        match body:
            case {"token": str(token)}:
                pass
            case _:
                raise WireError("token carries {token}", field="token")
        try:
            entry.session.refresh(token)
        except NotAllowed as error:
            entry.connection.close(Close.NOT_ALLOWED, error.detail)
        return {}


async def _trigger(session: PhoneSession, body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise WireError("a trigger is an object")
    return (await session.trigger(body)).body
