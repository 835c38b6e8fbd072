--- What is said at a code's number, in bytes; docs/protocol.md has the table. Pure.
--
-- - FIND: who has a code asks who offers at this number (`try`)
-- - OFFER: an offer is here (`try`, `offer`, `share`)
-- - TRY: the one guess at it (`try`, `offer`, `share`, `confirmation`, `sealed`)
-- - TAKEN: it was right (`try`, `offer`, `confirmation`, `sealed`)
-- - WRONG: it was not, and the offer is over (`try`, `offer`)
-- - OVER: the offer had been over before (`try`, `offer`)
-- - CLAIM: is this number taken? (`offer`, the one to come)
-- - HELD: it is (`offer`, the one that asked)
-- @module p2pd.code.message
local message = {}

local VERSION = 1
local ID, SHARE, CONFIRMATION, TAG = 8, 65, 32, 16
local SEALED_MAX = 4096 + 128 + TAG -- an address, and what it is filled up to

local FIELD = { try = ID, offer = ID, share = SHARE, confirmation = CONFIRMATION } -- bytes

local KINDS = {
  { "FIND", "try" },
  { "OFFER", "try", "offer", "share" },
  { "TRY", "try", "offer", "share", "confirmation", "sealed" },
  { "TAKEN", "try", "offer", "confirmation", "sealed" },
  { "WRONG", "try", "offer" },
  { "OVER", "try", "offer" },
  { "CLAIM", "offer" },
  { "HELD", "offer" },
}

local numbers = {}
for number, kind in ipairs(KINDS) do numbers[kind[1]] = number end

--- Bytes of the longest one.
message.MAX = 2 + 2 * ID + SHARE + CONFIRMATION + SEALED_MAX

--- Bytes of an id.
message.ID = ID

--- The bytes of a message.
-- @tparam table m `kind`, and its fields
-- @treturn string
function message.encode(m)
  local number = assert(numbers[m.kind], "no such kind")
  local parts = { string.char(VERSION, number) }
  for i = 2, #KINDS[number] do
    local name = KINDS[number][i]
    local value, size = m[name], FIELD[name]
    assert(size and #value == size or not size and #value <= SEALED_MAX, name)
    parts[i] = value
  end
  return table.concat(parts)
end

local function read_fields(kind, bytes)
  local m, at = { kind = kind[1] }, 3
  for i = 2, #kind do
    local size = FIELD[kind[i]] or #bytes - at + 1 -- what is sealed comes last
    if at + size - 1 > #bytes then return nil, "too short" end
    m[kind[i]], at = bytes:sub(at, at + size - 1), at + size
  end
  if at ~= #bytes + 1 then return nil, "too long" end
  return m
end

--- Reads one.
-- @tparam string bytes
-- @treturn table `kind`, and its fields; or nil and what is wrong
function message.decode(bytes)
  if #bytes < 2 or #bytes > message.MAX then return nil, "not of a message's size" end
  local version, number = bytes:byte(1, 2)
  if version ~= VERSION then return nil, "of another version" end
  if not KINDS[number] then return nil, "of no known kind" end
  return read_fields(KINDS[number], bytes)
end

return message
