"""A job for two over the public protocol, from what the desk says of a service to the end of the work."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from sim.client.customer_socket import CustomerSocket, Position
from sim.client.rest import Account, Rest
from tests.acceptance.journey.people import ANSWER_TIMEOUT_S, Who, settle
from tests.acceptance.journey.phones import JobPhone

DOOR: Final = (41.45, -8.61)
"""Where nobody else works."""
PEOPLE: Final = [Who("Mia", "worker"), Who("Nuno", "worker"), Who("Rita", "customer")]


@dataclass
class CustomerPhone:
    """What came to a customer's phone."""

    bookings: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    positions: set[str] = field(default_factory=set)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    def on_booking(self, booking: Mapping[str, Any]) -> None:
        self.bookings[booking["booking_id"]] = booking
        self._heard.set()

    def on_position(self, position: Position) -> None:
        self.positions.add(position.booking_id)
        self._heard.set()

    @property
    def whole(self) -> Mapping[str, Any]:
        """The newest that was told of the crew."""
        told = [booking["crew"] for booking in self.bookings.values()]
        return max(told, key=lambda crew: crew["version"]) if told else {"state": None}

    async def hears(self, state: str) -> Mapping[str, Any]:
        """Wait until the whole is so far."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while self.whole["state"] != state:
                self._heard.clear()
                await self._heard.wait()
        return self.whole

    async def sees(self, bookings: set[str]) -> None:
        """Wait for a position of whoever has each of these."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while not bookings <= self.positions:
                self._heard.clear()
                await self._heard.wait()


@dataclass(frozen=True, slots=True)
class Crew:
    """Two workers on duty beside the door, and the customer who waits for them."""

    rest: Rest
    admin: Account
    rita: Account
    phone: CustomerPhone
    workers: tuple[JobPhone, JobPhone]

    async def book(self) -> dict[str, Any]:
        body = {
            "service_code": "cleaning",
            "pin": {"lat": DOOR[0], "lng": DOOR[1]},
            "address": {"line": "Rua do Norte 3"},
        }
        booked: dict[str, Any] = await self.rest.post("/v1/bookings", body, account=self.rita)
        return booked

    async def takes(self, worker: JobPhone, seats: set[str]) -> str:
        """Have a worker say yes to whichever seat they are asked for, and return it."""
        offer = await worker.rings(*seats)
        await worker.socket.command("offer.accept", {"offer_id": offer["offer_id"]})
        return str(offer["booking_id"])


@asynccontextmanager
async def crew_of_two(rest: Rest, http: aiohttp.ClientSession, admin: Account) -> AsyncIterator[Crew]:
    """Let the service want two and a bay while this lasts."""
    services = await rest.get("/v1/services", account=admin)
    cleaning = next(one["service_id"] for one in services["items"] if one["code"] == "cleaning")
    bay = {"code": "bay", "kind": "bay", "name": "Bay North", "capacity": 1}
    await rest.call("PUT", "/v1/resources", body={"items": [bay]}, account=admin)
    wants = {"seats": [{"role": "second", "service_code": "cleaning"}], "resources": [{"code": "bay"}]}
    await rest.call("PUT", f"/v1/services/{cleaning}/crew", body=wants, account=admin)
    who = await settle(rest, admin, PEOPLE)
    url, told = (await rest.get("/v1/config"))["gateway_url"], CustomerPhone()
    rita = CustomerSocket(
        http=http, gateway_url=url, account=who["Rita"], on_booking=told.on_booking, on_position=told.on_position
    )
    workers = JobPhone(http, url, who["Mia"], DOOR), JobPhone(http, url, who["Nuno"], DOOR)
    running = [asyncio.ensure_future(each) for each in (rita.run(), workers[0].live(), workers[1].live())]
    try:
        await asyncio.gather(*(worker.go_on_duty() for worker in workers), rita.connected.wait())
        yield Crew(rest, admin, who["Rita"], told, workers)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await rest.call("PUT", f"/v1/services/{cleaning}/crew", body={}, account=admin)
