--- Allocations on TURN servers (RFC 8656, RFC 6062): addresses of a relay that stand for ours.
-- The protocol is core.turn's; here is how servers and their addresses are tried.
-- @module p2pd.turn
local core = require "p2pd.core"
local allocation = require "p2pd.turn.allocation"
local client = require "p2pd.turn.client"
local deadline = require "p2pd.deadline"
local endpoint = require "p2pd.endpoint"
local task = require "p2pd.task"
local transport = require "p2pd.turn.transport"

local turn = {}

turn.TIMEOUT = 10           -- seconds for an allocation
local HOPS_MAX = 3          -- alternate servers that are followed
local NEXT_ADDRESS_S = 0.25 -- RFC 8305 section 5: head start of a server's first address
local PROBE_S = 5

local describe = client.describe

-- One address of one server.
local function allocate_at(server, address, options, limit)
  local way, reason, code = transport.open(server, address, limit)
  if not way then return nil, ("relay %s: %s"):format(describe(server), reason), code end
  local held <close> = task.hold(allocation.start(server, address, options, way))
  local asked = held[1]
  local ok, number
  ok, reason, code, number = asked:ready(limit)
  if ok then return held:release() end
  return nil, reason, code, { number = number, redirected = asked.client.redirected }
end

-- The same, but once more from another port when the server knows this one from former times.
local function allocate_twice(server, address, options, limit)
  local made, reason, code, more = allocate_at(server, address, options, limit)
  if made or not more or more.number ~= 437 then return made, reason, code, more end
  return allocate_at(server, address, options, limit)
end

-- A server without IPv4 to give may have IPv6, and says 440 to who does not ask for that by name.
local function allocate_any(server, address, options, limit)
  local made, reason, code, more = allocate_twice(server, address, options, limit)
  if made or options.family ~= "both" or not more or more.number ~= 440 then
    return made, reason, code, more
  end
  local other = setmetatable({ family = "ipv6" }, { __index = options })
  return allocate_twice(server, address, other, limit)
end

local function follow(server, address, options, limit)
  local asked = {}
  for _ = 0, HOPS_MAX do
    asked[endpoint.format(address, server.port)] = true
    local made, reason, code, more = allocate_any(server, address, options, limit)
    local other = more and more.redirected
    if made or not other then return made, reason, code end
    if asked[endpoint.format(other.ip, other.port)] then return nil, reason .. ", again", "ELOOP" end
    address = other.ip
    server = setmetatable({ port = other.port }, { __index = server })
  end
  return nil, ("relay %s: too many alternate servers"):format(describe(server)), "ELOOP"
end

--- Asks a server for a relayed address.
-- @tparam table server an entry of the settings' `turn` list: host, port, transport ("udp", "tcp", "tls"),
-- user, pass, realm, ca
-- @tparam[opt] table options relay ("udp", the default, or "tcp": RFC 6062, which needs a server's transport
-- "tcp" or "tls"), family (of the relayed address: "ipv4", "ipv6", or "both": one of each, or the one that
-- the server has; nil: as it likes), timeout (seconds, 10), lifetime (s), permit (list of IP addresses to
-- let in from the beginning: over a stream that costs no time; what has come of it
-- @{p2pd.turn.allocation:permit} tells)
-- @treturn allocation with ip, port, relayed (a list of those: two at most, of two families), mapped (our
-- address as the server sees it), lifetime, rtt (s, or nil); to be closed (`<close>`); or nil, message, code
-- ("EACCES": the credentials, "EDQUOT": the quota, ...)
function turn.allocate(server, options)
  options = options or {}
  local limit = deadline.after(options.timeout or turn.TIMEOUT)
  if options.relay == "tcp" and (server.transport or "udp") == "udp" then
    return nil, ("relay %s: a TCP relay needs TCP to the server"):format(describe(server)),
      "EPROTONOSUPPORT"
  end
  local addresses, reason, code = core.inet.resolve(server.host, "any", limit:left())
  if not addresses then return nil, ("relay %s: %s"):format(describe(server), reason), code end
  local attempts = {}
  for i, address in ipairs(addresses) do
    attempts[i] = function()
      task.sleep((i - 1) * NEXT_ADDRESS_S)
      return follow(server, address, options, limit)
    end
  end
  return task.race(attempts)
end

-- -- what a server can do

local function probe(server, relay, timeout)
  local started = core.clock.monotonic()
  local options = { relay = relay, timeout = timeout, family = "both" }
  local made <close>, reason, code = turn.allocate(server, options)
  if not made then return { ok = false, reason = reason, code = code } end
  local ipv4, ipv6 = made:serves "ipv4", made:serves "ipv6"
  return { ok = true, rtt = made.rtt, seconds = core.clock.monotonic() - started, ip = made.ip,
    ipv4 = ipv4 and ipv4.ip, ipv6 = ipv6 and ipv6.ip }
end

--- What a server can do for us: allocates in each way and gives it back.
-- @tparam table server an entry of the settings' `turn` list
-- @tparam[opt=5] number timeout seconds
-- @treturn table `udp` and `tcp` (RFC 6062): for each kind of relay ok; rtt of one exchange and seconds until
-- the allocation stood, ip (the relayed address), ipv4 and ipv6 (that of each family); or reason and code
function turn.probe(server, timeout)
  local result = {}
  local fns = {}
  for i, relay in ipairs { "udp", "tcp" } do
    fns[i] = function()
      result[relay] = probe(server, relay, timeout or PROBE_S)
      return true
    end
  end
  task.all(fns)
  return result
end

return turn
