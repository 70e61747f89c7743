"""The present in Redis: one record a worker in slabs by page, one set of workers a cell.

Inside the script that writes a page a record that is not newer than the stored one is refused, and exactly the records
that were taken over are told on the page's channel. The record decides where a worker is: an entry in the set of
another cell counts for nothing. On one Redis the same script call moves the entries, so every worker is in exactly one
set. On a cluster page and cells are on different nodes, and a worker who crosses enters the new cell first, then the
record is written, then the old cell is left: whoever dies in between leaves an entry too many, never a worker without.

Why no late removal can take a worker out of the cell in which he is: an entry is (slot, time of the fix that brought
him in), a removal takes exactly one entry, and the row of a record says which entry is its own. A record names a cell
only when its entry is there: the script refuses a crossing that has not entered (`unready`). An entry is removed by who
replaced the record that it belongs to, or by who made it for a record that was then refused; as the times of a slot's
records only rise, neither entry can belong to a record again. This holds for any number of writers and any order of
arrival. What it does not cover is loss: a node that came back empty leaves entries without records, or records without
entries, which `engine.geo.repair` mends, as it does the entries of whoever died on the way. Redis may not evict keys
(`maxmemory-policy noeviction`, its default). Redis 6.2 or later. Decision: docs/decisions/0015-cells-on-a-cluster.md.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray
from redis.asyncio import RedisCluster

from config.limits import LEAVES_OWED_MAX, SLAB_PAGE_SLOTS, SLOTS_MAX
from engine.core.redis_store import REDIS_ERRORS, Call, Publication, RedisClient, Script, ask, run_script
from engine.geo import cell_scripts
from engine.geo.cell_sets import (
    ENTRY,
    NO_ENTRIES,
    EntryArray,
    cell_key,
    commands,
    entries_of,
    since_of,
    tag_of,
)
from engine.geo.cells import CellArray
from engine.geo.fixes import RECORD, RecordArray, SlotArray
from engine.geo.slab import HEAD, ROW, ROW_BYTES, Page, page_key, page_of

log = structlog.get_logger(__name__)

MOVE: Final = np.dtype([("slot", "<u4"), ("record", "V32")])
"""One element of a batch, and of a message on a page's channel."""

PAGES_KEY: Final = "geo:pages"
"""SET of the slab pages that exist: slots are dense, but nobody should have to guess where they end."""
STATUS_KEY: Final = "geo:status"
"""One byte a slot: 0 off duty, 1 free, 2 offered, 3 busy. Written by the matcher."""

SPAN_SLOTS: Final = 8
"""From this many wanted records of one page on, one read of the stretch between them costs less than one each."""
_NOBODY: Final[SlotArray] = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class MoveResult:
    """What one batch did."""

    accepted: int
    stale: SlotArray
    """Slots whose stored record is newer than the one brought: another gateway has heard of them since."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a write in the order of their pages."""

    slots: SlotArray
    cells: CellArray
    """Where each row's worker goes; 0: nowhere."""
    pages: list[int]
    starts: list[int]
    """Of each page its first row."""
    rows: NDArray[Any]
    """As the script reads them."""

    def parts(self) -> list[bytes]:
        """Return of each page its rows, packed."""
        return _split(self.rows.tobytes(), self.rows.itemsize, self.starts)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the scripts said to one batch."""

    stale: SlotArray
    stored: EntryArray
    """What is stored of those, and of who had entered without need."""
    unready: SlotArray
    left: EntryArray
    """Entries still to be removed."""


def packed_moves(slots: SlotArray, records: RecordArray) -> Batch:
    """Return a batch of records as `cell_scripts.MOVE` reads it."""
    rows = np.empty(len(slots), MOVE)
    rows["slot"] = slots
    rows["record"] = np.ascontiguousarray(records).view("V32")
    return _by_page(slots, records["cell"], rows)


def whole_call(batch: Batch, believed: CellArray, *, epoch: bytes = b"", is_known: bool = True) -> Call:
    """Return one call for a whole batch, for one Redis: it names every cell that the batch will touch.

    `believed`: of each row the cell where its worker is; `epoch`: as the script says; without `is_known` a worker who
    seems to stay may turn out to enter.
    """
    is_moving = (batch.cells != believed) | (not is_known)
    touched = np.unique(np.concatenate([batch.cells[is_moving], believed[is_moving]]))
    touched = touched[touched != 0]
    arguments: list[bytes | int] = [epoch, len(batch.pages), touched.tobytes()]
    for part in batch.parts():
        arguments += (part, b"")
    return Call([*map(page_key, batch.pages), *map(cell_key, touched.tolist())], arguments)


class CellIndex:
    """Moves workers between cells and reads who is where.

    It remembers in which cell it last saw each worker, to know which entries a write will touch. Where that is wrong
    the script says so and the write is completed in a second round.
    """

    def __init__(self, redis: RedisClient, *, draw_epoch: Callable[[], int] | None = None) -> None:
        self._redis = redis
        self._is_cluster = isinstance(redis, RedisCluster)
        self._draw_epoch = draw_epoch or _draw_epoch
        self._believed: EntryArray = np.zeros(1_024, ENTRY)
        self._registered: set[int] = set()
        self._owed = NO_ENTRIES

    async def move(self, slots: SlotArray, records: RecordArray, *, publish: Sequence[Publication] = ()) -> MoveResult:
        """Bring the newest records of distinct slots, and publish with the write, never before it.

        Repeating a batch whose answer was lost changes nothing, refuses nothing and tells nothing again.

        Raises:
            RedisError: Redis did not answer; the batch may or may not have been applied.
        """
        assert len(slots) == len(records)
        batch = packed_moves(slots, records)
        answer = await self._write(cell_scripts.MOVE, batch, publish)
        if len(answer.unready):
            left_out = np.isin(slots, answer.unready)
            again = packed_moves(slots[left_out], records[left_out])
            second = await self._write(cell_scripts.MOVE, again, (), is_known=False)
            assert not len(second.unready), "every page and every cell was made ready"
            stale = np.concatenate([answer.stale, second.stale])
            return MoveResult(len(slots) - len(stale), stale)
        return MoveResult(len(slots) - len(answer.stale), answer.stale)

    async def remove(self, slots: Iterable[int], *, publish: Sequence[Publication] = ()) -> None:
        """Take workers out of their cells and forget where they were; off duty leaves no place behind.

        Raises:
            RedisError: Redis did not answer; call again.
        """
        gone = np.fromiter(slots, np.int64)
        batch = _by_page(gone, np.zeros(len(gone), np.uint64), gone.astype("<u4"))
        await self._write(cell_scripts.REMOVE, batch, publish)

    async def enter(self, some: EntryArray) -> None:
        """Put entries into the sets of cells: harmless at any time, since the record decides.

        Raises:
            RedisError: Redis did not answer; call again.
        """
        await ask(self._redis, commands("SADD", some))

    async def leave(self, some: EntryArray) -> None:
        """Remove entries that belong to no record, nor ever will.

        Raises:
            RedisError: Redis did not answer; call again.
        """
        await ask(self._redis, commands("SREM", some))

    async def cell_members(self, cells: Sequence[int]) -> dict[int, list[int]]:
        """Return the slots in each of `cells`, each slot once; two round trips, however many cells."""
        groups: dict[int, list[int]] = {}
        for cell in cells:
            groups.setdefault(tag_of(cell) if self._is_cluster else 0, []).append(cell)
        calls = [Call([*map(cell_key, group)], ()) for group in groups.values()]
        found = [
            entries_of(0, members)["slot"]
            for answer in await run_script(self._redis, cell_scripts.MEMBERS, calls)
            for members in answer
        ]
        slots = np.unique(np.concatenate([_NOBODY, *found]))
        by_cell: dict[int, list[int]] = {cell: [] for cell in cells}
        for slot, cell in zip(slots.tolist(), (await self.records(slots))["cell"].tolist(), strict=True):
            if cell in by_cell:
                by_cell[cell].append(slot)
        return by_cell

    async def records(self, slots: Sequence[int] | SlotArray) -> RecordArray:
        """Return the record of each slot; an absent one is all zero."""
        wanted = np.asarray(slots, np.int64)
        found = np.zeros(len(wanted), RECORD)
        spans = list(_spans(wanted))
        reads = []
        for page, rows, _ in spans:
            start, end = HEAD.size + int(rows.min()) * ROW_BYTES, HEAD.size + (int(rows.max()) + 1) * ROW_BYTES
            reads.append(("GETRANGE", page_key(page), start, end - 1))
        for (_, rows, places), part in zip(spans, await ask(self._redis, reads), strict=True):
            # Of a page that does not exist the read comes back empty.
            length = int(rows.max() - rows.min() + 1) * ROW_BYTES
            stretch = np.frombuffer(part.ljust(length, b"\0"), ROW)
            found[places] = stretch["record"][rows - rows.min()]
        return found

    async def all_records(self) -> tuple[SlotArray, RecordArray]:
        """Return every worker who is in a cell, with the record."""
        pages = await self._read_pages(await self.pages())
        slots = [np.zeros(0, np.int64), *(page.slots for page in pages)]
        return np.concatenate(slots), np.concatenate([np.zeros(0, RECORD), *(page.records for page in pages)])

    async def pages(self) -> list[int]:
        """Return the pages that exist, ascending."""
        return sorted(map(int, (await ask(self._redis, [("SMEMBERS", PAGES_KEY)]))[0]))

    async def page(self, page: int) -> Page:
        """Return who has a place in a page, and the number of the last message that is in it, as of one instant.

        Messages on `geo:feed:<page>` with a higher `seq` and the same `epoch` tell what came after.
        """
        return (await self._read_pages([page]))[0]

    async def statuses(self) -> bytes:
        """Return the status byte of every slot, as far as the matcher has written them."""
        found: bytes | None = (await ask(self._redis, [("GET", STATUS_KEY)]))[0]
        return found or b""

    async def _read_pages(self, pages: Sequence[int]) -> list[Page]:
        slabs = await ask(self._redis, [("GET", page_key(page)) for page in pages])
        return [page_of(page, slab) for page, slab in zip(pages, slabs, strict=True)]

    async def _write(
        self, script: Script, batch: Batch, publish: Sequence[Publication], *, is_known: bool = True
    ) -> _Answer:
        """Make ready what the batch will touch, write its pages, leave the old cells.

        `is_known`: what is believed of pages and cells is trusted; else everything is made ready.
        """
        believed = self._beliefs(batch.slots)
        is_entering = (batch.cells != 0) & ((batch.cells != believed["cell"]) | (not is_known))
        must_register = script is cell_scripts.MOVE and not (is_known and self._registered.issuperset(batch.pages))
        epoch = self._draw_epoch().to_bytes(8, "little") if must_register else b""
        if must_register:
            await ask(self._redis, [("SADD", PAGES_KEY, *batch.pages)])
            self._registered.update(batch.pages)
        if self._is_cluster:
            if is_entering.any():
                await self.enter(_entries(batch, is_entering))
            calls = _calls_by_page(batch, epoch, is_entering)
            answer = _answer(await run_script(self._redis, script, calls))
        else:
            calls = [whole_call(batch, believed["cell"], epoch=epoch, is_known=is_known)]
            answer = _answer(await run_script(self._redis, script, calls, publish=publish))
        await self._leave_or_owe(self._learn(batch, believed, is_entering, answer))
        if self._is_cluster and publish:
            await ask(self._redis, (), publish=publish)
        return answer

    def _learn(
        self, batch: Batch, believed: EntryArray, is_entering: NDArray[np.bool_], answer: _Answer
    ) -> list[EntryArray]:
        """Remember where everybody is now; return the entries that belong to nobody any more."""
        self._believed[batch.slots[is_entering]] = _entries(batch, is_entering)
        self._believed["cell"][batch.slots[batch.cells == 0]] = 0
        if len(answer.unready):
            self._believed["cell"][answer.unready] = 0
        if len(answer.stored):
            self._believed[answer.stored["slot"]] = answer.stored
        if not self._is_cluster:
            return [answer.left]
        # Whom we thought elsewhere: after an answer that was lost the script no longer tells. And entries of our own
        # that no record took.
        is_done = is_entering & ~np.isin(batch.slots, answer.unready)
        now = self._believed[batch.slots[is_done]]
        was, made = believed[is_done], _entries(batch, is_done)
        return [answer.left, was[was != now], made[made != now]]

    async def _leave_or_owe(self, parts: Sequence[EntryArray]) -> None:
        """Leave old cells; the batch is written, so a failure here does not fail it."""
        if not any(map(len, (self._owed, *parts))):
            return
        some, self._owed = np.unique(np.concatenate([self._owed, *parts])), NO_ENTRIES
        try:
            await self.leave(some)
        except REDIS_ERRORS as error:
            log.warning("cells.leaves_owed", entries=len(some), error=type(error).__name__)
            self._owed = some[-LEAVES_OWED_MAX:]

    def _beliefs(self, slots: SlotArray) -> EntryArray:
        highest = int(slots.max(initial=0))
        assert highest < SLOTS_MAX
        if highest >= len(self._believed):
            more = max(highest + 1, 2 * len(self._believed)) - len(self._believed)
            self._believed = np.concatenate([self._believed, np.zeros(more, ENTRY)])
        return self._believed[slots]


def _draw_epoch() -> int:
    return secrets.randbits(64) | 1  # 0 means that there is no page


def _by_page(slots: SlotArray, cells: CellArray, rows: NDArray[Any]) -> Batch:
    page_of_row = slots // SLAB_PAGE_SLOTS
    order = np.argsort(page_of_row, kind="stable")
    pages, starts = np.unique(page_of_row[order], return_index=True)
    return Batch(slots[order], cells[order], pages.tolist(), starts.tolist(), rows[order])


def _split(packed: bytes, width: int, starts: Sequence[int]) -> list[bytes]:
    ends = [*starts[1:], len(packed) // width][: len(starts)]
    return [packed[start * width : end * width] for start, end in zip(starts, ends, strict=True)]


def _calls_by_page(batch: Batch, epoch: bytes, has_entered: NDArray[np.bool_]) -> list[Call]:
    """Return a call a page, with the rows that have entered their new cell."""
    flags = _split(has_entered.astype(np.uint8).tobytes(), 1, batch.starts)
    pages = zip(batch.pages, batch.parts(), flags, strict=True)
    return [Call([page_key(page)], [epoch, 1, b"", part, entered]) for page, part, entered in pages]


def _answer(replies: Sequence[Any]) -> _Answer:
    stale, stored, unready, left = map(b"".join, zip(*replies, strict=True)) if replies else (b"", b"", b"", b"")
    return _Answer(
        np.frombuffer(stale, "<u4").astype(np.int64),
        np.frombuffer(stored, ENTRY),
        np.frombuffer(unready, "<u4").astype(np.int64),
        np.frombuffer(left, ENTRY),
    )


def _entries(batch: Batch, chosen: NDArray[np.bool_]) -> EntryArray:
    """Return the entries that the chosen rows of a batch of records make."""
    found = np.empty(int(np.count_nonzero(chosen)), ENTRY)
    found["slot"], found["cell"] = batch.slots[chosen], batch.cells[chosen]
    if len(found):
        records = np.ascontiguousarray(batch.rows["record"][chosen]).view(RECORD)
        found["since"] = since_of(records["ts_ms"])
    return found


def _spans(slots: SlotArray) -> Iterator[tuple[int, SlotArray, SlotArray]]:
    """Yield the reads that bring `slots`: a page, rows of it, and where in `slots` these stand."""
    pages, rows = np.divmod(slots, SLAB_PAGE_SLOTS)
    for page in np.unique(pages).tolist():
        places = np.flatnonzero(pages == page)
        groups = [places] if len(places) >= SPAN_SLOTS else [places[i : i + 1] for i in range(len(places))]
        for group in groups:
            yield page, rows[group], group
