"""The present in Redis: one record a worker in slabs, one set of slots a cell.

Written by one scripted call a batch. Inside the script a record that is not newer than the stored one is refused, a
slot leaves its old cell in the same step in which it enters the new one, and exactly the records that were taken over
are told on the channel of their page: every slot is in exactly one cell, whoever writes at the same time. After a flush
or an empty restart the next fix of a worker brings the worker back. Who stays in a cell costs one read and one write
and no set is touched, so slabs and sets must be lost together or not at all: Redis may not evict keys
(`maxmemory-policy noeviction`, its default). Redis 6.2 or later.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from config.limits import SLAB_PAGE_SLOTS
from engine.geo.cell_scripts import MEMBERS_SCRIPT, MOVE_SCRIPT, REMOVE_SCRIPT
from engine.geo.cells import text_of
from engine.geo.fixes import RECORD, RECORD_BYTES, RecordArray, SlotArray
from engine.geo.slab import HEAD, Page, page_key, page_of

MOVE: Final = np.dtype([("slot", "<u4"), ("record", "V32")])
"""One element of a batch, and of a message on a page's channel."""

PAGES_KEY: Final = "geo:pages"
"""SET of the slab pages that exist: slots are dense, but nobody should have to guess where they end."""
STATUS_KEY: Final = "geo:status"
"""One byte a slot: 0 off duty, 1 free, 2 offered, 3 busy. Written by the matcher."""

SPAN_SLOTS: Final = 8
"""From this many wanted records of one page on, one read of the stretch between them costs less than one each."""


@dataclass(frozen=True, slots=True)
class MoveResult:
    """What one batch did."""

    accepted: int
    stale: SlotArray
    """Slots whose stored record is newer than the one brought: another gateway has heard of them since."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a write in the order of their pages."""

    order: SlotArray
    """Where in what was given each row stood."""
    pages: list[int]
    parts: list[bytes]
    """Of each page its rows, packed."""


def packed_moves(slots: SlotArray, records: RecordArray) -> Batch:
    """Return a batch as `MOVE_SCRIPT` reads it."""
    rows = np.empty(len(slots), MOVE)
    rows["slot"] = slots
    rows["record"] = np.ascontiguousarray(records).view("V32")
    return _by_page(slots, rows)


def _by_page(slots: SlotArray, rows: NDArray[Any]) -> Batch:
    page_of_row = slots // SLAB_PAGE_SLOTS
    order = np.argsort(page_of_row, kind="stable")
    pages, starts = np.unique(page_of_row[order], return_index=True)
    packed, width = rows[order].tobytes(), rows.itemsize
    ends = [*(starts[1:] * width).tolist(), len(packed)]
    parts = [packed[start:end] for start, end in zip((starts * width).tolist(), ends, strict=True)]
    return Batch(order, pages.tolist(), parts)


def _draw_epoch() -> int:
    return secrets.randbits(64) | 1  # 0 means that there is no page


class CellIndex:
    """Moves workers between cells and reads who is where."""

    def __init__(self, redis: Redis, *, draw_epoch: Callable[[], int] = _draw_epoch) -> None:
        self._redis = redis
        self._draw_epoch = draw_epoch

    async def move(
        self, slots: SlotArray, records: RecordArray, *, publish: Sequence[tuple[str, bytes]] = ()
    ) -> MoveResult:
        """Bring the newest records of distinct slots, and publish in the same write.

        Repeating a batch whose answer was lost changes nothing, refuses nothing and tells nothing again.

        Raises:
            RedisError: Redis did not answer; the batch may or may not have been applied.
        """
        assert len(slots) == len(records)
        batch = packed_moves(slots, records)
        refused = await self._write(MOVE_SCRIPT, batch, publish)
        return MoveResult(len(slots) - len(refused), slots[batch.order[np.array(refused, np.int64)]])

    async def remove(self, slots: Iterable[int], *, publish: Sequence[tuple[str, bytes]] = ()) -> None:
        """Take workers out of their cells and forget where they were; off duty leaves no place behind.

        Raises:
            RedisError: Redis did not answer; call again.
        """
        gone = np.fromiter(slots, np.int64)
        await self._write(REMOVE_SCRIPT, _by_page(gone, gone.astype("<u4")), publish)

    async def cell_members(self, cells: Sequence[int]) -> dict[int, list[int]]:
        """Return the slots in each of `cells`; one call, however many they are."""
        names = " ".join(map(text_of, cells)).encode()
        members = await self._run(MEMBERS_SCRIPT, [], [names]) if cells else []
        return {cell: sorted(map(int, slots)) for cell, slots in zip(cells, members, strict=True)}

    async def records(self, slots: Sequence[int] | SlotArray) -> RecordArray:
        """Return the record of each slot; an absent one is all zero."""
        wanted = np.asarray(slots, np.int64)
        found = np.zeros(len(wanted), RECORD)
        spans = list(_spans(wanted))
        pipeline = self._pipeline()
        for page, rows, _ in spans:
            first, last = int(rows.min()), int(rows.max())
            start, end = HEAD.size + first * RECORD_BYTES, HEAD.size + (last + 1) * RECORD_BYTES
            pipeline.getrange(page_key(page), start, end - 1)
        parts: list[bytes] = await pipeline.execute() if spans else []
        for (_, rows, places), part in zip(spans, parts, strict=True):
            # Of a page that does not exist the read comes back empty.
            length = int(rows.max() - rows.min() + 1) * RECORD_BYTES
            stretch = np.frombuffer(part.ljust(length, b"\0"), RECORD)
            found[places] = stretch[rows - rows.min()]
        return found

    async def all_records(self) -> tuple[SlotArray, RecordArray]:
        """Return every worker who is in a cell, with the record."""
        pages = await self._read_pages(await self.pages())
        slots = [np.zeros(0, np.int64), *(page.slots for page in pages)]
        return np.concatenate(slots), np.concatenate([np.zeros(0, RECORD), *(page.records for page in pages)])

    async def pages(self) -> list[int]:
        """Return the pages that exist, ascending."""
        pipeline = self._pipeline()
        pipeline.smembers(PAGES_KEY)
        return sorted(map(int, (await pipeline.execute())[0]))

    async def page(self, page: int) -> Page:
        """Return who has a place in a page, and the number of the last message that is in it, as of one instant.

        Messages on `geo:feed:<page>` with a higher `seq` and the same `epoch` tell what came after.
        """
        return (await self._read_pages([page]))[0]

    async def _read_pages(self, pages: Sequence[int]) -> list[Page]:
        pipeline = self._pipeline()
        for page in pages:
            pipeline.get(page_key(page))
        slabs: list[bytes | None] = await pipeline.execute() if pages else []
        return [page_of(page, slab) for page, slab in zip(pages, slabs, strict=True)]

    async def statuses(self) -> bytes:
        """Return the status byte of every slot, as far as the matcher has written them."""
        pipeline = self._pipeline()
        pipeline.get(STATUS_KEY)
        found: list[bytes | None] = await pipeline.execute()
        return found[0] or b""

    def _pipeline(self) -> Any:  # noqa: ANN401 - its commands are typed as awaitables, in a pipeline they only queue
        return self._redis.pipeline(transaction=False)

    async def _write(self, script: str, batch: Batch, publish: Sequence[tuple[str, bytes]]) -> list[Any]:
        epoch = self._draw_epoch().to_bytes(8, "little")
        return await self._run(script, [PAGES_KEY, *map(page_key, batch.pages)], [epoch, *batch.parts], publish)

    async def _run(
        self,
        script: str,
        keys: Sequence[str],
        arguments: Sequence[bytes],
        publish: Sequence[tuple[str, bytes]] = (),
    ) -> list[Any]:
        pipeline = self._pipeline()
        name = sha1(script.encode(), usedforsecurity=False).hexdigest()
        pipeline.evalsha(name, len(keys), *keys, *arguments)
        for channel, payload in publish:
            pipeline.publish(channel, payload)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        answer = replies[0]
        if isinstance(answer, NoScriptError):
            # Redis was restarted or flushed its scripts: the full text works everywhere and is remembered there.
            again = self._pipeline()
            again.eval(script, len(keys), *keys, *arguments)
            answer = (await again.execute(raise_on_error=False))[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, list) else []


def _spans(slots: SlotArray) -> Iterator[tuple[int, SlotArray, SlotArray]]:
    """Yield the reads that bring `slots`: a page, rows of it, and where in `slots` these stand."""
    pages, rows = np.divmod(slots, SLAB_PAGE_SLOTS)
    for page in np.unique(pages).tolist():
        places = np.flatnonzero(pages == page)
        groups = [places] if len(places) >= SPAN_SLOTS else [places[i : i + 1] for i in range(len(places))]
        for group in groups:
            yield page, rows[group], group
