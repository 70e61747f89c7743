"""Whether a worker takes part: on or off duty."""

from typing import Final

from engine.core.database import Connection
from engine.core.errors import Conflict, NotAllowed, NotFound
from engine.core.units import rfc3339, utc_from_ms
from engine.core.vocabulary import Duty, Role
from engine.outbox.events import append_event, user_topic
from engine.people.tokens import Principal

# The row lock comes first and alone: an assignment takes the same lock, so that the statement after it sees every job
# that was won before this worker may leave.
LOCK_WORKER: Final = "SELECT duty FROM worker WHERE worker_id = $1 FOR NO KEY UPDATE"

HAS_ACTIVE_JOB: Final = """
SELECT EXISTS (SELECT FROM booking
                WHERE worker_id = $1 AND state IN ('assigned', 'en_route', 'arrived', 'in_progress'))
"""

SET_DUTY: Final = """
UPDATE worker
   SET duty = $2::text,
       duty_since = $3::timestamptz,
       idle_since = CASE WHEN $2::text = 'on' THEN $3::timestamptz END,
       updated_at = $3::timestamptz
 WHERE worker_id = $1
RETURNING duty_since
"""


async def set_duty(conn: Connection, *, principal: Principal, duty: Duty, now_ms: int) -> Duty:
    """Put the worker on or off duty and tell them; asking for what already is changes and tells nothing.

    Raises:
        NotAllowed: only workers have a duty.
        Conflict: a job is active, its worker may not leave.
    """
    if principal.role is not Role.WORKER:
        raise NotAllowed("Only workers go on and off duty.")
    async with conn.transaction():
        present = await conn.fetchval(LOCK_WORKER, principal.person_id)
        if present is None:
            raise NotFound
        if present == duty:
            return duty
        if duty is Duty.OFF and await conn.fetchval(HAS_ACTIVE_JOB, principal.person_id):
            raise Conflict("A job is active: finish it before going off duty.", field="duty")
        since = await conn.fetchval(SET_DUTY, principal.person_id, duty.value, utc_from_ms(now_ms))
        body = {"duty": duty.value, "since": rfc3339(since)}
        await append_event(conn, topic=user_topic(principal.person_id), kind="duty", body=body, now_ms=now_ms)
    return duty
