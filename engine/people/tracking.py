"""Since when a worker's fixes count, and whether their job's customer may see where they are.

They count from the beginning of the worker's duty, or of an open alarm of theirs, on duty or not.

Not part of what a worker's phone is shown: whoever holds it must not learn of an alarm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from engine.core.database import Connection
from engine.core.errors import NotFound
from engine.core.ids import PersonId
from engine.core.units import ms_from_utc
from engine.people.crews import is_on_crew

# An acknowledged incident is still one: only closing ends it. A drill tracks nobody and hides nobody.
# Out of sight: an incident of either side of the job, or of anybody of its crew, of whatever trust, until it is closed
# and a human has looked.
READ_TRACKING: Final = """
SELECT w.duty = 'on' AS is_on_duty, w.duty_since,
       (SELECT opened_at FROM incident i WHERE i.person_id = w.worker_id AND i.state <> 'closed' AND NOT i.is_drill)
         AS alarm_since,
       NOT EXISTS (SELECT FROM booking b
                    WHERE b.worker_id = w.worker_id AND b.state IN ('assigned', 'en_route', 'arrived', 'in_progress')
                      AND (EXISTS (SELECT FROM incident i
                                    WHERE (i.person_id IN (b.worker_id, b.customer_id) OR :mate_calls)
                                      AND i.state <> 'closed' AND NOT i.is_drill)
                           OR EXISTS (SELECT FROM safety_hold h
                                       WHERE (h.person_id IN (b.worker_id, b.customer_id) OR :mate_is_held)
                                         AND h.released_at IS NULL)))
         AS is_in_sight,
       w.worker_id
  FROM worker w
 WHERE w.worker_id = ANY($1::uuid[])
""".replace(":mate_calls", is_on_crew("i.person_id")).replace(":mate_is_held", is_on_crew("h.person_id"))


@dataclass(frozen=True, slots=True)
class Tracking:
    """Unix milliseconds by the wall; `None`: off duty, no alarm."""

    duty_since_ms: int | None
    alarm_since_ms: int | None
    is_in_sight: bool = True
    """Whether nobody of the worker's job has called for help: else its customer sees what they see at a GPS loss."""


async def read_tracking(conn: Connection, worker_id: PersonId) -> Tracking:
    """Return since when the fixes of a worker count; a duty of which nobody knows the beginning began at 0.

    Raises:
        NotFound: this person is no worker.
    """
    found = await read_trackings(conn, [worker_id])
    if worker_id not in found:
        raise NotFound
    return found[worker_id]


async def read_trackings(conn: Connection, worker_ids: Sequence[PersonId]) -> dict[PersonId, Tracking]:
    """Return the same of each who is a worker."""
    rows = await conn.fetch(READ_TRACKING, worker_ids)
    return {PersonId(row["worker_id"]): _tracking(row) for row in rows}


def _tracking(row: asyncpg.Record) -> Tracking:
    duty_since, alarm_since = row["duty_since"], row["alarm_since"]
    began_ms = 0 if duty_since is None else ms_from_utc(duty_since)
    return Tracking(
        duty_since_ms=began_ms if row["is_on_duty"] else None,
        alarm_since_ms=None if alarm_since is None else ms_from_utc(alarm_since),
        is_in_sight=row["is_in_sight"],
    )
