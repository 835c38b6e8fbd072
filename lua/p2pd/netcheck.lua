--- What this host's network lets peers do: its interfaces and their NATs, and every server of the settings.
-- All are asked at once.
-- @module p2pd.netcheck
local behaviour = require "p2pd.nat.behaviour"
local brokers = require "p2pd.signal.brokers"
local burst = require "p2pd.nat.burst"
local clock = require "p2pd.clock"
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local exchange = require "p2pd.stun.exchange"
local families = require "p2pd.families"
local id = require "p2pd.id"
local interfaces = require "p2pd.net.interfaces"
local port_mapping = require "p2pd.port_mapping"
local proxy = require "p2pd.proxy"
local routes = require "p2pd.net.routes"
local task = require "p2pd.task"
local turn = require "p2pd.turn"

local netcheck = {}

netcheck.TIMEOUT = 2           -- seconds for any server

local CONNECT_MIN = 0.01 -- seconds that a broker has at least
local NTP = { count = 4, spacing = 0.1, spacing_max = 0.2, timeout = 1 }

local function failure(entry, reason)
  return { host = entry.host, port = entry.port, ok = false, reason = reason }
end

-- A TCP connection to the first address of a host that takes one: the seconds it took; or nil, message, code.
local function connect(entry, timeout)
  local ips, reason, code = core.inet.resolve(entry.host, "any", timeout)
  if not ips then return nil, reason, code end
  local tries = {}
  for i, ip in ipairs(ips) do
    tries[i] = function()
      local started = core.clock.monotonic()
      local stream <close>, message, errno = core.tcp.connect(ip, entry.port, nil, timeout)
      if not stream then return nil, message, errno end
      return core.clock.monotonic() - started
    end
  end
  return task.race(tries)
end

local function go_online(entry, timeout)
  local started = core.clock.monotonic()
  local options = brokers.options(entry)
  options.connect_timeout = timeout
  local client <close>, reason = core.mqtt.open(options)
  if not client then return nil, reason end
  client:subscribe(id.new()) -- a topic that nobody else has, as a node's is
  local ok, message = client:wait_online(timeout)
  if not ok then return nil, message end
  return core.clock.monotonic() - started
end

--- Can a broker be used, and a topic of ours be had there? Waits.
-- @tparam table entry of the settings' `mqtt`
-- @tparam number timeout seconds
-- @treturn table `host`, `port`, `ok`; `rtt` (of a TCP connection; nil when a proxy is between) and `seconds`
-- (until it was online), or `reason`
function netcheck.broker(entry, timeout)
  local limit = deadline.after(timeout)
  local rtt, reason
  if not proxy.choose(entry) then
    rtt, reason = connect(entry, timeout)
    if not rtt then return failure(entry, reason) end
  end
  local seconds
  seconds, reason = go_online(entry, math.max(CONNECT_MIN, limit:left()))
  if not seconds then return failure(entry, reason) end
  return { host = entry.host, port = entry.port, ok = true, rtt = rtt, seconds = seconds }
end

local function ask_udp(entry, family, timeout)
  local ips, reason, code = core.inet.resolve(entry.host, family, timeout)
  if not ips then return nil, reason, code end
  local is_nat64 = family == "ipv4" and core.nat64.prefix()
  local socket <close>, fault, errno = exchange.open { ip = families.ANY[is_nat64 and "ipv6" or family] }
  if not socket then return nil, fault, errno end
  return behaviour.greet(socket, entry, ips, family)
end

local function ask_tcp(entry, timeout)
  local ips, reason, code = core.inet.resolve(entry.host, "any", timeout)
  if not ips then return nil, reason, code end
  local probe, stream, errno = burst.tcp({}, { ip = ips[1], port = entry.port }, nil, timeout)
  if not probe then return nil, stream, errno end
  stream:abort()
  return probe
end

--- Does a STUN server answer? Waits.
-- @tparam table entry of the settings' `stun`
-- @tparam number timeout seconds
-- @treturn table `host`, `port`, `ok` (over UDP or TCP); `udp` and `tcp`: round trips in seconds, nil where
-- it does not answer; `ipv4` and `ipv6`: that over UDP by each family; `behaviour`: whether it has the other
-- address that RFC 5780 wants; `reason`
function netcheck.stun(entry, timeout)
  local result = failure(entry)
  local function by(family)
    local server, reason, code = ask_udp(entry, family, timeout)
    if not server then
      result.reason = result.reason or code ~= "ENOENT" and reason or nil
      return true
    end
    result[family], result.udp = server.rtt, math.min(server.rtt, result.udp or math.huge)
    result.behaviour = result.behaviour or server.is_capable
    return true
  end
  local function over_udp()
    return task.all(function() return by "ipv4" end, function() return by "ipv6" end)
  end
  local function over_tcp()
    local probe, reason = ask_tcp(entry, timeout)
    if probe then result.tcp = probe.rtt end
    result.tcp_reason = not probe and reason or nil
    return true
  end
  task.timeout(timeout, task.all, over_udp, over_tcp)
  result.ok = result.udp ~= nil or result.tcp ~= nil
  result.reason = not result.ok and (result.reason or result.tcp_reason or "timed out") or nil
  return result
end

--- How far is this machine's clock from network time? Waits.
-- @tparam {table,...} servers the settings' `ntp`
-- @tparam number timeout seconds
-- @treturn table `ok`; `offset` and `bound` in seconds, `servers` (how many agree); or `reason`
function netcheck.clock(servers, timeout)
  if not servers[1] then return { ok = false, reason = "the settings name no NTP server" } end
  local options = { timeout = math.min(NTP.timeout, timeout) }
  for key, value in pairs(NTP) do options[key] = options[key] or value end
  local found, reason = task.timeout(timeout, clock.measure, servers, options)
  if not found then
    found = clock.offset() -- what had come until then
    if found.source ~= "ntp" then return { ok = false, reason = reason } end
  end
  return { ok = true, offset = found.offset, bound = found.bound, servers = found.servers }
end

--- What does a TURN server give? Waits.
-- @tparam table entry of the settings' `turn`
-- @tparam number timeout seconds
-- @treturn table `host`, `port`, `transport`, `ok`; `udp` and `tcp`: for each kind of relay as `turn.probe`
-- tells; `reason`
function netcheck.turn(entry, timeout)
  local found = turn.probe(entry, timeout)
  local ok = found.udp.ok or found.tcp.ok
  return {
    host = entry.host, port = entry.port, transport = entry.transport or "udp", ok = ok,
    udp = found.udp, tcp = found.tcp, reason = not ok and found.udp.reason or nil,
  }
end

-- One search for each entry of a list, whose results go into a list of the same order.
local function add_searches(searches, list, results, check, timeout)
  for i, entry in ipairs(list) do
    searches[#searches + 1] = function()
      results[i] = task.timeout(timeout, check, entry, timeout) or failure(entry, "timed out")
      return true
    end
  end
end

-- Tells after each search how many have ended.
local function count_ends(searches, progress)
  local ended = 0
  for i, search in ipairs(searches) do
    searches[i] = function()
      local ok = search()
      ended = ended + 1
      progress(ended, #searches)
      return ok
    end
  end
  return searches
end

local function look_at_routes(result, stuns)
  local plain = table.move(result.routes, 1, #result.routes, 1, {})
  task.all(function()
    result.notes = routes.complete(result.routes, stuns, { hairpin = true })
    return true
  end, function()
    port_mapping.try(plain)
    return true
  end)
end

--- Looks at everything. Waits, two to three seconds at most.
-- @tparam table settings
-- @tparam[opt] table options `interfaces` (names; those that a node would take), `timeout` (seconds for
-- each server, 2), `progress` (function(ended, of))
-- @treturn[1] table `routes` and `notes` as @{p2pd.net.routes.find} gives them, with `mapping` as
-- @{p2pd.port_mapping.try} leaves it; `interfaces`; `left_out`,
-- sentences; `brokers`, `stuns`, `turns`: a result for each of the settings' servers; `clock`; `nat64`: the
-- prefix by which a network of IPv6 alone leads to IPv4, where there is one
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function netcheck.run(settings, options)
  options = options or {}
  local chosen, left_out, code = interfaces.list { names = options.interfaces }
  if not chosen then return nil, left_out, code end
  local timeout = options.timeout or netcheck.TIMEOUT
  local result = { interfaces = chosen, left_out = left_out, brokers = {}, stuns = {}, turns = {},
    routes = routes.plain(chosen) }
  local searches = {
    function()
      look_at_routes(result, settings.stun)
      return true
    end,
    function()
      result.clock = netcheck.clock(settings.ntp, timeout)
      return true
    end,
  }
  add_searches(searches, settings.mqtt, result.brokers, netcheck.broker, timeout)
  add_searches(searches, settings.stun, result.stuns, netcheck.stun, timeout)
  add_searches(searches, settings.turn, result.turns, netcheck.turn, timeout)
  task.all(count_ends(searches, options.progress or function() end))
  result.nat64 = core.nat64.prefix()
  return result
end

return netcheck
