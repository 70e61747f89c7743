"""One worker: answers offers after a human pause and takes a booking from `assigned` to `completed`."""

import asyncio
import random
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

from sim.agents.habits import ACTIVE_STATES, NEXT_STATE, WorkerHabits
from sim.agents.metrics import Tally
from sim.client.errors import ClientFailure, Disconnected, Refused
from sim.client.worker_socket import WorkerSocket


class Surroundings(Protocol):
    """What a worker needs of the city."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside everything else."""

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run `work` beside everything else; it may be cancelled."""

    def went_live(self, number: int) -> None:
        """Learn that worker `number` is connected and on duty."""

    async def drive(self, number: int, lat_deg: float, lng_deg: float) -> None:
        """Return once worker `number` is there."""

    def roam(self, number: int) -> None:
        """Let worker `number` go where it likes."""


class Worker:
    """The person; `socket` is their phone. A `sim.client.worker_socket.Listener`."""

    def __init__(
        self,
        number: int,
        *,
        surroundings: Surroundings,
        habits: WorkerHabits,
        tally: Tally,
        durations_min: Mapping[str, float],
        rng: random.Random,
    ) -> None:
        self.number = number
        self.socket: WorkerSocket
        self.booking: dict[str, Any] | None = None
        self._surroundings = surroundings
        self._habits = habits
        self._tally = tally
        self._durations_min = durations_min
        self._rng = rng
        self._job: asyncio.Task[None] | None = None
        self._open_offers: set[str] = set()
        self._newest = ("", -1)
        """Booking and version of the last news: an event may come after the answer that told it already."""

    # The phone's side

    def on_welcome(self, state: Mapping[str, Any]) -> None:
        """Take up where things stand: duty, an offer, a job."""
        if state.get("duty") == "on":
            self._surroundings.went_live(self.number)
        else:
            self._surroundings.spawn(self._go_on_duty())
        self._see(state.get("booking"), is_whole_state=True)
        if state.get("offer"):
            self._consider(state["offer"])

    def on_event(self, name: str, body: Mapping[str, Any]) -> None:
        """Look at the phone."""
        match name:
            case "offer":
                self._consider(body)
            case "offer.gone":
                self._open_offers.discard(str(body["offer_id"]))
            case "booking":
                self._see(body)
            case "fixes.refused":
                self._tally.fixes_refused.update(body["reasons"])
            case _:
                pass

    def on_ack(self, seq: int, fixes: int, latency_ms: float) -> None:  # noqa: ARG002 - the listener's signature
        """Count how long the acknowledgement took."""
        self._tally.acks.add(latency_ms)
        self._tally.acks_total += 1

    # The person's side

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way."""
        return self.booking is not None

    def _consider(self, offer: Mapping[str, Any]) -> None:
        offer_id = str(offer["offer_id"])
        if offer_id in self._open_offers:
            return
        self._open_offers.add(offer_id)
        self._tally.offers["received"] += 1
        self._surroundings.spawn(self._answer(offer_id))

    async def _answer(self, offer_id: str) -> None:
        mood = self._rng.random()
        if mood < self._habits.ignore_share:
            self._tally.offers["ignored"] += 1
            return
        await asyncio.sleep(self._rng.uniform(*self._habits.answer_s))
        if offer_id not in self._open_offers:
            self._tally.offers["late"] += 1
            return
        accepts = mood < self._habits.ignore_share + self._habits.accept_share
        try:
            if accepts:
                answer = await self.socket.command("offer.accept", {"offer_id": offer_id})
                self._see(answer.get("booking"))
            else:
                await self.socket.command("offer.decline", {"offer_id": offer_id, "reason": "not now"})
            self._tally.offers["accepted" if accepts else "declined"] += 1
        except Refused as refusal:
            self._tally.commands_refused[f"offer: {refusal.code}"] += 1
        except Disconnected:
            self._tally.offers["late"] += 1
        finally:
            self._open_offers.discard(offer_id)

    async def _go_on_duty(self) -> None:
        while self.socket.connected.is_set():
            try:
                await self.socket.command("duty", {"duty": "on"})
            except ClientFailure as failure:
                # A lost connection ends this: the next welcome tells the duty again, and it is tried again then.
                self._tally.commands_refused[f"duty: {failure}"] += 1
                await asyncio.sleep(self._rng.uniform(*self._habits.answer_s))
            else:
                self._surroundings.went_live(self.number)
                return

    def _see(self, booking: Mapping[str, Any] | None, *, is_whole_state: bool = False) -> None:
        """Take what the server says of our booking; older news and other people's bookings change nothing."""
        if booking is None:
            if is_whole_state and self.booking is not None:
                self._drop_job()
            return
        booking_id, version = str(booking["booking_id"]), int(booking["version"])
        if booking_id == self._newest[0] and version < self._newest[1] + (not is_whole_state):
            return
        is_new = self.booking is None or self.booking["booking_id"] != booking_id
        if booking["state"] not in ACTIVE_STATES:
            if not is_new:
                self._newest = (booking_id, version)
                self._drop_job()
            return
        self._newest = (booking_id, version)
        self.booking = dict(booking)
        if is_new or self._job is None or self._job.done():
            self._cancel_job()
            self._job = self._surroundings.start(self._do_job())

    def _drop_job(self) -> None:
        self.booking = None
        self._cancel_job()
        self._surroundings.roam(self.number)

    def _cancel_job(self) -> None:
        # The job itself may be what brought the news that it is over; it then ends by looking at `booking`.
        if self._job is not None and self._job is not asyncio.current_task():
            self._job.cancel()
        self._job = None

    async def _do_job(self) -> None:
        booking = mine = self.booking
        while mine and booking and booking["booking_id"] == mine["booking_id"] and booking["state"] in NEXT_STATE:
            await self._wait_in(booking)
            await self._move_on(booking)
            booking = self.booking

    async def _wait_in(self, booking: Mapping[str, Any]) -> None:
        """Spend the time that a person spends in this state."""
        match booking["state"]:
            case "assigned":
                await asyncio.sleep(self._rng.uniform(*self._habits.set_out_s))
            case "en_route":
                await self._surroundings.drive(self.number, booking["pin"]["lat"], booking["pin"]["lng"])
            case "arrived":
                await asyncio.sleep(self._rng.uniform(*self._habits.at_door_s))
            case _:
                minutes = self._durations_min.get(str(booking["service_code"]), 60.0)
                await asyncio.sleep(minutes * 60 * self._habits.work_scale * self._rng.uniform(0.7, 1.3))

    async def _move_on(self, booking: Mapping[str, Any]) -> None:
        """Say that the next state is reached; after a lost connection or a refusal believe the server's state."""
        to = NEXT_STATE[str(booking["state"])]
        try:
            answer = await self.socket.command("booking.transition", {"booking_id": booking["booking_id"], "to": to})
            self._see(answer.get("booking"))
        except Disconnected:
            await self.socket.connected.wait()
            await asyncio.sleep(0.5)
        except Refused as refusal:
            self._tally.commands_refused[f"{to}: {refusal.code}"] += 1
            await asyncio.sleep(1.0)
            await self._ask_state()

    async def _ask_state(self) -> None:
        try:
            state = await self.socket.command("state", {})
        except ClientFailure:
            await asyncio.sleep(1.0)
            return
        self._see(state.get("booking"), is_whole_state=True)
