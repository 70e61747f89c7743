"""The lane of triggers for which nothing vouches. It has a queue, connections and a spool of its own.

Each source may bring so many; what is beyond is counted, and answered exactly like the rest. The answer promises
nothing, so nobody waits here: the device sends again until it is verified.
"""

from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

import structlog

from config.limits import (
    COMMIT_PACE_MS,
    ORPHANS_KEPT_MS,
    ORPHANS_SWEEP_MS,
    SOURCES_MAX,
    SPOOL_REPLAY_MS,
    TRIGGERS_PER_COMMIT_MAX,
    UNVERIFIED_BURST,
    UNVERIFIED_PER_S_MAX,
    UNVERIFIED_PER_SOURCE_BURST,
    UNVERIFIED_PER_SOURCE_PER_S_MAX,
    UNVERIFIED_WAITING_MAX,
)
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.units import utc_from_ms
from engine.safetap.budget import Budgets, Rate
from engine.safetap.commit_lane import CommitLane, Settled, Size
from engine.safetap.intake import AWAY, LATER, NEVER, NOT_NOW, REFUSED, STUCK
from engine.safetap.metrics import UNVERIFIED
from engine.safetap.spool import Delivery, Spool
from engine.safetap.unverified import DELETE_OLD, UnverifiedTrigger, from_record, store_unverified, to_record

log = structlog.get_logger(__name__)

SIZE: Final = Size(
    UNVERIFIED_WAITING_MAX, UNVERIFIED_PER_SOURCE_BURST, TRIGGERS_PER_COMMIT_MAX, committers=1, pace_ms=COMMIT_PACE_MS
)
Sourced = tuple[str, UnverifiedTrigger]


class UnverifiedLane:
    """Takes what strangers send; `run`, `replay_loop` and `sweep_loop` must run beside."""

    def __init__(self, *, pool: Pool, spool: Spool, clock: Clock, new_id: Callable[[], UUID]) -> None:
        self._pool = pool
        self._spool = spool
        self._clock = clock
        self._new_id = new_id
        self._budgets = Budgets(
            each=Rate(UNVERIFIED_PER_SOURCE_PER_S_MAX, UNVERIFIED_PER_SOURCE_BURST),
            together=Rate(UNVERIFIED_PER_S_MAX, UNVERIFIED_BURST),
            sources_max=SOURCES_MAX,
        )
        self._lane: CommitLane[Sourced] = CommitLane(
            self._commit, sender_of=lambda item: item[0], key_of=_key_of, size=SIZE, clock=clock
        )

    def has_room(self, source: str | None) -> bool:
        """Count one trigger of a source; `False`: it has had its share, and this one is not to be kept."""
        if self._budgets.spend(source, self._clock.steady_ns() / 1_000_000):
            return True
        UNVERIFIED.labels("too_many").inc()
        return False

    def offer(self, source: str | None, unverified: UnverifiedTrigger) -> None:
        """Let a trigger wait for its commit."""
        if self._lane.offer((source or "", unverified)) is None:
            UNVERIFIED.labels("too_many").inc()
        else:
            UNVERIFIED.labels(unverified.sender.token_state.value).inc()

    async def run(self) -> None:
        """Commit what is taken, until cancelled."""
        await self._lane.run()

    async def replay_loop(self) -> None:
        """Bring what is spooled to Postgres, until cancelled."""
        while True:
            try:
                await self._spool.replay(self._deliver)
            except OSError:
                log.exception("spool.unreadable")
            await self._clock.sleep_ms(SPOOL_REPLAY_MS)

    async def sweep_loop(self) -> None:
        """Delete orphans that nobody needs any more, until cancelled."""
        while True:
            try:
                async with self._pool.acquire() as conn:
                    await conn.execute(DELETE_OLD, utc_from_ms(self._clock.now_ms() - ORPHANS_KEPT_MS))
            except POSTGRES_ERRORS as error:
                log.warning("orphans.not_swept", error=repr(error))
            await self._clock.sleep_ms(ORPHANS_SWEEP_MS)

    async def _commit(self, batch: Sequence[Sourced]) -> list[Settled]:
        unverified = [one for _, one in batch]
        outcomes = await self._try(unverified)
        for one, outcome in zip(unverified, outcomes, strict=True):
            if outcome.delivery in LATER:
                await self._keep(one)
        return outcomes

    async def _keep(self, unverified: UnverifiedTrigger) -> None:
        try:
            await self._spool.append(to_record(unverified), _key_of(("", unverified)))
        except OSError as error:
            UNVERIFIED.labels("too_many").inc()
            log.warning("unverified.not_spooled", error=repr(error))

    async def _deliver(self, records: Sequence[bytes]) -> list[Delivery]:
        readable = {position: one for position, record in enumerate(records) if (one := _read(record)) is not None}
        outcomes = dict(zip(readable, await self._try(list(readable.values())), strict=True))
        return [outcomes.get(position, REFUSED).delivery for position in range(len(records))]

    async def _try(self, batch: Sequence[UnverifiedTrigger]) -> list[Settled]:
        if not batch:
            return []
        try:
            async with self._pool.acquire() as conn:
                incident_ids = await store_unverified(conn, batch, new_id=self._new_id)
        except NOT_NOW as error:
            log.warning("unverified.not_committed", count=len(batch), error=repr(error))
            return [AWAY] * len(batch)
        except Exception as error:
            if len(batch) > 1:  # one of them; the others must not pay for it
                return [outcome for one in batch for outcome in await self._try([one])]
            if isinstance(error, NEVER):
                log.warning("unverified.refused", error=repr(error))
                return [REFUSED]
            log.exception("unverified.not_committed", count=1)
            return [STUCK]
        return [Settled(Delivery.DONE, one) for one in incident_ids]


def _key_of(item: Sourced) -> tuple[str, UUID]:
    return item[1].sender.sender_hash, item[1].trigger.trigger_id


def _read(record: bytes) -> UnverifiedTrigger | None:
    try:
        return from_record(record)
    except (ValueError, KeyError, TypeError):
        log.exception("spool.foreign_record", bytes=len(record))
        return None
