"""The present in Redis: one record a worker in slabs, one set of slots a cell.

Written by one scripted call a batch. Inside the script a record that is not newer than the stored one is refused, and
a slot leaves its old cell in the same step in which it enters the new one: every slot is in exactly one cell, whoever
writes at the same time. After a flush or an empty restart the next fix of a worker brings the worker back. Who stays
in a cell costs one read and one write and no set is touched, so slabs and sets must be lost together or not at all:
Redis may not evict keys (`maxmemory-policy noeviction`, its default). Redis 6.2 or later.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Final

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from config.limits import SLAB_PAGE_SLOTS
from engine.geo.cells import text_of
from engine.geo.fixes import RECORD, RECORD_BYTES, RecordArray, SlotArray

MOVE: Final = np.dtype([("slot", "<u4"), ("record", "V32")])
"""One element of a batch."""

PAGES_KEY: Final = "geo:pages"
"""SET of the slab pages that exist: slots are dense, but nobody should have to guess where they end."""
STATUS_KEY: Final = "geo:status"
"""One byte a slot: 0 off duty, 1 free, 2 offered, 3 busy. Written by the matcher."""

_CELL_NAME: Final = """
local no_cell = string.rep('\\0', 8)
local function cell_key(cell)
  if cell == no_cell then return nil end
  local a, b, c, d, e, f, g, h = string.byte(cell, 1, 8)
  return string.format('geo:cell:%x%02x%02x%02x%02x%02x%02x%02x', h, g, f, e, d, c, b, a)
end
"""

MOVE_SCRIPT: Final = (
    """-- ARGV[1]: batch of (slot u32, record of 32 bytes); ARGV[2]: slots a page. Returns the refused positions.
local call, sub, unpack, floor = redis.call, string.sub, struct.unpack, math.floor
"""
    + _CELL_NAME
    + """
local batch, page_slots = ARGV[1], tonumber(ARGV[2])
local stale, slabs = {}, {}
for at = 1, #batch, 36 do
  local slot, ts = unpack('<I4i8', batch, at)
  local page = floor(slot / page_slots)
  local slab, offset = slabs[page], (slot - page * page_slots) * 32
  if not slab then
    slab = 'geo:slab:' .. page
    slabs[page] = slab
    -- A string that grows in place keeps as much again in reserve: a whole page at once is half the memory.
    if call('SADD', 'geo:pages', page) == 1 then call('SETNX', slab, string.rep('\\0', page_slots * 32)) end
  end
  local old, record = call('GETRANGE', slab, offset, offset + 31), sub(batch, at + 4, at + 35)
  local old_ts = #old == 32 and unpack('<i8', old) or 0
  if ts < old_ts or (ts == old_ts and record ~= old) then
    stale[#stale + 1] = (at - 1) / 36
  else
    local cell, old_cell = sub(record, 25), sub(old, 25)
    if cell ~= old_cell then
      local key, old_key = cell_key(cell), #old == 32 and cell_key(old_cell)
      if key then call('SADD', key, slot) end
      if old_key then call('SREM', old_key, slot) end
    end
    if record ~= old then call('SETRANGE', slab, offset, record) end
  end
end
return stale
"""
)

_REMOVE_SCRIPT: Final = (
    """-- ARGV[1]: batch of slots u32; ARGV[2]: slots a page. Keeps the time of a record, forgets the place.
local call = redis.call
"""
    + _CELL_NAME
    + """
local batch, page_slots = ARGV[1], tonumber(ARGV[2])
for at = 1, #batch, 4 do
  local slot = struct.unpack('<I4', batch, at)
  local slab = 'geo:slab:' .. math.floor(slot / page_slots)
  local offset = (slot % page_slots) * 32
  local old = call('GETRANGE', slab, offset, offset + 31)
  if #old == 32 then
    local cell = cell_key(string.sub(old, 25))
    if cell then call('SREM', cell, slot) end
    call('SETRANGE', slab, offset + 8, string.rep('\\0', 24))
  end
end
return #batch / 4
"""
)

_MEMBERS_SCRIPT: Final = """-- ARGV[1]: names of cells. Returns the members of each, in that order.
local members = {}
for name in string.gmatch(ARGV[1], '%x+') do
  members[#members + 1] = redis.call('SMEMBERS', 'geo:cell:' .. name)
end
return members
"""

SPAN_SLOTS: Final = 8
"""From this many wanted records of one page on, one read of the stretch between them costs less than one each."""


@dataclass(frozen=True, slots=True)
class MoveResult:
    """What one batch did."""

    accepted: int
    stale: SlotArray
    """Slots whose stored record is newer than the one brought: another gateway has heard of them since."""


def packed_moves(slots: SlotArray, records: RecordArray) -> bytes:
    """Return a batch as `MOVE_SCRIPT` reads it."""
    batch = np.empty(len(slots), MOVE)
    batch["slot"] = slots
    batch["record"] = np.ascontiguousarray(records).view("V32")
    return batch.tobytes()


class CellIndex:
    """Moves workers between cells and reads who is where."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def move(
        self, slots: SlotArray, records: RecordArray, *, publish: Sequence[tuple[str, bytes]] = ()
    ) -> MoveResult:
        """Bring the newest records of distinct slots, and publish in the same write.

        Repeating a batch whose answer was lost changes nothing and refuses nothing.

        Raises:
            RedisError: Redis did not answer; the batch may or may not have been applied.
        """
        assert len(slots) == len(records)
        refused = await self._run(MOVE_SCRIPT, packed_moves(slots, records), publish)
        return MoveResult(len(slots) - len(refused), slots[np.array(refused, np.int64)])

    async def remove(self, slots: Iterable[int], *, publish: Sequence[tuple[str, bytes]] = ()) -> None:
        """Take workers out of their cells and forget where they were; off duty leaves no place behind.

        Raises:
            RedisError: Redis did not answer; call again.
        """
        await self._run(_REMOVE_SCRIPT, np.fromiter(slots, "<u4").tobytes(), publish)

    async def cell_members(self, cells: Sequence[int]) -> dict[int, list[int]]:
        """Return the slots in each of `cells`; one call, however many they are."""
        names = " ".join(map(text_of, cells)).encode()
        members = await self._run(_MEMBERS_SCRIPT, names, ()) if cells else []
        return {cell: sorted(map(int, slots)) for cell, slots in zip(cells, members, strict=True)}

    async def records(self, slots: Sequence[int] | SlotArray) -> RecordArray:
        """Return the record of each slot; an absent one is all zero."""
        wanted = np.asarray(slots, np.int64)
        found = np.zeros(len(wanted), RECORD)
        spans = list(_spans(wanted))
        pipeline = self._pipeline()
        for page, rows, _ in spans:
            first, last = int(rows.min()), int(rows.max())
            pipeline.getrange(f"geo:slab:{page}", first * RECORD_BYTES, (last + 1) * RECORD_BYTES - 1)
        parts: list[bytes] = await pipeline.execute() if spans else []
        for (_, rows, places), part in zip(spans, parts, strict=True):
            # A slab ends at its last written record, so a read beyond it comes back short.
            length = int(rows.max() - rows.min() + 1) * RECORD_BYTES
            stretch = np.frombuffer(part.ljust(length, b"\0"), RECORD)
            found[places] = stretch[rows - rows.min()]
        return found

    async def all_records(self) -> tuple[SlotArray, RecordArray]:
        """Return every worker who is in a cell, with the record."""
        pipeline = self._pipeline()
        pipeline.smembers(PAGES_KEY)
        pages = sorted(int(page) for page in (await pipeline.execute())[0])
        if not pages:
            return np.zeros(0, np.int64), np.zeros(0, RECORD)
        pipeline = self._pipeline()
        pipeline.mget([f"geo:slab:{page}" for page in pages])
        slabs: list[bytes | None] = (await pipeline.execute())[0]
        slots, rows = [], []
        for page, slab in zip(pages, slabs, strict=True):
            records = np.frombuffer(slab or b"", RECORD)
            present = np.nonzero((records["ts_ms"] != 0) & (records["cell"] != 0))[0]
            slots.append(present + page * SLAB_PAGE_SLOTS)
            rows.append(records[present])
        return np.concatenate(slots), np.concatenate(rows)

    async def statuses(self) -> bytes:
        """Return the status byte of every slot, as far as the matcher has written them."""
        pipeline = self._pipeline()
        pipeline.get(STATUS_KEY)
        found: list[bytes | None] = await pipeline.execute()
        return found[0] or b""

    def _pipeline(self) -> Any:  # noqa: ANN401 - its commands are typed as awaitables, in a pipeline they only queue
        return self._redis.pipeline(transaction=False)

    async def _run(self, script: str, batch: bytes, publish: Sequence[tuple[str, bytes]]) -> list[Any]:
        pipeline = self._pipeline()
        pipeline.evalsha(sha1(script.encode(), usedforsecurity=False).hexdigest(), 0, batch, SLAB_PAGE_SLOTS)
        for channel, payload in publish:
            pipeline.publish(channel, payload)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        answer = replies[0]
        if isinstance(answer, NoScriptError):
            # Redis was restarted or flushed its scripts: the full text works everywhere and is remembered there.
            again = self._pipeline()
            again.eval(script, 0, batch, SLAB_PAGE_SLOTS)
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
