"""A small organisation in the database: who can be in danger, and who answers."""

from dataclasses import dataclass, field
from uuid import UUID, uuid4

import asyncpg
import orjson

from engine.core.ids import BookingId, IncidentId, OrgId, PersonId, RegionId, TriggerId, WorkerSlot
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Door, IncidentKind, Role
from engine.people.tokens import AccessTokens, Principal
from engine.safetap.policy import default_policy
from engine.safetap.trigger import ReceivedTrigger, TokenState, Trigger, TriggerFix

NOW_MS = 1_700_000_000_000
FIX = TriggerFix(41.15, -8.61, 12.0, NOW_MS - 1_000)


@dataclass
class World:
    """One organisation: a customer, their worker on a job, two dispatchers, an admin."""

    pool: asyncpg.Pool
    org_id: OrgId = field(default_factory=lambda: OrgId(uuid4()))
    region_id: RegionId = field(default_factory=lambda: RegionId(uuid4()))
    customer: PersonId = field(default_factory=lambda: PersonId(uuid4()))
    worker: PersonId = field(default_factory=lambda: PersonId(uuid4()))
    dispatcher: PersonId = field(default_factory=lambda: PersonId(uuid4()))
    other_dispatcher: PersonId = field(default_factory=lambda: PersonId(uuid4()))
    admin: PersonId = field(default_factory=lambda: PersonId(uuid4()))
    address_id: UUID = field(default_factory=uuid4)
    booking_id: BookingId = field(default_factory=lambda: BookingId(uuid4()))

    async def build(self) -> "World":
        at = utc_from_ms(NOW_MS)
        service_id = uuid4()
        async with self.pool.acquire() as conn, conn.transaction():
            await conn.execute("INSERT INTO org VALUES ($1, 'Test', $2)", self.org_id, at)
            await conn.execute(
                "INSERT INTO region VALUES ($1, $2, 'City', 'PT', 'Europe/Lisbon', 41.15, -8.61)",
                self.region_id,
                self.org_id,
            )
            for person_id, role, name in (
                (self.customer, Role.CUSTOMER, "Carla Customer"),
                (self.worker, Role.WORKER, "Walter Worker"),
                (self.dispatcher, Role.DISPATCHER, "Dora Dispatcher"),
                (self.other_dispatcher, Role.DISPATCHER, "Otto Dispatcher"),
                (self.admin, Role.ADMIN, "Ada Admin"),
            ):
                await self.add_person(conn, person_id, role, name)
            await conn.execute("INSERT INTO worker (worker_id, updated_at) VALUES ($1, $2)", self.worker, at)
            await conn.execute(
                "INSERT INTO service VALUES ($1, $2, 'cleaning', 'Cleaning', 0, 60, 4000, 'EUR')",
                service_id,
                self.org_id,
            )
            await conn.execute(
                """INSERT INTO address VALUES ($1, $2, $3, $4, 'Rua das Flores 1', '2', 'ring twice', 41.15, -8.61,
                                              'Europe/Lisbon')""",
                self.address_id,
                self.org_id,
                self.region_id,
                self.customer,
            )
            await conn.execute(
                """INSERT INTO booking (booking_id, org_id, region_id, customer_id, service_id, address_id, state,
                                        version, worker_id, tz, created_at, updated_at, search_until)
                   VALUES ($1, $2, $3, $4, $5, $6, 'in_progress', 1, $7, 'Europe/Lisbon', $8, $8, $8)""",
                self.booking_id,
                self.org_id,
                self.region_id,
                self.customer,
                service_id,
                self.address_id,
                self.worker,
                at,
            )
            await self.arm(conn, self.other_dispatcher)
        return self

    async def arm(self, conn: asyncpg.Connection, person_id: PersonId) -> None:
        """Have somebody watch the desk for as long as the test lasts."""
        await conn.execute(
            "INSERT INTO armed_desk VALUES ($1, $2, $3, $4, 'infinity')",
            uuid4(),
            self.org_id,
            person_id,
            utc_from_ms(NOW_MS),
        )

    async def add_person(self, conn: asyncpg.Connection, person_id: PersonId, role: Role, name: str) -> None:
        at = utc_from_ms(NOW_MS)
        await conn.execute(
            """INSERT INTO person (person_id, org_id, region_id, role, email, full_name, tokens_valid_after, tz,
                                   created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, 'Europe/Lisbon', $7)""",
            person_id,
            self.org_id,
            self.region_id,
            role.value,
            f"{name.partition(' ')[0].lower()}.{person_id.hex[:6]}@clenzy.test",
            name,
            at,
        )

    async def set_policy(self, **changes: object) -> None:
        """Write the organisation's policy: the default with changes."""
        await self.pool.execute(
            "INSERT INTO escalation_policy VALUES ($1, $2, NULL, 'test', $3::text::jsonb, $4)",
            uuid4(),
            self.org_id,
            orjson.dumps({**default_policy(), **changes}).decode(),
            utc_from_ms(NOW_MS),
        )

    def principal(self, person_id: PersonId, *, now_ms: int = NOW_MS) -> Principal:
        role = {
            self.customer: Role.CUSTOMER,
            self.worker: Role.WORKER,
            self.admin: Role.ADMIN,
        }.get(person_id, Role.DISPATCHER)
        slot = WorkerSlot(0) if role is Role.WORKER else None
        return Principal(person_id, role, self.org_id, self.region_id, slot, uuid4(), now_ms, now_ms + 900_000)

    def token(self, tokens: AccessTokens, person_id: PersonId, *, now_ms: int) -> str:
        who = self.principal(person_id)
        return tokens.issue(
            person_id=who.person_id,
            role=who.role,
            org_id=who.org_id,
            region_id=who.region_id,
            slot=who.slot,
            session_id=who.session_id,
            now_ms=now_ms,
        )

    def received(
        self,
        person_id: PersonId | None = None,
        *,
        trigger_id: UUID | None = None,
        kind: IncidentKind = IncidentKind.BUTTON,
        booking_id: BookingId | None = None,
        fix: TriggerFix | None = FIX,
        at_ms: int = NOW_MS,
        token_state: TokenState = TokenState.VALID,
    ) -> ReceivedTrigger:
        who = self.principal(person_id or self.worker)
        return ReceivedTrigger(
            trigger=Trigger(TriggerId(trigger_id or uuid4()), kind, booking_id, fix, {}),
            person_id=who.person_id,
            role=who.role,
            org_id=self.org_id,
            region_id=self.region_id,
            door=Door.DIRECT,
            token_state=token_state,
            received_at_ms=at_ms,
            incident_id=IncidentId(uuid4()),
        )

    async def incident(self) -> asyncpg.Record:
        """The only incident of the organisation."""
        rows = await self.pool.fetch("SELECT * FROM incident WHERE org_id = $1", self.org_id)
        assert len(rows) == 1, rows
        return rows[0]

    async def events(self) -> list[str]:
        rows = await self.pool.fetch(
            "SELECT incident_id, version, kind FROM incident_event ORDER BY incident_id, version"
        )
        return [row["kind"] for row in rows]
