"""Legal holds: while one stands, nothing of the incident or person that it names is deleted or erased.

An admin sets and lifts them, each time with a reason, and both stand in the audit log under the one whom they are
about. An incident that is open, or whose safety hold nobody has released, holds by itself.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from engine.core.database import Connection
from engine.core.errors import Conflict, NotFound
from engine.core.ids import IncidentId, PersonId
from engine.core.units import rfc3339, utc_from_ms
from engine.people.audit import append_audit
from engine.people.crews import is_on_crew
from engine.people.tokens import Principal

# Theirs: they called for help, or are a party to the booking.
OF_PERSON: Final = """
SELECT i.incident_id, i.state
  FROM incident i LEFT JOIN booking b USING (booking_id)
 WHERE i.person_id = $1 OR b.customer_id = $1 OR b.worker_id = $1 OR :on_crew
""".replace(":on_crew", is_on_crew("$1"))
HOLDING: Final = """
WITH own AS (:of_person)
SELECT 'legal hold ' || hold_id || ' on the person' AS what FROM legal_hold WHERE person_id = $1 AND lifted_at IS NULL
 UNION ALL
SELECT 'legal hold ' || h.hold_id || ' on incident ' || h.incident_id
  FROM legal_hold h JOIN own USING (incident_id) WHERE h.lifted_at IS NULL
 UNION ALL
SELECT 'incident ' || incident_id || ', which is ' || state FROM own WHERE state <> 'closed'
 UNION ALL
SELECT 'safety hold of incident ' || incident_id || ', which nobody has released' FROM own
 WHERE EXISTS (SELECT FROM safety_hold s WHERE s.incident_id = own.incident_id AND s.released_at IS NULL)
""".replace(":of_person", OF_PERSON)

INCIDENT_OF_ORG: Final = "SELECT person_id FROM incident WHERE incident_id = $1 AND org_id = $2 FOR UPDATE"
PERSON_OF_ORG: Final = "SELECT person_id FROM person WHERE person_id = $1 AND org_id = $2 FOR UPDATE"
SET_HOLD: Final = """
INSERT INTO legal_hold (hold_id, org_id, incident_id, person_id, reason, set_by, set_at)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
RETURNING hold_id
"""
LIFT: Final = """
UPDATE legal_hold h SET lifted_by = $3, lifted_at = $4, lift_reason = $5
 WHERE hold_id = $1 AND org_id = $2 AND lifted_at IS NULL
RETURNING incident_id,
          coalesce(person_id, (SELECT person_id FROM incident i WHERE i.incident_id = h.incident_id)) AS who
"""
IS_KNOWN: Final = "SELECT EXISTS (SELECT FROM legal_hold WHERE hold_id = $1 AND org_id = $2)"
HOLDS: Final = """
SELECT hold_id, incident_id, person_id, reason, set_by, set_at, lifted_by, lifted_at, lift_reason
  FROM legal_hold WHERE org_id = $1 ORDER BY set_at DESC, hold_id LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class Held:
    """What a hold is on: one of the two."""

    incident_id: IncidentId | None = None
    person_id: PersonId | None = None


async def what_holds(conn: Connection, person_id: PersonId) -> list[str]:
    """Return what forbids that a person is erased, in words for an admin; nothing: they may be."""
    return [row["what"] for row in await conn.fetch(HOLDING, person_id)]


async def set_hold(conn: Connection, held: Held, *, hold_id: UUID, reason: str, admin: Principal, now_ms: int) -> UUID:
    """Hold an incident or a person. The caller holds a transaction.

    Raises:
        NotFound: there is no such incident or person in the organisation.
        Conflict: a hold stands on it already.
    """
    is_incident = held.incident_id is not None
    person_id = await conn.fetchval(
        INCIDENT_OF_ORG if is_incident else PERSON_OF_ORG, held.incident_id or held.person_id, admin.org_id
    )
    if person_id is None:
        raise NotFound
    at = utc_from_ms(now_ms)
    made = await conn.fetchval(
        SET_HOLD, hold_id, admin.org_id, held.incident_id, held.person_id, reason, admin.person_id, at
    )
    if made is None:
        raise Conflict("A legal hold stands on it already.")
    await _tell(conn, "legal_hold.set", person_id, hold_id, held.incident_id, admin=admin, now_ms=now_ms)
    return hold_id


async def lift_hold(conn: Connection, hold_id: UUID, *, reason: str, admin: Principal, now_ms: int) -> None:
    """Lift a hold. The caller holds a transaction.

    Raises:
        NotFound: there is no such hold in the organisation.
        Conflict: it is lifted already.
    """
    row = await conn.fetchrow(LIFT, hold_id, admin.org_id, admin.person_id, utc_from_ms(now_ms), reason)
    if row is None:
        if await conn.fetchval(IS_KNOWN, hold_id, admin.org_id):
            raise Conflict("This hold is lifted already.")
        raise NotFound
    await _tell(conn, "legal_hold.lifted", row["who"], hold_id, row["incident_id"], admin=admin, now_ms=now_ms)


async def list_holds(conn: Connection, *, admin: Principal, limit: int) -> list[dict[str, object]]:
    """Return an organisation's newest holds, lifted ones too."""
    return [_shown(row) for row in await conn.fetch(HOLDS, admin.org_id, limit)]


def _shown(row: asyncpg.Record) -> dict[str, object]:
    return {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()} | {
        "set_at": rfc3339(row["set_at"]),
        "lifted_at": rfc3339(row["lifted_at"]),
    }


async def _tell(
    conn: Connection,
    action: str,
    person_id: UUID,
    hold_id: UUID,
    incident_id: UUID | None,
    *,
    admin: Principal,
    now_ms: int,
) -> None:
    """Record it; the reason stays with the hold, since it may name people."""
    await append_audit(
        conn,
        org_id=admin.org_id,
        actor_id=admin.person_id,
        action=action,
        subject=f"person:{person_id}",
        now_ms=now_ms,
        detail={"hold_id": str(hold_id)} | ({} if incident_id is None else {"incident_id": str(incident_id)}),
    )
