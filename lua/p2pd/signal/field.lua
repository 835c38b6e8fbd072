--- Checks for the fields of signalling messages: functions of a value that say whether it is legal.
-- @module p2pd.signal.field
-- @usage
-- messages = { KNOCK = { fields = { text = field.text(200), times = field.optional(field.integer(1, 5)) } } }
local id = require "p2pd.id"

local field = {}

--- An id: letters and digits, 1 to 64 of them.
field.id = id.is_id

--- true or false.
function field.flag(value)
  return type(value) == "boolean"
end

--- Bytes in hexadecimal, in small letters; see `message.to_hex`.
function field.hex(value)
  return type(value) == "string" and #value % 2 == 0 and not value:find "[^0-9a-f]"
end

--- A text.
-- @tparam integer max bytes
-- @treturn function
function field.text(max)
  return function(value) return type(value) == "string" and #value <= max end
end

--- A whole number.
-- @tparam integer min
-- @tparam integer max
-- @treturn function
function field.integer(min, max)
  return function(value) return math.type(value) == "integer" and value >= min and value <= max end
end

--- A number that is finite.
-- @tparam[opt] number min
-- @tparam[opt] number max
-- @treturn function
function field.number(min, max)
  min, max = min or -math.huge, max or math.huge
  return function(value)
    return math.type(value) ~= nil and value == value and value >= min and value <= max
      and math.abs(value) ~= math.huge
  end
end

--- A field that may be missing.
-- @tparam function check of what it is when it is there
-- @treturn function
function field.optional(check)
  return function(value) return value == nil or check(value) end
end

return field
