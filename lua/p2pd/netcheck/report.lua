--- A netcheck as text for people, in 80 columns, and as a table for JSON. Pure.
-- @module p2pd.netcheck.report
local families = require "p2pd.families"
local json = require "dkjson"
local nat = require "p2pd.nat"
local forecast = require "p2pd.netcheck.forecast"
local port_mapping = require "p2pd.port_mapping"
local text = require "p2pd.text"

local report = {}

local WIDTH = 80
local NAT_WIDTH = WIDTH - #"        NAT: ; ports: "

local function milliseconds(seconds)
  return ("%.1f ms"):format(seconds * 1e3)
end

local function yes_or_no(value)
  if value == nil then return "not known" end
  return value and "yes" or "no"
end

-- -- what is only assumed

-- The type, where it was not seen how the NAT treats who was not asked for, or anything at all.
local function is_type_assumed(one)
  if one.unstable or one.type == nat.OPEN then return false end
  if one.type == nat.BLOCKED then return one.tcp_mapping == nil and one.delta == nat.DELTA_NONE end
  return one.mapping == nil or one.mapping == nat.BEHAVIOURS[1] and one.filtering == nil
end

local function is_delta_assumed(one)
  if one.is_delta_assumed then return true end
  return one.delta == nat.DELTA_RANDOM and not one.unstable and one.mapping == nil and one.tcp_mapping == nil
end

-- -- text

local function describe_delta(one)
  local words = ("%s (delta %d"):format(nat.DELTAS[one.delta], one.delta)
  return one.value == 0 and words .. ")" or ("%s, value %d)"):format(words, one.value)
end

local function assumed(is_so, words)
  return is_so and ("not known (assumed %s)"):format(words:gsub(" %((.*)%)$", ", %1")) or words
end

-- A line that goes on below its own beginning, where it is too long.
local function add_wrapped(lines, first, words)
  local label = words:match "^[%w ]+: " or ""
  local rest = (" "):rep(math.min(#first + #label, WIDTH // 3))
  for _, line in ipairs(text.wrap(words, WIDTH, first, rest)) do lines[#lines + 1] = line end
end

local function add_nat(lines, one)
  local function add(format, ...) add_wrapped(lines, "        ", format:format(...)) end
  local kind = assumed(is_type_assumed(one), ("%s (type %d)"):format(nat.TYPES[one.type], one.type))
  local ports = assumed(is_delta_assumed(one), describe_delta(one))
  if #kind + #ports <= NAT_WIDTH then
    add("NAT: %s; ports: %s", kind, ports)
  else
    add("NAT: %s", kind)
    add("ports: %s", ports)
  end
  if one.mapping or one.tcp_mapping or one.filtering then
    add("mapping: %s, of TCP: %s", one.mapping or "not known", one.tcp_mapping or "not known")
    add("filtering: %s; hairpin: %s", one.filtering or "not known", yes_or_no(one.hairpin))
  end
  if one.reason then add("why: %s", one.reason) end
  for _, gap in ipairs(one.missing or {}) do
    add(gap:find "known" and "%s" or "not known: %s", gap)
  end
end

local function describe_mapping(route, one)
  if one.state ~= "mapped" then return one.reasons[1] and "refused" or "no router offers it" end
  local verified, reason = port_mapping.is_verified(route)
  local words = ("by %s%s"):format(one.protocol, one.is_permanent and " (for good)" or "")
  return verified and words .. ": peers can connect" or ("%s, but %s"):format(words, reason)
end

local function add_mapping(lines, route)
  local one = port_mapping.describe(route)
  if not one then return end
  add_wrapped(lines, "        ", "port mapping: " .. describe_mapping(route, one))
  for _, reason in ipairs(one.reasons) do add_wrapped(lines, "          ", reason) end
end

local function add_route(lines, label, route)
  local outside = route.external_known and route.external or "not known"
  if route.external_known and route.external == route.nic then outside = "the same" end
  add_wrapped(lines, ("  %s  "):format(label), ("%s, from outside: %s"):format(route.nic, outside))
  if route.shared[1] then add_wrapped(lines, "        ", "also: " .. table.concat(route.shared, ", ")) end
  add_nat(lines, route.nat)
  add_mapping(lines, route)
end

local function routes_of(found, name, family)
  local routes = {}
  for _, route in ipairs(found.routes) do
    if route.name == name and route.family == family then routes[#routes + 1] = route end
  end
  return routes
end

-- Of which families an interface is the way out.
local function describe_way(found, one)
  local names = {}
  for _, family in ipairs(families.ALL) do
    local route = routes_of(found, one.name, family)[1]
    if route and route.way then names[#names + 1] = families.TITLES[family] end
  end
  return names[1] and ", the way out by " .. table.concat(names, " and ") or ""
end

local function add_families(lines, found, one)
  for _, family in ipairs(families.ALL) do
    local routes = routes_of(found, one.name, family)
    for _, route in ipairs(routes) do add_route(lines, families.TITLES[family], route) end
    if not routes[1] then lines[#lines + 1] = ("  %s  none"):format(families.TITLES[family]) end
  end
end

local function add_interfaces(lines, found)
  for _, one in ipairs(found.interfaces) do
    lines[#lines + 1] = "interface " .. one.name .. describe_way(found, one)
    if routes_of(found, one.name, "ipv4")[1] or routes_of(found, one.name, "ipv6")[1] then
      add_families(lines, found, one)
    else
      lines[#lines + 1] = "  not used"
    end
  end
  if found.left_out[1] then add_wrapped(lines, "", "left out: " .. table.concat(found.left_out, "; ")) end
end

local function describe_broker(one)
  local rtt = one.rtt and milliseconds(one.rtt) or "by a proxy"
  return ("%s, online in %s"):format(rtt, milliseconds(one.seconds))
end

local function describe_stun(one)
  local parts = {
    one.udp and "UDP " .. milliseconds(one.udp) or "UDP: no answer",
    one.tcp and "TCP " .. milliseconds(one.tcp) or "TCP: no answer",
    one.behaviour and "answers RFC 5780" or nil,
  }
  return table.concat(parts, ", ")
end

local function describe_turn(one)
  local parts = { "by " .. one.transport }
  for _, relay in ipairs { "udp", "tcp" } do
    local found = one[relay]
    if found.ok then
      parts[#parts + 1] = ("%s relay in %s"):format(relay:upper(), milliseconds(found.seconds))
    end
  end
  return table.concat(parts, ", ")
end

local function add_servers(lines, title, list, describe)
  lines[#lines + 1] = title
  if not list[1] then lines[#lines + 1] = "  none in the settings" end
  for _, one in ipairs(list) do
    local words = one.ok and describe(one) or "no: " .. one.reason
    for _, line in ipairs(text.wrap(words, WIDTH, ("  %s:%d  "):format(one.host, one.port), "    ")) do
      lines[#lines + 1] = line
    end
  end
end

local function add_clock(lines, clock)
  lines[#lines + 1] = "clock"
  if not clock.ok then
    add_wrapped(lines, "  ", "not compared: " .. clock.reason)
    return
  end
  local direction = clock.offset >= 0 and "behind" or "ahead of"
  lines[#lines + 1] = ("  %s %s network time, give or take %s (%d servers agree)"):format(
    milliseconds(math.abs(clock.offset)), direction, milliseconds(clock.bound), clock.servers)
end

local WAYS = { ["one side connects"] = "directly", ["simultaneous open"] = "both connect at once",
  ["birthday attack"] = "by a birthday attack", ["only relayed"] = "only through a relay" }

local function add_forecast(lines, found)
  local sentences, ways = forecast.verdict(found)
  lines[#lines + 1] = "what to expect"
  for _, family in ipairs(families.ALL) do
    for i, one in ipairs(ways[family] or {}) do
      if i == 1 then lines[#lines + 1] = ("  %s, peers"):format(families.TITLES[family]) end
      lines[#lines + 1] = ("    %-55s %s"):format(one.peer, WAYS[one.way])
    end
  end
  for _, sentence in ipairs(sentences) do add_wrapped(lines, "  ", sentence) end
end

--- The report for people: the verdict, then everything else.
-- @tparam table found as @{netcheck.run} gives it
-- @treturn string lines of 80 columns at most
function report.text(found)
  local lines = { forecast.headline(found), "" }
  add_interfaces(lines, found)
  add_servers(lines, "brokers", found.brokers, describe_broker)
  add_servers(lines, "STUN servers", found.stuns, describe_stun)
  add_servers(lines, "TURN servers", found.turns, describe_turn)
  add_clock(lines, found.clock)
  add_forecast(lines, found)
  return table.concat(lines, "\n") .. "\n"
end

-- -- JSON

local KEYS = { "interfaces", "name", "ipv4", "ipv6", "more", "nic", "ext", "shared", "nat", "type",
  "type_name", "delta", "delta_name", "value", "assumed", "mapping", "filtering", "tcp_mapping", "hairpin",
  "missing",
  "left_out", "notes", "brokers", "stun", "turn", "clock", "host", "port", "transport", "ok", "udp", "tcp",
  "behaviour", "rtt", "seconds", "ip", "offset", "bound", "servers", "reason", "tcp_reason", "code", "expect",
  "verdict", "sentences", "peer", "way", "port_mapping", "state", "protocol", "verified", "reasons" }

-- A copy whose numbers of seconds have six digits at most.
local function shorten(value)
  if math.type(value) == "float" then return tonumber(("%.6g"):format(value)) end
  if type(value) ~= "table" or value == json.null then return value end
  local result = setmetatable({}, getmetatable(value))
  for key, inner in pairs(value) do result[key] = shorten(inner) end
  return result
end

local function list(values)
  return setmetatable(values or {}, { __jsontype = "array" })
end

local function assumptions(one)
  local names = {}
  if is_type_assumed(one) then names[1] = "type" end
  if is_delta_assumed(one) then names[#names + 1] = "delta" end
  return names
end

local function nat_object(one)
  return {
    type = one.type, type_name = nat.TYPES[one.type],
    delta = one.delta, delta_name = nat.DELTAS[one.delta], value = one.value,
    assumed = list(assumptions(one)),
    mapping = one.mapping or json.null, filtering = one.filtering or json.null,
    tcp_mapping = one.tcp_mapping or json.null,
    hairpin = one.hairpin == nil and json.null or one.hairpin,
    missing = list(one.missing), reason = one.reason,
  }
end

local function mapping_object(route)
  local one = port_mapping.describe(route)
  if not one then return nil end
  local verified, reason = port_mapping.is_verified(route)
  return { state = one.state, protocol = one.protocol, ip = one.ip, verified = verified or false,
    reason = reason, reasons = list(one.reasons) }
end

local function route_object(route)
  return {
    nic = route.nic, ext = route.external_known and route.external or json.null, shared = list(route.shared),
    nat = nat_object(route.nat), port_mapping = mapping_object(route),
  }
end

-- The first route of a family stands for the interface; an address with an external one of its own is `more`.
local function interface_object(found, one)
  local object, more = { name = one.name }, {}
  for _, family in ipairs(families.ALL) do
    local routes = routes_of(found, one.name, family)
    object[family] = routes[1] and route_object(routes[1]) or json.null
    for i = 2, #routes do more[#more + 1] = route_object(routes[i]) end
  end
  object.more = more[1] and list(more) or nil
  return object
end

--- What the JSON has, as a table.
-- @tparam table found as @{netcheck.run} gives it
-- @treturn table `interfaces`: `{ name, ipv4 = { nic, ext, shared, nat = { type, type_name, delta,
-- delta_name, value, assumed (those of "type" and "delta" that are not known), mapping, filtering,
-- tcp_mapping, hairpin, missing, reason }, port_mapping = { state, protocol, ip, verified, reason, reasons
-- } }, ipv6 }`; `left_out`, `notes`, `brokers`, `stun`, `turn`, `clock`, `expect` (`verdict`, `sentences`;
-- `ipv4` and `ipv6`: kinds of peers and the way to them)
function report.object(found)
  local interfaces = {}
  for i, one in ipairs(found.interfaces) do interfaces[i] = interface_object(found, one) end
  local sentences, ways = forecast.verdict(found)
  return {
    interfaces = list(interfaces), left_out = list(found.left_out), notes = list(found.notes),
    brokers = list(found.brokers), stun = list(found.stuns), turn = list(found.turns), clock = found.clock,
    expect = { verdict = forecast.headline(found), sentences = list(sentences),
      ipv4 = ways.ipv4 or json.null, ipv6 = ways.ipv6 or json.null },
  }
end

--- The report as JSON: one object on one line, its keys always in the same order.
-- @tparam table found as @{netcheck.run} gives it
-- @treturn string
function report.json(found)
  return json.encode(shorten(report.object(found)), { keyorder = KEYS })
end

return report
