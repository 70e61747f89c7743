"""A job goes over to the worker who has just said yes to it, in the transaction of that answer.

The old worker kept it until now. It passes through `searching`: whatever hangs on a worker's dropping out happens as it
always does.
"""

from typing import Final

from engine.booking.booking_store import transition
from engine.booking.lifecycle import REMATCH_STATES
from engine.core.crash_point import crash_point
from engine.core.database import Connection
from engine.core.ids import BookingId, PersonId
from engine.core.vocabulary import BookingState
from engine.matcher.held_doors import held

ON_THE_WAY: Final = ", ".join(f"'{state.value}'" for state in sorted(REMATCH_STATES))
"""States of a job that may change hands, for an SQL list."""

MAY_TAKE: Final = """
SELECT EXISTS (SELECT FROM booking b
                WHERE b.booking_id = $1 AND b.worker_id = $2 AND b.state IN (:states) AND b.pinned_worker_id IS NULL
                  AND NOT :held)
""".replace(":states", ON_THE_WAY).replace(":held", held(people="b.customer_id, b.worker_id, $3"))
END_ACCEPTED: Final = """
UPDATE offer SET state = 'replaced' WHERE booking_id = $1 AND worker_id = $2 AND state = 'accepted'
"""


async def take_from(conn: Connection, had: PersonId, booking_id: BookingId, *, to: PersonId, now_ms: int) -> bool:
    """Take a job from the worker who had it, for the one who is about to be given it in the same transaction.

    The caller holds the locks of the booking and of worker `to`. Returns whether it may change hands by now.
    """
    if not await conn.fetchval(MAY_TAKE, booking_id, had, to):
        return False
    await conn.execute(END_ACCEPTED, booking_id, had)
    await transition(
        conn,
        booking_id=booking_id,
        to=BookingState.SEARCHING,
        actor=None,
        reason="taken over by a worker who is there sooner",
        now_ms=now_ms,
        is_passing=True,
    )
    crash_point("job_taken")
    return True
