--- Signalling messages: tables to text and back; p2pd.signal.envelope seals the text. Pure: no broker, no
-- clock of its own.
-- docs/protocol.md states the bytes. A message that is not exactly as stated is refused, with a reason
-- from a short list, so that refusals can be counted.
-- @module p2pd.signal.message
local json = require "dkjson"
local core = require "p2pd.core"
local address = require "p2pd.address"
local id = require "p2pd.id"

local message = {}

message.VERSION = 1
message.MAX_BYTES = 16 * 1024
message.TTL = 60 -- seconds for which a message is good
message.MAX_TTL = 60
message.MAX_AHEAD = 60 -- seconds a sender's clock may be ahead of ours

local function is_text(value, max)
  return type(value) == "string" and #value <= max
end

--- An address and a port as text.
function message.format_endpoint(ip, port)
  return (ip:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(ip, port)
end

--- Reads such a text.
-- @treturn string the address, and the port; or nil when it is none
function message.parse_endpoint(text)
  local ip, port = text:match "^%[([%x:.]+)%]:(%d+)$"
  if not ip then ip, port = text:match "^([%d.]+):(%d+)$" end
  local known = ip and core.inet.parse(ip)
  port = tonumber(port)
  if not known or port < 1 or port > 65535 then return nil end
  return known.ip, math.tointeger(port)
end

local function is_hex(value)
  return is_text(value, message.MAX_BYTES) and #value % 2 == 0 and not value:find "[^0-9a-f]"
end

local function is_flag(value)
  return value == nil or type(value) == "boolean"
end

local function is_seconds(value)
  return math.type(value) ~= nil and value >= 0 and value <= message.MAX_TTL
end

local function is_offset(value)
  return math.type(value) == "integer" and value >= 0 and value <= 65535
end

-- A family, and the interfaces' offsets in the two addresses.
local function is_pair(value)
  return type(value) == "table" and #value == 3 and (value[1] == "ipv4" or value[1] == "ipv6")
    and is_offset(value[2]) and is_offset(value[3])
end

-- Only the shape: p2pd.punch.rendezvous says what is wrong with the ports.
local function is_mappings(value)
  return type(value) == "table"
end

-- "192.0.2.1:50000", "[2001:db8::1]:50000": an endpoint in text, or none.
local function is_endpoint(value)
  return value == nil or is_text(value, 64) and message.parse_endpoint(value) ~= nil
end

-- What each type carries besides the fields that all have.
local TYPES = {
  ECHO = { data = is_hex },
  ECHO_REPLY = { data = is_hex, re = id.is_id },
  GET_ADDR = {},
  RETURN_ADDR = { re = id.is_id },
  P2P_DIRECT = { pipe = id.is_id },
  INITIAL_MAPPINGS = { pipe = id.is_id, pair = is_pair, mappings = is_mappings, many = is_flag,
    try = function(v) return math.type(v) == "integer" and v >= 1 and v <= 100 end,
    delay = function(v) return v == nil or is_seconds(v) end,
    bound = function(v) return v == nil or is_seconds(v) end },
  UPDATED_MAPPINGS = { re = id.is_id, pipe = id.is_id, mappings = is_mappings, many = is_flag,
    wait = is_seconds, window = is_seconds, spent = is_seconds,
    bound = function(v) return v == nil or is_seconds(v) end,
    meet = function(v) return math.type(v) ~= nil end, asked = function(v) return math.type(v) ~= nil end },
  TURN_REQUEST = { pipe = id.is_id, relayed = is_endpoint, udp = is_flag },
  TURN_RESPONSE = { re = id.is_id, pipe = id.is_id, relayed = is_endpoint, udp = is_flag },
  REFUSED = { re = id.is_id, pipe = id.is_id,
    reason = function(v) return is_text(v, 512) and not v:find "%c" end },
}

local COMMON = {
  id = id.is_id,
  from = id.is_id,
  to = id.is_id,
  address = function(v) return is_text(v, address.MAX_BYTES or 4096) end,
  time = function(v) return math.type(v) ~= nil end,
  ttl = function(v) return math.type(v) ~= nil and v > 0 and v <= message.MAX_TTL end,
  insecure = function(v) return v == nil or v == true end,
  ticket = function(v) return v == nil or is_hex(v) and #v == 32 end,
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

--- Reads a message meant for us.
-- @tparam string bytes
-- @tparam string to our node id
-- @tparam number now network time, seconds
-- @treturn table the message, with `sender` (its parsed address); or nil and why it is refused: "too long",
-- "garbage", "version", "type", "fields", "not for us", "expired", "ahead of time", "sender"
function message.decode(bytes, to, now)
  if #bytes > message.MAX_BYTES then return nil, "too long" end
  local m = parse(bytes)
  if not m then return nil, "garbage" end
  if m.v ~= message.VERSION then return nil, "version" end
  local fields = TYPES[m.type]
  if not fields then return nil, "type" end
  if not (has_fields(m, COMMON) and has_fields(m, fields)) then return nil, "fields" end
  if m.to ~= to then return nil, "not for us" end
  if now > m.time + m.ttl then return nil, "expired" end
  if m.time > now + message.MAX_AHEAD then return nil, "ahead of time" end
  m.sender = address.parse(m.address)
  if not m.sender or m.sender.node_id ~= m.from then return nil, "sender" end
  return m
end

return message
