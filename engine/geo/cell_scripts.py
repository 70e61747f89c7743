"""The scripts of the cell index. Each is one atomic step of Redis; what they promise together says `cell_index`."""

from typing import Final

from config.limits import SLAB_PAGE_SLOTS

_CELL_NAME: Final = """
local no_cell = string.rep('\\0', 8)
local function cell_key(cell)
  if cell == no_cell then return nil end
  local a, b, c, d, e, f, g, h = string.byte(cell, 1, 8)
  return string.format('geo:cell:%x%02x%02x%02x%02x%02x%02x%02x', h, g, f, e, d, c, b, a)
end
"""

_PAGE: Final = (
    f"local page_slots = {SLAB_PAGE_SLOTS}"
    """
-- Returns the head of a page, which is made if it does not exist. A string that grows in place keeps as much again in
-- reserve: a whole page at once is half the memory.
local function head_of(slab, epoch, number)
  local head = call('GETRANGE', slab, 0, 15)
  if #head == 16 then return head end
  head = epoch .. string.rep('\\0', 8)
  call('SET', slab, head .. string.rep('\\0', page_slots * 32))
  call('SADD', KEYS[1], number)
  return head
end
local function tell(slab, head, number, moves)
  local told = sub(head, 1, 8) .. struct.pack('<I8', unpack('<I8', head, 9) + 1)
  call('SETRANGE', slab, 0, told)
  call('PUBLISH', 'geo:feed:' .. number, told .. moves)
end
"""
)

MOVE_SCRIPT: Final = (
    """-- KEYS[1]: the pages; KEYS[2..]: one page each. ARGV[1]: epoch of a page that is made; ARGV[2..]: of each page a
-- batch of (slot u32, record of 32 bytes). Returns the refused positions, counted through all batches.
local call, sub, unpack, floor = redis.call, string.sub, struct.unpack, math.floor
"""
    + _CELL_NAME
    + _PAGE
    + """
local stale, before = {}, 0
for k = 2, #KEYS do
  local slab, batch, taken = KEYS[k], ARGV[k], {}
  local number = floor(unpack('<I4', batch) / page_slots)
  local head, last = head_of(slab, ARGV[1], number), 0
  for at = 1, #batch, 36 do
    local slot, ts = unpack('<I4i8', batch, at)
    local offset = (slot % page_slots) * 32 + 16
    local old, record = call('GETRANGE', slab, offset, offset + 31), sub(batch, at + 4, at + 35)
    if record ~= old then
      if ts <= unpack('<i8', old) then
        stale[#stale + 1] = before + (at - 1) / 36
      else
        local cell, old_cell = sub(record, 25), sub(old, 25)
        if cell ~= old_cell then
          local key, old_key = cell_key(cell), cell_key(old_cell)
          if key then call('SADD', key, slot) end
          if old_key then call('SREM', old_key, slot) end
        end
        call('SETRANGE', slab, offset, record)
        last = last + 1
        taken[last] = sub(batch, at, at + 35)
      end
    end
  end
  if last > 0 then tell(slab, head, number, table.concat(taken)) end
  before = before + #batch / 36
end
return stale
"""
)

REMOVE_SCRIPT: Final = (
    """-- KEYS[1]: the pages; KEYS[2..]: one page each. ARGV[1]: not used; ARGV[2..]: of each page a batch of slots u32.
-- Keeps the time of a record, forgets the place.
local call, sub, unpack, floor = redis.call, string.sub, struct.unpack, math.floor
"""
    + _CELL_NAME
    + _PAGE
    + """
local nothing = string.rep('\\0', 24)
for k = 2, #KEYS do
  local slab, batch, taken = KEYS[k], ARGV[k], {}
  local head, last = call('GETRANGE', slab, 0, 15), 0
  if #head == 16 then
    for at = 1, #batch, 4 do
      local slot = unpack('<I4', batch, at)
      local offset = (slot % page_slots) * 32 + 16
      local old = call('GETRANGE', slab, offset, offset + 31)
      if sub(old, 9) ~= nothing then
        local key = cell_key(sub(old, 25))
        if key then call('SREM', key, slot) end
        call('SETRANGE', slab, offset + 8, nothing)
        last = last + 1
        taken[last] = sub(batch, at, at + 3) .. sub(old, 1, 8) .. nothing
      end
    end
    if last > 0 then tell(slab, head, floor(unpack('<I4', batch) / page_slots), table.concat(taken)) end
  end
end
return {}
"""
)

MEMBERS_SCRIPT: Final = """-- ARGV[1]: names of cells. Returns the members of each, in that order.
local members = {}
for name in string.gmatch(ARGV[1], '%x+') do
  members[#members + 1] = redis.call('SMEMBERS', 'geo:cell:' .. name)
end
return members
"""
