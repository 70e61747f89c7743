"""Who works at the desk, and the end of a shift: everything that one person has taken goes to another in one act."""

from dataclasses import dataclass
from typing import Final

from engine.core.database import Connection
from engine.core.errors import Conflict, InvalidInput, NotAllowed
from engine.core.ids import IncidentId, OrgId, PersonId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Role
from engine.people.audit import append_audit
from engine.people.tokens import Principal
from engine.safetap.incident_work import hand_over

COLLEAGUES: Final = """
SELECT p.person_id, p.full_name, p.role,
       EXISTS (SELECT FROM armed_desk d WHERE d.person_id = p.person_id AND d.lease_until > $2) AS is_armed
  FROM person p
 WHERE p.org_id = $1 AND p.role IN ('dispatcher', 'admin') AND p.status = 'active'
 ORDER BY is_armed DESC, p.full_name, p.person_id
"""
# In the order of their ids, so that two shifts that end at once cannot wait for each other.
TAKEN: Final = """
SELECT incident_id FROM incident
 WHERE org_id = $1 AND acknowledged_by = $2 AND state = 'acknowledged' ORDER BY incident_id
"""


@dataclass(frozen=True, slots=True)
class Colleague:
    """Somebody who works at the desk; `is_armed`: they watch one right now."""

    person_id: PersonId
    name: str
    role: Role
    is_armed: bool


@dataclass(frozen=True, slots=True)
class EndedShift:
    """What went to a colleague, and what did not because they have a stake in it."""

    handed_over: tuple[IncidentId, ...]
    kept: tuple[IncidentId, ...]


async def list_colleagues(conn: Connection, *, org_id: OrgId, now_ms: int) -> list[Colleague]:
    """Return everybody who works at an organisation's desk, those at an armed one first."""
    rows = await conn.fetch(COLLEAGUES, org_id, utc_from_ms(now_ms))
    return [
        Colleague(PersonId(row["person_id"]), row["full_name"], Role(row["role"]), is_armed=row["is_armed"])
        for row in rows
    ]


async def end_shift(conn: Connection, *, actor: Principal, to: PersonId, note: str, now_ms: int) -> EndedShift:
    """Give everything that `actor` has taken to a colleague, and write down that the desk changed hands.

    It is on record also when there was nothing to give. The caller holds a transaction.

    Raises:
        InvalidInput: there is no such colleague at this desk, or it is the actor.
    """
    colleagues = await list_colleagues(conn, org_id=actor.org_id, now_ms=now_ms)
    if to == actor.person_id or all(to != one.person_id for one in colleagues):
        raise InvalidInput("Another dispatcher or admin of this organisation.", field="to")
    handed_over: list[IncidentId] = []
    kept: list[IncidentId] = []
    for row in await conn.fetch(TAKEN, actor.org_id, actor.person_id):
        incident_id = IncidentId(row["incident_id"])
        try:
            await hand_over(conn, incident_id=incident_id, actor=actor, to=to, note=note, now_ms=now_ms)
        except NotAllowed:  # a party to it is never a responder, at the end of a shift neither
            kept.append(incident_id)
        except Conflict:  # closed since it was looked up
            continue
        else:
            handed_over.append(incident_id)
    await append_audit(
        conn,
        org_id=actor.org_id,
        actor_id=actor.person_id,
        action="desk.handed_over",
        subject=f"org:{actor.org_id}",
        now_ms=now_ms,
        detail={"to": str(to), "handed_over": [str(one) for one in handed_over], "kept": [str(one) for one in kept]},
    )
    return EndedShift(tuple(handed_over), tuple(kept))
