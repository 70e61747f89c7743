"""Mends what a crash or a lost node leaves in the cell index; `verify` is its independent judge.

Safe beside any traffic and any other repair, since each step is right whatever happened meanwhile. A record whose entry
is missing gets it. An entry that is not its record's own and no newer than the record is removed: no record to come can
own it. An entry newer than its record may be of a write under way, so it is only removed when it was seen twice,
`REPAIR_GRACE_MS` apart: no client waits that long between entering a cell and writing the record.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from config.limits import REPAIR_GRACE_MS, REPAIR_KEYS_PER_READ, SLAB_PAGE_SLOTS
from engine.core.redis_store import RedisClient, ask
from engine.geo.cell_index import PAGES_KEY, CellIndex
from engine.geo.cell_sets import CELL_KEYS, ENTRY, NO_ENTRIES, EntryArray, cell_of_key, entries_of, is_since
from engine.geo.slab import PAGE_KEYS, RowArray, page_key, page_of_key, rows_of

_SCAN_COUNT: Final = 1_000


@dataclass(slots=True)
class Mended:
    """What one pass found and set right."""

    missing: int = 0
    """Workers who were in no set, or not by the entry of their record."""
    extra: int = 0
    """Entries that were removed."""
    waiting: int = 0
    """Entries newer than their record that are looked at again."""
    unlisted_pages: int = 0

    @property
    def total(self) -> int:
        """How many things were set right."""
        return self.missing + self.extra + self.unlisted_pages


@dataclass(slots=True)
class _Finding:
    missing: list[EntryArray] = field(default_factory=list)
    extra: list[EntryArray] = field(default_factory=list)
    newer: list[EntryArray] = field(default_factory=list)


class Repair:
    """Looks at everything, pass by pass; remembers which entries were newer than their records."""

    def __init__(self, redis: RedisClient, *, grace_ms: int = REPAIR_GRACE_MS) -> None:
        self._redis = redis
        self._index = CellIndex(redis)
        self._grace_ms = grace_ms
        self._first_seen_ms: dict[tuple[int, int, int], int] = {}

    async def run_pass(self, now_ms: int) -> Mended:
        """Look at every set and every record once and mend what is wrong.

        Raises:
            RedisError: Redis did not answer; call again.
        """
        # The sets first: who enters one after it was read has a record that was read later, and seems to miss the
        # entry, which then is entered twice, to no effect. The other way round workers would seem to be doubles.
        entries = await self._read_entries()
        mended, finding, at = Mended(), _Finding(), 0
        listed = set(await self._index.pages())
        pages = sorted([page_of_key(key) async for key in self._redis.scan_iter(match=PAGE_KEYS, count=_SCAN_COUNT)])
        for page in pages:
            first = page * SLAB_PAGE_SLOTS
            start, end = np.searchsorted(entries["slot"], (first, first + SLAB_PAGE_SLOTS)).tolist()
            finding.newer.append(entries[at:start])
            compare(first, await self._rows(page), entries[start:end], finding)
            at = end
        finding.newer.append(entries[at:])
        unlisted = [page for page in pages if page not in listed]
        if unlisted:
            await ask(self._redis, [("SADD", PAGES_KEY, *unlisted)])
        mended.unlisted_pages = len(unlisted)
        overdue = self._overdue(np.concatenate([NO_ENTRIES, *finding.newer]), now_ms)
        missing, extra = np.concatenate([NO_ENTRIES, *finding.missing]), np.concatenate([overdue, *finding.extra])
        await self._index.enter(missing)
        await self._index.leave(extra)
        mended.missing, mended.extra, mended.waiting = len(missing), len(extra), len(self._first_seen_ms)
        return mended

    async def _rows(self, page: int) -> RowArray:
        return rows_of((await ask(self._redis, [("GET", page_key(page))]))[0])

    async def _read_entries(self) -> EntryArray:
        """Return every entry of every set, by slot."""
        found = [NO_ENTRIES]
        async for keys in self._cell_keys():
            replies = await ask(self._redis, [("SMEMBERS", key) for key in keys])
            found += [entries_of(cell_of_key(key), members) for key, members in zip(keys, replies, strict=True)]
        entries = np.concatenate(found)
        by_slot: EntryArray = entries[np.argsort(entries["slot"], kind="stable")]
        return by_slot

    async def _cell_keys(self) -> AsyncIterator[Sequence[bytes]]:
        keys: list[Any] = []
        async for key in self._redis.scan_iter(match=CELL_KEYS, count=_SCAN_COUNT):
            keys.append(key)
            if len(keys) >= REPAIR_KEYS_PER_READ:
                yield keys
                keys = []
        if keys:
            yield keys

    def _overdue(self, newer: EntryArray, now_ms: int) -> EntryArray:
        """Return the entries that were newer than their records at an earlier pass already, long enough ago."""
        seen = [(int(slot), int(cell), int(since)) for slot, cell, since in newer.tolist()]
        self._first_seen_ms = {each: self._first_seen_ms.get(each, now_ms) for each in seen}
        overdue = [each for each, at_ms in self._first_seen_ms.items() if now_ms - at_ms >= self._grace_ms]
        for each in overdue:
            del self._first_seen_ms[each]
        return np.array(overdue, ENTRY)


def compare(first_slot: int, rows: RowArray, entries: EntryArray, finding: _Finding) -> None:
    """Note what is wrong between a page and the entries of its slots."""
    row_of_entry = rows[entries["slot"] - first_slot]
    records = row_of_entry["record"]
    is_own = (records["cell"] == entries["cell"]) & (row_of_entry["since"] == entries["since"])
    is_older = (records["ts_ms"] != 0) & is_since(entries["since"], records["ts_ms"])
    finding.extra.append(entries[~is_own & is_older])
    finding.newer.append(entries[~is_own & ~is_older])
    is_missing: NDArray[np.bool_] = rows["record"]["cell"] != 0
    is_missing[entries["slot"][is_own] - first_slot] = False
    places = np.flatnonzero(is_missing)
    missing = np.empty(len(places), ENTRY)
    missing["slot"] = places + first_slot
    missing["cell"], missing["since"] = rows["record"]["cell"][places], rows["since"][places]
    finding.missing.append(missing)
