"""The customers of a replay: every trip that begins is booked at its first fix, and the worker is watched."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from sim.city.projection import distance_m
from sim.client.customer_socket import CustomerSocket, Position
from sim.client.errors import ClientFailure
from sim.client.latency import LatencyLog
from sim.client.rest import Account, Rest
from sim.replay.eta import EtaSample
from sim.replay.recording import Trip

OPEN_STATES: Final = frozenset({"searching", "offered", "assigned", "en_route", "arrived"})

Spawn = Callable[[Coroutine[Any, Any, None]], None]


@dataclass(slots=True)
class Ride:
    """One booking made of one trip."""

    trip: Trip
    account: Account
    booking_id: str = ""
    state: str = "asked"
    version: int = -1
    worker_slot: int | None = None
    asked_s: float = 0.0
    answered_s: float = 0.0
    last_position: Position | None = None
    """The last one that was taken while the recorded trip was under way."""


@dataclass(slots=True)
class DeskCounts:
    """Bookings and what became of them."""

    asked: int = 0
    made: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    offered: int = 0
    positions: int = 0
    own_worker: int = 0
    """Bookings that the very worker of the trip took."""


class Desk:
    """Books, confirms, and keeps what the report needs. A `sim.replay.taxi.Bookings`."""

    def __init__(self, *, rest: Rest, spawn: Spawn, service_code: str, shift_ms: int) -> None:
        self.acks = LatencyLog()
        self.counts = DeskCounts()
        self.rides: dict[str, Ride] = {}
        self.slot_of_worker: dict[int, int] = {}
        self.is_booking = True
        self._rest = rest
        self._spawn = spawn
        self._service_code = service_code
        self.shift_ms = shift_ms
        self._customers: list[Account] = []
        self._turn = 0
        self._first_offer_s: dict[str, float] = {}
        self._early: dict[str, Mapping[str, Any]] = {}

    def add_customer(self, account: Account, *, http: aiohttp.ClientSession, gateway_url: str) -> CustomerSocket:
        """Give one more customer a phone; the caller runs it."""
        self._customers.append(account)
        return CustomerSocket(
            http=http, gateway_url=gateway_url, account=account, on_booking=self._see, on_position=self._see_position
        )

    # What taxis tell

    def trip_began(self, trip: Trip) -> None:
        """Book a worker to where `trip` begins."""
        if not self._customers or not self.is_booking:
            return
        self._turn += 1
        self._spawn(self._book(Ride(trip, self._customers[self._turn % len(self._customers)])))

    def offered(self, booking_id: str) -> None:
        """Note when a booking was first shown to a worker."""
        self._first_offer_s.setdefault(booking_id, time.perf_counter())

    def acked(self, latency_ms: float) -> None:
        """Note how long a ping took until its cell was written."""
        self.acks.add(latency_ms)

    # Results

    def offer_latencies(self) -> tuple[LatencyLog, LatencyLog]:
        """Return booking to first offer, from the sent request and from its answer (0 where the offer was faster)."""
        from_request, from_answer = LatencyLog(), LatencyLog()
        for ride in self.rides.values():
            offered_s = self._first_offer_s.get(ride.booking_id)
            if offered_s is not None:
                from_request.add((offered_s - ride.asked_s) * 1000)
                from_answer.add(max(0.0, (offered_s - ride.answered_s) * 1000))
        self.counts.offered = len(from_request)
        return from_request, from_answer

    def eta_samples(self) -> list[EtaSample]:
        """Return the last promise of every trip whose own worker took its booking."""
        return [sample for ride in self.rides.values() if (sample := self._sample(ride)) is not None]

    def states(self) -> dict[str, int]:
        """Return how many bookings stand in each state."""
        return dict(Counter(ride.state for ride in self.rides.values()))

    async def cancel_open(self) -> None:
        """Cancel what no worker took, so that nothing is left searching behind the replay."""
        open_rides = [ride for ride in self.rides.values() if ride.state in OPEN_STATES]
        await asyncio.gather(*(self._move(ride, "cancelled") for ride in open_rides))

    def _sample(self, ride: Ride) -> EtaSample | None:
        position = ride.last_position
        if position is None or not self._is_own(ride):
            return None
        trip = ride.trip
        return EtaSample(
            promised_s=position.eta_s,
            low_s=position.eta_low_s,
            high_s=position.eta_high_s,
            real_s=(position.ts_ms - self.shift_ms - trip.start_ms) / 1000,
            straight_m=distance_m(trip.start_lat_deg, trip.start_lng_deg, position.lat_deg, position.lng_deg),
        )

    def _is_own(self, ride: Ride) -> bool:
        return ride.worker_slot is not None and ride.worker_slot == self.slot_of_worker.get(ride.trip.worker)

    async def _book(self, ride: Ride) -> None:
        trip = ride.trip
        self.counts.asked += 1
        body = {
            "service_code": self._service_code,
            "pin": {"lat": trip.start_lat_deg, "lng": trip.start_lng_deg},
            "address": {"line": f"Trip {trip.trip_id}"},
        }
        ride.asked_s = time.perf_counter()
        try:
            booking = await self._rest.post("/v1/bookings", body, account=ride.account)
        except ClientFailure as failure:
            self.counts.refused[str(failure)] += 1
            return
        ride.answered_s = time.perf_counter()
        self.counts.made += 1
        ride.booking_id = booking["booking_id"]
        self.rides[ride.booking_id] = ride
        self._take(ride, booking)
        if (news := self._early.pop(ride.booking_id, None)) is not None:
            self._take(ride, news)

    def _see(self, booking: Mapping[str, Any]) -> None:
        ride = self.rides.get(booking["booking_id"])
        if ride is None:
            # The event may overtake the answer that tells us the booking's id.
            self._early[booking["booking_id"]] = booking
        else:
            self._take(ride, booking)

    def _take(self, ride: Ride, booking: Mapping[str, Any]) -> None:
        if booking["version"] <= ride.version:
            return
        ride.version, ride.state = booking["version"], booking["state"]
        worker = booking.get("worker")
        if worker and ride.worker_slot != worker["slot"]:
            ride.worker_slot = worker["slot"]
            self.counts.own_worker += self._is_own(ride)
        if ride.state == "completed":
            self._spawn(self._move(ride, "confirmed"))

    def _see_position(self, position: Position) -> None:
        self.counts.positions += 1
        ride = self.rides.get(position.booking_id)
        if ride is not None and position.ts_ms - self.shift_ms <= ride.trip.end_ms:
            ride.last_position = position

    async def _move(self, ride: Ride, state: str) -> None:
        path = f"/v1/bookings/{ride.booking_id}/transitions"
        try:
            self._take(ride, await self._rest.post(path, {"to": state}, account=ride.account))
        except ClientFailure as failure:
            self.counts.refused[f"{state}: {failure}"] += 1
