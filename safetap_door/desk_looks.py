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
from engine.core.ids import IncidentId
from engine.core.units import utc_from_ms
from engine.outbox.durable_loop import keep_running
from engine.outbox.listener import Wake
from engine.people.tokens import Principal
from engine.safetap.live_reads import LiveRead, note_live_reads

log = structlog.get_logger(__name__)

OPENED: Final = """
INSERT INTO audit_log (org_id, actor_id, action, subject, detail, at)
SELECT org_id, actor_id, 'live.opened', 'org:' || org_id, jsonb_build_object('socket', socket_id), at
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[]) AS opened (org_id, actor_id, socket_id, at)
"""


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
        self._looks: list[LiveRead] = []
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
            self._looks.append(LiveRead(incident_id, principal.person_id, desk_id, now_ms))
            self._wake.set()

    async def run(self) -> None:
        """Write until cancelled, through restarts of Postgres."""
        await keep_running(self._round, name="desk_looks", clock=self._clock, errors=POSTGRES_ERRORS)

    async def _round(self) -> None:
        if not (self._looks or self._opened):
            await self._wake.wait(LIVE_LOOKS_MS)
            return
        looks, opened = list(self._looks), list(self._opened)
        async with self._pool.acquire() as conn, conn.transaction():
            await note_live_reads(conn, looks)
            await conn.execute(
                OPENED,
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
