"""What every writer of incidents shares: the clock that escalation goes by, the history, the frozen policy."""

from typing import Final

import orjson
import structlog

from engine.core.database import Connection
from engine.core.errors import InvalidInput
from engine.core.ids import IncidentId, PersonId
from engine.core.units import utc_from_ms
from engine.safetap.policy import Policy, default_policy, parse_policy

log = structlog.get_logger(__name__)

# The one statement that reads a clock. The loops run it once a cycle; every other statement is given the time.
READ_CLOCK: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"

# Each event is the next version of its incident, so that the history has no gap and no order to dispute.
ADD_EVENT: Final = """
WITH changed AS (
  UPDATE incident SET version = version + 1 WHERE incident_id = $1 RETURNING incident_id, version
)
INSERT INTO incident_event (incident_id, version, kind, actor_id, body, at)
SELECT incident_id, version, $2, $3, $4::text::jsonb, $5 FROM changed
"""


async def read_clock(conn: Connection) -> int:
    """Return the database's wall time in Unix milliseconds."""
    now_ms = await conn.fetchval(READ_CLOCK)
    assert isinstance(now_ms, int)
    return now_ms


async def add_event(
    conn: Connection, *, incident_id: IncidentId, kind: str, actor_id: PersonId | None, body: str, now_ms: int
) -> None:
    """Append to an incident's history; `body` is JSON text. The caller holds a transaction."""
    await conn.execute(ADD_EVENT, incident_id, kind, actor_id, body, utc_from_ms(now_ms))


def event_body(**fields: object) -> str:
    """Return the JSON text of an event's body."""
    return orjson.dumps(fields, default=str).decode()


def read_policy(body: str, incident_id: IncidentId) -> Policy:
    """Return a frozen policy; one that cannot be read gives way to the default, because silence is the worse error."""
    try:
        return parse_policy(orjson.loads(body))
    except (InvalidInput, orjson.JSONDecodeError) as error:
        log.error("policy.unreadable", incident_id=str(incident_id), reason=str(error))  # noqa: TRY400 - no bug of ours
        return parse_policy(default_policy())
