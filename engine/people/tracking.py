"""Since when a worker's fixes count: from the beginning of their duty, or of an open alarm of theirs, on duty or not.

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

# An acknowledged incident is still one: only closing ends it. A drill tracks nobody.
READ_TRACKING: Final = """
SELECT w.duty = 'on' AS is_on_duty, w.duty_since,
       (SELECT opened_at FROM incident i WHERE i.person_id = w.worker_id AND i.state <> 'closed' AND NOT i.is_drill)
         AS alarm_since
     , w.worker_id
  FROM worker w
 WHERE w.worker_id = ANY($1::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Tracking:
    """Unix milliseconds by the wall; `None`: off duty, no alarm."""

    duty_since_ms: int | None
    alarm_since_ms: int | None


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
    )
