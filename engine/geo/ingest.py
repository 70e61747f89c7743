"""From ping frames to cells: gather, judge a whole flush at once, move it by one scripted Redis call, acknowledge.

Bounded in every direction. Frames wait one tick at most: judged frames leave nothing behind but the newest record of
each slot, so an outage of Redis costs one row a worker however long it lasts. Nothing is acknowledged before Redis
has answered for it; what was acknowledged is in its cell.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import structlog
from numpy.typing import NDArray
from redis.exceptions import RedisError

from config.limits import FLUSH_FIXES_MAX, FLUSH_TICK_MS, INGEST_RETRY_MS
from engine.core.clock import Clock
from engine.core.vocabulary import FixOutcome, FixRefusal
from engine.geo import acceptance
from engine.geo.acceptance import AcceptanceRules
from engine.geo.cell_index import CellIndex
from engine.geo.cells import CellArray, cells_of
from engine.geo.fixes import FIX_BYTES, FixArray, RecordArray, SlotArray, decode
from engine.geo.worker_table import WorkerTable

log = structlog.get_logger(__name__)


class FixSource(Protocol):
    """A connection that sends fixes of one worker."""

    @property
    def slot(self) -> int:
        """The worker's slot."""
        ...

    def acknowledge(self, seq: int) -> None:
        """Take note that every frame up to `seq` is indexed or refused for good."""
        ...

    def count_refused(self, reasons: Counter[FixRefusal]) -> None:
        """Take note of fixes of this worker that were refused."""
        ...


@dataclass(frozen=True, slots=True)
class Moves:
    """What one flush brings to the index."""

    slots: SlotArray
    records: RecordArray
    """The newest record of each slot, with its new cell."""
    old_cells: CellArray
    """Where each slot was before, as far as this process knows; 0: nowhere."""
    removed_slots: SlotArray
    removed_cells: CellArray


@dataclass(frozen=True, slots=True)
class FlushReport:
    """What one flush did, for the metrics."""

    moved: int
    took_ns: int
    frame_latencies_ns: NDArray[np.int64]
    """From a frame's arrival to Redis' answer, one a frame."""


Publisher: TypeAlias = Callable[[Moves], Sequence[tuple[str, bytes]]]
Keep: TypeAlias = Callable[[FixArray, SlotArray], None]
"""Takes accepted, static and late fixes and beside each its slot; called once a pass, so it must be quick."""


class IngestObserver(Protocol):
    """Counts what the ingest does."""

    def judged(self, taken: Counter[FixOutcome], refused: Counter[FixRefusal]) -> None:
        """Every fix of some frames was taken or refused."""
        ...

    def flushed(self, report: FlushReport) -> None:
        """Redis has answered for one batch."""
        ...

    def flush_failed(self) -> None:
        """Redis did not answer."""
        ...


class Ingest:
    """The gatherer of one process. `run` it in a task; `add` frames from the same event loop."""

    def __init__(  # noqa: PLR0913 - what the composition root hands over
        self,
        index: CellIndex,
        table: WorkerTable,
        *,
        clock: Clock,
        fix_clock: Clock,
        publisher: Publisher,
        observer: IngestObserver,
        keep: Keep | None = None,
        rules: AcceptanceRules = acceptance.RULES,
    ) -> None:
        self._index = index
        self._table = table
        self._clock = clock
        self._fix_clock = fix_clock
        self._publisher = publisher
        self._observer = observer
        self._keep = keep
        self._rules = rules
        self._payloads: list[bytes] = []
        self._slots: list[int] = []
        self._received_ns: list[int] = []
        self._pending_fixes = 0
        self._sources: dict[int, FixSource] = {}
        self._pending_seq: dict[FixSource, int] = {}
        self._judged_seq: dict[FixSource, int] = {}
        self._judged_received_ns: list[int] = []
        self._to_remove: dict[int, int] = {}

    def open(self, source: FixSource) -> None:
        """Let `source` send: it is told of what happens to its slot's fixes until `close`."""
        self._table.ensure(source.slot)
        self._sources[source.slot] = source

    def close(self, source: FixSource) -> None:
        """Forget a source. Fixes that it has already brought are still indexed."""
        if self._sources.get(source.slot) is source:
            del self._sources[source.slot]
        self._pending_seq.pop(source, None)
        self._judged_seq.pop(source, None)

    def has_source(self, slot: int) -> bool:
        """Return whether a connection of this worker is open."""
        return slot in self._sources

    def add(self, source: FixSource, seq: int, payload: bytes, received_ns: int | None = None) -> None:
        """Take one checked frame. Where a flush is full it is judged at once, so that nothing piles up.

        `received_ns`: what the steady clock said when the frame came, where the caller has asked it already.
        """
        self._payloads.append(payload)
        self._slots.append(source.slot)
        self._received_ns.append(self._clock.steady_ns() if received_ns is None else received_ns)
        self._pending_seq[source] = seq
        self._pending_fixes += len(payload) // FIX_BYTES
        if self._pending_fixes >= FLUSH_FIXES_MAX:
            self.judge()

    def set_duty(self, slot: int, *, on: bool, since_ms: int = 0) -> None:
        """Let the fixes of a slot count from `since_ms` on, or take the worker out of the cells and forget the place.

        `since_ms` is of the time of fixes; 0 where nobody knows since when the worker is on duty.
        """
        self.judge()
        self._table.set_duty(slot, since_ms if on else None)
        self._leave_unless_counted(slot)

    def set_alarm(self, slot: int, since_ms: int | None) -> None:
        """Let the fixes of a slot count from an alarm on, also off duty; `None`: the alarm is over."""
        self.judge()
        self._table.set_alarm(slot, since_ms)
        self._leave_unless_counted(slot)

    def restore_absent(self) -> None:
        """After Redis came back: take those off duty out again, in case it came back with older data."""
        for slot in self._sources:
            if not self._table.counts(slot):
                self._to_remove.setdefault(slot, 0)

    async def run(self) -> None:
        """Judge and flush every tick, for ever, one flush in flight."""
        while True:
            await self._clock.sleep_ms(FLUSH_TICK_MS)
            if not await self.flush():
                await self._clock.sleep_ms(INGEST_RETRY_MS)

    def judge(self) -> None:
        """Judge every waiting frame: from here on only the newest record of a slot is remembered."""
        if not self._payloads:
            return
        payloads, self._payloads = self._payloads, []
        frame_slots, self._slots = self._slots, []
        self._judged_received_ns = (self._judged_received_ns + self._received_ns)[-FLUSH_FIXES_MAX:]
        self._received_ns = []
        self._pending_fixes = 0
        self._judged_seq.update(self._pending_seq)
        self._pending_seq.clear()
        fixes, slots = decode(payloads, frame_slots)
        outcomes = np.empty(len(fixes), np.uint8)
        acceptance.accept(fixes, slots, self._table.columns, self._fix_clock.now_ms(), self._rules, outcomes)
        self._keep_taken(fixes, slots, outcomes)
        self._tell(slots, outcomes)

    async def flush(self) -> bool:
        """Bring what changed to Redis and acknowledge it; return whether Redis answered."""
        self.judge()
        seqs, self._judged_seq = self._judged_seq, {}
        received_ns, self._judged_received_ns = self._judged_received_ns, []
        moves, removals = self._take_moves()
        if not (len(moves.slots) or removals or seqs):
            return True
        started_ns = self._clock.steady_ns()
        is_answered = False
        try:
            await self._apply(moves, removals)
            is_answered = True
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("ingest.flush_failed", error=type(error).__name__)
            self._observer.flush_failed()
            return False
        finally:
            # Also where the flush was cancelled on its way: the last one of a stopping process brings it again.
            if not is_answered:
                self._put_back(moves, removals, seqs, received_ns)
        done_ns = self._clock.steady_ns()
        for source, seq in seqs.items():
            source.acknowledge(seq)
        latencies_ns = done_ns - np.array(received_ns, np.int64)
        self._observer.flushed(FlushReport(len(moves.slots), done_ns - started_ns, latencies_ns))
        return True

    async def drain(self) -> None:
        """Before the process ends: one last flush, which acknowledges what is pending when Redis answers."""
        await self.flush()

    def _leave_unless_counted(self, slot: int) -> None:
        if not self._table.counts(slot):
            cell = int(self._table.last[slot]["cell"])
            self._to_remove[slot] = self._to_remove.get(slot) or cell
            self._table.forget_place(slot)

    def _keep_taken(self, fixes: FixArray, slots: SlotArray, outcomes: NDArray[np.uint8]) -> None:
        if self._keep is None:
            return
        taken = outcomes <= acceptance.LATE
        if taken.all():
            self._keep(fixes, slots)
        elif taken.any():
            self._keep(fixes[taken], slots[taken])

    def _tell(self, slots: SlotArray, outcomes: NDArray[np.uint8]) -> None:
        counts = np.bincount(outcomes, minlength=acceptance.OUTCOMES).tolist()
        self._observer.judged(
            Counter({each: counts[code] for code, each in acceptance.TAKEN.items() if counts[code]}),
            Counter({each: counts[code] for code, each in acceptance.REFUSALS.items() if counts[code]}),
        )
        # Off duty the phone is told so of every fix: that an alarm makes them count must not show.
        told = np.where(self._table.duty_since_ms[slots] == acceptance.NEVER_MS, acceptance.OFF_DUTY, outcomes)
        refused = np.nonzero(told > acceptance.LATE)[0]
        if not len(refused):
            return
        pairs, amounts = np.unique(slots[refused] * acceptance.OUTCOMES + told[refused], return_counts=True)
        for pair, amount in zip(pairs.tolist(), amounts.tolist(), strict=True):
            slot, code = divmod(pair, acceptance.OUTCOMES)
            if (source := self._sources.get(slot)) is not None:
                source.count_refused(Counter({acceptance.REFUSALS[code]: amount}))

    def _take_moves(self) -> tuple[Moves, dict[int, int]]:
        table = self._table
        slots = np.nonzero(table.dirty)[0][:FLUSH_FIXES_MAX]
        table.dirty[slots] = False
        records = table.last[slots]
        old_cells = records["cell"].copy()
        records["cell"] = cells_of(records["lat_e7"], records["lng_e7"])
        table.last["cell"][slots] = records["cell"]
        removals, self._to_remove = self._to_remove, {}
        return (
            Moves(
                slots,
                records,
                old_cells,
                np.fromiter(removals.keys(), np.int64, len(removals)),
                np.fromiter(removals.values(), np.uint64, len(removals)),
            ),
            removals,
        )

    async def _apply(self, moves: Moves, removals: dict[int, int]) -> None:
        publications = self._publisher(moves)
        if removals:
            # Before the moves: who went off duty and on again within a tick ends up where the newer fix says.
            await self._index.remove(removals)
        if not len(moves.slots) and not publications:
            return
        result = await self._index.move(moves.slots, moves.records, publish=publications)
        if len(result.stale):
            for slot, record in zip(result.stale.tolist(), await self._index.records(result.stale), strict=True):
                self._table.prime(slot, record)

    def _put_back(
        self, moves: Moves, removals: dict[int, int], seqs: dict[FixSource, int], received_ns: list[int]
    ) -> None:
        """Remember for the next try what Redis may not have got; newer things that came meanwhile win."""
        table = self._table
        gone = np.isin(moves.slots, np.fromiter(self._to_remove, np.int64, len(self._to_remove)))
        table.dirty[moves.slots[~gone]] = True
        # The cell is announced as left again: a map that missed the first announcement needs it, the others ignore it.
        self._to_remove = {**removals, **self._to_remove}
        still_open = {source: seq for source, seq in seqs.items() if self._sources.get(source.slot) is source}
        self._judged_seq = {**still_open, **self._judged_seq}
        self._judged_received_ns = (received_ns + self._judged_received_ns)[-FLUSH_FIXES_MAX:]
