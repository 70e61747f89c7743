"""What a service takes beside its own worker: further seats, and resources of the organisation."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID, uuid4

from config.limits import RESOURCES_MAX
from engine.core.database import Connection
from engine.core.errors import InvalidInput, NotFound
from engine.core.ids import OrgId

Row = dict[str, object]

RESOURCES: Final = """
SELECT r.code, r.kind, r.name, r.capacity, coalesce(sum(u.units), 0)::integer AS in_use
  FROM resource r LEFT JOIN resource_use u ON u.resource_id = r.resource_id AND u.ended_at IS NULL
 WHERE r.org_id = $1 GROUP BY r.resource_id ORDER BY r.kind, r.code
"""
LOCK_ORG: Final = "SELECT FROM org WHERE org_id = $1 FOR UPDATE"
KINDS: Final = "SELECT code, kind FROM resource WHERE org_id = $1"
SAVE_RESOURCE: Final = """
INSERT INTO resource (resource_id, org_id, code, kind, name, capacity) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (org_id, code) DO UPDATE SET name = excluded.name, capacity = excluded.capacity
"""
LOCK_SERVICE: Final = "SELECT true FROM service WHERE service_id = $1 AND org_id = $2 FOR NO KEY UPDATE"
SEATS: Final = """
SELECT s.role, wanted.code AS service_code
  FROM service_seat s JOIN service wanted ON wanted.service_id = s.seat_service_id
 WHERE s.service_id = $1 ORDER BY s.seat
"""
UNITS: Final = """
SELECT r.code, n.units FROM service_resource n JOIN resource r USING (resource_id)
 WHERE n.service_id = $1 ORDER BY r.code
"""
SERVICES: Final = "SELECT code, service_id FROM service WHERE org_id = $1 AND code = ANY($2::text[])"
CAPACITIES: Final = "SELECT code, resource_id, capacity FROM resource WHERE org_id = $1 AND code = ANY($2::text[])"
FORGET: Final = (
    "DELETE FROM service_seat WHERE service_id = $1",
    "DELETE FROM service_resource WHERE service_id = $1",
)
ADD_SEAT: Final = "INSERT INTO service_seat (service_id, seat, role, seat_service_id) VALUES ($1, $2, $3, $4)"
ADD_UNITS: Final = "INSERT INTO service_resource (service_id, resource_id, units) VALUES ($1, $2, $3)"


async def read_resources(conn: Connection, org_id: OrgId) -> list[Row]:
    """Return what the organisation has, and how much of it is in use."""
    return [dict(row) for row in await conn.fetch(RESOURCES, org_id)]


async def save_resources(conn: Connection, org_id: OrgId, items: Sequence[tuple[str, str, str, int]]) -> None:
    """Name resources, `(code, kind, name, capacity)`, or change known ones; jobs that have one keep it.

    Raises:
        InvalidInput: a known code is of another kind, or there would be more than `limits.RESOURCES_MAX`.
    """
    await conn.execute(LOCK_ORG, org_id)
    known: dict[str, str] = {row["code"]: row["kind"] for row in await conn.fetch(KINDS, org_id)}
    for code, kind, _, _ in items:
        if known.setdefault(code, kind) != kind:
            raise InvalidInput(f"{code} is a {known[code]}: what is known keeps its kind.", field="items")
    if len(known) > RESOURCES_MAX:
        raise InvalidInput(f"At most {RESOURCES_MAX} resources.", field="items")
    await conn.executemany(SAVE_RESOURCE, [(uuid4(), org_id, *item) for item in items])


async def read_needs(conn: Connection, service_id: UUID, org_id: OrgId) -> Row:
    """Return the further seats of a service, and what it takes.

    Raises:
        NotFound: no service of the organisation.
    """
    if not await conn.fetchval("SELECT true FROM service WHERE service_id = $1 AND org_id = $2", service_id, org_id):
        raise NotFound
    return {
        "service_id": service_id,
        "seats": [dict(row) for row in await conn.fetch(SEATS, service_id)],
        "resources": [dict(row) for row in await conn.fetch(UNITS, service_id)],
    }


async def save_needs(
    conn: Connection,
    service_id: UUID,
    org_id: OrgId,
    *,
    seats: Sequence[tuple[str, str]],
    resources: Sequence[tuple[str, int]],
) -> None:
    """Write the seats beside the first, `(role, service_code)`, and what a job takes, `(code, units)`, all anew.

    Bookings that were made before keep the seats that they have.

    Raises:
        NotFound: no service of the organisation.
        InvalidInput: a service or resource is not the organisation's, or has not so many units.
    """
    if not await conn.fetchval(LOCK_SERVICE, service_id, org_id):
        raise NotFound
    found = await conn.fetch(SERVICES, org_id, [code for _, code in seats])
    services = {row["code"]: row["service_id"] for row in found}
    known = {row["code"]: row for row in await conn.fetch(CAPACITIES, org_id, [code for code, _ in resources])}
    for _, code in seats:
        if code not in services:
            raise InvalidInput(f"There is no service {code} here.", field="seats")
    for code, units in resources:
        if code not in known or units > known[code]["capacity"]:
            raise InvalidInput(f"There are not {units} of {code} here.", field="resources")
    for statement in FORGET:
        await conn.execute(statement, service_id)
    rows = [(service_id, number, role, services[code]) for number, (role, code) in enumerate(seats, 2)]
    await conn.executemany(ADD_SEAT, rows)
    await conn.executemany(ADD_UNITS, [(service_id, known[code]["resource_id"], units) for code, units in resources])
