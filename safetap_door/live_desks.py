"""The desks' live stream of incidents: a snapshot, then every change, whoever made it.

Fed by Postgres alone, so that a desk sees an alarm while Redis and the gateway are away. A notification only says which
incident changed; what is sent is read afterwards, so that many changes at once become one message.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID, uuid4

import aiohttp
import orjson
import structlog
from aiohttp import hdrs, web

from config.limits import (
    HELLO_TIMEOUT_MS,
    LISTEN_PROBE_MS,
    LIVE_CLOSE_MS,
    LIVE_FRAMES_MAX,
    LIVE_HEARTBEAT_MS,
    LIVE_LOOKS_MAX,
    LIVE_PAUSE_MS,
    LIVE_SOCKETS_MAX,
    LIVE_STANDING_MS,
    TOKEN_GRACE_MS,
    TRIGGER_BYTES_MAX,
)
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Connection, Pool
from engine.core.errors import ClenzyError, InvalidInput, NotAllowed, NotSignedIn, Unavailable
from engine.core.ids import IncidentId, OrgId, PersonId
from engine.core.units import MS_PER_S
from engine.outbox.durable_loop import keep_running
from engine.outbox.listener import Wake
from engine.people.accounts import load_standing
from engine.people.tokens import AccessTokens, Principal
from engine.safetap.incident_views import incidents_by_org, live_incidents
from engine.safetap.metrics import LIVE_DESKS
from engine.safetap.spooled_alarms import SpooledAlarms
from engine.safetap.trigger import ReceivedTrigger
from safetap_door.armed import heard, left
from safetap_door.desk_looks import DeskLooks
from safetap_door.strangers_turns import note_proof

log = structlog.get_logger(__name__)

GOING_AWAY: Final = 1001
CLOSE_CODES: Final[Mapping[str, int]] = {"not_signed_in": 4401, "not_allowed": 4403}
MALFORMED: Final = 4400
SLOW_READER: Final = 4410


@dataclass(eq=False, slots=True)
class Desk:
    """One live socket. `end` may be called from anywhere; the socket's own handler does the closing."""

    org_id: OrgId
    principal: Principal
    outbox: "asyncio.Queue[str]" = field(default_factory=lambda: asyncio.Queue(LIVE_FRAMES_MAX))
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    close_code: int = aiohttp.WSCloseCode.OK
    close_reason: str = ""
    desk_id: UUID = field(default_factory=uuid4)
    """Names this socket among the armed desks."""
    seen: set[IncidentId] = field(default_factory=set)
    """What it has shown, as far as it has been noted."""

    def send(self, message: str) -> None:
        """Queue a message; a desk that does not keep up is closed, and sees everything again when it comes back."""
        try:
            self.outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.end(SLOW_READER, "slow_reader")

    def end(self, code: int, reason: str) -> None:
        """Ask for the socket to be closed; the first reason stands."""
        if not self.ended.is_set():
            self.close_code, self.close_reason = code, reason
            self.ended.set()


class LiveDesks:
    """All live sockets of this door. `changed` is the handler of `clenzy_incident`; `run` must run beside."""

    def __init__(
        self,
        *,
        pool: Pool,
        clock: Clock,
        tokens: AccessTokens,
        origins: frozenset[str],
        name_of: Callable[[PersonId], str | None],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._tokens = tokens
        self._origins = origins
        self._desks: set[Desk] = set()
        self._newcomers: set[Desk] = set()
        self._changed: set[IncidentId] = set()
        self._is_stale = False
        self._spooled = SpooledAlarms(name_of)
        self._looks = DeskLooks(pool=pool, clock=clock)
        self._wake = Wake()
        self._watch_news: str | None = None

    @property
    def sockets(self) -> int:
        """How many desks are being served."""
        return len(self._desks) + len(self._newcomers)

    def changed(self, payload: str) -> None:
        """Take note of one changed incident; an empty payload means that changes may have been missed."""
        if payload:
            self._changed.add(IncidentId(UUID(payload)))
        else:
            self._is_stale = True
        self._wake.set()

    def spooled(self, received: ReceivedTrigger) -> None:
        """Show an alarm that Postgres does not have yet, at once and from memory."""
        row = self._spooled.add(received)
        if row is not None:
            self._send_to_org(received.org_id, _text({"type": "incident", "incident": row}))

    def settled(self, received: ReceivedTrigger, incident_id: IncidentId | None) -> None:
        """Let the committed incident take the place of the row from memory."""
        replaced = self._spooled.settle(received, incident_id)
        if replaced is not None:
            self._send_to_org(
                replaced.org_id,
                _text({"type": "replaced", "incident_id": replaced.incident_id, "by": replaced.by}),
            )

    def show_watch(self, news: Mapping[str, object], *, is_well: bool) -> None:
        """Tell every desk which of our processes are missing; who comes later hears it unless all is well."""
        message = _text({"type": "watch", **news})
        self._watch_news = None if is_well else message
        for desk in self._desks:
            desk.send(message)

    async def run(self) -> None:
        """Show changes, and note who saw what, until cancelled, through restarts of Postgres."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._looks.run())
            await keep_running(self._round, name="live_desks", clock=self._clock, errors=POSTGRES_ERRORS)

    async def watch_standing(self) -> None:
        """Close the sockets of sign-ins that have ended, until cancelled."""
        await keep_running(self._end_revoked, name="live_standing", clock=self._clock, errors=POSTGRES_ERRORS)

    def end_all(self) -> None:
        """Ask every desk to connect again elsewhere."""
        for desk in (*self._desks, *self._newcomers):
            desk.end(GOING_AWAY, "going_away")

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one desk until either side ends it."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and origin not in self._origins:
            raise NotAllowed("Pages of this origin may not connect.")
        if self.sockets >= LIVE_SOCKETS_MAX:
            raise Unavailable("This door has all the desks that it can take.")
        socket = web.WebSocketResponse(
            max_msg_size=TRIGGER_BYTES_MAX,
            heartbeat=LIVE_HEARTBEAT_MS / MS_PER_S,
            timeout=LIVE_CLOSE_MS / MS_PER_S,
            compress=False,
        )
        await socket.prepare(request)
        try:
            principal = await self._hello(socket)
            await self._check_standing(principal)
        except ClenzyError as error:
            await _close(request, socket, CLOSE_CODES.get(error.code, MALFORMED), error.code)
            return socket
        note_proof(request)
        desk = Desk(principal.org_id, principal)
        await self._attend(desk, socket)
        await _close(request, socket, desk.close_code, desk.close_reason)
        return socket

    async def _hello(self, socket: web.WebSocketResponse) -> Principal:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_MS / MS_PER_S):
                message = await socket.receive()
        except TimeoutError:
            raise NotSignedIn("No token came.") from None
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise NotSignedIn("The first message is a token.")
        return self._verify(_fields(message.data))

    def _verify(self, fields: Mapping[str, object]) -> Principal:
        token = fields.get("token")
        if not isinstance(token, str):
            raise NotSignedIn
        principal = self._tokens.verify(token, self._clock.now_ms())
        if not principal.is_desk:
            raise NotAllowed("Incidents are the desk's.")
        return principal

    async def _check_standing(self, principal: Principal) -> None:
        """Refuse a sign-in that has ended, where Postgres says so in time.

        Raises:
            NotSignedIn: it has ended.
        """
        with suppress(*POSTGRES_ERRORS, TimeoutError):
            async with asyncio.timeout(LIVE_STANDING_MS / MS_PER_S), self._pool.acquire() as conn:
                if not all(await load_standing(conn, [principal])):
                    raise NotSignedIn("This sign-in has ended.")

    async def _end_revoked(self) -> None:
        await self._clock.sleep_ms(LIVE_STANDING_MS)
        desks = [*self._desks, *self._newcomers]
        if not desks:
            return
        async with self._pool.acquire() as conn:
            standing = await load_standing(conn, [desk.principal for desk in desks])
        for desk, stands in zip(desks, standing, strict=True):
            if not stands:
                desk.end(CLOSE_CODES["not_signed_in"], "not_signed_in")

    async def _attend(self, desk: Desk, socket: web.WebSocketResponse) -> None:
        """Show the present, then everything that changes, until the desk leaves or is asked to."""
        self._newcomers.add(desk)
        self._wake.set()
        self._looks.opened(desk.principal, desk.desk_id)
        LIVE_DESKS.set(self.sockets)
        try:
            async with asyncio.TaskGroup() as tasks:
                jobs = [
                    tasks.create_task(_write(desk, socket)),
                    tasks.create_task(self._read(desk, socket)),
                    tasks.create_task(self._expire(desk)),
                    tasks.create_task(desk.ended.wait()),
                ]
                await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
                for job in jobs:
                    job.cancel()
        finally:
            self._desks.discard(desk)
            self._newcomers.discard(desk)
            LIVE_DESKS.set(self.sockets)
            await left(self._pool, desk.desk_id)

    async def _read(self, desk: Desk, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                desk.end(MALFORMED, "malformed_frame")
                return
            try:
                await self._answer(desk, _fields(message.data))
            except InvalidInput:
                desk.end(MALFORMED, "malformed_frame")
                return
            except ClenzyError as error:
                desk.end(CLOSE_CODES.get(error.code, MALFORMED), error.code)
                return

    async def _answer(self, desk: Desk, fields: Mapping[str, object]) -> None:
        if fields.get("type") == "ping":
            desk.send(_text({"type": "pong", "at_ms": self._clock.now_ms()}))
        elif fields.get("type") == "armed":
            desk.send(_text({"type": "armed", **await heard(self._pool, desk.desk_id, desk.principal, fields)}))
        elif "token" in fields:
            principal = self._verify(fields)
            if principal.person_id != desk.principal.person_id:
                raise NotAllowed("A socket stays with who opened it.")
            desk.principal = principal

    async def _expire(self, desk: Desk) -> None:
        """Return when the desk's token, refreshed or not, has run out and the grace after it too."""
        while (left_ms := desk.principal.expires_at_ms + TOKEN_GRACE_MS - self._clock.now_ms()) > 0:
            await self._clock.sleep_ms(left_ms)
        desk.end(CLOSE_CODES["not_signed_in"], "not_signed_in")

    async def _round(self) -> None:
        """Show what has changed. One round at a time, so that nothing overtakes a snapshot that is being read."""
        await self._wake.wait(LISTEN_PROBE_MS)
        is_stale, self._is_stale = self._is_stale, False
        changed, self._changed = self._changed, set()
        if not (is_stale or changed or self._newcomers):
            return
        try:
            async with self._pool.acquire() as conn:
                await self._show(conn, changed)
                await self._show_everything(conn, set(self._desks if is_stale else ()) | self._newcomers)
            await self._clock.sleep_ms(LIVE_PAUSE_MS)
        except POSTGRES_ERRORS:
            self._is_stale = True
            self._wake.set()
            self._show_memory()
            raise

    async def _show_everything(self, conn: Connection, desks: set[Desk]) -> None:
        """Send snapshots; newcomers belong to the others from then on."""
        for org_id in {desk.org_id for desk in desks}:
            incidents = await live_incidents(conn, org_id=org_id)
            snapshot = _text({"type": "snapshot", "incidents": [*incidents, *self._unknown_to(incidents, org_id)]})
            for desk in desks:
                if desk.org_id == org_id:
                    desk.send(snapshot)
                    self._admit(desk)
                    self._saw(desk, [_id_of(incident) for incident in incidents])

    def _show_memory(self) -> None:
        """Show newcomers at least what this door knows; the whole follows when Postgres is back."""
        for desk in list(self._newcomers):
            rows = list(self._spooled.of(desk.org_id))
            desk.send(_text({"type": "snapshot", "incidents": rows, "is_partial": True}))
            self._admit(desk)

    def _unknown_to(self, incidents: list[dict[str, object]], org_id: OrgId) -> list[Mapping[str, object]]:
        """Return the rows from memory that are not among `incidents` yet."""
        known = {incident["incident_id"] for incident in incidents}
        return [row for row in self._spooled.of(org_id) if row["incident_id"] not in known]

    def _admit(self, desk: Desk) -> None:
        if desk in self._newcomers:  # else it has left, or is in already
            self._newcomers.discard(desk)
            self._desks.add(desk)
            if self._watch_news is not None:
                desk.send(self._watch_news)

    async def _show(self, conn: Connection, changed: set[IncidentId]) -> None:
        if not changed:
            return
        for org_id, incident in await incidents_by_org(conn, list(changed)):
            self._send_to_org(org_id, _text({"type": "incident", "incident": incident}))
            for desk in self._desks:
                if desk.org_id == org_id:
                    self._saw(desk, [_id_of(incident)])

    def _saw(self, desk: Desk, shown: Iterable[IncidentId]) -> None:
        """Have noted what this desk shows for the first time."""
        if len(desk.seen) > LIVE_LOOKS_MAX:
            desk.seen.clear()
        fresh = [incident_id for incident_id in shown if incident_id not in desk.seen]
        if fresh:
            desk.seen.update(fresh)
            self._looks.saw(desk.principal, desk.desk_id, fresh)

    def _send_to_org(self, org_id: OrgId, message: str) -> None:
        for desk in self._desks:
            if desk.org_id == org_id:
                desk.send(message)


async def _write(desk: Desk, socket: web.WebSocketResponse) -> None:
    with suppress(ConnectionResetError, aiohttp.ClientConnectionError):
        while True:
            await socket.send_str(await desk.outbox.get())


async def _close(request: web.Request, socket: web.WebSocketResponse, code: int, reason: str) -> None:
    """Close politely, and cut the line of who does not answer."""
    with suppress(TimeoutError, ConnectionResetError):
        async with asyncio.timeout(2 * LIVE_CLOSE_MS / MS_PER_S):
            await socket.close(code=code, message=reason.encode())
            return
    if request.transport is not None:
        request.transport.abort()


def _fields(text: str) -> Mapping[str, object]:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidInput("A message is a JSON object.") from None
    if not isinstance(fields, dict):
        raise InvalidInput("A message is a JSON object.")
    return fields


def _id_of(incident: Mapping[str, object]) -> IncidentId:
    return IncidentId(UUID(str(incident["incident_id"])))


def _text(message: Mapping[str, object]) -> str:
    return orjson.dumps(message).decode()
