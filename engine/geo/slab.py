"""One page of the slab: where a record stands in it, and the head that numbers its changes. Pure.

A page is one Redis string: a head (`epoch` u64, `seq` u64, little-endian), then `SLAB_PAGE_SLOTS` records. `seq` counts
the messages told of the page; `epoch` is drawn when the page is made, so whoever followed a page that was lost and made
again can tell the two apart. One string holds both, so one read tells what is there and up to which message.
"""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from config.limits import SLAB_PAGE_SLOTS
from engine.geo.fixes import RECORD, RECORD_BYTES, RecordArray, SlotArray

HEAD: Final = struct.Struct("<QQ")
PAGE_BYTES: Final = HEAD.size + SLAB_PAGE_SLOTS * RECORD_BYTES


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


def feed_channel(page: int) -> str:
    """Return the channel that tells of a page's changes."""
    return f"geo:feed:{page}"


def rows_of(slab: bytes | None) -> RecordArray:
    """Return every record of a page, absent ones too; none where there is no page."""
    return np.frombuffer(slab, RECORD, offset=HEAD.size) if slab else np.zeros(0, RECORD)


def page_of(page: int, slab: bytes | None) -> Page:
    """Return a page as its string holds it."""
    epoch, seq = HEAD.unpack_from(slab) if slab else (0, 0)
    rows = rows_of(slab)
    present = np.flatnonzero(rows["cell"])
    return Page(epoch, seq, present + page * SLAB_PAGE_SLOTS, rows[present])
