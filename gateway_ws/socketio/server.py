"""The Socket.IO side of the gateway: the three namespaces on one server, told apart by who signed in.

Stock clients work unchanged. Reserved event names of clients run no handlers, events that wait for a store do not hold
up the ones behind them, and what is wrong with a packet is told to its sender by name.
"""

from typing import Any

import socketio

from config.limits import HELLO_TIMEOUT_MS
from engine.core.clock import Clock
from engine.core.errors import ClenzyError
from gateway_ws.engineio.server import EngineServer
from gateway_ws.engineio.session import EngineSession
from gateway_ws.socketio.namespace import SessionNamespace
from gateway_ws.socketio.ping_frame import is_ping
from gateway_ws.socketio.protocol import ProtocolServer

_ATTACHMENTS_MAX = 1
"""Binary values of one event: clients send fixes, nothing else."""


class GatewayServer(ProtocolServer):
    """Namespaces whose clients have sessions."""

    def __init__(self, engine: EngineServer, clock: Clock) -> None:
        super().__init__(engine, clock, attachments_max=_ATTACHMENTS_MAX, hello_timeout_ms=HELLO_TIMEOUT_MS)

    def line(self, sid: str, namespace: str) -> EngineSession | None:
        """Return the connection that a client of a namespace speaks over, while it stands."""
        return self._engine.sessions.get(self.manager.eio_sid_from_sid(sid, namespace))

    async def answer(self, eio_sid: str, namespace: str, ack_id: int, body: dict[str, Any]) -> None:
        """Answer an event that carried a callback."""
        packet = self.packet_class(socketio.packet.ACK, namespace=namespace, id=ack_id, data=[body])
        await self._send_packet(eio_sid, packet)

    async def broken(self, eio_sid: str, error: ClenzyError) -> None:
        """Say what was wrong in every namespace, then disconnect."""
        for sid, handler in self._namespaces_of(eio_sid):
            handler.refuse(sid, error)
        await super().broken(eio_sid, error)

    async def take_event(self, eio_sid: str, namespace: str, ack_id: int | None, data: list[Any]) -> None:
        """Hand an event to its namespace; from a client that is not in it, to nobody."""
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        handler = self.namespace_handlers.get(namespace)
        if sid is None or not isinstance(handler, SessionNamespace) or not self.manager.is_connected(sid, namespace):
            return
        await handler.receive(sid, eio_sid, ack_id, data)

    async def _send_packet(self, eio_sid: str, pkt: socketio.packet.Packet) -> None:
        if pkt.packet_type == socketio.packet.CONNECT:
            handler = self.namespace_handlers.get(pkt.namespace)
            pid = handler.pid(pkt.data["sid"]) if isinstance(handler, SessionNamespace) else None
            if pid is not None:
                pkt.data["pid"] = pid
        await super()._send_packet(eio_sid, pkt)

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        if not is_ping(data) or self.awaits_attachment(eio_sid):
            await super()._handle_eio_message(eio_sid, data)
            return
        for sid, handler in self._namespaces_of(eio_sid):
            await handler.receive_ping(sid, data)

    def _namespaces_of(self, eio_sid: str) -> list[tuple[str, SessionNamespace[Any]]]:
        found = []
        for name, handler in self.namespace_handlers.items():
            sid = self.manager.sid_from_eio_sid(eio_sid, name)
            if sid is not None and isinstance(handler, SessionNamespace):
                found.append((sid, handler))
        return found
