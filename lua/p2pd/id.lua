--- Random identifiers in the base58 alphabet: of nodes, messages and pipes.
-- @module p2pd.id
local core = require "p2pd.core"

local id = {}

local ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
local BATCH = 64 -- random bytes asked for at once
local FAIR = 58 * 4 -- bytes from here on would favour the alphabet's beginning

--- A new identifier.
-- @tparam[opt=22] integer length characters; 22 of them carry 128 bits
-- @treturn string
function id.new(length)
  length = length or 22
  local chars = {}
  while #chars < length do
    for byte in core.random.bytes(math.min(length, BATCH)):gmatch "." do
      local value = byte:byte()
      if value < FAIR and #chars < length then
        local at = value % 58 + 1
        chars[#chars + 1] = ALPHABET:sub(at, at)
      end
    end
  end
  return table.concat(chars)
end

--- Whether a value looks like an identifier: 1 to 64 letters and digits.
function id.is_id(value)
  return type(value) == "string" and #value <= 64 and value:find "^[A-Za-z0-9]+$" ~= nil
end

return id
