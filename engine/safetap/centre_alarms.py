"""The alarm that a monitoring centre works on: opened once an incident, told where the person is, ended with it.

A ladder that comes round again repeats its notices; to the centre that is the same alarm, not another one.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Never

import asyncpg
import structlog

from config.limits import CENTRE_BATCH_MAX, CENTRE_SYNC_MS
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.ids import IncidentId
from engine.core.units import ms_from_utc, utc_from_ms
from engine.core.vocabulary import IncidentState
from engine.outbox.durable_loop import keep_running
from engine.safetap.channels.centre_api import CentreApi
from engine.safetap.channels.monitoring import CENTRE_SCHEME
from engine.safetap.channels.notifier import NoticeMessage, Notifier, NotSent, Receipt
from engine.safetap.escalation_loop import ReadClock
from engine.safetap.incident_store import read_clock
from engine.safetap.incident_trail import read_last_fix

log = structlog.get_logger(__name__)

KNOWN: Final = "SELECT alarm_id FROM centre_alarm WHERE incident_id = $1 AND ended_at IS NULL"
# An incident whose alarm the centre has ended may be sent there again: somebody presses on.
OPEN: Final = """
INSERT INTO centre_alarm AS alarm (incident_id, alarm_id, due_at, synced_ms) VALUES ($1, $2, $3, $4)
ON CONFLICT (incident_id) DO UPDATE
   SET alarm_id = excluded.alarm_id, due_at = excluded.due_at, synced_ms = excluded.synced_ms, ended_at = NULL,
       trouble = ''
 WHERE alarm.ended_at IS NOT NULL
"""
CLAIM: Final = """
UPDATE centre_alarm alarm SET due_at = $2
  FROM incident i
 WHERE i.incident_id = alarm.incident_id
   AND alarm.incident_id IN (SELECT incident_id FROM centre_alarm WHERE ended_at IS NULL AND due_at <= $1
                              ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING alarm.incident_id, alarm.alarm_id, alarm.synced_ms, i.state
"""
RECORD: Final = """
UPDATE centre_alarm SET synced_ms = greatest(synced_ms, $3), trouble = $4, ended_at = $5
 WHERE incident_id = $1 AND alarm_id = $2
"""


class CentreNotifier:
    """The webhook channel of a policy: the connector where the address is its own, else `webhook`."""

    def __init__(self, *, pool: Pool, api: CentreApi, webhook: Notifier) -> None:
        self._pool = pool
        self._api = api
        self._webhook = webhook

    async def send(self, message: NoticeMessage) -> Receipt:
        """Open the incident's alarm, unless it is open.

        Raises:
            NotSent: it was not taken.
        """
        if not message.address.startswith(CENTRE_SCHEME):
            return await self._webhook.send(message)
        async with self._pool.acquire() as conn:
            known = await conn.fetchval(KNOWN, message.incident_id)
        if known is not None:
            return Receipt(known)
        alarm_id = await self._api.create(message)
        fix = message.incident.get("fix")
        synced_ms = int(fix["ts_ms"] or 0) if isinstance(fix, Mapping) else 0
        async with self._pool.acquire() as conn:
            await conn.execute(OPEN, message.incident_id, alarm_id, utc_from_ms(message.sent_at_ms), synced_ms)
        return Receipt(alarm_id)


class CentreSync:
    """Keeps centres told of open alarms; any number of these may run."""

    def __init__(self, *, pool: Pool, api: CentreApi, read_clock: ReadClock = read_clock) -> None:
        self._pool = pool
        self._api = api
        self._read_clock = read_clock

    async def run(self, clock: Clock) -> Never:
        """Tell until cancelled, through restarts of Postgres and outages of the centre."""

        async def round_() -> None:
            await self.round()
            await clock.sleep_ms(CENTRE_SYNC_MS)

        await keep_running(round_, name="centre_sync", clock=clock, errors=POSTGRES_ERRORS)

    async def round(self) -> int:
        """Tell what is due once; return how many alarms that were."""
        async with self._pool.acquire() as conn:
            now_ms = await self._read_clock(conn)
            due_again = utc_from_ms(now_ms + CENTRE_SYNC_MS)
            alarms = await conn.fetch(CLAIM, utc_from_ms(now_ms), due_again, CENTRE_BATCH_MAX)
        await asyncio.gather(*(self._tell(alarm, now_ms) for alarm in alarms))
        return len(alarms)

    async def _tell(self, alarm: asyncpg.Record, now_ms: int) -> None:
        is_over, synced_ms, trouble = False, alarm["synced_ms"], ""
        try:
            if alarm["state"] == IncidentState.CLOSED:
                await self._api.cancel(alarm["alarm_id"])
                is_over = True
            elif (fix := await self._newer_fix(alarm, now_ms)) is not None:
                is_over = not await self._api.locate(alarm["alarm_id"], fix)
                synced_ms = _at_ms(fix)
        except NotSent as error:
            trouble = str(error)
            log.warning("centre.not_told", incident_id=str(alarm["incident_id"]), error=trouble)
        ended_at = utc_from_ms(now_ms) if is_over else None
        async with self._pool.acquire() as conn:
            await conn.execute(RECORD, alarm["incident_id"], alarm["alarm_id"], synced_ms, trouble, ended_at)

    async def _newer_fix(self, alarm: asyncpg.Record, now_ms: int) -> Mapping[str, object] | None:
        async with self._pool.acquire() as conn:
            fix = await read_last_fix(conn, IncidentId(alarm["incident_id"]), now_ms=now_ms)
        if fix is None or _at_ms(fix) <= alarm["synced_ms"]:
            return None
        return fix


def _at_ms(fix: Mapping[str, object]) -> int:
    return ms_from_utc(datetime.fromisoformat(str(fix["at"])))
