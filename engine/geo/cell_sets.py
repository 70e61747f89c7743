"""Who is in a cell: one Redis set a cell, of whole numbers that say which worker, and since which fix. Pure.

An entry is made once, by the fix that brought the worker in, and removed as what it is: so a removal that comes late
never takes an entry that was made since. Slot and time share 53 bits, which Lua counts exactly and Redis packs into
8 bytes (`set-max-intset-entries`); of the time the 31 bits that tell fixes of 24 days apart.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from config.limits import CELL_KEYS_KNOWN_MAX, CELL_TAG_RESOLUTION, SLOTS_MAX
from engine.core.redis_store import Command
from engine.geo.cells import parent_of

SINCE_BITS: Final = 31
_SINCE_MASK: Final = (1 << SINCE_BITS) - 1
assert SLOTS_MAX << SINCE_BITS <= 1 << 53

ENTRY: Final = np.dtype([("slot", "<u4"), ("cell", "<u8"), ("since", "<u4")])
"""A worker in a cell since a fix: the low `SINCE_BITS` of its time (Unix ms)."""

EntryArray: TypeAlias = NDArray[np.void]
"""One dimension of `ENTRY`."""

CELL_KEYS: Final = "geo:{cells:*}:*"
"""The pattern of all keys of cells."""
NO_ENTRIES: Final[EntryArray] = np.zeros(0, ENTRY)


@lru_cache(CELL_KEYS_KNOWN_MAX)
def cell_key(cell: int) -> bytes:
    """Return the key of a cell; its ancestor is its hash tag, so neighbours mostly share a node."""
    return f"geo:{{cells:{tag_of(cell):x}}}:{cell:x}".encode()


def tag_of(cell: int) -> int:
    """Return the ancestor that decides on which node of a cluster a cell is."""
    return parent_of(cell, CELL_TAG_RESOLUTION)


def cell_of_key(key: bytes) -> int:
    """Return the cell of a key."""
    return int(key.rpartition(b":")[2], 16)


def since_of(ts_ms: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return what an entry keeps of the time of a fix."""
    return (ts_ms & _SINCE_MASK).astype(np.uint32)


def is_since(since: NDArray[np.uint32], ts_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which entries were made by a fix no newer than `ts_ms`, within 12 days of it."""
    age: NDArray[np.bool_] = (ts_ms - since.astype(np.int64)) & _SINCE_MASK <= _SINCE_MASK >> 1
    return age


def members_of(some: EntryArray) -> NDArray[np.int64]:
    """Return entries as the sets hold them."""
    return (some["slot"].astype(np.int64) << SINCE_BITS) | some["since"].astype(np.int64)


def entries_of(cell: int, members: Iterable[Any]) -> EntryArray:
    """Return the entries of a cell's set."""
    numbers = np.fromiter(map(int, members), np.int64)
    found = np.empty(len(numbers), ENTRY)
    found["slot"], found["cell"], found["since"] = numbers >> SINCE_BITS, cell, numbers & _SINCE_MASK
    return found


def commands(name: str, some: EntryArray) -> list[Command]:
    """Return the commands (`SADD` or `SREM`) for entries, one a cell."""
    some = some[some["cell"] != 0]
    if not len(some):
        return []
    order = np.argsort(some["cell"], kind="stable")
    cells, starts = np.unique(some["cell"][order], return_index=True)
    members = members_of(some)[order].tolist()
    ends = [*starts[1:].tolist(), len(members)]
    return [
        (name, cell_key(cell), *members[start:end])
        for cell, start, end in zip(cells.tolist(), starts.tolist(), ends, strict=True)
    ]
