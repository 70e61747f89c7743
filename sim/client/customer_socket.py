"""A customer's phone: what happens to their bookings, live."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from sim.client.rest import Account
from sim.client.socketio_session import SocketIoSession


@dataclass(frozen=True, slots=True)
class Position:
    """Where the worker of a booking is, and when they will be there."""

    booking_id: str
    lat_deg: float
    lng_deg: float
    ts_ms: int
    eta_s: float
    eta_low_s: float
    eta_high_s: float

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> "Position":
        """Return the position of a `position` event."""
        return cls(
            booking_id=body["booking_id"],
            lat_deg=body["lat"],
            lng_deg=body["lng"],
            ts_ms=body["ts_ms"],
            eta_s=body["eta_s"],
            eta_low_s=body["eta_low_s"],
            eta_high_s=body["eta_high_s"],
        )


class CustomerSocket(SocketIoSession):
    """`/customer`: `on_booking` gets every booking that changed, also those of the welcome; `on_position` the ETA."""

    def __init__(
        self,
        *,
        http: aiohttp.ClientSession,
        gateway_url: str,
        account: Account,
        on_booking: Callable[[Mapping[str, Any]], None],
        on_position: Callable[[Position], None],
    ) -> None:
        super().__init__(http=http, gateway_url=gateway_url, namespace="/customer", account=account)
        self._on_booking = on_booking
        self.on("welcome", self._welcome)
        self.on("booking", on_booking)
        self.on("position", lambda body: on_position(Position.from_body(body)))

    def _welcome(self, body: Mapping[str, Any]) -> None:
        for booking in body["bookings"]:
            self._on_booking(booking)
