"""The demo's organisation, region, services and accounts. Every id is fixed, so that a second run changes nothing."""

import asyncio
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

from engine.core.database import Connection
from engine.core.ids import OrgId, PersonId, RegionId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Role
from engine.people.passwords import hash_password, verify_password

DEMO_NAMESPACE: Final = UUID("c1e22b00-0000-4000-8000-000000000000")
DEMO_ORG_ID: Final = OrgId(uuid5(DEMO_NAMESPACE, "org"))
DEMO_REGION_ID: Final = RegionId(uuid5(DEMO_NAMESPACE, "region"))
DEMO_TZ: Final = "Europe/Lisbon"
DEMO_CENTER_LAT_DEG: Final = 41.15
DEMO_CENTER_LNG_DEG: Final = -8.61


@dataclass(frozen=True, slots=True)
class DemoService:
    """A service of the demo; the price is in euro cents."""

    code: str
    name: str
    skill_bit: int
    duration_min: int
    price_minor: int


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """A person of the demo."""

    email: str
    role: Role
    full_name: str

    @property
    def person_id(self) -> PersonId:
        """The same in every demo."""
        return PersonId(uuid5(DEMO_NAMESPACE, self.email))


DEMO_SERVICES: Final = (
    DemoService("cleaning", "Home cleaning", 0, 120, 4_800),
    DemoService("plumbing", "Plumbing", 1, 60, 6_500),
    DemoService("electrical", "Electrical work", 2, 60, 7_000),
    DemoService("mobile_mechanic", "Mobile mechanic", 3, 90, 8_500),
)

DEMO_ACCOUNTS: Final = (
    DemoAccount("admin@demo.clenzy.test", Role.ADMIN, "Alma Admin"),
    DemoAccount("dispatcher@demo.clenzy.test", Role.DISPATCHER, "Dario Desk"),
    DemoAccount("dispatcher2@demo.clenzy.test", Role.DISPATCHER, "Delia Desk"),
    DemoAccount("customer@demo.clenzy.test", Role.CUSTOMER, "Clara Customer"),
    DemoAccount("worker@demo.clenzy.test", Role.WORKER, "Wim Worker"),
)

ADD_ORG: Final = "INSERT INTO org (org_id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"

ADD_REGION: Final = """
INSERT INTO region (region_id, org_id, name, country_code, tz, center_lat, center_lng)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
"""

ADD_SERVICE: Final = """
INSERT INTO service (service_id, org_id, code, name, skill_bit, duration_min, price_minor, currency)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'EUR') ON CONFLICT DO NOTHING
"""

ADD_PERSON: Final = """
INSERT INTO person (person_id, org_id, region_id, role, email, full_name, is_demo, tokens_valid_after, tz, created_at)
VALUES ($1, $2, $3, $4, $5, $6, true, $8, $7, $8) ON CONFLICT DO NOTHING
"""

# Not `ON CONFLICT`: a run that finds the worker must not burn a slot.
ADD_WORKER: Final = """
INSERT INTO worker (worker_id, skills, rating, experience, updated_at)
SELECT $1, $2, 4.8, 0.8, $3 WHERE NOT EXISTS (SELECT FROM worker WHERE worker_id = $1)
"""

PRESENT_HASH: Final = "SELECT password_hash FROM person WHERE person_id = $1"

SET_HASH: Final = "UPDATE person SET password_hash = $2, tokens_valid_after = $3 WHERE person_id = $1"


def refused_orgs(*, is_demo: bool) -> frozenset[OrgId]:
    """Return whose people an installation lets in nowhere: outside of the demo the demo's.

    A database that was a demo's may be started for real, and the demo's passwords lie in a file.
    """
    return frozenset() if is_demo else frozenset({DEMO_ORG_ID})


async def seed_demo(conn: Connection, *, passwords: dict[str, str], now_ms: int) -> None:
    """Create what is missing of the demo. `passwords` by e-mail; an account without one cannot sign in."""
    async with conn.transaction():
        await seed_place(conn, now_ms=now_ms)
        for account in DEMO_ACCOUNTS:
            await _seed_account(conn, account, password=passwords.get(account.email), now_ms=now_ms)


async def seed_place(conn: Connection, *, now_ms: int) -> None:
    """Create the demo's organisation, region and services where they are missing."""
    await conn.execute(ADD_ORG, DEMO_ORG_ID, "Clenzy Demo", utc_from_ms(now_ms))
    await conn.execute(
        ADD_REGION,
        DEMO_REGION_ID,
        DEMO_ORG_ID,
        "Demo City",
        "PT",
        DEMO_TZ,
        DEMO_CENTER_LAT_DEG,
        DEMO_CENTER_LNG_DEG,
    )
    for service in DEMO_SERVICES:
        await conn.execute(
            ADD_SERVICE,
            uuid5(DEMO_NAMESPACE, service.code),
            DEMO_ORG_ID,
            service.code,
            service.name,
            service.skill_bit,
            service.duration_min,
            service.price_minor,
        )


async def _seed_account(conn: Connection, account: DemoAccount, *, password: str | None, now_ms: int) -> None:
    now = utc_from_ms(now_ms)
    await conn.execute(
        ADD_PERSON,
        account.person_id,
        DEMO_ORG_ID,
        DEMO_REGION_ID,
        account.role.value,
        account.email,
        account.full_name,
        DEMO_TZ,
        now,
    )
    if account.role is Role.WORKER:
        every_skill = sum(1 << service.skill_bit for service in DEMO_SERVICES)
        await conn.execute(ADD_WORKER, account.person_id, every_skill, now)
    if password is None:
        return
    present = await conn.fetchval(PRESENT_HASH, account.person_id)
    if not await asyncio.to_thread(verify_password, present, password):
        await conn.execute(SET_HASH, account.person_id, await asyncio.to_thread(hash_password, password), now)
