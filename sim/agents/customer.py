"""One customer: books, watches the worker come, sometimes changes their mind, confirms when it is done."""

import asyncio
import random
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import aiohttp

from sim.agents.habits import CANCELLABLE_STATES, ENDED_STATES, CustomerHabits
from sim.agents.metrics import Tally
from sim.client.customer_socket import CustomerSocket, Position
from sim.client.errors import ClientFailure, Disconnected, Refused
from sim.client.rest import Account, Rest

NEWS_S: Final = 15.0
"""Without news for this long a customer looks whether the phone is connected."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants done, and where."""

    service_code: str
    lat_deg: float
    lng_deg: float
    address_line: str
    floor: str

    def body(self) -> dict[str, Any]:
        """Return the body of `POST /v1/bookings`."""
        return {
            "service_code": self.service_code,
            "pin": {"lat": round(self.lat_deg, 7), "lng": round(self.lng_deg, 7)},
            "address": {"line": self.address_line, "floor": self.floor, "entry_notes": "Ring twice"},
        }


class Customer:
    """The person; their phone is connected only while a booking of theirs is under way."""

    def __init__(
        self,
        account: Account,
        *,
        http: aiohttp.ClientSession,
        rest: Rest,
        gateway_url: str,
        habits: CustomerHabits,
        tally: Tally,
        rng: random.Random,
    ) -> None:
        self.account = account
        self.booking: dict[str, Any] | None = None
        self._http = http
        self._rest = rest
        self._gateway_url = gateway_url
        self._habits = habits
        self._tally = tally
        self._rng = rng
        self._changed = asyncio.Event()

    @property
    def is_waiting(self) -> bool:
        """Whether a booking is under way."""
        return self.booking is not None

    async def book(self, wish: Wish) -> None:
        """Make one booking and stay with it to its end; failures are counted, never raised."""
        self._begin()
        await self._stay_with(self._make(wish))

    async def resume(self) -> None:
        """Stay with what an earlier start of the city left under way; failures are counted, never raised."""
        try:
            left = (await self._rest.get("/v1/bookings", account=self.account))["items"]
        except ClientFailure:
            self._tally.bookings["failed"] += 1
            return
        for booking in left:
            if booking["state"] not in ENDED_STATES and self.booking is None:
                self._begin()
                await self._stay_with(self._found(booking))

    def _begin(self) -> None:
        self.booking = {"booking_id": None, "version": -1, "state": "made"}
        self._tally.states["made"] += 1

    async def _stay_with(self, beginning: Coroutine[Any, Any, None]) -> None:
        phone = CustomerSocket(
            http=self._http,
            gateway_url=self._gateway_url,
            account=self.account,
            on_booking=self._see,
            on_position=self._see_position,
        )
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(phone.run())
                await beginning
                await self._follow(phone)
                watching.cancel()
        except* ClientFailure:
            self._tally.bookings["failed"] += 1
        finally:
            self._tally.states[self._state] -= 1
            self.booking = None

    async def _found(self, booking: Mapping[str, Any]) -> None:
        self._tally.bookings["resumed"] += 1
        self._take(booking)

    async def _make(self, wish: Wish) -> None:
        # One key over all tries of this wish: however often it is sent, one booking comes of it.
        try:
            booking = await self._rest.post("/v1/bookings", wish.body(), account=self.account, key=uuid4().hex)
        except Refused as refusal:
            self._tally.bookings[f"refused: {refusal.code}"] += 1
            raise
        self._tally.bookings["made"] += 1
        self._take(booking)

    async def _follow(self, phone: CustomerSocket) -> None:
        loop = asyncio.get_running_loop()
        gives_up_at_s = loop.time() + self._habits.gives_up_s
        cancels_at_s = gives_up_at_s
        if self._rng.random() < self._habits.cancel_share:
            cancels_at_s = loop.time() + self._rng.uniform(*self._habits.cancel_after_s)
        while self._state not in ENDED_STATES and loop.time() < gives_up_at_s:
            if self._state == "completed":
                await asyncio.sleep(self._rng.uniform(*self._habits.confirm_after_s))
                await self._move_to("confirmed")
            elif loop.time() >= cancels_at_s:
                cancels_at_s = gives_up_at_s
                if self._state in CANCELLABLE_STATES:
                    await self._move_to("cancelled")
            else:
                await self._next_news(min(cancels_at_s, gives_up_at_s) - loop.time(), phone)
        self._tally.bookings[self._state if self._state in ENDED_STATES else "given up"] += 1

    async def _next_news(self, wait_s: float, phone: CustomerSocket) -> None:
        """Wait for a change; where the phone had lost its connection, ask: an end is not in the next welcome."""
        losses = phone.losses
        try:
            async with asyncio.timeout(min(wait_s, NEWS_S)):
                await self._changed.wait()
        except TimeoutError:
            if phone.losses != losses or not phone.connected.is_set():
                await self._ask()
        self._changed.clear()

    async def _ask(self) -> None:
        if self.booking is None:
            return
        try:
            self._take(await self._rest.get(f"/v1/bookings/{self.booking['booking_id']}", account=self.account))
        except Disconnected:
            return

    async def _move_to(self, state: str) -> None:
        assert self.booking is not None
        path = f"/v1/bookings/{self.booking['booking_id']}/transitions"
        try:
            self._take(await self._rest.post(path, {"to": state}, account=self.account))
        except Refused as refusal:
            # The worker was faster, or the desk: look at what it is now.
            self._tally.commands_refused[f"{state}: {refusal.code}"] += 1
            await self._ask()

    @property
    def _state(self) -> str:
        return str(self.booking["state"]) if self.booking else "none"

    def _see(self, booking: Mapping[str, Any]) -> None:
        if self.booking is not None and booking["booking_id"] == self.booking["booking_id"]:
            self._take(booking)

    def _take(self, booking: Mapping[str, Any]) -> None:
        if self.booking is None or booking["version"] <= self.booking["version"]:
            return
        self._tally.states[self.booking["state"]] -= 1
        self._tally.states[booking["state"]] += 1
        self.booking = dict(booking)
        self._changed.set()

    def _see_position(self, _position: Position) -> None:
        self._tally.positions += 1
