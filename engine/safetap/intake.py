"""Takes verified triggers: the first of {Postgres commit, spool sync} acknowledges, and the answer says which it was.

Postgres is given a head start, because what it has needs no second step. In a crowd the start is short: whoever waits
for others is hedged by the disk (Dean and Barroso, "The Tail at Scale", 2013), and shown to the desk from memory.

Needs Postgres or this machine's disk, and nothing else. Acknowledged means durable; when both refuse, the phone is told
so in time to try another door. Nobody verified is refused for being many: what the lane has no room for is spooled, but
for one who has as many alarms on the disk already as `limits.SPOOLED_PER_PERSON_MAX`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

import asyncpg
import structlog

from config.limits import (
    COMMIT_PACE_MS,
    COMMITTERS,
    CROWD_ALARMS,
    CROWD_COMMIT_MS,
    SPOOL_REPLAY_MS,
    TRIGGER_COMMIT_MS_MAX,
    TRIGGERS_PER_COMMIT_MAX,
    TRIGGERS_PER_PERSON_WAITING_MAX,
    TRIGGERS_WAITING_MAX,
)
from engine.core.clock import Clock
from engine.core.crash_point import crash_point
from engine.core.database import CONNECTION_LOST, Pool
from engine.core.errors import NotSignedIn, Unavailable
from engine.core.ids import IncidentId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Acknowledgement
from engine.safetap.commit_lane import CommitLane, Settled, Size
from engine.safetap.metrics import SPOOL_BYTES
from engine.safetap.spool import Delivery, Spool
from engine.safetap.trigger import ReceivedTrigger, from_record, to_record
from engine.safetap.trigger_store import store_triggers

log = structlog.get_logger(__name__)

NEVER: Final = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)
"""What trying again will not mend: the organisation or region of the token is gone."""
NOT_NOW: Final = (*CONNECTION_LOST, asyncpg.TransactionRollbackError, asyncpg.ReadOnlySQLTransactionError)
"""What says nothing about the alarm at hand: any other would fare no better."""
AWAY: Final = Settled(Delivery.AWAY)
STUCK: Final = Settled(Delivery.STUCK)
REFUSED: Final = Settled(Delivery.REFUSED)
LATER: Final = frozenset({Delivery.AWAY, Delivery.STUCK})
"""Of what has not been taken: it is offered again."""
SIZE: Final = Size(
    TRIGGERS_WAITING_MAX, TRIGGERS_PER_PERSON_WAITING_MAX, TRIGGERS_PER_COMMIT_MAX, COMMITTERS, COMMIT_PACE_MS
)


class SpooledWatch(Protocol):
    """Hears of alarms that only this machine's disk has, and of how each of them ends."""

    def spooled(self, received: ReceivedTrigger) -> None:
        """Take note of an alarm that Postgres does not have yet; told again each time that it is tried in vain."""
        ...

    def settled(self, received: ReceivedTrigger, incident_id: IncidentId | None) -> None:
        """Take note that Postgres has it as part of `incident_id`, or never will. Also called for others."""
        ...


class Intake:
    """Commits or spools triggers; `run` and `replay_loop` must run beside."""

    def __init__(
        self, *, pool: Pool, spool: Spool, clock: Clock, new_id: Callable[[], UUID], watches: Sequence[SpooledWatch]
    ) -> None:
        self._pool = pool
        self._spool = spool
        self._clock = clock
        self._new_id = new_id
        self._watches = tuple(watches)
        self._lane: CommitLane[ReceivedTrigger] = CommitLane(
            self._commit, sender_of=lambda one: one.person_id, key_of=_key_of, size=SIZE, clock=clock
        )
        self._in_both: dict[tuple[UUID, UUID], asyncio.Future[Settled]] = {}
        """What is on disk, or on its way there, and was in the lane too: the lane's word on each."""

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
            await asyncio.wait({settled}, timeout=CROWD_COMMIT_MS / MS_PER_S)
            if not settled.done() and self._lane.under_way < CROWD_ALARMS:
                await asyncio.wait({settled}, timeout=(TRIGGER_COMMIT_MS_MAX - CROWD_COMMIT_MS) / MS_PER_S)
            if _is_committed(settled):
                return Acknowledgement.COMMITTED
        return await self._hedge(received, settled)

    async def _hedge(self, received: ReceivedTrigger, settled: "asyncio.Future[Settled] | None") -> Acknowledgement:
        """Let the disk race with a commit that is late, or failed, or could not be begun (`None`)."""
        key = _key_of(received)
        if settled is not None:
            self._in_both[key] = settled
        on_disk = self._spool.put(to_record(received), key, owner=received.person_id)
        if settled is not None:
            racing: set[asyncio.Future[Any]] = {settled, on_disk}
            await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
            if on_disk.done() and on_disk.exception() is not None:
                await asyncio.wait({settled}, timeout=TRIGGER_COMMIT_MS_MAX / MS_PER_S)
            if _is_committed(settled):
                return Acknowledgement.COMMITTED
        try:
            await asyncio.shield(on_disk)
        except OSError as error:
            self._in_both.pop(key, None)
            log.exception("spool.refuses", trigger_id=str(received.trigger.trigger_id))
            raise Unavailable("Try another door.") from error
        # A commit that was only slow may have won meanwhile; the spooled copy is then found to be known.
        if settled is not None and _is_committed(settled):
            return Acknowledgement.COMMITTED
        self._tell_spooled(received)
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
        """Commit what is spooled and not committed otherwise; what is no record of ours is kept aside.

        What the lane has not settled yet stays, and all behind it: to offer it twice would make the crowd larger.
        """
        outcomes = [REFUSED.delivery] * len(records)
        rest: dict[int, ReceivedTrigger] = {}
        for position, record in enumerate(records):
            if (one := _read(record)) is None:
                continue
            settled = self._in_both.get(_key_of(one))
            if settled is not None and not settled.done():
                outcomes[position:] = [Delivery.AWAY] * (len(records) - position)
                break
            if settled is None or (known := settled.result().delivery) in LATER:
                rest[position] = one
            else:
                outcomes[position] = known
                del self._in_both[_key_of(one)]
        for (position, one), outcome in zip(rest.items(), await self._commit(list(rest.values())), strict=True):
            outcomes[position] = outcome.delivery
            if outcome.delivery in LATER:
                self._tell_spooled(one)  # of a process that was killed this one has not heard yet
            else:
                self._in_both.pop(_key_of(one), None)
        if any(outcomes[position] is Delivery.DONE for position in rest):
            crash_point("after_replay_commit")
        return outcomes

    async def _commit(self, batch: Sequence[ReceivedTrigger]) -> list[Settled]:
        outcomes = await self._try(batch)
        for received, outcome in zip(batch, outcomes, strict=True):
            if outcome.delivery not in LATER:
                self._tell(lambda watch: watch.settled(received, outcome.incident_id))  # noqa: B023 - called at once
        return outcomes

    def _tell_spooled(self, received: ReceivedTrigger) -> None:
        self._tell(lambda watch: watch.spooled(received))

    def _tell(self, note: Callable[[SpooledWatch], None]) -> None:
        for watch in self._watches:
            try:
                note(watch)
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
        except NOT_NOW as error:
            log.warning("trigger.not_committed", trigger_id=first, count=len(batch), error=repr(error))
            return [AWAY] * len(batch)
        except Exception as error:
            if len(batch) > 1:  # one of them; the others must not pay for it
                return [outcome for one in batch for outcome in await self._try([one])]
            # A defect of ours must not cost an alarm: the spool has it, and this line says so until it is mended.
            is_final = isinstance(error, NEVER)
            log.exception("trigger.refused" if is_final else "trigger.not_committed", trigger_id=first, count=1)
            return [REFUSED if is_final else STUCK]
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


def _is_committed(settled: "asyncio.Future[Settled]") -> bool:
    """Return whether Postgres has it; `False`: not yet, or it could not take it.

    Raises:
        NotSignedIn: Postgres says that there is no such person.
    """
    if not settled.done() or settled.cancelled():
        return False
    if settled.result().delivery is Delivery.REFUSED:
        raise NotSignedIn("There is no such person any more.")
    return settled.result().delivery is Delivery.DONE
