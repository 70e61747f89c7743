"""The feed of the cell index: what a message says, and when a page may be followed by messages alone. Pure.

Whoever writes a page of the index publishes, in the same step, what was written: `geo:feed:<page>`, numbered by page
without gaps. Who follows a page reads it once and then applies its messages in order of their numbers; that copy is
then exact. Four facts carry the rules below:

- A message that was received before a read of its page was sent is part of what the read brings.
- The numbers of one page reach one connection in order. A number that is not the next one therefore means that
  something was lost, or that the counter was put back; either way the page is read again.
- Once a ping has come back, sent after a page was read, everything that was published before that read has come too.
- A lost message is only seen at the next one. So every page is looked at now and then although nothing seems missing.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np

from engine.core.errors import WireError
from engine.geo.cell_index import MOVE
from engine.geo.fixes import RECORD, RecordArray, SlotArray
from engine.geo.slab import Page

CHANNELS: Final = "geo:feed:*"
"""The pattern of the channels of all pages."""
_PREFIX: Final = CHANNELS.removesuffix("*").encode()
_HEADER: Final = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class FeedMessage:
    """One write to one page. A record without a cell: off duty, no place."""

    epoch: int
    seq: int
    slots: SlotArray
    records: RecordArray


class Heard(Enum):
    """What a message is to who follows its page."""

    NEXT = "next"
    """In order: apply it now."""
    KNOWN = "known"
    """Part of what is known already, or of a read that was not sent yet."""
    HELD = "held"
    """Its page is being read; `FeedOrder.read` hands it back."""
    NEW_PAGE = "new_page"
    """The first that is heard of its page, which has to be read."""
    GAP = "gap"
    """Something before it is missing: its page has to be read."""
    NEW_EPOCH = "new_epoch"
    """Its page was lost and begun anew: every page has to be read."""
    FLOOD = "flood"
    """More than may be held came during the read: its page has to be read again."""


def page_of(channel: bytes) -> int:
    """Return the page of a channel.

    Raises:
        WireError: it is none of the feed's.
    """
    number = channel.removeprefix(_PREFIX)
    if number == channel or not number.isdigit():
        raise WireError("not a channel of the feed")
    return int(number)


def decode(payload: bytes) -> FeedMessage:
    """Return what a payload says.

    Raises:
        WireError: it is not a header and a whole number of moves.
    """
    if len(payload) < _HEADER.size or (len(payload) - _HEADER.size) % MOVE.itemsize:
        raise WireError("a message of the feed is a header of 16 bytes and moves of 36")
    epoch, seq = _HEADER.unpack_from(payload)
    moves = np.frombuffer(payload, MOVE, offset=_HEADER.size)
    # Copies, even of one: a kernel given a read-only array is compiled anew, on the event loop.
    return FeedMessage(epoch, seq, moves["slot"].astype(np.int64), moves["record"].copy().view(RECORD))


@dataclass(slots=True)
class _Page:
    """How far a page is known."""

    epoch: int = 0
    seq: int = 0
    read_seq: int = 0
    """Number up to which the last read brought it, as long as messages from before that read may still come."""
    told_seq: int = 0
    """Number that a look found in the index: by the next look it must have come."""
    is_stale: bool = True


@dataclass(slots=True)
class _Reading:
    page: int
    seq: int
    """How far the page was known when the read was sent."""
    is_look: bool
    """The page is followed meanwhile: the read only checks."""
    held: list[FeedMessage] = field(default_factory=list)
    records: int = 0


class FeedOrder:
    """Which pages are followed, which have to be read, and what to do with a message. One page is read at a time."""

    def __init__(self, *, held_records_max: int) -> None:
        self._held_records_max = held_records_max
        self._pages: dict[int, _Page] = {}
        # Insertion-ordered sets of the pages to read: those that must, and those only looked at.
        self._stale: dict[int, None] = {}
        self._looks: dict[int, None] = {}
        self._reading: _Reading | None = None
        self._read_since_ping: list[int] = []
        self._pings: list[list[int]] = []
        self._is_heard = False
        self._is_listed = False
        self._wants_list = False
        self._is_listing = False

    @property
    def is_whole(self) -> bool:
        """Whether every page is known and followed."""
        return self._is_heard and self._is_listed and not self._stale

    @property
    def pages(self) -> list[int]:
        """The pages known of."""
        return list(self._pages)

    def lost(self) -> None:
        """The subscription ended: from here on messages are missing, of any page."""
        self._is_heard = self._is_listed = self._wants_list = self._is_listing = False
        self._reading = None
        self._read_since_ping.clear()
        self._pings.clear()
        self._looks.clear()
        for page in self._pages:
            self._must_read(page)

    def subscribed(self) -> None:
        """Every message from now on is heard."""
        self._is_heard = self._wants_list = True

    def pinged(self) -> None:
        """A ping was sent on the connection that brings the messages."""
        self._pings.append(self._read_since_ping)
        self._read_since_ping = []

    def ponged(self) -> None:
        """The oldest unanswered ping was answered."""
        for page in self._pings.pop(0) if self._pings else ():
            self._pages[page].read_seq = 0

    def list_again(self) -> None:
        """Hear of pages whose only messages were lost."""
        self._wants_list = self._is_heard

    def next_list(self) -> bool:
        """Return whether the pages that exist are to be listed now, and count them as being listed."""
        is_due, self._wants_list = self._wants_list, False
        self._is_listing |= is_due
        return is_due

    def not_listed(self) -> None:
        """The list did not come."""
        self._wants_list, self._is_listing = self._is_heard, False

    def listed(self, pages: Iterable[int]) -> None:
        """Take note of the pages that exist. Those unknown are to be read, and those that were there and are not."""
        if not self._is_listing:
            return
        self._is_listing = False
        found = set(pages)
        for page in sorted(found - self._pages.keys()):
            self._must_read(page)
        for page, state in self._pages.items():
            if page not in found and state.epoch:
                self._must_read(page)
        self._is_listed = True

    def look(self, page: int) -> None:
        """Read a page although nothing seems to be missing, to see whether everything that was told of it has come."""
        state = self._pages[page]
        if state.seq < state.told_seq:
            self._must_read(page)
        elif not state.is_stale:
            self._looks[page] = None

    def next_read(self) -> int | None:
        """Return the page to read now and count it as being read; `None`: none."""
        if not self._is_heard or self._reading is not None:
            return None
        for wanted, is_look in ((self._stale, False), (self._looks, True)):
            for page in wanted:
                self._looks.pop(page, None)
                self._reading = _Reading(page, self._pages[page].seq, is_look)
                return page
        return None

    def not_read(self, page: int) -> None:
        """The read failed: it is to be sent again."""
        if self._reading is not None and self._reading.page == page:
            if self._reading.is_look:
                self._looks[page] = None
            self._reading = None

    def read(self, page: int, found: Page) -> list[FeedMessage] | None:
        """Take note of what a read brought.

        Returns:
            Messages to apply after `found` has replaced the page, or `None`: leave the page as it is.
        """
        reading, state = self._reading, self._pages.get(page)
        if reading is None or reading.page != page or state is None:
            return None
        self._reading = None
        if reading.is_look:
            return [] if self._is_in_step(page, state, reading, found) else None
        if reading.records > self._held_records_max:
            return None
        self._stale.pop(page, None)
        state.is_stale = False
        state.epoch, state.seq, state.read_seq, state.told_seq = found.epoch, found.seq, found.seq, 0
        self._read_since_ping.append(page)
        # What follows a gap among those held is in the read that the gap asks for.
        return [message for message in reading.held if self.heard(page, message) is Heard.NEXT]

    def heard(self, page: int, message: FeedMessage) -> Heard:
        """Return what is to be done with a message."""
        state = self._pages.get(page)
        if state is None:
            self._must_read(page)
            return Heard.NEW_PAGE
        if state.is_stale:
            return self._hold(page, message)
        if message.epoch != state.epoch:
            self._new_epoch(page, was_there=state.epoch != 0)
            return Heard.NEW_EPOCH if state.epoch else Heard.NEW_PAGE
        if message.seq == state.seq + 1:
            state.seq = message.seq
            return Heard.NEXT
        if message.seq <= state.read_seq == state.seq:
            return Heard.KNOWN
        self._must_read(page)
        return Heard.GAP

    def _hold(self, page: int, message: FeedMessage) -> Heard:
        reading = self._reading
        if reading is None or reading.page != page or reading.is_look:
            return Heard.KNOWN
        if reading.records > self._held_records_max:
            return Heard.KNOWN
        reading.records += len(message.slots)
        if reading.records > self._held_records_max:
            reading.held.clear()
            return Heard.FLOOD
        reading.held.append(message)
        return Heard.HELD

    def _is_in_step(self, page: int, state: _Page, reading: _Reading, found: Page) -> bool:
        """Return whether a look brought just what is known, by the numbers: then it may as well replace the page.

        That heals what numbers cannot show: a counter that was put back and has come as far again.
        """
        if found.epoch != state.epoch or found.seq < reading.seq:
            self._must_read(page)
            return False
        state.told_seq = found.seq
        return found.seq == state.seq

    def _new_epoch(self, page: int, *, was_there: bool) -> None:
        """Who has lost one page has probably lost others, and a page that nobody writes to says nothing."""
        for each in self._pages if was_there else (page,):
            self._must_read(each)

    def _must_read(self, page: int) -> None:
        self._pages.setdefault(page, _Page()).is_stale = True
        self._stale[page] = None
        self._looks.pop(page, None)
        if self._reading is not None and self._reading.page == page:
            # The read on its way was sent too early to bring what is missing.
            self._reading = None
