"""Takes verified triggers: the first of {Postgres commit, spool sync} acknowledges, and the answer says which it was.

Needs Postgres or this machine's disk, and nothing else. Acknowledged means durable; when both refuse, the phone is told
so in time to try another door. Nobody verified is refused for being many: what the lane has no room for is spooled.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol
from uuid import UUID

import asyncpg
import structlog

from config.limits import (
    COMMIT_PACE_MS,
    COMMITTERS,
    SPOOL_REPLAY_MS,
    TRIGGER_COMMIT_MS_MAX,
    TRIGGERS_PER_COMMIT_MAX,
    TRIGGERS_PER_PERSON_WAITING_MAX,
    TRIGGERS_WAITING_MAX,
)
from engine.core.clock import Clock
from engine.core.crash_point import crash_point
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.errors import NotSignedIn, Unavailable
from engine.core.ids import IncidentId
from engine.core.vocabulary import Acknowledgement
from engine.safetap.commit_lane import CommitLane, Settled, Size
from engine.safetap.metrics import SPOOL_BYTES
from engine.safetap.spool import Delivery, Spool
from engine.safetap.trigger import ReceivedTrigger, from_record, to_record
from engine.safetap.trigger_store import store_triggers

log = structlog.get_logger(__name__)

NEVER: Final = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)
"""What trying again will not mend: the organisation or region of the token is gone."""
AWAY: Final = Settled(Delivery.AWAY)
REFUSED: Final = Settled(Delivery.REFUSED)
SIZE: Final = Size(
    TRIGGERS_WAITING_MAX, TRIGGERS_PER_PERSON_WAITING_MAX, TRIGGERS_PER_COMMIT_MAX, COMMITTERS, COMMIT_PACE_MS
)


class SpooledWatch(Protocol):
    """Hears of alarms that only this machine's disk has, and of how each of them ends."""

    def spooled(self, received: ReceivedTrigger) -> None:
        """Take note of an alarm that Postgres does not have yet."""
        ...

    def settled(self, received: ReceivedTrigger, incident_id: IncidentId | None) -> None:
        """Take note that Postgres has it as part of `incident_id`, or never will. Also called for others."""
        ...


class Intake:
    """Commits or spools triggers; `run` and `replay_loop` must run beside."""

    def __init__(
        self, *, pool: Pool, spool: Spool, clock: Clock, new_id: Callable[[], UUID], watch: SpooledWatch
    ) -> None:
        self._pool = pool
        self._spool = spool
        self._clock = clock
        self._new_id = new_id
        self._watch = watch
        self._lane: CommitLane[ReceivedTrigger] = CommitLane(
            self._commit, sender_of=lambda one: one.person_id, key_of=_key_of, size=SIZE, clock=clock
        )

    async def run(self) -> None:
        """Commit what is taken, until cancelled."""
        await self._lane.run()

    async def take(self, received: ReceivedTrigger) -> Acknowledgement:
        """Make a trigger durable and say where.

        Raises:
            NotSignedIn: the token is authentic, but Postgres says that its person no longer exists.
            Unavailable: neither Postgres nor the disk takes it.
        """
        crash_point("before_commit")
        settled = self._lane.offer(received)
        if settled is not None:
            await asyncio.wait({settled}, timeout=TRIGGER_COMMIT_MS_MAX / 1000)
            if _is(settled, Delivery.DONE):
                return Acknowledgement.COMMITTED
            if _is(settled, Delivery.REFUSED):
                raise NotSignedIn("There is no such person any more.")
        try:
            await self._spool.append(to_record(received), _key_of(received))
        except OSError as error:
            log.exception("spool.refuses", trigger_id=str(received.trigger.trigger_id))
            if _is(settled, Delivery.DONE):
                return Acknowledgement.COMMITTED
            raise Unavailable("Try another door.") from error
        # A commit that was only slow may have won meanwhile; the spooled copy is then found to be known.
        if _is(settled, Delivery.DONE):
            return Acknowledgement.COMMITTED
        self._tell(lambda: self._watch.spooled(received))
        return Acknowledgement.SPOOLED

    async def replay_loop(self) -> None:
        """Bring what is spooled to Postgres, until cancelled."""
        while True:
            try:
                await self._spool.replay(self._deliver)
            except OSError:
                log.exception("spool.unreadable")
            SPOOL_BYTES.set(self._spool.waiting_bytes)
            await self._clock.sleep_ms(SPOOL_REPLAY_MS)

    async def _deliver(self, records: Sequence[bytes]) -> list[Delivery]:
        """Commit what is spooled; what is no record of ours is kept aside."""
        readable = {position: one for position, record in enumerate(records) if (one := _read(record)) is not None}
        outcomes = dict(zip(readable, await self._commit(list(readable.values())), strict=True))
        if any(one.delivery is Delivery.DONE for one in outcomes.values()):
            crash_point("after_replay_commit")
        return [outcomes.get(position, REFUSED).delivery for position in range(len(records))]

    async def _commit(self, batch: Sequence[ReceivedTrigger]) -> list[Settled]:
        outcomes = await self._try(batch)
        for received, outcome in zip(batch, outcomes, strict=True):
            if outcome.delivery is not Delivery.AWAY:
                self._tell(lambda: self._watch.settled(received, outcome.incident_id))  # noqa: B023 - called at once
        return outcomes

    def _tell(self, note: Callable[[], None]) -> None:
        try:
            note()
        except Exception:
            # Whoever watches must not cost an alarm: it is where it was acknowledged to be.
            log.exception("intake.watch_failed")

    async def _try(self, batch: Sequence[ReceivedTrigger]) -> list[Settled]:
        if not batch:
            return []
        first = str(batch[0].trigger.trigger_id)
        try:
            async with self._pool.acquire() as conn:
                incident_ids = await store_triggers(conn, batch, new_id=self._new_id, in_one=True)
        except NEVER:
            if len(batch) > 1:  # one of them; the others must not pay for it
                return [outcome for one in batch for outcome in await self._try([one])]
            log.exception("trigger.refused", trigger_id=first)
            return [REFUSED]
        except POSTGRES_ERRORS as error:
            log.warning("trigger.not_committed", trigger_id=first, count=len(batch), error=repr(error))
            return [AWAY] * len(batch)
        except Exception:
            # A defect of ours must not cost an alarm: the spool has it, and this line says so until it is mended.
            log.exception("trigger.not_committed", trigger_id=first, count=len(batch))
            return [AWAY] * len(batch)
        crash_point("after_commit")
        return [REFUSED if one is None else Settled(Delivery.DONE, one) for one in incident_ids]


def _key_of(received: ReceivedTrigger) -> tuple[UUID, UUID]:
    return received.person_id, received.trigger.trigger_id


def _read(record: bytes) -> ReceivedTrigger | None:
    try:
        return from_record(record)
    except (ValueError, KeyError, TypeError):
        log.exception("spool.foreign_record", bytes=len(record))
        return None


def _is(settled: "asyncio.Future[Settled] | None", delivery: Delivery) -> bool:
    return settled is not None and settled.done() and not settled.cancelled() and settled.result().delivery is delivery
