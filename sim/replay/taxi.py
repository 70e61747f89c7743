"""A recorded worker's phone: sends what was recorded, answers offers, takes bookings through their states.

The fixes are real. What the worker does with an offer is not: nobody recorded it, and the taxi drives where it drove.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

from sim.client.clock import FixClock, wall_ms
from sim.client.errors import ClientFailure, Disconnected, Refused
from sim.client.worker_socket import WorkerSocket
from sim.replay.oracle import Place, WorkerOracle
from sim.replay.recording import Rows, Trip, wire_records

JOB_STATES: Final = ("en_route", "arrived", "in_progress", "completed")
ACTIVE_STATES: Final = frozenset({"assigned", "en_route", "arrived", "in_progress"})
LINGER_S: Final = 0.5
"""A job is held in `en_route` this long beyond the end of the trip, so that the last position reaches the customer."""
STATE_RETRY_S: Final = 0.5


class Bookings(Protocol):
    """What a taxi tells of trips and offers."""

    def trip_began(self, trip: Trip) -> None:
        """Learn that the first fix of `trip` is acknowledged: it is in its cell."""

    def offered(self, booking_id: str) -> None:
        """Learn that a worker's phone shows an offer of a booking."""

    def acked(self, latency_ms: float) -> None:
        """Learn how long a ping took until its cell was written."""


class Taxi:
    """One recorded worker. A `sim.client.worker_socket.Listener`."""

    def __init__(
        self,
        number: int,
        *,
        bookings: Bookings,
        clock: FixClock,
        accept_share: float,
        rng: random.Random,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.number = number
        self.socket: WorkerSocket
        self.oracle = WorkerOracle(time_scale=clock.scale)
        self.fixes_refused: Counter[str] = Counter()
        self.offers: Counter[str] = Counter()
        self.on_duty = asyncio.Event()
        self.faults: Counter[str] = Counter()
        self.last_refusal_at_ms = 0
        self._bookings = bookings
        self._clock = clock
        self._accept_share = accept_share
        self._rng = rng
        self._spawn = spawn
        self._beginning: deque[tuple[int, Trip]] = deque()
        self._trip_ends_ms = 0
        self._booking_id: str | None = None
        self.free = asyncio.Event()
        """No booking of this worker is under way."""
        self.free.set()

    def drive(self, rows: Rows, *, shift_ms: int, beginning: Sequence[Trip]) -> None:
        """Send recorded rows that are due now; `beginning` are the trips that start within them."""
        records = wire_records(rows, shift_ms=shift_ms)
        now_ms = self._clock.now_ms()
        columns = records[["ts_ms", "lat_e7", "lng_e7", "accuracy_dm", "speed_cm_s"]]
        for ts_ms, lat_e7, lng_e7, accuracy_dm, speed_cm_s in columns.tolist():
            place = Place(ts_ms, lat_e7, lng_e7)
            self.oracle.take(place, accuracy_dm=accuracy_dm, speed_cm_s=speed_cm_s, now_ms=now_ms)
        seq = self.socket.post(records.tobytes())
        for trip in beginning:
            self._trip_ends_ms = trip.end_ms + shift_ms
            self._beginning.append((seq, trip))

    # The phone's side

    def on_welcome(self, state: Mapping[str, Any]) -> None:
        """Go on duty, or take up the job that survived a lost connection."""
        if state.get("duty") == "on":
            self.on_duty.set()
        else:
            self._spawn(self._go_on_duty())
        if state.get("offer"):
            self._take_offer(state["offer"])
        self._let_go()
        if state.get("booking"):
            self._take_booking(state["booking"])

    def on_event(self, name: str, body: Mapping[str, Any]) -> None:
        """Look at the phone."""
        match name:
            case "offer":
                self._take_offer(body)
            case "booking":
                self._take_booking(body)
            case "fixes.refused":
                self.fixes_refused.update(body["reasons"])
                self.last_refusal_at_ms = wall_ms()
            case _:
                pass

    def on_ack(self, seq: int, fixes: int, latency_ms: float) -> None:
        """Note the latency; a trip whose first fix is in its cell now becomes a booking."""
        del fixes
        self._bookings.acked(latency_ms)
        while self._beginning and self._beginning[0][0] <= seq:
            self._bookings.trip_began(self._beginning.popleft()[1])

    # What nobody recorded

    async def _go_on_duty(self) -> None:
        while self.socket.connected.is_set():
            try:
                await self.socket.command("duty", {"duty": "on"})
            except ClientFailure as failure:
                self.faults[f"duty: {failure}"] += 1
                await asyncio.sleep(STATE_RETRY_S)
            else:
                self.oracle.on_duty_since_ms = self._clock.now_ms()
                self.on_duty.set()
                return

    def _take_offer(self, offer: Mapping[str, Any]) -> None:
        self._bookings.offered(str(offer["booking_id"]))
        self.offers["received"] += 1
        self._spawn(self._answer(str(offer["offer_id"])))

    async def _answer(self, offer_id: str) -> None:
        accepts = self._rng.random() < self._accept_share
        try:
            if accepts:
                answer = await self.socket.command("offer.accept", {"offer_id": offer_id})
                self._take_booking(answer["booking"])
            else:
                await self.socket.command("offer.decline", {"offer_id": offer_id, "reason": "replay"})
            self.offers["accepted" if accepts else "declined"] += 1
        except Refused as refusal:
            self.offers[f"refused: {refusal.code}"] += 1
        except Disconnected:
            self.offers["lost"] += 1

    def _take_booking(self, booking: Mapping[str, Any]) -> None:
        booking_id, state = str(booking["booking_id"]), booking["state"]
        if state in ACTIVE_STATES and self._booking_id is None:
            self._booking_id = booking_id
            self.free.clear()
            self._spawn(self._do_job(booking_id, str(state)))
        elif state not in ACTIVE_STATES and booking_id == self._booking_id:
            self._let_go()

    def _let_go(self) -> None:
        self._booking_id = None
        self.free.set()

    async def _do_job(self, booking_id: str, state: str) -> None:
        """Drive until the recorded trip ends, then arrive, work and complete in one go."""
        first = JOB_STATES.index(state) + 1 if state in JOB_STATES else 0
        for to in JOB_STATES[first:]:
            if to == "arrived":
                await self._until_trip_ends()
            if self._booking_id != booking_id or not await self._reaches(booking_id, to):
                return

    async def _until_trip_ends(self) -> None:
        left_ms = self._trip_ends_ms - self._clock.now_ms()
        await asyncio.sleep(max(0.0, left_ms / 1000 / self._clock.scale) + LINGER_S)

    async def _reaches(self, booking_id: str, state: str) -> bool:
        """Say that `state` is reached; False where the booking went another way or the next welcome takes over."""
        try:
            await self.socket.command("booking.transition", {"booking_id": booking_id, "to": state})
        except Refused as refusal:
            self.faults[f"{state}: {refusal.code}"] += 1
            self._let_go()
            return False
        except Disconnected:
            return False
        return True
