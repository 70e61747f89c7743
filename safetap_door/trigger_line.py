"""The short way of a trigger: from the line to the lanes, without a router, a parser of everything and a task each.

A connection begins here. What is not exactly a trigger's request in one piece is handed to the full server with every
byte that came, and so is one that will be refused; what follows on that connection goes there too. One request at a
time is answered.

Who has proved to be somebody on this connection, and our own processes, are served when they speak. All others share
`limits.STRANGERS_TURN_MS` of each `limits.STRANGERS_TICK_MS`, whatever they send and in whichever form: first those
from whose address no stranger has come, so that a phone's first call does not wait behind a forger's thousandth.

Strangers are answered `limits.UNVERIFIED_ANSWER_MS` after they came. They wait in one queue in which nothing overtakes,
so that five thousand of them cost one look at the clock.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from time import thread_time_ns
from typing import Final, cast

import orjson
import structlog

from config.limits import CONNECTION_IDLE_MS, STRANGERS_TICK_MS, TRIGGER_BYTES_MAX, UNVERIFIED_ANSWER_MS
from engine.core.crash_point import crash_point
from engine.core.errors import ClenzyError, InvalidInput, NotSignedIn
from engine.core.problem import PROBLEM_TYPE, problem_fields, problem_headers
from engine.core.vocabulary import Acknowledgement, Door
from engine.safetap.forwarding import DEVICE_SCHEME
from engine.safetap.metrics import ACKNOWLEDGED_IN, TRIGGERS
from engine.safetap.senders import KEY_SCHEME, Sender, Shown, Stranger
from engine.safetap.trigger import Trigger, parse_trigger
from safetap_door.problems import error_of
from safetap_door.routes import (
    STATUS_OF,
    TRIGGERING_ROLES,
    DoorServices,
    named_door,
    received_trigger,
    source_of,
    take_unverified,
)
from safetap_door.strangers_turns import Provable, StrangersTurns
from safetap_door.trigger_request import TriggerRequest, read_trigger_request

log = structlog.get_logger(__name__)

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
UNREAD_BYTES_MAX: Final = 2 * TRIGGER_BYTES_MAX
"""Of requests behind the one that is being answered; the line is not read beyond."""


class TriggerLine(Provable):
    """One connection."""

    def __init__(self, lines: "TriggerLines") -> None:
        self._lines = lines
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._is_busy = False
        self._is_paused = False
        self._request: TriggerRequest | None = None
        self._full: asyncio.Protocol | None = None
        self.is_forwarded = False
        self.peer: str | None = None
        self.heard_at_ns = 0

    @property
    def is_busy(self) -> bool:
        """Whether a request waits for its turn or its answer."""
        return self._is_busy

    @property
    def is_handed_over(self) -> bool:
        """Whether the full server reads this connection."""
        return self._full is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who it is."""
        self._transport = cast("asyncio.Transport", transport)
        connection = transport.get_extra_info("socket")
        self.is_forwarded = connection is not None and connection.family == socket.AF_UNIX
        peer = transport.get_extra_info("peername")
        self.peer = source_of(peer[0]) if peer and not self.is_forwarded else None
        self._lines.add(self)

    def data_received(self, data: bytes) -> None:
        """Take a request, or keep it until the one before it is answered."""
        self._unread += data
        if not self._is_busy:
            self._is_busy = True
            self._lines.arrived(self)
        elif len(self._unread) > UNREAD_BYTES_MAX and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool | None:
        """Tell the full server, where it reads this connection."""
        return None if self._full is None else self._full.eof_received()

    def pause_writing(self) -> None:
        """Tell the full server, where it writes here."""
        if self._full is not None:
            self._full.pause_writing()

    def resume_writing(self) -> None:
        """Tell the full server, where it writes here."""
        if self._full is not None:
            self._full.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it; what was taken stays taken."""
        self._transport = None
        self._lines.forget(self)
        if self._full is not None:
            self._full.connection_lost(exc)

    def request(self) -> TriggerRequest | None:
        """Return the request that waits, if it is of the one form."""
        if self._request is None and self._full is None:
            self._request = read_trigger_request(self._unread)
        return self._request

    def serve(self) -> None:
        """Read what came: its turn has come."""
        if self._full is not None:
            self._pass_on(self._full)
            return
        request = self.request()
        if request is None or not self._lines.take(self, request):
            self._hand_over()
        else:
            self._unread = self._unread[request.size :]
            self._request = None

    def answer(self, response: bytes) -> None:
        """Answer the request that was taken, and go on."""
        self._is_busy = False
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(response)
        self._resume()
        if self._unread:
            self._is_busy = True
            self._lines.arrived(self)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def _resume(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def _hand_over(self) -> None:
        self._is_busy = False
        if self._transport is None:
            return
        self._lines.forget(self)
        self._request = None
        self._full = self._lines.full_server()
        self._full.connection_made(self._transport)
        self._pass_on(self._full)

    def _pass_on(self, full: asyncio.Protocol) -> None:
        self._is_busy = False
        unread, self._unread = self._unread, b""
        if self._transport is not None:
            self._resume()
            full.data_received(unread)


class TriggerLines:
    """All connections that are still here. Makes them (it is a protocol factory); `tasks` owns what takes longer."""

    def __init__(
        self,
        services: DoorServices,
        *,
        full_server: Callable[[], asyncio.Protocol],
        tasks: asyncio.TaskGroup,
        origins: frozenset[str],
        headers: Mapping[str, str],
    ) -> None:
        """`headers` stand in every answer."""
        self.full_server = full_server
        self._services = services
        self._tasks = tasks
        self._origins = origins
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._lines: set[TriggerLine] = set()
        self._strangers: deque[tuple[int, TriggerLine, bytes]] = deque()
        self._turns = StrangersTurns(thread_time_ns)

    def __call__(self) -> TriggerLine:
        """Return what serves a new connection."""
        return TriggerLine(self)

    def add(self, line: TriggerLine) -> None:
        """Take note of a new connection."""
        line.heard_at_ns = self._services.clock.steady_ns()
        self._lines.add(line)

    def forget(self, line: TriggerLine) -> None:
        """Take note that a connection has ended, or is somebody else's."""
        self._lines.discard(line)

    def arrived(self, line: TriggerLine) -> None:
        """Serve a connection that has brought something: now, or when it is strangers' turn."""
        if line.is_forwarded or line.is_proved or self._knows(line):
            line.serve()
        else:
            self._turns.take(line)

    def _knows(self, line: TriggerLine) -> bool:
        """Whether what it shows is somebody's whom we remember: as much as to read it costs, and no signature."""
        request = line.request()
        return request is not None and self._services.senders.remember(_shown(line, request))

    def take(self, line: TriggerLine, request: TriggerRequest) -> bool:
        """Take a trigger; `False`: it is one that will be refused, or nobody here knows how it is shown."""
        services = self._services
        line.heard_at_ns = started_ns = services.clock.steady_ns()
        now_ms = services.clock.now_ms()
        shown = _shown(line, request)
        try:
            trigger = parse_trigger(request.body)
            sender = services.senders.tell_now(shown, now_ms)
        except (InvalidInput, NotSignedIn):
            return False
        if sender is None or (isinstance(sender, Sender) and sender.role not in TRIGGERING_ROLES):
            return False
        crash_point("after_parse")
        line.is_proved = isinstance(sender, Sender)
        door = named_door(request.door) if line.is_forwarded else Door.DIRECT
        if isinstance(sender, Stranger):
            self._turns.suspect(line.peer)
            take_unverified(services, trigger, sender, door, shown.source)
            TRIGGERS.labels(door.value, Acknowledgement.RECEIVED.value).inc()
            response = self._response(trigger, Acknowledgement.RECEIVED, request.origin)
            self._strangers.append((started_ns + UNVERIFIED_ANSWER_MS * NS_PER_MS, line, response))
        else:
            self._tasks.create_task(self._commit(line, trigger, sender, door, request.origin, now_ms, started_ns))
        return True

    async def tell_strangers(self) -> None:
        """Answer whose time has come, and hang up on who says nothing, until cancelled."""
        clock = self._services.clock
        swept_ns = clock.steady_ns()
        while True:
            await clock.sleep_ms(STRANGERS_TICK_MS)
            now_ns = clock.steady_ns()
            self._turns.begin()
            while self._strangers and self._strangers[0][0] <= now_ns and self._turns.has_time():
                _, line, response = self._strangers.popleft()
                crash_point("before_answer")
                line.answer(response)
                self._turns.charge()
            self._turns.serve()
            if now_ns - swept_ns >= NS_PER_S:
                swept_ns = now_ns
                self._hang_up(before_ns=now_ns - CONNECTION_IDLE_MS * NS_PER_MS)

    async def close(self, *, stop_ms: float) -> None:
        """Let what was taken be answered, and hang up."""
        started_ns = self._services.clock.steady_ns()
        while any(line.is_busy for line in self._lines):
            if self._services.clock.steady_ns() - started_ns > stop_ms * NS_PER_MS:
                break
            await self._services.clock.sleep_ms(STRANGERS_TICK_MS)
        for line in list(self._lines):
            line.close()

    def _hang_up(self, *, before_ns: int) -> None:
        for line in [line for line in self._lines if line.heard_at_ns < before_ns and not line.is_busy]:
            line.close()

    async def _commit(
        self, line: TriggerLine, trigger: Trigger, sender: Sender, door: Door, origin: str, now_ms: int, started_ns: int
    ) -> None:
        outcome = "refused"
        try:
            acknowledgement = await self._services.intake.take(
                received_trigger(self._services, trigger, sender, door, now_ms)
            )
            outcome = acknowledgement.value
            response = self._response(trigger, acknowledgement, origin)
            ACKNOWLEDGED_IN.observe((self._services.clock.steady_ns() - started_ns) / NS_PER_S)
        except Exception as error:  # noqa: BLE001 - where an error becomes an answer, as in the full server
            response = self._refusal(error_of(error), origin)
        finally:
            TRIGGERS.labels(door.value, outcome).inc()
        crash_point("before_answer")
        line.answer(response)

    def _response(self, trigger: Trigger, acknowledgement: Acknowledgement, origin: str) -> bytes:
        body = orjson.dumps({"trigger_id": trigger.trigger_id, "state": acknowledgement.value})
        return self._written(STATUS_OF[acknowledgement], "application/json", body, origin, {})

    def _refusal(self, error: ClenzyError, origin: str) -> bytes:
        body = orjson.dumps(problem_fields(error))
        return self._written(error.status, PROBLEM_TYPE, body, origin, problem_headers(error))

    def _written(self, status: int, content_type: str, body: bytes, origin: str, headers: Mapping[str, str]) -> bytes:
        own = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        allowed = f"Access-Control-Allow-Origin: {origin}\r\n" if origin and origin in self._origins else ""
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\nVary: Origin\r\n{allowed}{own}{self._headers}\r\n"
        )
        return head.encode() + body


def _shown(line: TriggerLine, request: TriggerRequest) -> Shown:
    scheme, _, credential = request.authorization.partition(" ")
    if scheme == DEVICE_SCHEME and not line.is_forwarded:
        scheme = KEY_SCHEME  # a tracker's token is good behind the gateway alone, which has checked it
    source = (source_of(request.source) if request.source else None) if line.is_forwarded else line.peer
    return Shown(scheme, credential.strip(), request.body, source)
