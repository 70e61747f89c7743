"""Who opened a desk's live stream, and which incidents it showed them: on record once a socket and incident.

Nobody waits for the record: a look is noted after it was shown, a batch at a time, and again while Postgres is away.
Its subject sees it among the looks at their places, but of an incident that is live or held.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from config.limits import LIVE_LOOKS_MAX, LIVE_LOOKS_MS
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.ids import IncidentId, PersonId
from engine.core.units import utc_from_ms
from engine.outbox.durable_loop import keep_running
from engine.outbox.listener import Wake
from engine.people.tokens import Principal

log = structlog.get_logger(__name__)

# What has no row in Postgres yet is noted once it has one: then it is shown again.
NOTE: Final = """
INSERT INTO audit_log (org_id, actor_id, action, subject, detail, at)
SELECT i.org_id, look.actor_id, 'incident.live_read', 'person:' || i.person_id,
       jsonb_build_object('incident_id', i.incident_id, 'desk_id', look.desk_id), look.at
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[]) AS look (incident_id, actor_id, desk_id, at)
  JOIN incident i USING (incident_id)
UNION ALL
SELECT opened.org_id, opened.actor_id, 'live.opened', 'org:' || opened.org_id,
       jsonb_build_object('desk_id', opened.desk_id), opened.at
  FROM unnest($5::uuid[], $6::uuid[], $7::uuid[], $8::timestamptz[]) AS opened (org_id, actor_id, desk_id, at)
"""


@dataclass(frozen=True, slots=True)
class Look:
    """One incident on one desk's screen for the first time."""

    incident_id: IncidentId
    actor_id: PersonId
    desk_id: UUID
    at_ms: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A desk's socket that began."""

    principal: Principal
    desk_id: UUID
    at_ms: int


class DeskLooks:
    """What is still to be written. `run` must run beside whoever shows."""

    def __init__(self, *, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._looks: list[Look] = []
        self._opened: list[Opened] = []
        self._wake = Wake()

    def opened(self, principal: Principal, desk_id: UUID) -> None:
        """Take note that somebody opened the stream."""
        if self._has_room():
            self._opened.append(Opened(principal, desk_id, self._clock.now_ms()))
            self._wake.set()

    def saw(self, principal: Principal, desk_id: UUID, incident_ids: Iterable[IncidentId]) -> None:
        """Take note that these incidents were shown there."""
        now_ms = self._clock.now_ms()
        for incident_id in incident_ids:
            if not self._has_room():
                return
            self._looks.append(Look(incident_id, principal.person_id, desk_id, now_ms))
            self._wake.set()

    async def run(self) -> None:
        """Write until cancelled, through restarts of Postgres."""
        await keep_running(self._round, name="desk_looks", clock=self._clock, errors=POSTGRES_ERRORS)

    async def _round(self) -> None:
        if not (self._looks or self._opened):
            await self._wake.wait(LIVE_LOOKS_MS)
            return
        looks, opened = list(self._looks), list(self._opened)
        await self._pool.execute(
            NOTE,
            [one.incident_id for one in looks],
            [one.actor_id for one in looks],
            [one.desk_id for one in looks],
            [utc_from_ms(one.at_ms) for one in looks],
            [one.principal.org_id for one in opened],
            [one.principal.person_id for one in opened],
            [one.desk_id for one in opened],
            [utc_from_ms(one.at_ms) for one in opened],
        )
        del self._looks[: len(looks)], self._opened[: len(opened)]
        await self._clock.sleep_ms(LIVE_LOOKS_MS)

    def _has_room(self) -> bool:
        if len(self._looks) + len(self._opened) < LIVE_LOOKS_MAX:
            return True
        log.error("live.look_not_recorded")
        return False
