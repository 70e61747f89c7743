"""Schedules of who is on call in Postgres, their overrides, and the record of shifts handed over."""

from collections.abc import Sequence
from typing import Final

import orjson
import structlog

from engine.core.database import Connection
from engine.core.errors import InvalidInput
from engine.core.ids import ScheduleId
from engine.core.units import ms_from_utc, utc_from_ms
from engine.safetap.on_call import Override, Schedule, parse_schedule

log = structlog.get_logger(__name__)

# A deleted schedule still serves the policies that were frozen while it stood.
SCHEDULES: Final = "SELECT schedule_id, body::text AS body FROM on_call_schedule WHERE schedule_id = ANY($1::uuid[])"

OVERRIDES: Final = """
SELECT schedule_id, replaces, person_id, starts_at, ends_at
  FROM on_call_override
 WHERE schedule_id = ANY($1::uuid[]) AND ends_at > $2
 ORDER BY schedule_id, created_at, override_id
"""


async def load_schedules(
    conn: Connection, schedule_ids: Sequence[ScheduleId], *, now_ms: int
) -> dict[ScheduleId, Schedule]:
    """Return schedules with the overrides that have not ended; one that cannot be read is left out and logged."""
    overrides: dict[ScheduleId, list[Override]] = {}
    for row in await conn.fetch(OVERRIDES, schedule_ids, utc_from_ms(now_ms)):
        override = Override(
            ms_from_utc(row["starts_at"]), ms_from_utc(row["ends_at"]), row["replaces"], row["person_id"]
        )
        overrides.setdefault(row["schedule_id"], []).append(override)
    found = {}
    for row in await conn.fetch(SCHEDULES, schedule_ids):
        schedule_id = ScheduleId(row["schedule_id"])
        try:
            found[schedule_id] = parse_schedule(orjson.loads(row["body"]), overrides=overrides.get(schedule_id, ()))
        except (InvalidInput, orjson.JSONDecodeError) as error:
            log.error("schedule.unreadable", schedule_id=str(schedule_id), reason=str(error))  # noqa: TRY400 - no bug
    return found
