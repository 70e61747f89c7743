"""A worker's phone on `/ws/ping`: pings that survive a lost connection, commands, events, the silent trigger.

Frames sit in a window until they are acknowledged and go out again, unchanged, on the next connection. Fixes taken
while there is no connection wait in a backlog. Both are bounded: the oldest fixes are dropped and counted. Fixes are
gathered where the server asks for that, and put right by its clock when they go into a frame.
"""

import asyncio
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

import aiohttp

from sim.client import wire
from sim.client.backoff import Backoff
from sim.client.clock import ClockCheck, wall_ms
from sim.client.errors import ClientFailure, Disconnected, Refused, SignedOut, WireFault
from sim.client.rest import Account

HELLO_TIMEOUT_S: Final = 10.0
COMMAND_TIMEOUT_S: Final = 6.0
TRIGGER_ANSWER_S: Final = 2.0
"""A trigger that was not answered by then is sent again."""
HEARTBEAT_S: Final = 30.0
CLOSE_TIMEOUT_S: Final = 2.0
WINDOW_FRAMES_MAX: Final = 1_000
BACKLOG_FIXES_MAX: Final = 2_000
CADENCE_MS_DEFAULT: Final = 5_000
COMMITTED: Final = 2

NOT_SIGNED_IN: Final = 4401
FINAL_CLOSE_CODES: Final = {4403: "not_allowed", 4408: "abuse", 4409: "replaced"}
"""After these coming back would only repeat the refusal."""


class Listener(Protocol):
    """Who uses the socket. Called on the event loop; must not block.

    What happened while there was no connection comes before the welcome, once and in order, where the server can tell.
    """

    def on_welcome(self, state: Mapping[str, Any]) -> None:
        """Take the worker's present state: after every (re)connection, and when events may have been missed."""

    def on_event(self, name: str, body: Mapping[str, Any]) -> None:
        """Take an event."""

    def on_ack(self, seq: int, fixes: int, latency_ms: float) -> None:
        """Learn that the frame `seq` of `fixes` fixes was acknowledged `latency_ms` after it was last sent."""


@dataclass(slots=True)
class SocketCounts:
    """What one phone did, in fixes and frames."""

    connects: int = 0
    losses: int = 0
    frames_sent: int = 0
    fixes_posted: int = 0
    fixes_sent: int = 0
    """Transmissions: a fix that was sent again counts again."""
    fixes_resent: int = 0
    fixes_acknowledged: int = 0
    """Distinct fixes of acknowledged frames."""
    fixes_dropped: int = 0
    fixes_in_refused_frames: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    """Frames refused, by code."""
    wire_faults: int = 0
    """Messages of the server that the protocol does not know; each ends its connection."""
    close_codes: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class _Sent:
    seq: int
    frame: bytes
    fixes: int
    at_s: float


class WorkerSocket:
    """One phone. `run` keeps it connected until it is cancelled or the server sends it away for good."""

    def __init__(  # noqa: PLR0913 - the parts of a phone, by keyword
        self,
        *,
        http: aiohttp.ClientSession,
        gateway_url: str,
        account: Account,
        listener: Listener,
        first_seq: int = 1,
        gate: asyncio.Semaphore | None = None,
        backoff: Backoff | None = None,
        client: str = "clenzy-sim",
        gathers: bool = False,
        now_ms: Callable[[], int] = wall_ms,
        fix_time_scale: float = 1.0,
    ) -> None:
        """`gathers`: keep to the server's `batch_ms`; False: send each fix at once, as who measures or replays must.

        `now_ms` is the phone's own clock, by which the fixes were taken, and `fix_time_scale` how much faster than it
        theirs runs.
        """
        self._http = http
        self._url = gateway_url.rstrip("/").replace("http", "ws", 1) + "/ws/ping"
        self.account = account
        self._listener = listener
        self._seq = first_seq - 1
        self._gate = gate or asyncio.Semaphore(1)
        self._backoff = backoff or Backoff()
        self._client = client
        self.counts = SocketCounts()
        self.slot: int | None = None
        self.cadence_ms = self.batch_ms = CADENCE_MS_DEFAULT
        self._gathers = gathers
        self._gathered = bytearray()
        self._batch_due: asyncio.TimerHandle | None = None
        self._now_ms = now_ms
        self._fix_time_scale = fix_time_scale
        self.clock_behind_ms = 0
        """How far the phone's clock is behind the server's; 0 where that may be the network's delay."""
        self.ended: str | None = None
        """Why the server sent this phone away for good; None while it may come back."""
        self.connected = asyncio.Event()
        self._token = ""
        self._place: wire.Place | None = None
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._window: deque[_Sent] = deque()
        self._backlog = bytearray()
        self._outgoing: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._command_id = 0
        self._settled = asyncio.Event()
        self._settled.set()
        self._alarm_committed = asyncio.Event()

    # What the phone's owner does

    def post(self, records: bytes) -> int:
        """Send whole fix records (any number); return the number of the last frame they went into.

        While there is no connection, or fixes are gathered, they wait, and the number is that of the newest frame
        before them.
        """
        fixes = len(records) // wire.FIX_BYTES
        self.counts.fixes_posted += fixes
        if not self.connected.is_set():
            self._hold_back(records)
        elif self._gathers and self.batch_ms > self.cadence_ms:
            self._gather(records)
        else:
            self._frame_up(records)
        if fixes:
            self._settled.clear()
        return self._seq

    async def command(
        self, name: str, body: Mapping[str, Any], *, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> dict[str, Any]:
        """Return the server's answer to one command. It is never repeated here: the caller looks at the state first.

        Raises:
            Refused: the server refused it.
            Disconnected: no connection, or it was lost, or no answer in time.
        """
        if not self.connected.is_set():
            raise Disconnected("not connected")
        self._command_id += 1
        command_id = self._command_id
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[command_id] = answer
        self._send(wire.command(command_id, name, body))
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise Disconnected(f"no answer to {name} within {timeout_s} s") from None
        finally:
            self._answers.pop(command_id, None)

    async def raise_alarm(self, kind: str, *, record: bytes | None = None, trigger_id: UUID | None = None) -> UUID:
        """Send the silent trigger until it is committed; return its id. Only cancellation ends it earlier."""
        trigger_id = trigger_id or uuid4()
        self._alarm_committed.clear()
        while not self._alarm_committed.is_set():
            await self.connected.wait()
            fix = record and wire.shifted(record, self._fixes_behind_ms)
            self._send(wire.trigger(self._next_seq(), trigger_id, kind, record=fix))
            try:
                async with asyncio.timeout(TRIGGER_ANSWER_S):
                    await self._alarm_committed.wait()
            except TimeoutError:
                continue
        return trigger_id

    async def keep_token_fresh(self) -> None:
        """Put a newer access token on the open connection once the present one is near its end."""
        if not self.connected.is_set():
            return
        token = await self.account.access_token()
        if token != self._token and self.connected.is_set():
            self._token = token
            self._send(wire.fresh_token(token))

    def cut(self) -> None:
        """End the line below the websocket, as a phone that loses its network: no close frame is sent."""
        line = None if self._ws is None else self._ws.get_extra_info("socket")
        if line is not None:
            with socket.socket(fileno=os.dup(line.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits for an acknowledgement."""
        return self._settled.is_set()

    async def settled(self) -> None:
        """Wait until every posted fix is acknowledged, dropped or in a refused frame."""
        await self._settled.wait()

    # The connection

    async def run(self) -> None:
        """Stay connected. Returns when the server sends the phone away for good (`ended` says why)."""
        while self.ended is None:
            try:
                await self._connection()
            except SignedOut as gone:
                self.ended = gone.code
            except (ClientFailure, aiohttp.ClientError, OSError, TimeoutError) as failure:
                self.counts.losses += 1
                self._backoff.look_at(failure)
            if self.ended is None:
                await asyncio.sleep(self._backoff.next_s())

    async def _connection(self) -> None:
        async with self._gate:
            self._token = await self.account.access_token()
            ws = await self._http.ws_connect(
                self._url,
                max_msg_size=1 << 20,
                heartbeat=HEARTBEAT_S,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
            )
            try:
                welcome = await self._hello(ws)
            except BaseException:
                await ws.close()
                raise
        self._ws = ws
        try:
            self._went_live(welcome)
            await self._converse(ws)
        finally:
            self._ws = None
            self._went_dark()
            await ws.close()
        await self._look_at_close_code(ws.close_code)

    async def _hello(self, ws: aiohttp.ClientWebSocketResponse) -> wire.Welcome:
        check = ClockCheck(self._now_ms())
        await ws.send_bytes(wire.hello(self._token, self._client, self._place))
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            while True:
                message = await ws.receive()
                if message.type is not aiohttp.WSMsgType.BINARY:
                    await self._look_at_close_code(ws.close_code)
                    raise Disconnected("closed before the welcome")
                frame = wire.decode(message.data)
                if isinstance(frame, wire.Welcome):
                    self.clock_behind_ms = check.behind_ms(int(frame.state["server_ms"]), self._now_ms())
                    return frame
                self._take(frame)

    async def _converse(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        """Read and write until the connection ends."""
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(ws))
            await self._read(ws)
            writer.cancel()

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        async for message in ws:
            try:
                self._take(wire.decode(message.data if message.type is aiohttp.WSMsgType.BINARY else b""))
            except WireFault:
                self.counts.wire_faults += 1
                await ws.close(code=aiohttp.WSCloseCode.PROTOCOL_ERROR)

    async def _write(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._outgoing:
                    await ws.send_bytes(self._outgoing.popleft())
        except (aiohttp.ClientError, OSError):
            await ws.close()

    async def _look_at_close_code(self, code: int | None) -> None:
        if code is None:
            return
        self.counts.close_codes[code] += 1
        if code == NOT_SIGNED_IN:
            await self.account.refreshed(instead_of=self._token)
        self.ended = FINAL_CLOSE_CODES.get(code)

    def _went_live(self, welcome: wire.Welcome) -> None:
        self.counts.connects += 1
        self._backoff.reset()
        self._outgoing.clear()
        self.connected.set()
        self._send_window_again()
        backlog, self._backlog = bytes(self._backlog), bytearray()
        self._frame_up(backlog)
        self._take_welcome(welcome)

    def _went_dark(self) -> None:
        self.connected.clear()
        self._hold_back(self._take_gathered())
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Disconnected("the connection was lost"))
        self._answers.clear()

    # Frames out

    @property
    def _fixes_behind_ms(self) -> int:
        return round(self.clock_behind_ms * self._fix_time_scale)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _send(self, frame: bytes) -> None:
        self._outgoing.append(frame)
        self._wake.set()

    def _gather(self, records: bytes) -> None:
        self._gathered += records
        if len(self._gathered) >= wire.FIXES_PER_FRAME_MAX * wire.FIX_BYTES:
            self._send_gathered()
        elif self._batch_due is None:
            self._batch_due = asyncio.get_running_loop().call_later(self.batch_ms / 1000, self._send_gathered)

    def _send_gathered(self) -> None:
        self._frame_up(self._take_gathered())

    def _take_gathered(self) -> bytes:
        if self._batch_due is not None:
            self._batch_due.cancel()
            self._batch_due = None
        gathered, self._gathered = bytes(self._gathered), bytearray()
        return gathered

    def _frame_up(self, records: bytes) -> None:
        records = wire.shifted(records, self._fixes_behind_ms)
        step = wire.FIXES_PER_FRAME_MAX * wire.FIX_BYTES
        for start in range(0, len(records), step):
            chunk = records[start : start + step]
            seq = self._next_seq()
            sent = _Sent(seq, wire.ping(seq, chunk), len(chunk) // wire.FIX_BYTES, time.perf_counter())
            self._window.append(sent)
            self._transmit(sent)
        while len(self._window) > WINDOW_FRAMES_MAX:
            self.counts.fixes_dropped += self._window.popleft().fixes

    def _transmit(self, sent: _Sent) -> None:
        self.counts.frames_sent += 1
        self.counts.fixes_sent += sent.fixes
        self._send(sent.frame)

    def _send_window_again(self) -> None:
        now_s = time.perf_counter()
        for sent in self._window:
            sent.at_s = now_s
            self.counts.fixes_resent += sent.fixes
            self._transmit(sent)

    def _hold_back(self, records: bytes) -> None:
        self._backlog += records
        surplus = len(self._backlog) - BACKLOG_FIXES_MAX * wire.FIX_BYTES
        if surplus > 0:
            del self._backlog[:surplus]
            self.counts.fixes_dropped += surplus // wire.FIX_BYTES

    # Frames in

    def _take(self, frame: wire.ServerFrame) -> None:
        match frame:
            case wire.Ack():
                self._take_ack(frame)
            case wire.Event():
                self._place = self._place and self._place.after(frame.offset)
                self._listener.on_event(frame.name, frame.body)
            case wire.Answer():
                self._take_answer(frame)
            case wire.FrameRefused():
                self._take_refusal(frame)
            case wire.Cadence():
                self._keep_to(frame)
            case wire.Welcome():
                self._take_welcome(frame)

    def _take_welcome(self, welcome: wire.Welcome) -> None:
        self.slot = welcome.slot
        self._place = wire.Place.of_welcome(welcome.state)
        self._keep_to(wire.Cadence.of(welcome.state))
        self._listener.on_welcome(welcome.state)

    def _keep_to(self, cadence: wire.Cadence) -> None:
        self.cadence_ms, self.batch_ms = cadence.cadence_ms, cadence.batch_ms
        if self._gathered:
            self._send_gathered()  # somebody watches now, or soon will not

    def _take_ack(self, ack: wire.Ack) -> None:
        now_s = time.perf_counter()
        window = self._window
        while window and window[0].seq <= ack.seq:
            sent = window.popleft()
            self.counts.fixes_acknowledged += sent.fixes
            self._listener.on_ack(sent.seq, sent.fixes, (now_s - sent.at_s) * 1000)
        if ack.alarm == COMMITTED:
            self._alarm_committed.set()
        self._check_settled()

    def _take_answer(self, answer: wire.Answer) -> None:
        waiting = self._answers.get(answer.command_id)
        if waiting is None or waiting.done():
            return
        if answer.ok:
            waiting.set_result(answer.body)
        else:
            waiting.set_exception(Refused.from_body(answer.body))

    def _take_refusal(self, refusal: wire.FrameRefused) -> None:
        if refusal.retry_after_ms is not None:
            self._backoff.come_back_after(refusal.retry_after_ms / 1000)
            return
        self.counts.refusals[refusal.code] += 1
        for sent in self._window:
            if sent.seq == refusal.seq:
                self.counts.fixes_in_refused_frames += sent.fixes
                self._window.remove(sent)
                break
        self._check_settled()

    def _check_settled(self) -> None:
        if not self._window and not self._backlog and not self._gathered:
            self._settled.set()
