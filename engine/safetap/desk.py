"""What a human at the desk does with an incident: acknowledge it, close it. Every door calls these two functions.

Nobody acts on their own alarm, and neither does the other party to the booking: whoever has a stake in the silence must
not be able to bring it about.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import orjson

from config.limits import CLOSE_REASON_CHARS_MAX
from engine.core.database import Connection
from engine.core.errors import ClenzyError, Conflict, InvalidInput, NotAllowed, NotFound
from engine.core.ids import IncidentId, PersonId
from engine.core.units import MS_PER_S, utc_from_ms
from engine.core.vocabulary import IncidentState, Role
from engine.people.audit import append_audit
from engine.people.crews import workers_of
from engine.people.tokens import Principal
from engine.safetap.channels.desk import show_at_desk
from engine.safetap.incident_store import add_event, read_policy
from engine.safetap.incident_views import VOIDS_CLOSE_ASKED, incident_view

REVIEWED: Final = "reviewed"
"""A closing reason that begins with this word says that somebody has looked, and releases the hold."""

# The row lock orders everything that happens to one incident; the timer's lock is only ever taken after it.
LOCK_INCIDENT: Final = """
SELECT i.state, i.acknowledged_by, i.person_id, i.policy::text AS policy, i.is_drill, b.customer_id,
       :workers AS worker_ids,
       EXISTS (SELECT FROM person WHERE person_id = $3 AND org_id = $2 AND role = $4 AND status = 'active') AS may_act
  FROM incident i LEFT JOIN booking b USING (booking_id)
 WHERE i.incident_id = $1 AND i.org_id = $2
   FOR UPDATE OF i
""".replace(":workers", workers_of())

ACKNOWLEDGE: Final = """
UPDATE incident
   SET state = 'acknowledged', acknowledged_at = $3, acknowledged_by = $2
 WHERE incident_id = $1 AND state <> 'closed' AND acknowledged_by IS NULL
"""

# What is due now is the follow-up: the ladder from its first step, in its next loop. A claim under way is void.
AWAIT_FOLLOW_UP: Final = """
UPDATE incident_timer
   SET due_at = $2, step = 1, loop = loop + 1, fence = fence + 1, lease_until = NULL, waits_for_desk = false
 WHERE incident_id = $1
"""

CLOSE: Final = """
UPDATE incident
   SET state = 'closed', closed_at = $3, closed_by = $2, close_reason = $4
 WHERE incident_id = $1 AND state <> 'closed'
"""

# Asked once the incident is locked, so that an alarm which came while waiting for the lock is seen.
CLOSE_ASKED_BY: Final = f"""
SELECT i.close_asked_by FROM incident i
 WHERE i.incident_id = $1
   AND NOT EXISTS (SELECT FROM incident_event e
                    WHERE e.incident_id = i.incident_id AND e.version > i.close_asked_version
                      AND e.kind IN {VOIDS_CLOSE_ASKED})
"""  # noqa: S608 - kinds of our own
# Nothing else changes: whatever told people goes on telling them until a second one agrees. The event comes next.
ASK_CLOSE: Final = """
UPDATE incident SET close_asked_by = $2, close_asked_version = version + 1 WHERE incident_id = $1
"""
HAS_COLLEAGUE: Final = """
SELECT EXISTS (SELECT FROM person p JOIN incident i USING (org_id)
                WHERE i.incident_id = $1 AND p.person_id NOT IN ($2, i.person_id)
                  AND p.role IN ('dispatcher', 'admin') AND p.status = 'active')
"""

STOP_TIMER: Final = "DELETE FROM incident_timer WHERE incident_id = $1"

STOP_NOTICES: Final = """
UPDATE notice SET state = 'failed', lease_until = NULL, last_error = 'the incident was closed before it was sent'
 WHERE incident_id = $1 AND state = 'pending'
"""

RELEASE_HOLD: Final = """
UPDATE safety_hold SET released_at = $3, released_by = $2 WHERE incident_id = $1 AND released_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Stakes:
    """Who has a stake in an incident: its person and the parties to its booking."""

    person_id: PersonId
    customer_id: PersonId | None
    worker_ids: Sequence[PersonId | None]
    """Everybody of the crew."""

    def refusal(self, actor: Principal) -> ClenzyError | None:
        """Return why `actor` may not act on the incident, or `None`."""
        if actor.role not in (Role.DISPATCHER, Role.ADMIN):
            return NotAllowed("Incidents are the desk's.")
        if actor.person_id == self.person_id:
            return NotAllowed("Nobody acknowledges or closes their own alarm.")
        if actor.person_id in (self.customer_id, *self.worker_ids):
            return NotAllowed("A party to the booking is never a responder.")
        return None


async def acknowledge(conn: Connection, *, incident_id: IncidentId, actor: Principal, now_ms: int) -> dict[str, object]:
    """Take responsibility for an incident and return it. One transaction.

    The first acknowledgement wins; a later one changes nothing and sees whose it was. It lapses after the policy's
    `follow_up_s`: the ladder starts again unless the incident has been closed.

    Raises:
        NotFound: there is no such incident in the actor's organisation.
        NotAllowed: not the desk, or somebody with a stake in it.
        Conflict: it is closed.
    """
    async with conn.transaction():
        incident = await lock_incident(conn, incident_id, actor)
        if incident["state"] == IncidentState.CLOSED:
            raise Conflict("The incident is closed.")
        if incident["acknowledged_by"] is None:  # also one that a safe PIN has stood down
            now = utc_from_ms(now_ms)
            policy = read_policy(incident["policy"], incident_id)
            await conn.execute(ACKNOWLEDGE, incident_id, actor.person_id, now)
            await conn.execute(AWAIT_FOLLOW_UP, incident_id, utc_from_ms(now_ms + policy.follow_up_s * MS_PER_S))
            await record(conn, incident_id, actor, "acknowledged", {}, now_ms=now_ms)
        return await incident_view(conn, incident_id)


async def close(
    conn: Connection, *, incident_id: IncidentId, actor: Principal, reason: str, now_ms: int
) -> dict[str, object]:
    """End an incident with a reason and return it. One transaction.

    Where the policy wants two people, the first one's closing only asks: the ladder and its follow-up go on until
    somebody else closes it too. A further alarm makes the asking void; a drill needs one person.

    Its safety hold outlives it: dispatch leaves the person and the door alone until a human says that they looked. Who
    begins the reason with the word `reviewed` says so and releases the hold; closing a closed incident again with such
    a reason does it later, and any other second closing changes nothing.

    Raises:
        InvalidInput: the reason is empty or too long.
        NotFound: there is no such incident in the actor's organisation.
        NotAllowed: not the desk, or somebody with a stake in it.
        Conflict: two people must agree, and the actor has no colleague who could.
    """
    told = reason.strip()
    if not 1 <= len(told) <= CLOSE_REASON_CHARS_MAX:
        raise InvalidInput(f"1 to {CLOSE_REASON_CHARS_MAX} characters.", field="reason")
    async with conn.transaction():
        incident = await lock_incident(conn, incident_id, actor)
        if incident["state"] != IncidentState.CLOSED:
            if await _wants_another(conn, incident, incident_id, actor):
                await conn.execute(ASK_CLOSE, incident_id, actor.person_id)
                await record(conn, incident_id, actor, "close_asked", {"reason": told}, now_ms=now_ms)
                return await incident_view(conn, incident_id)
            await conn.execute(CLOSE, incident_id, actor.person_id, utc_from_ms(now_ms), told)
            await conn.execute(STOP_TIMER, incident_id)
            await conn.execute(STOP_NOTICES, incident_id)
            await record(conn, incident_id, actor, "closed", {"reason": told}, now_ms=now_ms)
        if says_reviewed(told):
            await _release_hold(conn, incident_id, actor, told, now_ms=now_ms)
        return await incident_view(conn, incident_id)


async def _wants_another(conn: Connection, incident: asyncpg.Record, incident_id: IncidentId, actor: Principal) -> bool:
    if incident["is_drill"] or not read_policy(incident["policy"], incident_id).two_person_close:
        return False
    if await conn.fetchval(CLOSE_ASKED_BY, incident_id) not in (None, actor.person_id):
        return False
    if not await conn.fetchval(HAS_COLLEAGUE, incident_id, actor.person_id):
        raise Conflict("Two people must agree to close this, and you are the only one at the desk: add a colleague.")
    return True


def says_reviewed(reason: str) -> bool:
    """Return whether a closing reason releases the hold: its first word is `reviewed`, in any case."""
    words = reason.casefold().split(maxsplit=1)
    return bool(words) and words[0].strip(".,:;!-") == REVIEWED


async def lock_incident(conn: Connection, incident_id: IncidentId, actor: Principal) -> asyncpg.Record:
    """Return an incident that `actor` may work on, locked for the caller's transaction.

    Raises:
        NotFound: there is no such incident in the actor's organisation.
        NotAllowed: not the desk, or somebody with a stake in it.
    """
    incident = await conn.fetchrow(LOCK_INCIDENT, incident_id, actor.org_id, actor.person_id, actor.role.value)
    if incident is None:
        raise NotFound
    refusal = Stakes(incident["person_id"], incident["customer_id"], incident["worker_ids"]).refusal(actor)
    if refusal is not None:
        raise refusal
    if not incident["may_act"]:
        raise NotAllowed("This account no longer works at the desk.")
    return incident


async def _release_hold(
    conn: Connection, incident_id: IncidentId, actor: Principal, reason: str, *, now_ms: int
) -> None:
    released = await conn.execute(RELEASE_HOLD, incident_id, actor.person_id, utc_from_ms(now_ms))
    if released != "UPDATE 0":
        await record(conn, incident_id, actor, "hold_released", {"reason": reason}, now_ms=now_ms)


async def record(
    conn: Connection, incident_id: IncidentId, actor: Principal, kind: str, body: dict[str, object], *, now_ms: int
) -> None:
    """Write the event, the audit entry and what the desks see, in the caller's transaction."""
    text = orjson.dumps(body).decode()
    await add_event(conn, incident_id=incident_id, kind=kind, actor_id=actor.person_id, body=text, now_ms=now_ms)
    await append_audit(
        conn,
        org_id=actor.org_id,
        actor_id=actor.person_id,
        action=f"incident.{kind}",
        subject=f"incident:{incident_id}",
        now_ms=now_ms,
    )
    await show_at_desk(conn, [incident_id], now_ms=now_ms)
