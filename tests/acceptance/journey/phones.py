"""A worker's phone on the real socket, told by a test what its owner does; it remembers every offer that rang on it."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

import aiohttp

from sim.client.clock import wall_ms
from sim.client.rest import Account
from sim.client.worker_socket import WorkerSocket
from tests.acceptance.people import METRES_PER_DEG, fix_record

FIX_EVERY_S: Final = 0.5
STEP_M: Final = 3.0
EVENT_TIMEOUT_S: Final = 30


class JobPhone:
    """Walks slowly north around where it was put, and sends a fix at each step while its GPS works."""

    def __init__(self, http: aiohttp.ClientSession, gateway_url: str, account: Account, place: tuple[float, float]):
        self.socket = WorkerSocket(http=http, gateway_url=gateway_url, account=account, listener=self)
        self.has_gps = True
        self.lat_deg, self.lng_deg = place
        self.offers: list[Mapping[str, Any]] = []
        self.newest_ms = 0
        self._heard = asyncio.Event()

    # Listener of the socket

    def on_welcome(self, state: Mapping[str, Any]) -> None:
        if state["offer"]:
            self._ring(state["offer"])

    def on_event(self, name: str, body: Mapping[str, Any]) -> None:
        if name == "offer":
            self._ring(body)

    def on_ack(self, _seq: int, _fixes: int, _latency_ms: float) -> None:
        self._heard.set()

    # What its owner does

    async def live(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.socket.run())
            group.create_task(self._walk())

    async def go_on_duty(self) -> None:
        """On duty, with a place that the server has taken."""
        await self.socket.connected.wait()
        await self.socket.command("duty", {"duty": "on"})
        before = self.socket.counts.fixes_acknowledged
        await self._until(lambda: self.socket.counts.fixes_acknowledged > before, what="a fix to be acknowledged")

    async def take(self, booking_id: str) -> None:
        """Wait for the offer of this booking and say yes."""
        offer = await self.rings(booking_id)
        await self.socket.command("offer.accept", {"offer_id": offer["offer_id"]})

    async def rings(self, *bookings: str) -> Mapping[str, Any]:
        """Wait for an offer of one of these bookings."""
        await self._until(lambda: any(each in bookings for each in self.rang_for()), what=f"an offer of {bookings}")
        return next(offer for offer in self.offers if offer["booking_id"] in bookings)

    def rang_for(self) -> list[str]:
        """Return the bookings that were offered, in order."""
        return [offer["booking_id"] for offer in self.offers]

    async def move(self, booking_id: str, *states: str) -> None:
        for state in states:
            await self.socket.command("booking.transition", {"booking_id": booking_id, "to": state})

    async def call_for_help(self) -> tuple[UUID, int]:
        """Fire the silent trigger; return its id, and the time (Unix ms) of the newest fix before it."""
        trigger_id = await self.socket.raise_alarm("hold", record=self._fix())
        return trigger_id, self.newest_ms

    def _ring(self, offer: Mapping[str, Any]) -> None:
        self.offers.append(offer)
        self._heard.set()

    async def _until(self, is_so: Callable[[], bool], *, what: str) -> None:
        try:
            async with asyncio.timeout(EVENT_TIMEOUT_S):
                while not is_so():
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            raise AssertionError(f"waited {EVENT_TIMEOUT_S} s in vain for {what}") from None

    async def _walk(self) -> None:
        while True:
            await self.socket.connected.wait()
            self.lat_deg += STEP_M / METRES_PER_DEG
            if self.has_gps:
                self.socket.post(self._fix())
            await asyncio.sleep(FIX_EVERY_S)

    def _fix(self) -> bytes:
        self.newest_ms = wall_ms()
        return fix_record(self.newest_ms, self.lat_deg, self.lng_deg)
