"""Incidents that a live stream has shown, SafeTap's own or the console's: on record once a socket and incident.

The entry stands under the person whom it is about, as that of every other look at an incident's record: they see it
once the alarm is over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from engine.core.database import Connection
from engine.core.ids import IncidentId, PersonId
from engine.core.units import utc_from_ms

# What has no row in Postgres yet is noted once it has one: then it is shown again.
NOTE: Final = """
INSERT INTO audit_log (org_id, actor_id, action, subject, detail, at)
SELECT i.org_id, look.actor_id, 'incident.live_read', 'person:' || i.person_id,
       jsonb_build_object('incident_id', i.incident_id, 'socket', look.socket_id), look.at
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[]) AS look (incident_id, actor_id, socket_id, at)
  JOIN incident i USING (incident_id)
"""


@dataclass(frozen=True, slots=True)
class LiveRead:
    """One incident on one socket for the first time."""

    incident_id: IncidentId
    actor_id: PersonId
    socket_id: UUID
    at_ms: int


async def note_live_reads(conn: Connection, reads: Sequence[LiveRead]) -> None:
    """Write what was shown, all in one statement."""
    if reads:
        await conn.execute(
            NOTE,
            [one.incident_id for one in reads],
            [one.actor_id for one in reads],
            [one.socket_id for one in reads],
            [utc_from_ms(one.at_ms) for one in reads],
        )
