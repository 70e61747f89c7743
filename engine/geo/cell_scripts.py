"""The scripts of the cell index: each an atomic step on the keys it names. What they promise together: `cell_index`."""

from typing import Final

from config.limits import SLAB_PAGE_SLOTS
from engine.core.redis_store import Script
from engine.geo.cell_sets import SINCE_BITS
from engine.geo.slab import HEAD, ROW_BYTES

_PAGES: Final = (
    f"local page_slots, head_bytes, row_bytes = {SLAB_PAGE_SLOTS}, {HEAD.size}, {ROW_BYTES}"
    f"\nlocal since_unit = {1 << SINCE_BITS}"
    """
-- KEYS: the pages, then cells that live on the same server. ARGV[1]: epoch for a page that does not exist, empty where
-- it must not be made; ARGV[2]: how many pages; ARGV[3]: the cells of the further keys, 8 bytes each.
local call, sub, unpack, pack, concat = redis.call, string.sub, struct.unpack, struct.pack, table.concat
local pages, names, declared = tonumber(ARGV[2]), ARGV[3], {}
for k = pages + 1, #KEYS do
  local at = (k - pages) * 8 - 7
  declared[sub(names, at, at + 7)] = KEYS[k]
end
local nowhere, left = string.rep('\\0', 8), {}
-- A page is made whole: a string that grows in place keeps as much again in reserve.
local function head_of(slab)
  local head = call('GETRANGE', slab, '0', '15')
  if #head == 16 then return head end
  if ARGV[1] == '' then return nil end
  head = ARGV[1] .. nowhere
  call('SET', slab, head .. string.rep('\\0', page_slots * row_bytes))
  return head
end
local function tell(slab, head, batch, moves)
  local told = sub(head, 1, 8) .. pack('<I8', unpack('<I8', head, 9) + 1)
  call('SETRANGE', slab, '0', told)
  call('PUBLISH', 'geo:feed:' .. math.floor(unpack('<I4', batch) / page_slots), told .. moves)
end
-- `row`: what is stored: since u32, then the record, which ends with the cell.
local function leave(slot, row)
  local cell = sub(row, 29)
  if cell == nowhere then return end
  local key = declared[cell]
  if key then
    call('SREM', key, slot * since_unit + unpack('<I4', row))
  else
    left[#left + 1] = pack('<I4', slot) .. cell .. sub(row, 1, 4)
  end
end
"""
)

MOVE: Final = Script.of(
    _PAGES
    + """
-- Further ARGV, two a page: a batch of (slot u32, record of 32 bytes), and a byte a row: 1 where the slot has entered
-- the record's cell already. Returns four strings: the slots whose stored record is newer; (slot, cell, since) of what
-- is stored of these and of those who had entered without need; the slots that would have to enter a cell, or a page,
-- which this call may not touch; (slot, cell, since) of entries still to be removed.
local stale, stored, unready = {}, {}, {}
for k = 1, pages do
  local slab, batch, entered = KEYS[k], ARGV[2 * k + 2], ARGV[2 * k + 3]
  local head, runs, run = head_of(slab), {}, 1
  -- Of six rows on it costs less to copy the whole page than to read them one by one.
  local page = head and #batch >= 216 and call('GET', slab)
  for at = 1, #batch, 36 do
    local slot, ts = unpack('<I4i8', batch, at)
    local is_taken, has_crossed, is_stale = false, false, false
    local has_entered = entered ~= '' and string.byte(entered, (at + 35) / 36) == 1
    if not head then
      unready[#unready + 1] = sub(batch, at, at + 3)
    else
      local offset = (slot % page_slots) * row_bytes + head_bytes
      local rows, row_at, record = page, offset, sub(batch, at + 4, at + 35)
      if not page then rows, row_at = call('GETRANGE', slab, offset, offset + 35), 0 end
      if ts <= unpack('<i8', rows, row_at + 5) then
        is_stale = sub(rows, row_at + 5, row_at + 36) ~= record
        if is_stale then stale[#stale + 1] = sub(batch, at, at + 3) end
      else
        local cell = sub(record, 25)
        if cell == sub(rows, row_at + 29, row_at + 36) then
          is_taken = true
          call('SETRANGE', slab, offset + 4, record)
        else
          local key = declared[cell]
          if key then call('SADD', key, slot * since_unit + ts % since_unit) end
          if key or has_entered or cell == nowhere then
            is_taken, has_crossed = true, true
            call('SETRANGE', slab, offset, pack('<I4', ts % since_unit) .. record)
            leave(slot, sub(rows, row_at + 1, row_at + 36))
          else
            unready[#unready + 1] = sub(batch, at, at + 3)
          end
        end
      end
      if is_stale or (has_entered and not has_crossed) then
        stored[#stored + 1] = sub(batch, at, at + 3) .. sub(rows, row_at + 29, row_at + 36)
          .. sub(rows, row_at + 1, row_at + 4)
      end
    end
    if not is_taken then
      if at > run then runs[#runs + 1] = sub(batch, run, at - 1) end
      run = at + 36
    end
  end
  if run <= #batch then runs[#runs + 1] = sub(batch, run) end
  if #runs > 0 then tell(slab, head, batch, concat(runs)) end
end
return {concat(stale), concat(stored), concat(unready), concat(left)}
"""
)

REMOVE: Final = Script.of(
    _PAGES
    + """
-- Further ARGV, two a page: a batch of slots u32, and nothing. Keeps the time of a record, forgets the place. Returns
-- four strings like a move; only the last has anything.
local nothing = string.rep('\\0', 24)
for k = 1, pages do
  local slab, batch, taken = KEYS[k], ARGV[2 * k + 2], {}
  local head = head_of(slab)
  for at = 1, head and #batch or 0, 4 do
    local slot = unpack('<I4', batch, at)
    local offset = (slot % page_slots) * row_bytes + head_bytes
    local row = call('GETRANGE', slab, offset, offset + 35)
    if sub(row, 13) ~= nothing then
      call('SETRANGE', slab, offset + 12, nothing)
      taken[#taken + 1] = sub(batch, at, at + 3) .. sub(row, 5, 12) .. nothing
      leave(slot, row)
    end
  end
  if #taken > 0 then tell(slab, head, batch, concat(taken)) end
end
return {'', '', '', concat(left)}
"""
)

MEMBERS: Final = Script.of("""
-- KEYS: cells. Returns the entries of each.
local members = {}
for k = 1, #KEYS do members[k] = redis.call('SMEMBERS', KEYS[k]) end
return members
""")
