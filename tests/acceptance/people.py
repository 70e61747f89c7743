"""Workers, customers and people in danger who use the public protocol while processes die around them.

They keep a history of what the servers acknowledged; `ledger.py` holds it against the stores afterwards.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

import aiohttp
import numpy as np

from sim.client import wire
from sim.client.clock import wall_ms
from sim.client.errors import ClientFailure, Disconnected, Refused
from sim.client.rest import Account, Rest
from sim.client.safetap import api_door, direct_door, raise_alarm
from sim.client.worker_socket import WorkerSocket

NEXT_STATE: Final = {
    "assigned": "en_route",
    "en_route": "arrived",
    "arrived": "in_progress",
    "in_progress": "completed",
}
PING_EVERY_S: Final = 0.5
STEP_M: Final = 4.0
METRES_PER_DEG: Final = 111_319.5


@dataclass
class History:
    """What was acknowledged to somebody."""

    bookings: dict[str, str] = field(default_factory=dict)
    """Booking id by idempotency key."""
    accepted: dict[str, str] = field(default_factory=dict)
    """Worker id by the id of an offer whose yes was acknowledged."""
    confirmed: set[str] = field(default_factory=set)
    triggers: dict[UUID, str] = field(default_factory=dict)
    """Person id by committed trigger id."""
    offers_seen: int = 0


class ChaosWorker:
    """Drives slowly, says yes to every offer, works at once; asks the server where it stands after every doubt."""

    def __init__(
        self, http: aiohttp.ClientSession, gateway_url: str, account: Account, history: History, rng: random.Random
    ) -> None:
        self.account = account
        self.socket = WorkerSocket(http=http, gateway_url=gateway_url, account=account, listener=self)
        self.lat_deg = 41.15 + rng.uniform(-0.01, 0.01)
        self.lng_deg = -8.61 + rng.uniform(-0.01, 0.01)
        self.newest_ms = 0
        self._history = history
        self._rng = rng
        self._look = asyncio.Event()

    # Listener of the socket

    def on_welcome(self, _state: Mapping[str, Any]) -> None:
        self._look.set()

    def on_event(self, name: str, _body: Mapping[str, Any]) -> None:
        if name in {"offer", "booking"}:
            self._history.offers_seen += name == "offer"
            self._look.set()

    def on_ack(self, _seq: int, _fixes: int, _latency_ms: float) -> None:
        pass

    async def live(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.socket.run())
            group.create_task(self._drive())
            group.create_task(self._work())

    async def _drive(self) -> None:
        while True:
            await self.socket.connected.wait()
            self.lat_deg += self._rng.uniform(-STEP_M, STEP_M) / METRES_PER_DEG
            self.newest_ms = wall_ms()
            self.socket.post(fix_record(self.newest_ms, self.lat_deg, self.lng_deg))
            await asyncio.sleep(PING_EVERY_S)

    async def _work(self) -> None:
        while True:
            try:
                async with asyncio.timeout(2):  # nothing is lost with a wake-up: it only looks earlier
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            try:
                await self._one_step()
            except (Disconnected, Refused):
                continue

    async def _one_step(self) -> None:
        await self.socket.connected.wait()
        state = await self.socket.command("state", {})
        if state["duty"] != "on":
            await self.socket.command("duty", {"duty": "on"})
        if state["booking"]:
            booking = state["booking"]
            body = {"booking_id": booking["booking_id"], "to": NEXT_STATE[booking["state"]]}
            await self.socket.command("booking.transition", body)
            self._look.set()
        elif state["offer"]:
            offer_id = state["offer"]["offer_id"]
            await self.socket.command("offer.accept", {"offer_id": offer_id})
            self._history.accepted[offer_id] = self.account.person_id
            self._look.set()


async def book_and_confirm(rest: Rest, account: Account, history: History, rng: random.Random) -> None:
    """Book once, wait until the work is done, confirm. Returns when the confirmation was acknowledged."""
    key = uuid4().hex
    body = {
        "service_code": "cleaning",
        "pin": {"lat": 41.15 + rng.uniform(-0.008, 0.008), "lng": -8.61 + rng.uniform(-0.008, 0.008)},
        "address": {"line": "Rua do Teste 1", "floor": "2", "entry_notes": "ring twice"},
    }
    booking = await insist(lambda: rest.post("/v1/bookings", body, account=account, key=key))
    booking_id = booking["booking_id"]
    history.bookings[key] = booking_id
    while booking["state"] not in {"completed", "confirmed"}:
        await asyncio.sleep(0.3)
        booking = await insist(lambda: rest.get(f"/v1/bookings/{booking_id}", account=account))
    confirm_key = uuid4().hex
    path = f"/v1/bookings/{booking_id}/transitions"
    await insist(lambda: rest.post(path, {"to": "confirmed"}, account=account, key=confirm_key))
    history.confirmed.add(booking_id)


async def press_safetap(
    http: aiohttp.ClientSession, rest: Rest, safetap_url: str, account: Account, history: History
) -> None:
    """Press once, through every door until it is committed; press again a moment later: it joins."""
    doors = {"direct": direct_door(http, safetap_url, account), "api": api_door(rest, account)}
    for kind in ("button", "hold"):
        outcome = await raise_alarm(doors, kind=kind)
        history.triggers[outcome.trigger_id] = account.person_id


async def insist(call: Any) -> Any:
    """Repeat until a server answers; what it refuses for good is raised."""
    while True:
        try:
            return await call()
        except Disconnected:
            await asyncio.sleep(0.3)
        except Refused as refusal:
            if refusal.status < 500 and refusal.code != "conflict":
                raise
            if refusal.code == "conflict" and "key" not in refusal.detail.lower():
                raise
            await asyncio.sleep(0.3)
        except ClientFailure:
            await asyncio.sleep(0.3)


def fix_record(ts_ms: int, lat_deg: float, lng_deg: float) -> bytes:
    record = np.zeros(1, wire.FIX_DTYPE)
    record["ts_ms"] = ts_ms
    record["lat_e7"] = round(lat_deg * 1e7)
    record["lng_e7"] = round(lng_deg * 1e7)
    record["accuracy_dm"] = 50
    record["speed_cm_s"] = wire.UNKNOWN_U16
    record["heading_cdeg"] = wire.UNKNOWN_U16
    record["battery_pct"] = 80
    return record.tobytes()
