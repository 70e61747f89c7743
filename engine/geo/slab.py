"""One page of the slab: where a worker's row stands in it, and the head that numbers its changes. Pure.

A page is one Redis string: a head (`epoch` u64, `seq` u64, little-endian), then `SLAB_PAGE_SLOTS` rows. `seq` counts
the messages told of the page; `epoch` is drawn when the page is made, so whoever followed a page that was lost and made
again can tell the two apart. One string holds both, so one read tells what is there and up to which message.
"""

import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from config.limits import SLAB_PAGE_SLOTS
from engine.geo.fixes import RECORD, RecordArray, SlotArray

HEAD: Final = struct.Struct("<QQ")
ROW: Final = np.dtype([("since", "<u4"), ("record", RECORD)])
"""A worker: the record, and which of the entries in the set of its cell is the right one (`cell_sets.ENTRY`)."""
ROW_BYTES: Final = 36
PAGE_KEYS: Final = "geo:{slab:*}"
"""The pattern of all keys of pages."""
PAGE_BYTES: Final = HEAD.size + SLAB_PAGE_SLOTS * ROW_BYTES
assert ROW.itemsize == ROW_BYTES

RowArray: TypeAlias = NDArray[np.void]
"""One dimension of `ROW`."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a page held at one instant."""

    epoch: int
    """0: the page does not exist."""
    seq: int
    """Number of the last message that is in `records`."""
    slots: SlotArray
    """Workers with a place, ascending."""
    records: RecordArray
    """Of each slot the record."""


def page_key(page: int) -> str:
    """Return the key of a page; the page is its hash tag."""
    return f"geo:{{slab:{page}}}"


def page_of_key(key: bytes) -> int:
    """Return the page of a key."""
    return int(key.removeprefix(b"geo:{slab:").removesuffix(b"}"))


def feed_channel(page: int) -> str:
    """Return the channel that tells of a page's changes."""
    return f"geo:feed:{page}"


def rows_of(slab: bytes | None) -> RowArray:
    """Return every row of a page, absent ones too; none where there is no page."""
    return np.frombuffer(slab, ROW, offset=HEAD.size) if slab else np.zeros(0, ROW)


def page_of(page: int, slab: bytes | None) -> Page:
    """Return a page as its string holds it."""
    epoch, seq = HEAD.unpack_from(slab) if slab else (0, 0)
    records = rows_of(slab)["record"]
    present = np.flatnonzero(records["cell"])
    return Page(epoch, seq, present + page * SLAB_PAGE_SLOTS, records[present])
