"""One session of Engine.IO: a client that polls, that has a websocket, or that is on its way from one to the other.

What the socket takes is written to it at once. What it does not take waits: packets of the protocol itself here, events
in the outbox of their namespace, and both in their order.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from config.limits import CLOSE_TIMEOUT_MS, ENGINE_PACKETS_MAX, OUTBOX_BUFFER_BYTES_MAX
from engine.core.units import MS_PER_S
from gateway_ws.engineio.packets import CLOSE, NOOP, Packet, close_frame, payload_of, websocket_frame
from gateway_ws.fan_out.stalled import Stalled, StalledConnections
from gateway_ws.socketio.event import SocketIoEvent

_NORMAL_CLOSE = 1000


class Ended(StrEnum):
    """Why a session ended, in python-socketio's words."""

    BY_CLIENT = "client disconnect"
    BY_SERVER = "server disconnect"
    PING_TIMEOUT = "ping timeout"
    TRANSPORT_CLOSED = "transport close"
    TRANSPORT_FAILED = "transport error"


class SessionOwner(Protocol):
    """What a session needs of its server."""

    @property
    def stalled(self) -> StalledConnections:
        """Who looks at sessions whose packets wait."""
        ...

    def session_ended(self, session: "EngineSession", reason: Ended) -> None:
        """Take note that a session is over; called once."""
        ...


class EngineSession:
    """The connection of one client, shared by all namespaces that it entered."""

    __slots__ = (
        "_hang_up",
        "_owner",
        "_poll",
        "_transport",
        "_waiting",
        "_waiting_bytes",
        "ended",
        "in_work",
        "is_closed",
        "is_posting",
        "is_upgrading",
        "sid",
        "take_ping",
    )

    def __init__(self, sid: str, owner: SessionOwner) -> None:
        self.sid = sid
        self.is_closed = False
        self.is_upgrading = False
        self.is_posting = False
        self.in_work = 0
        """Messages that handlers are busy with: a ping that overtook one of them would break the order."""
        self.ended: Ended | None = None
        """Why it ended, until the handlers have been told."""
        self.take_ping: Callable[[bytes], bool] | None = None
        """Takes ping frames, once a worker has signed in."""
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[Packet] | None = None
        self._waiting_bytes = 0
        self._poll: asyncio.Future[None] | None = None
        self._hang_up: asyncio.TimerHandle | None = None

    @property
    def has_websocket(self) -> bool:
        """Whether the client left polling behind, or never polled."""
        return self._transport is not None

    def take_binary(self, data: bytes) -> bool:
        """Hand a binary message to who takes pings; return whether it was one."""
        return self.take_ping is not None and self.take_ping(data)

    # ------------------------------------------------------------ out

    @property
    def has_room(self) -> bool:
        """Whether the next event would be sent."""
        if self._transport is None:
            return self._waiting_bytes <= OUTBOX_BUFFER_BYTES_MAX
        return not self._waiting and _is_writable(self._transport)

    def offer(self, event: SocketIoEvent) -> bool:
        """Send an event where there is room; where there is none, return False: it waits with the caller."""
        transport = self._transport
        if self._waiting or transport is None:
            return self._offer_to_poll(event)
        if transport.is_closing():
            return True  # to nobody
        if transport.get_write_buffer_size() > OUTBOX_BUFFER_BYTES_MAX:
            return False
        transport.write(event.frames)
        return True

    def send(self, packet: Packet) -> None:
        """Send a packet of the protocol; a client that lets too many of them wait is cut off."""
        if self.is_closed:
            return
        transport = self._transport
        if transport is not None and self.has_room:
            transport.write(websocket_frame(packet))
            return
        if not self._put(packet):
            self.abort()
        elif transport is not None:
            self._owner.stalled.add(self)
        else:
            self._answer_poll()

    def wait(self, connection: Stalled) -> None:
        """Let `connection`, whose event was not taken, try again when there may be room."""
        self._owner.stalled.add(connection)

    def pump(self) -> bool:
        """Send on what waits here; return whether nothing does any more."""
        transport = self._transport
        while self._waiting and not self.is_closed and transport is not None and _is_writable(transport):
            transport.write(websocket_frame(self._take()))
        return self.is_closed or not self._waiting

    # ------------------------------------------------------------ polling

    @property
    def is_polled(self) -> bool:
        """Whether a poll waits for an answer right now."""
        return self._poll is not None

    async def poll(self) -> str:
        """Wait for packets and return them as the payload that answers a poll."""
        if not self._waiting and not self.is_upgrading and not self.is_closed:
            self._poll = asyncio.get_running_loop().create_future()
            try:
                await self._poll
            finally:
                self._poll = None
        packets = [] if self._waiting is None else list(self._waiting)
        self._waiting, self._waiting_bytes = None, 0
        return payload_of(packets or [NOOP])

    def start_upgrade(self) -> None:
        """A websocket knocked: polls are answered at once from now on, so that the client can leave them."""
        self.is_upgrading = True
        self._answer_poll()

    def use_websocket(self, transport: asyncio.Transport) -> None:
        """Write to a websocket from now on; what waited for a poll goes there first."""
        self._transport = transport
        self.is_upgrading = False
        self._answer_poll()
        if not self.pump():
            self._owner.stalled.add(self)

    # ------------------------------------------------------------ end

    def close(self, reason: Ended) -> None:
        """End the session; a second call changes nothing."""
        if self.is_closed:
            return
        if self._transport is not None:
            self._say_goodbye(self._transport)
        elif reason is not Ended.BY_CLIENT:
            self._append(CLOSE)
        self._end(reason)

    def abort(self) -> None:
        """Cut off a client that does not read."""
        if self._transport is not None:
            self._transport.abort()
        if not self.is_closed:
            self._end(Ended.TRANSPORT_FAILED)

    def line_ended(self) -> None:
        """The websocket is gone: nobody needs to cut it off any more."""
        if self._hang_up is not None:
            self._hang_up.cancel()
        if not self.is_closed:
            self._end(Ended.TRANSPORT_CLOSED)

    # ------------------------------------------------------------ inside

    def _end(self, reason: Ended) -> None:
        self.is_closed = True
        self._answer_poll()
        self._owner.session_ended(self, reason)

    def _offer_to_poll(self, event: SocketIoEvent) -> bool:
        if self.is_closed:
            return True  # to nobody
        if self._transport is not None or self._waiting_bytes > OUTBOX_BUFFER_BYTES_MAX:
            return False
        for packet in event.packets:
            self._append(packet)
        self._answer_poll()
        return True

    def _put(self, packet: Packet) -> bool:
        if self._waiting is not None and len(self._waiting) >= ENGINE_PACKETS_MAX:
            return False
        self._append(packet)
        return True

    def _append(self, packet: Packet) -> None:
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(packet)
        self._waiting_bytes += len(packet)

    def _take(self) -> Packet:
        assert self._waiting is not None
        packet = self._waiting.popleft()
        self._waiting_bytes -= len(packet)
        return packet

    def _answer_poll(self) -> None:
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)

    def _say_goodbye(self, transport: asyncio.Transport) -> None:
        if transport.is_closing():
            return
        transport.write(close_frame(_NORMAL_CLOSE))
        # The peer answers with a close frame of its own, or is cut off.
        loop = asyncio.get_running_loop()
        self._hang_up = loop.call_later(CLOSE_TIMEOUT_MS / MS_PER_S, transport.abort)


def _is_writable(transport: asyncio.Transport) -> bool:
    return transport.get_write_buffer_size() <= OUTBOX_BUFFER_BYTES_MAX
