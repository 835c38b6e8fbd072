--- Signalling messages: tables to text and back; p2pd.signal.envelope seals the text. Pure: no broker, no
-- clock of its own.
-- docs/protocol.md states the bytes. A message that is not exactly as stated is refused, with a reason
-- from a short list, so that refusals can be counted.
-- @module p2pd.signal.message
local json = require "dkjson"
local address = require "p2pd.address"
local field = require "p2pd.signal.field"
local id = require "p2pd.id"

local message = {}

message.VERSION = 2
message.MAX_BYTES = 16 * 1024
message.TTL = 60 -- seconds for which a message is good
message.MAX_TTL = 60
message.TOO_BUSY = "too busy" -- the reason of a refusal that may not be one a little later
message.MAX_AHEAD = 60 -- seconds a sender's clock may be ahead of ours

local function is_text(value, max)
  return type(value) == "string" and #value <= max
end

-- What the types of signalling itself carry besides the fields that all have; strategies name theirs.
message.TYPES = {
  ECHO = { fields = { data = field.hex }, reply = "ECHO_REPLY" },
  ECHO_REPLY = { fields = { data = field.hex } },
  GET_ADDR = { fields = {}, reply = "RETURN_ADDR" },
  RETURN_ADDR = { fields = {} },
  REFUSED = { fields = { reason = function(v) return is_text(v, 512) end } },
}

--- Whether a name may be a message's type: capitals, digits and underscores.
function message.is_type(name)
  return is_text(name, 64) and name:find "^%u[%u%d_]*$" ~= nil
end

local COMMON = {
  type = message.is_type,
  id = id.is_id,
  re = field.optional(field.id),
  pipe = field.optional(field.id),
  from = id.is_id,
  to = id.is_id,
  address = function(v) return is_text(v, address.MAX_BYTES) end,
  time = function(v) return math.type(v) ~= nil end,
  ttl = function(v) return math.type(v) ~= nil and v > 0 and v <= message.MAX_TTL end,
  insecure = function(v) return v == nil or v == true end,
  token = function(v) return v == nil or field.hex(v) and #v == 48 end,
}

--- Bytes as the text that fits a field.
function message.to_hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

--- The bytes of such a text.
function message.from_hex(text)
  return (text:gsub("%x%x", function(h) return string.char(tonumber(h, 16)) end))
end

--- Makes the bytes of a message.
-- @tparam table m type, id, from, to (node ids), address (the sender's, as text), time (network time,
-- seconds), ttl (seconds), and what its type carries
-- @treturn string
function message.encode(m)
  m.v = message.VERSION
  return json.encode(m)
end

local function has_fields(m, fields)
  for name, check in pairs(fields) do
    if not check(m[name]) then return false end
  end
  return true
end

-- dkjson takes any value for a name.
local function has_names(value)
  if type(value) ~= "table" then return true end
  for name, inner in pairs(value) do
    if type(name) ~= "string" and math.type(name) ~= "integer" or not has_names(inner) then return false end
  end
  return true
end

local function decode(bytes)
  local m, next_at = json.decode(bytes, 1, nil, nil, nil)
  return type(m) == "table" and not bytes:find("%S", next_at) and has_names(m) and m
end

-- What is nested too deeply raises.
local function parse(bytes)
  local ok, m = pcall(decode, bytes)
  return ok and m or nil
end

--- Reads a message meant for us. What its type carries besides is for @{check} to look at.
-- @tparam string bytes
-- @tparam string to our node id
-- @tparam number now network time, seconds
-- @treturn table the message, with `sender` (its parsed address); or nil and why it is refused: "too long",
-- "garbage", "version", "fields", "not for us", "sender"; "expired", "ahead of time": then with the message
function message.decode(bytes, to, now)
  if #bytes > message.MAX_BYTES then return nil, "too long" end
  local m = parse(bytes)
  if not m then return nil, "garbage" end
  if m.v ~= message.VERSION then return nil, "version" end
  if not has_fields(m, COMMON) then return nil, "fields" end
  if m.to ~= to then return nil, "not for us" end
  m.sender = address.parse(m.address)
  if not m.sender or m.sender.node_id ~= m.from then return nil, "sender" end
  if now > m.time + m.ttl then return nil, "expired", m end
  if m.time > now + message.MAX_AHEAD then return nil, "ahead of time", m end
  return m
end

--- Whether a message carries what its type does, and nothing of a wrong kind.
-- @tparam table m as @{decode} gives it
-- @tparam table fields a check for each field, a function of the value
-- @treturn boolean
function message.check(m, fields)
  local ok, fits = pcall(has_fields, m, fields)
  return ok and fits
end

return message
