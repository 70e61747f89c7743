"""A small organisation in Postgres with workers in Redis' cells."""

from dataclasses import dataclass, field
from uuid import UUID, uuid4

import asyncpg
import numpy as np
from redis.asyncio import Redis

from engine.booking.booking_store import NewBooking, create_booking, transition
from engine.core.clock import Clock
from engine.core.ids import BookingId, IncidentId, OfferId, OrgId, PersonId, RegionId, WorkerSlot
from engine.core.units import DEG_E7, utc_from_ms
from engine.core.vocabulary import BookingState, Role
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cell_of
from engine.geo.fixes import RECORD
from engine.people.tokens import Principal

LAT_DEG, LNG_DEG = 41.15, -8.61
KM_IN_DEG = 1 / 111.32
TZ = "Europe/Lisbon"


@dataclass
class Town:
    """One organisation. Distances are kilometres north of its centre, where customers live."""

    pool: asyncpg.Pool
    redis: Redis
    clock: Clock
    fix_clock: Clock | None = None
    org_id: OrgId = field(default_factory=lambda: OrgId(uuid4()))
    region_id: RegionId = field(default_factory=lambda: RegionId(uuid4()))
    workers: dict[PersonId, Principal] = field(default_factory=dict)

    async def found(self) -> "Town":
        at = utc_from_ms(self.clock.now_ms())
        async with self.pool.acquire() as conn:
            await conn.execute("INSERT INTO org VALUES ($1, 'Test', $2)", self.org_id, at)
            await conn.execute(
                "INSERT INTO region VALUES ($1, $2, 'Town', 'PT', $3, $4, $5)",
                self.region_id,
                self.org_id,
                TZ,
                LAT_DEG,
                LNG_DEG,
            )
            for bit, code in enumerate(("cleaning", "plumbing")):
                await conn.execute(
                    "INSERT INTO service VALUES ($1, $2, $3, $4, $5, 60, 4800, 'EUR')",
                    uuid4(),
                    self.org_id,
                    code,
                    code.title(),
                    bit,
                )
        return self

    async def add_person(self, role: Role) -> Principal:
        person_id, now_ms = PersonId(uuid4()), self.clock.now_ms()
        await self.pool.execute(
            """INSERT INTO person (person_id, org_id, region_id, role, full_name, tokens_valid_after, tz, created_at)
               VALUES ($1, $2, $3, $4, 'Somebody', $5, $6, $5)""",
            person_id,
            self.org_id,
            self.region_id,
            role.value,
            utc_from_ms(now_ms),
            TZ,
        )
        return self._principal(person_id, role, None)

    async def add_worker(
        self, north_km: float, *, skills: int = 0b11, duty: str = "on", rating: float = 5
    ) -> Principal:
        """A worker who has waited long, with a fresh fix, on duty unless said otherwise."""
        person, now_ms = await self.add_person(Role.WORKER), self.clock.now_ms()
        slot = await self.pool.fetchval(
            """INSERT INTO worker (worker_id, skills, rating, duty, idle_since, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6) RETURNING slot""",
            person.person_id,
            skills,
            rating,
            duty,
            utc_from_ms(now_ms - 86_400_000),
            utc_from_ms(now_ms),
        )
        worker = self._principal(person.person_id, Role.WORKER, WorkerSlot(slot))
        self.workers[worker.person_id] = worker
        if duty == "on":
            await self.place(worker, north_km)
        return worker

    async def place(self, worker: Principal, north_km: float, *, age_ms: int = 0) -> None:
        """Bring a fix of this worker."""
        now_ms = (self.fix_clock or self.clock).now_ms()
        lat_deg = LAT_DEG + north_km * KM_IN_DEG
        record = np.zeros(1, RECORD)
        record["ts_ms"] = now_ms - age_ms
        record["lat_e7"], record["lng_e7"] = round(lat_deg * DEG_E7), round(LNG_DEG * DEG_E7)
        record["cell"] = cell_of(lat_deg, LNG_DEG)
        await CellIndex(self.redis).move(np.array([worker.slot], np.int64), record)

    async def book(
        self,
        customer: Principal | None = None,
        *,
        service_code: str = "cleaning",
        north_km: float = 0,
        line: str = "Rua das Flores 1",
    ) -> BookingId:
        customer = customer or await self.add_person(Role.CUSTOMER)
        lat_deg = LAT_DEG + north_km * KM_IN_DEG
        booking = NewBooking(BookingId(uuid4()), uuid4(), service_code, lat_deg, LNG_DEG, line)
        async with self.pool.acquire() as conn:
            await create_booking(conn, customer=customer, booking=booking, now_ms=self.clock.now_ms())
        return booking.booking_id

    async def cancel(self, booking_id: BookingId) -> None:
        """As the desk does; the offer is left ringing for the matcher to take back."""
        desk = await self.add_person(Role.DISPATCHER)
        async with self.pool.acquire() as conn, conn.transaction():
            await transition(
                conn,
                booking_id=booking_id,
                to=BookingState.CANCELLED,
                actor=desk,
                reason="",
                now_ms=self.clock.now_ms(),
            )

    async def hold(self, *, person_id: PersonId | None = None, address_id: UUID | None = None) -> UUID:
        """Put a safety hold on a person or an address."""
        at, incident_id, hold_id = utc_from_ms(self.clock.now_ms()), IncidentId(uuid4()), uuid4()
        await self.pool.execute(
            """INSERT INTO incident (incident_id, org_id, region_id, person_id, person_role, kind, state, version,
                                     policy, opened_at)
               VALUES ($1, $2, $3, $4, 'worker', 'button', 'open', 1, '{}', $5)""",
            incident_id,
            self.org_id,
            self.region_id,
            person_id or (await self.add_person(Role.CUSTOMER)).person_id,
            at,
        )
        await self.pool.execute(
            """INSERT INTO safety_hold (hold_id, org_id, incident_id, person_id, address_id, created_at)
               VALUES ($1, $2, $3, $4, $5, $6)""",
            hold_id,
            self.org_id,
            incident_id,
            person_id,
            address_id,
            at,
        )
        return hold_id

    async def state(self, booking_id: BookingId) -> BookingState:
        return BookingState(await self.pool.fetchval("SELECT state FROM booking WHERE booking_id = $1", booking_id))

    async def open_offer(self, booking_id: BookingId) -> tuple[OfferId, Principal] | None:
        """The open offer of a booking and who was asked."""
        row = await self.pool.fetchrow(
            "SELECT offer_id, worker_id FROM offer WHERE booking_id = $1 AND state = 'open'", booking_id
        )
        return None if row is None else (row["offer_id"], self.workers[row["worker_id"]])

    async def asked(self, booking_id: BookingId) -> Principal:
        found = await self.open_offer(booking_id)
        assert found is not None, f"nobody is asked, the booking is {await self.state(booking_id)}"
        return found[1]

    async def offer_id(self, booking_id: BookingId) -> OfferId:
        found = await self.open_offer(booking_id)
        assert found is not None
        return found[0]

    async def log(self, booking_id: BookingId) -> list[asyncpg.Record]:
        """The dispatch log of a booking, oldest first."""
        return await self.pool.fetch(
            "SELECT * FROM dispatch_log WHERE booking_id = $1 ORDER BY dispatch_id", booking_id
        )

    async def events(self, topic: str) -> list[str]:
        """The kinds of what was told on a topic."""
        rows = await self.pool.fetch("SELECT kind FROM outbox WHERE topic = $1 ORDER BY event_id", topic)
        return [row["kind"] for row in rows]

    def _principal(self, person_id: PersonId, role: Role, slot: WorkerSlot | None) -> Principal:
        now_ms = self.clock.now_ms()
        return Principal(person_id, role, self.org_id, self.region_id, slot, uuid4(), now_ms, now_ms + 900_000)
