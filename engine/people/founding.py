"""The first rows of an installation: an organisation with its region, and an account that nobody has to invite."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from engine.core.database import Connection
from engine.core.errors import Conflict, NotFound
from engine.core.ids import OrgId, PersonId, RegionId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Role
from engine.people.audit import append_audit

ORG_BY_NAME: Final = """
SELECT o.org_id, r.region_id, r.tz FROM org o JOIN region r ON r.org_id = o.org_id
 WHERE $1 = '' OR o.name = $1
 ORDER BY o.created_at, r.name LIMIT 2
"""

ADD_ORG: Final = "INSERT INTO org (org_id, name, created_at) VALUES ($1, $2, $3)"

ADD_REGION: Final = """
INSERT INTO region (region_id, org_id, name, country_code, tz, center_lat, center_lng)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""

ADD_ACCOUNT: Final = """
INSERT INTO person (person_id, org_id, region_id, role, email, full_name, password_hash, tokens_valid_after, tz,
                    created_at)
VALUES ($1, $2, $3, $4, lower($5), $6, $7, $8, $9, $8) ON CONFLICT DO NOTHING RETURNING person_id
"""

ADD_WORKER: Final = "INSERT INTO worker (worker_id, updated_at) VALUES ($1, $2)"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an account belongs."""

    org_id: OrgId
    region_id: RegionId
    tz: str


@dataclass(frozen=True, slots=True)
class NewRegion:
    """A region of a new organisation; `tz` is an IANA zone, `country_code` ISO 3166-1 alpha-2."""

    name: str
    country_code: str
    tz: str
    center_lat_deg: float
    center_lng_deg: float


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account with a password."""

    role: Role
    email: str
    full_name: str
    password_hash: str


async def found_org(conn: Connection, name: str, region: NewRegion, *, now_ms: int) -> Place:
    """Create an organisation and its first region."""
    org_id, region_id = OrgId(uuid4()), RegionId(uuid4())
    await conn.execute(ADD_ORG, org_id, name, utc_from_ms(now_ms))
    await conn.execute(
        ADD_REGION,
        region_id,
        org_id,
        region.name,
        region.country_code.upper(),
        region.tz,
        region.center_lat_deg,
        region.center_lng_deg,
    )
    return Place(org_id, region_id, region.tz)


async def find_org(conn: Connection, name: str) -> Place:
    """Return the organisation called `name`; an empty name means the only one there is.

    Raises:
        NotFound: there is none.
        Conflict: no name was given and there are several.
    """
    rows = await conn.fetch(ORG_BY_NAME, name)
    if not rows:
        raise NotFound("There is no such organisation.")
    if not name and len({row["org_id"] for row in rows}) > 1:
        raise Conflict("There are several organisations: name one.")
    return Place(OrgId(rows[0]["org_id"]), RegionId(rows[0]["region_id"]), rows[0]["tz"])


async def add_account(conn: Connection, account: NewAccount, place: Place, *, now_ms: int) -> PersonId:
    """Create an account and record it in the audit log.

    Raises:
        Conflict: the e-mail address is taken.
    """
    person_id: UUID | None = await conn.fetchval(
        ADD_ACCOUNT,
        uuid4(),
        place.org_id,
        place.region_id,
        account.role.value,
        account.email,
        account.full_name,
        account.password_hash,
        utc_from_ms(now_ms),
        place.tz,
    )
    if person_id is None:
        raise Conflict("This e-mail address has an account already.")
    if account.role is Role.WORKER:
        await conn.execute(ADD_WORKER, person_id, utc_from_ms(now_ms))
    await append_audit(
        conn,
        org_id=place.org_id,
        actor_id=None,  # whoever has the machine, not a person of the product
        action="account.added",
        subject=f"person:{person_id}",
        now_ms=now_ms,
        detail={"role": account.role.value},
    )
    return PersonId(person_id)
