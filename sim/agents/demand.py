"""When and where customers book: a Poisson process whose rate follows the hour, at doors along the streets."""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from sim.agents.customer import Customer, Wish
from sim.agents.habits import demand_factor
from sim.city.projection import METRES_PER_DEG
from sim.city.streets import Streets
from sim.client.clock import wall_ms

DOOR_OFFSET_M: Final = 40.0
"""Doors lie up to this far from a junction on each axis."""
STREET_NAMES: Final = (
    "Rua das Flores", "Rua do Almada", "Avenida Central", "Rua da Boavista", "Travessa do Carmo", "Rua do Sol",
    "Rua de Cedofeita", "Largo da Fonte", "Rua das Oliveiras", "Avenida da Ponte", "Rua do Moinho", "Rua Nova",
)  # fmt: skip
RATE_SLICE_S: Final = 60.0
"""The longest wait before the rate is looked at again."""


class Demand:
    """Lets customers book. A customer with a booking under way makes no second one."""

    def __init__(
        self,
        *,
        streets: Streets,
        services: Sequence[str],
        per_min: float,
        profile: str,
        tz: str,
        rng: random.Random,
        wall: Callable[[], int] = wall_ms,
    ) -> None:
        demand_factor(0, profile)
        self._streets = streets
        self._services = list(services)
        self._per_min = per_min
        self._profile = profile
        self._tz = ZoneInfo(tz)
        self._rng = rng
        self._wall = wall
        self.customers: list[Customer] = []
        self.unmet = 0
        """Bookings that nobody was free to make: there are too few customers for this rate."""

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Start bookings in `group` until cancelled."""
        while True:
            rate_per_s = self.rate_per_s()
            wait_s = self._rng.expovariate(rate_per_s) if rate_per_s > 0 else RATE_SLICE_S
            # The process has no memory: cutting a long wait short and drawing anew follows the changing rate exactly.
            await asyncio.sleep(min(wait_s, RATE_SLICE_S))
            if wait_s <= RATE_SLICE_S and rate_per_s > 0:
                self._book(group)

    def rate_per_s(self) -> float:
        """Return the bookings a second at this hour of the city's day."""
        local = datetime.fromtimestamp(self._wall() / 1000, UTC).astimezone(self._tz)
        return self._per_min / 60 * demand_factor(local.hour + local.minute / 60, self._profile)

    def wish(self) -> Wish:
        """Return something that somebody in the city may want."""
        lat_deg, lng_deg = self._streets.place_of(self._rng.randrange(self._streets.junctions))
        return Wish(
            service_code=self._rng.choice(self._services),
            lat_deg=lat_deg + self._rng.uniform(-DOOR_OFFSET_M, DOOR_OFFSET_M) / METRES_PER_DEG,
            lng_deg=lng_deg + self._rng.uniform(-DOOR_OFFSET_M, DOOR_OFFSET_M) / METRES_PER_DEG,
            address_line=f"{self._rng.choice(STREET_NAMES)} {self._rng.randint(1, 240)}",
            floor=str(self._rng.randint(0, 6)),
        )

    def _book(self, group: asyncio.TaskGroup) -> None:
        free = [customer for customer in self.customers if not customer.is_waiting]
        if not free:
            self.unmet += 1
            return
        group.create_task(self._rng.choice(free).book(self.wish()))
