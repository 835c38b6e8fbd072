--- Peer addresses: the string that another node needs to reach a node.
--
--     0,1-[0,8.8.8.8,192.168.21.21,58959,3,2,0]-0-NODEID
--
-- Offsets of MQTT brokers, IPv4 records, IPv6 records, node id. A record is [interface, external address,
-- internal address, listen port, NAT type, delta type, delta value]; records of a family are joined by `|`,
-- and `0` stands for none. Each address has one spelling: numbers are canonical, IP addresses are kept as
-- they were written, so `format(parse(text)) == text`.
-- @module p2pd.address
local core = require "p2pd.core"
local families = require "p2pd.families"
local nat = require "p2pd.nat"

local address = {}

address.MAX_BYTES = 4096
address.MAX_RECORDS = 3 -- of a family
address.MAX_NODE_ID = 64 -- characters

local MAX_OFFSET = 65535
local MAX_DELTA = 65535
local MAX_SHOWN = 40 -- characters of a bad value that an error repeats

local UNREACHABLE = { unspecified = true, multicast = true, broadcast = true }

local find, sub, match = string.find, string.sub, string.match
local classify = core.inet.class

local function show(value)
  local clipped = #value > MAX_SHOWN and sub(value, 1, MAX_SHOWN) .. "..." or value
  return (clipped:gsub("[%c\x80-\xff]", function(c) return ("\\x%02x"):format(c:byte()) end))
end

-- -- fields: the value, or nil and what is wrong

local function parse_integer(text, least, most)
  if not find(text, "^%-?%d+$") then
    return nil, (text == "" and "empty" or show(text) .. " is not a number")
  end
  if find(text, "^%-?0%d") or text == "-0" then return nil, show(text) .. " has a needless zero" end
  local number = #text <= 12 and math.tointeger(tonumber(text))
  if number and number >= least and number <= most then return number end
  return nil, ("%s is not %d to %d"):format(show(text), least, most)
end

local function is_mapped(text)
  return find(text, "[fF][fF][fF][fF]") and find(core.inet.parse(text).ip, "^::ffff:.*%.")
end

local function parse_ip(text, family)
  if text == "" then return nil, "empty" end
  if find(text, "%", 1, true) then return nil, show(text) .. " has a scope, which means nothing elsewhere" end
  local class, found = classify(text)
  if not class then return nil, show(text) .. " is not an IP address" end
  if found ~= family or family == "ipv6" and is_mapped(text) then
    return nil, ("%s is not %s"):format(show(text), families.TITLES[family])
  end
  local leads_elsewhere = not text:find "^::" and core.inet.embedded(text) -- to IPv4, by 6to4 and the like
  if UNREACHABLE[class] and not leads_elsewhere then return nil, ("%s is %s"):format(show(text), class) end
  return text
end

local RECORD = {
  { name = "interface offset", least = 0, most = MAX_OFFSET },
  { name = "external address", ip = true },
  { name = "internal address", ip = true },
  { name = "listen port", least = 1, most = 65535 },
  { name = "NAT type", least = 1, most = #nat.TYPES },
  { name = "delta type", least = 1, most = #nat.DELTAS },
  { name = "delta value", least = -MAX_DELTA, most = MAX_DELTA },
}

local RECORD_PATTERN = "^" .. ("([^,]*),"):rep(#RECORD - 1) .. "([^,]*)$"

local function count_fields(text)
  local _, commas = text:gsub(",", "")
  return commas + 1
end

-- The fields of a record as they are written, checked one by one.
local function check_fields(where, family, fields)
  for i, field in ipairs(RECORD) do
    local value, fault
    if field.ip then
      value, fault = parse_ip(fields[i], family)
    else
      value, fault = parse_integer(fields[i], field.least, field.most)
    end
    if not value then return nil, ("%s.%s: %s"):format(where, field.name, fault) end
    fields[i] = value
  end
  return fields
end

local function parse_record(text, family, index)
  local where = ("%s[%d]"):format(family, index)
  local fields = { match(text, RECORD_PATTERN) }
  if not fields[1] then
    return nil, ("%s: %d fields instead of %d"):format(where, count_fields(text), #RECORD)
  end
  local ok, fault = check_fields(where, family, fields)
  if not ok then return nil, fault end
  return {
    interface = fields[1], external = fields[2], internal = fields[3], port = fields[4],
    nat = { type = fields[5], delta = fields[6], value = fields[7] },
  }
end

-- -- parts: each starts at `at`; the value and where the next one starts, or nil and what is wrong

local function parse_family(text, at, family)
  if sub(text, at, at) == "0" then return {}, at + 1 end
  local records = {}
  repeat
    if sub(text, at, at) ~= "[" then
      return nil, ("%s: a record in [] or 0 expected at byte %d"):format(family, at)
    end
    if #records == address.MAX_RECORDS then
      return nil, ("%s: more than %d records"):format(family, address.MAX_RECORDS)
    end
    local close = find(text, "]", at, true)
    if not close then return nil, ("%s[%d]: no ] at its end"):format(family, #records + 1) end
    local record, fault = parse_record(sub(text, at + 1, close - 1), family, #records + 1)
    if not record then return nil, fault end
    records[#records + 1] = record
    at = close + 2
  until sub(text, close + 1, close + 1) ~= "|"
  return records, at - 1
end

local function parse_mqtt(text, at, settings)
  local close = find(text, "-", at, true) or #text + 1
  local offsets, seen = {}, {}
  local servers = settings and settings.mqtt
  for item in (sub(text, at, close - 1) .. ","):gmatch "([^,]*)," do
    local where = ("mqtt[%d]"):format(#offsets + 1)
    local offset, fault = parse_integer(item, 0, MAX_OFFSET)
    if not offset then return nil, ("%s: %s"):format(where, fault) end
    if seen[offset] then return nil, ("%s: offset %d is there twice"):format(where, offset) end
    if servers and offset >= #servers then
      return nil, ("%s: offset %d is beyond the %d brokers of the settings"):format(where, offset, #servers)
    end
    seen[offset], offsets[#offsets + 1] = true, offset
  end
  return offsets, close
end

local function parse_node_id(text, at)
  local id = sub(text, at)
  if id == "" then return nil, "node id: empty" end
  if #id > address.MAX_NODE_ID then
    return nil, ("node id: longer than %d characters"):format(address.MAX_NODE_ID)
  end
  if find(id, "[^A-Za-z0-9]") then return nil, ("node id: %s is not letters and digits"):format(show(id)) end
  return id, at + #id
end

local function parse_parts(text, settings)
  local parts, at = {}, 1
  local order = {
    { "mqtt", parse_mqtt, settings }, { "ipv4", parse_family, "ipv4" }, { "ipv6", parse_family, "ipv6" },
    { "node_id", parse_node_id },
  }
  for i, part in ipairs(order) do
    if i > 1 then
      if at > #text then return nil, part[1]:gsub("_", " ") .. ": missing" end
      if sub(text, at, at) ~= "-" then
        return nil, ("%s: - expected after it, at byte %d"):format(order[i - 1][1], at)
      end
      at = at + 1
    end
    local value, next_at = part[2](text, at, part[3])
    if not value then return nil, next_at end
    parts[part[1]], at = value, next_at
  end
  return parts
end

--- Reads a peer address.
-- @tparam string text
-- @tparam[opt] table settings when given, offsets beyond its `mqtt` list are refused
-- @treturn[1] table `{ mqtt = { 0, 1 }, ipv4 = { record, ... }, ipv6 = { record, ... }, node_id = string }`,
-- a record being `{ interface = 0, external = ip, internal = ip, port = 1 to 65535, nat = { type = 1 to 7,
-- delta = 1 to 6, value = integer } }`
-- @treturn[2] nil
-- @treturn[2] string the field that is wrong and why: "ipv4[2].listen port: 65536 is not 1 to 65535"
function address.parse(text, settings)
  if type(text) ~= "string" then
    error(("address.parse: string expected, got %s"):format(type(text)), 2)
  end
  if text == "" then return nil, "address: empty" end
  if #text > address.MAX_BYTES then
    return nil, ("address: %d bytes, more than %d"):format(#text, address.MAX_BYTES)
  end
  return parse_parts(text, settings)
end

-- -- formatting

-- A field as text; what could pass for more than one field is left out, so that it cannot parse.
local function field_text(value)
  local text = tostring(value)
  return find(text, "[,|%[%]-]", 2) and "?" or text
end

local function format_record(record)
  local filter = type(record.nat) == "table" and record.nat or {}
  local fields = { record.interface, record.external, record.internal, record.port, filter.type,
    filter.delta, filter.value }
  for i = 1, #RECORD do fields[i] = field_text(fields[i]) end
  return "[" .. table.concat(fields, ",") .. "]"
end

local function map_list(list, name, fn)
  if type(list) ~= "table" then error(("address.format: %s is not a list"):format(name), 4) end
  local texts = {}
  for i, value in ipairs(list) do texts[i] = fn(value) end
  return texts
end

local function format_family(t, family)
  local texts = map_list(t[family], family, format_record)
  return texts[1] and table.concat(texts, "|") or "0"
end

--- Writes a peer address.
-- @tparam table t as @{parse} gives it
-- @treturn string
-- @raise naming the field, when the table is no legal address
function address.format(t)
  local text = table.concat({
    table.concat(map_list(t.mqtt, "mqtt", field_text), ","),
    format_family(t, "ipv4"), format_family(t, "ipv6"), field_text(t.node_id),
  }, "-")
  local ok, fault = address.parse(text)
  if not ok then error("address.format: " .. fault, 2) end
  return text
end

return address
