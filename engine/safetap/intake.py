"""Takes triggers: the first of {Postgres commit, spool sync} acknowledges, and the answer says which it was.

Needs Postgres or this machine's disk, and nothing else. Acknowledged means durable; when both refuse, the phone is told
so in time to try another door.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self
from uuid import UUID

import asyncpg
import orjson
import structlog

from config.limits import SEVERITY_MAX, SPOOL_REPLAY_MS, TRIGGER_COMMIT_MS_MAX, TRIGGERS_IN_FLIGHT_MAX
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Connection, Pool
from engine.core.errors import NotSignedIn, Unavailable
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Acknowledgement
from engine.safetap.incident_views import INCIDENT_JSON
from engine.safetap.metrics import SPOOL_BYTES
from engine.safetap.policy import default_policy
from engine.safetap.spool import Delivery, Spool
from engine.safetap.trigger import ReceivedTrigger, from_record, to_record

log = structlog.get_logger(__name__)

NEVER: Final = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)
"""What trying again will not mend: the person, organisation or region of the token is gone."""
ATTEMPTS_MAX: Final = 5
"""Attempts of one commit; each loser of a race sees the winner's row at its next attempt."""

# One statement, so that an alarm is there whole or not at all: incident (new, or the person's open one raised),
# trigger, event, timer (due now), hold, and what the desks see.
#
# Two devices or two doors may bring the same trigger at once: both see no such trigger, the second waits for the first
# one's incident, then breaks the key of `safetap_trigger`, which takes everything back; its next attempt finds the
# trigger (`known`). Each further press hastens the next step until the severity is at its limit; an acknowledged
# incident opens again, because the person needs more than the help that is on its way.
# A drill that is joined by a real alarm becomes one; a real alarm that is joined by a drill only notes it.
TAKE_TRIGGER: Final = """
WITH known AS (
  SELECT incident_id FROM safetap_trigger WHERE person_id = $5 AND trigger_id = $1
), place AS (
  SELECT booking_id, address_id, updated_at FROM booking
   WHERE booking_id = $10 AND $5 IN (customer_id, worker_id)
  UNION ALL
  SELECT booking_id, address_id, updated_at FROM booking
   WHERE $10::uuid IS NULL AND worker_id = $5 AND state IN ('assigned', 'en_route', 'arrived', 'in_progress')
  UNION ALL
  SELECT booking_id, address_id, updated_at FROM booking
   WHERE $10::uuid IS NULL AND customer_id = $5 AND state IN ('assigned', 'en_route', 'arrived', 'in_progress')
   ORDER BY updated_at DESC
   LIMIT 1
), rules AS (
  SELECT body FROM escalation_policy
   WHERE org_id = $3 AND (region_id = $4 OR region_id IS NULL)
   ORDER BY region_id NULLS LAST
   LIMIT 1
), raised AS (
  INSERT INTO incident AS had (incident_id, org_id, region_id, person_id, person_role, booking_id, kind, is_drill,
                               state, version, severity, policy, lat, lng, accuracy_m, fix_at, opened_at)
  SELECT $2, $3, $4, $5, $6, (SELECT booking_id FROM place), $7, $8::boolean,
         'open', 1, $9::integer, coalesce((SELECT body FROM rules), $19::text::jsonb), $11, $12, $13, $14, $15
   WHERE NOT EXISTS (SELECT FROM known)
  ON CONFLICT (person_id) WHERE state <> 'closed' DO UPDATE
     SET version = had.version + 1,
         kind = CASE WHEN had.is_drill THEN excluded.kind ELSE had.kind END,
         is_drill = had.is_drill AND excluded.is_drill,
         severity = CASE WHEN excluded.is_drill AND NOT had.is_drill THEN had.severity
                         ELSE least(greatest(had.severity, excluded.severity) + 1, $20) END,
         state = CASE WHEN excluded.is_drill AND NOT had.is_drill THEN had.state ELSE 'open' END,
         acknowledged_at = CASE WHEN excluded.is_drill AND NOT had.is_drill THEN had.acknowledged_at END,
         acknowledged_by = CASE WHEN excluded.is_drill AND NOT had.is_drill THEN had.acknowledged_by END,
         booking_id = coalesce(had.booking_id, excluded.booking_id),
         lat = CASE WHEN excluded.fix_at >= coalesce(had.fix_at, excluded.fix_at) THEN excluded.lat ELSE had.lat END,
         lng = CASE WHEN excluded.fix_at >= coalesce(had.fix_at, excluded.fix_at) THEN excluded.lng ELSE had.lng END,
         accuracy_m = CASE WHEN excluded.fix_at >= coalesce(had.fix_at, excluded.fix_at) THEN excluded.accuracy_m
                           ELSE had.accuracy_m END,
         fix_at = greatest(had.fix_at, excluded.fix_at)
  RETURNING had.*
), trigger_row AS (
  INSERT INTO safetap_trigger (trigger_id, incident_id, person_id, door, kind, token_state, body, received_at)
  SELECT $1, incident_id, $5, $16, $7, $17, $18::text::jsonb, $15 FROM raised
), event AS (
  INSERT INTO incident_event (incident_id, version, kind, actor_id, body, at)
  SELECT incident_id, version, CASE WHEN incident_id = $2 THEN 'triggered' ELSE 'retriggered' END, $5,
         jsonb_strip_nulls(jsonb_build_object(
           'trigger_id', $1, 'kind', $7, 'door', $16, 'token', $17, 'ignored', $18::text::jsonb -> 'ignored',
           'booking_refused', CASE WHEN NOT EXISTS (SELECT FROM place) THEN $10::uuid END)),
         $15
    FROM raised
), timer AS (
  INSERT INTO incident_timer AS due (incident_id, due_at, step)
  SELECT incident_id, $15, 1 FROM raised WHERE is_drill OR NOT $8
  ON CONFLICT (incident_id) DO UPDATE
     SET due_at = least(due.due_at, excluded.due_at), fence = due.fence + 1, lease_until = NULL
   WHERE due.step = 1 OR (SELECT severity FROM raised) < $20
  RETURNING due_at
), hold AS (
  INSERT INTO safety_hold (hold_id, org_id, incident_id, person_id, address_id, created_at)
  SELECT $21, $3, raised.incident_id, $5, place.address_id, $15
    FROM raised LEFT JOIN place ON true
   WHERE NOT raised.is_drill
     AND NOT EXISTS (SELECT FROM safety_hold held
                      WHERE held.incident_id = raised.incident_id AND held.released_at IS NULL
                        AND (place.address_id IS NULL OR held.address_id = place.address_id))
), shown AS (
  INSERT INTO outbox (topic, kind, body, created_at)
  SELECT 'desk:' || i.org_id, 'incident', :incident_json, $15
    FROM raised i
    JOIN person p USING (person_id)
    LEFT JOIN booking b ON b.booking_id = i.booking_id
    LEFT JOIN address a ON a.address_id = b.address_id
    LEFT JOIN LATERAL (
      SELECT coalesce((SELECT due_at FROM timer),
                      (SELECT due_at FROM incident_timer now_due WHERE now_due.incident_id = i.incident_id)) AS due_at
    ) t ON true
)
SELECT incident_id FROM raised UNION ALL SELECT incident_id FROM known
""".replace(":incident_json", INCIDENT_JSON)


class Intake:
    """Commits or spools triggers; enter it before use, and let `replay_loop` run beside it."""

    def __init__(self, *, pool: Pool, spool: Spool, clock: Clock, new_id: Callable[[], UUID]) -> None:
        self._pool = pool
        self._spool = spool
        self._clock = clock
        self._new_id = new_id
        self._commits = asyncio.TaskGroup()
        self._in_flight: set[asyncio.Task[Delivery]] = set()

    async def __aenter__(self) -> Self:
        """Open the group that commits run in."""
        await self._commits.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Abandon commits that Postgres has not answered: what they carry is in the spool."""
        for commit in self._in_flight:
            commit.cancel()
        await self._commits.__aexit__(kind, error, trace)

    async def take(self, received: ReceivedTrigger) -> Acknowledgement:
        """Make a trigger durable and say where.

        Raises:
            NotSignedIn: the token is authentic, but Postgres says that its person no longer exists.
            Unavailable: neither Postgres nor the disk takes it.
        """
        commit = self._begin_commit(received)
        if commit is not None:
            await asyncio.wait({commit}, timeout=TRIGGER_COMMIT_MS_MAX / 1000)
            if _is(commit, Delivery.DONE):
                return Acknowledgement.COMMITTED
            if _is(commit, Delivery.REFUSED):
                raise NotSignedIn("There is no such person any more.")
        try:
            await self._spool.append(to_record(received))
        except OSError as error:
            log.exception("spool.refuses", trigger_id=str(received.trigger.trigger_id))
            if commit is not None and _is(commit, Delivery.DONE):
                return Acknowledgement.COMMITTED
            raise Unavailable("Try another door.") from error
        # A commit that was only slow may have won meanwhile; the spooled copy is then found to be known.
        return Acknowledgement.COMMITTED if _is(commit, Delivery.DONE) else Acknowledgement.SPOOLED

    async def replay_loop(self) -> None:
        """Bring what is spooled to Postgres, until cancelled."""
        while True:
            try:
                await self._spool.replay(self._deliver)
            except OSError:
                log.exception("spool.unreadable")
            SPOOL_BYTES.set(self._spool.waiting_bytes)
            await self._clock.sleep_ms(SPOOL_REPLAY_MS)

    def _begin_commit(self, received: ReceivedTrigger) -> asyncio.Task[Delivery] | None:
        if len(self._in_flight) >= TRIGGERS_IN_FLIGHT_MAX:
            return None
        commit = self._commits.create_task(self._commit(received))
        self._in_flight.add(commit)
        commit.add_done_callback(self._in_flight.discard)
        return commit

    async def _deliver(self, record: bytes) -> Delivery:
        try:
            received = from_record(record)
        except (ValueError, KeyError, TypeError):
            log.exception("spool.foreign_record", bytes=len(record))
            return Delivery.REFUSED
        return await self._commit(received)

    async def _commit(self, received: ReceivedTrigger) -> Delivery:
        try:
            async with self._pool.acquire() as conn:
                await store_trigger(conn, received, new_id=self._new_id)
        except NEVER:
            log.exception("trigger.refused", trigger_id=str(received.trigger.trigger_id))
            return Delivery.REFUSED
        except POSTGRES_ERRORS as error:
            log.warning("trigger.not_committed", trigger_id=str(received.trigger.trigger_id), error=repr(error))
            return Delivery.AWAY
        except Exception:
            # A defect of ours must not cost an alarm: the spool has it, and this line says so until it is mended.
            log.exception("trigger.not_committed", trigger_id=str(received.trigger.trigger_id))
            return Delivery.AWAY
        return Delivery.DONE


async def store_trigger(conn: Connection, received: ReceivedTrigger, *, new_id: Callable[[], UUID]) -> UUID:
    """Commit a trigger and return its incident's id; the same trigger again changes nothing.

    Raises:
        asyncpg.IntegrityConstraintViolationError: the person, organisation or region does not exist.
    """
    for attempt in range(ATTEMPTS_MAX):
        try:
            incident_id = await conn.fetchval(TAKE_TRIGGER, *_parameters(received, new_id))
        except (asyncpg.UniqueViolationError, asyncpg.TransactionRollbackError):
            if attempt == ATTEMPTS_MAX - 1:
                raise
        else:
            assert isinstance(incident_id, UUID)
            return incident_id
    raise AssertionError("unreachable")


def _parameters(received: ReceivedTrigger, new_id: Callable[[], UUID]) -> tuple[object, ...]:
    trigger = received.trigger
    fix = trigger.fix
    note = {"ignored": trigger.ignored} if trigger.ignored else {}
    return (
        trigger.trigger_id,
        new_id(),
        received.org_id,
        received.region_id,
        received.person_id,
        received.role.value,
        trigger.kind.value,
        trigger.is_drill,
        trigger.severity,
        trigger.booking_id,
        None if fix is None else fix.lat_deg,
        None if fix is None else fix.lng_deg,
        None if fix is None else fix.accuracy_m,
        None if fix is None else utc_from_ms(fix.ts_ms),
        utc_from_ms(received.received_at_ms),
        received.door.value,
        "expired" if received.is_token_expired else "valid",
        orjson.dumps(note).decode(),
        orjson.dumps(default_policy()).decode(),
        SEVERITY_MAX,
        new_id(),
    )


def _is(commit: asyncio.Task[Delivery] | None, delivery: Delivery) -> bool:
    return commit is not None and commit.done() and not commit.cancelled() and commit.result() is delivery
