"""Workers and customers without human pauses: each does the next thing at once and measures it."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import aiohttp
import numpy as np

from loadtests.measurements import Measurements
from sim.client import safetap
from sim.client.clock import FixClock
from sim.client.customer_socket import CustomerSocket, Position
from sim.client.errors import ClientFailure
from sim.client.rest import Account, Rest
from sim.client.wire import FIX_DTYPE, UNKNOWN_U16
from sim.client.worker_socket import WorkerSocket

NEXT_STATE: Final = {
    "assigned": "en_route",
    "en_route": "arrived",
    "arrived": "in_progress",
    "in_progress": "completed",
}
ACK_TIMEOUT_S: Final = 5.0
BOOKING_TIMEOUT_S: Final = 45.0
SPREAD_DEG: Final = 0.02
"""Everybody stays within this of the region's centre: about 2 km."""
STEP_E7: Final = 300
"""A worker moves up to this between two pings: 3 m."""

Spawn = Callable[[Coroutine[Any, Any, None]], None]


class LoadWorker:
    """A worker who takes every offer and drives nowhere in particular. A `sim.client.worker_socket.Listener`."""

    def __init__(
        self,
        *,
        measurements: Measurements,
        spawn: Spawn,
        clock: FixClock,
        centre: tuple[float, float],
        rng: random.Random,
    ) -> None:
        self.socket: WorkerSocket
        self.on_duty = asyncio.Event()
        self._measurements = measurements
        self._spawn = spawn
        self._clock = clock
        self._rng = rng
        self._lat_e7 = round((centre[0] + rng.uniform(-SPREAD_DEG, SPREAD_DEG)) * 1e7)
        self._lng_e7 = round((centre[1] + rng.uniform(-SPREAD_DEG, SPREAD_DEG)) * 1e7)
        self._booking_id: str | None = None
        self._done: str | None = None
        """The last booking that was taken to its end: late events of it are old news."""

    async def ping(self) -> None:
        """Send one fix and wait until it is in its cell."""
        self._lat_e7 += self._rng.randint(-STEP_E7, STEP_E7)
        self._lng_e7 += self._rng.randint(-STEP_E7, STEP_E7)
        record = np.zeros(1, FIX_DTYPE)
        record["ts_ms"], record["lat_e7"], record["lng_e7"] = self._clock.now_ms(), self._lat_e7, self._lng_e7
        record["accuracy_dm"], record["speed_cm_s"], record["heading_cdeg"] = 50, UNKNOWN_U16, UNKNOWN_U16
        self.socket.post(record.tobytes())
        try:
            async with asyncio.timeout(ACK_TIMEOUT_S):
                await self.socket.settled()
        except TimeoutError as failure:
            self._measurements.add("ping to cell", ACK_TIMEOUT_S * 1000, failure)

    async def leave(self) -> None:
        """Go off duty, so that nobody of the run stays on the map; a job that is still open keeps its worker."""
        try:
            await self.socket.command("duty", {"duty": "off"})
        except ClientFailure:
            return

    def on_welcome(self, state: Mapping[str, Any]) -> None:
        """Go on duty and take up what is open."""
        if state.get("duty") == "on":
            self.on_duty.set()
        else:
            self._spawn(self._go_on_duty())
        if state.get("booking"):
            self._take(state["booking"])
        if state.get("offer"):
            self._spawn(self._accept(str(state["offer"]["offer_id"])))

    def on_event(self, name: str, body: Mapping[str, Any]) -> None:
        """Accept offers, follow bookings; a refused fix is an error, for every one sent is good."""
        if name == "offer":
            self._spawn(self._accept(str(body["offer_id"])))
        elif name == "booking":
            self._take(body)
        elif name == "fixes.refused":
            self._measurements.add("ping to cell", 0.0, ClientFailure(f"fixes refused: {body['reasons']}"))

    def on_ack(self, seq: int, fixes: int, latency_ms: float) -> None:
        """Count the acknowledgement."""
        del seq, fixes
        self._measurements.add("ping to cell", latency_ms)

    async def _go_on_duty(self) -> None:
        await self._command("go on duty", "duty", {"duty": "on"})
        self.on_duty.set()

    async def _accept(self, offer_id: str) -> None:
        answer = await self._command("offer to accepted", "offer.accept", {"offer_id": offer_id})
        if answer.get("booking"):
            self._take(answer["booking"])

    def _take(self, booking: Mapping[str, Any]) -> None:
        is_news = self._booking_id is None and booking["booking_id"] != self._done
        if booking["state"] in NEXT_STATE and is_news:
            self._booking_id = str(booking["booking_id"])
            self._spawn(self._do_job(str(booking["state"])))

    async def _do_job(self, state: str) -> None:
        while state in NEXT_STATE:
            state = NEXT_STATE[state]
            body = {"booking_id": self._booking_id, "to": state}
            if not await self._command("move of a booking", "booking.transition", body):
                break
        self._done, self._booking_id = self._booking_id, None

    async def _command(self, measured: str, name: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the answer, an empty one where it failed: the failure is measured."""
        try:
            with self._measurements.timed(measured):
                return await self.socket.command(name, body)
        except ClientFailure:
            return {}


class LoadCustomer:
    """A customer who books, waits until it is done, confirms, and now and then presses the alarm as a drill."""

    def __init__(
        self,
        account: Account,
        *,
        http: aiohttp.ClientSession,
        rest: Rest,
        config: Mapping[str, Any],
        services: list[str],
        measurements: Measurements,
        rng: random.Random,
    ) -> None:
        self.phone = CustomerSocket(
            http=http,
            gateway_url=config["gateway_url"],
            account=account,
            on_booking=self._see,
            on_position=self._see_position,
        )
        self._account = account
        self._http = http
        self._rest = rest
        self._config = config
        self._services = services
        self._measurements = measurements
        self._rng = rng
        self._booking: dict[str, Any] = {}
        self._early: dict[str, Mapping[str, Any]] = {}
        self._changed = asyncio.Event()

    async def book(self) -> None:
        """Take one booking from its request to `confirmed`."""
        try:
            await self._book()
        except (ClientFailure, TimeoutError):
            return  # measured where it happened

    async def drill(self) -> None:
        """Press the silent alarm as a drill, and wait until it is committed."""
        doors = {
            "direct": safetap.direct_door(self._http, self._config["safetap_url"], self._account),
            "api": safetap.api_door(self._rest, self._account),
        }
        try:
            with self._measurements.timed("alarm committed"):
                async with asyncio.timeout(ACK_TIMEOUT_S):
                    await safetap.raise_alarm(doors, kind="drill")
        except (ClientFailure, TimeoutError):
            return

    async def _book(self) -> None:
        centre = self._config["region"]["center"]
        body = {
            "service_code": self._rng.choice(self._services),
            "pin": {
                "lat": centre["lat"] + self._rng.uniform(-SPREAD_DEG, SPREAD_DEG),
                "lng": centre["lng"] + self._rng.uniform(-SPREAD_DEG, SPREAD_DEG),
            },
            "address": {"line": "Load test"},
        }
        started_s = time.perf_counter()
        with self._measurements.timed("book"):
            self._booking = dict(await self._rest.post("/v1/bookings", body, account=self._account))
        self._see(self._early.pop(self._booking["booking_id"], self._booking))
        await self._reach({"completed"}, "booking to completed", started_s, offer_seen="booking to offer seen")
        path = f"/v1/bookings/{self._booking['booking_id']}/transitions"
        with self._measurements.timed("confirm"):
            await self._rest.post(path, {"to": "confirmed"}, account=self._account)

    async def _reach(self, states: set[str], measured: str, started_s: float, *, offer_seen: str) -> None:
        was_seen = False
        try:
            async with asyncio.timeout(BOOKING_TIMEOUT_S):
                while self._booking["state"] not in states:
                    if not was_seen and self._booking["state"] != "searching":
                        was_seen = True
                        self._measurements.add(offer_seen, (time.perf_counter() - started_s) * 1000)
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError:
            failure = ClientFailure(f"still {self._booking['state']} after {BOOKING_TIMEOUT_S:.0f} s")
            self._measurements.add(measured, (time.perf_counter() - started_s) * 1000, failure)
            raise
        self._measurements.add(measured, (time.perf_counter() - started_s) * 1000)

    def _see(self, booking: Mapping[str, Any]) -> None:
        if booking["booking_id"] != self._booking.get("booking_id"):
            self._early = {str(booking["booking_id"]): booking}
        elif booking["version"] >= self._booking["version"]:
            self._booking = dict(booking)
            self._changed.set()

    def _see_position(self, _position: Position) -> None:
        return
