--- Which addresses a peer may have us connect to, or send to.
-- Who asks us to connect back, to punch or to permit names an address; a firewall that keeps him out of our
-- network must not be walked around through us. So never this machine (unless the node was told to use the
-- loopback interface), never many machines at once; and of what is inside, only our own LAN, for a peer that
-- shares it and may. An address that our own user has typed is his own wish. An IPv6 address that leads to an
-- IPv4 one (NAT64, 6to4 and the like) counts as what that one is.
-- @module p2pd.net.reach
local core = require "p2pd.core"
local families = require "p2pd.families"

local reach = {}

local LIST_S = 2 -- for which the machine's own addresses are believed
local PREFIX = 24 -- bits of a subnet, where the host does not tell it
local INNER = { private = true, shared = true, ["link-local"] = true }

-- Ranges for examples (RFC 5737, RFC 3849): nobody is there in the internet, and labs are made of them.
local EXAMPLES = { { "192.0.2.0", 24 }, { "198.51.100.0", 24 }, { "203.0.113.0", 24 }, { "2001:db8::", 32 } }

local function is_example(ip)
  for _, range in ipairs(EXAMPLES) do
    if core.inet.same_subnet(ip, range[1], range[2]) then return true end
  end
  return false
end

-- -- what is ours

local own = { at = -math.huge, addresses = {} }

local function plain(ip)
  local known = core.inet.parse((ip:gsub("%%.*", "")))
  return known and known.ip or ip
end

-- Of every interface, also of those that the node does not use.
local function own_addresses()
  local now = core.clock.monotonic()
  if now - own.at < LIST_S then return own.addresses end
  own.at, own.addresses = now, {}
  for _, netif in ipairs(core.netif.list() or {}) do
    for _, family in ipairs(families.ALL) do
      for _, record in ipairs(netif[family]) do own.addresses[plain(record.ip)] = true end
    end
  end
  return own.addresses
end

local function is_own(route, ip)
  return ip == route.nic or ip == route.internal or own_addresses()[ip] or false
end

-- Where the servers outside see us: our router's face, and whatever it passes on from there.
local function is_own_external(route, ip, who)
  if route.external_known and ip == route.external then return true end
  for _, other in ipairs(who.routes or {}) do
    if other.external_known and ip == other.external then return true end
  end
  return false
end

-- -- what is inside

--- Whether an address is in the subnet of a route's own one.
-- @tparam table route
-- @tparam string ip
-- @treturn boolean
function reach.is_in_subnet(route, ip)
  return core.inet.same_subnet(ip, route.nic, route.prefix or PREFIX)
end

local function is_on_lan(route, ip)
  return reach.is_in_subnet(route, ip)
    or core.inet.class(ip) == "link-local" and route.family == "ipv6"
end

-- Where the servers outside see us at an inner address, inner addresses are the outside.
local function is_outside_inner(route)
  return route.external_known and route.external ~= route.nic and INNER[core.inet.class(route.external)]
end

-- Whether a peer that is seen at an address is behind our router, or in our subnet.
local function shares(route, external)
  return external ~= nil and (external == route.external
    or reach.is_in_subnet(route, external))
end

local function refuse(ip, why)
  return nil, ip .. " " .. why, "EACCES"
end

local function check_inside(route, ip, who, external)
  if not is_on_lan(route, ip) then return refuse(ip, "is not on our LAN") end
  if who.is_trusted and (who.is_relay or shares(route, external)) then return true end
  return refuse(ip, "is on our LAN, which is not for every peer")
end

--- Whether an address that a peer names may be connected to by a route of ours.
-- @tparam table route ours
-- @tparam string ip the address
-- @tparam[opt] table who `is_trusted` (trusted, or let in by the node's `allow`), `typed` (set of addresses
-- that our user has named), `routes` (all of ours), `is_relay` (it is a relay's, which need not share our
-- LAN)
-- @tparam[opt] string external where the peer is seen from outside
-- @treturn boolean true; or nil, message, code (EACCES)
function reach.check(route, ip, who, external)
  who = who or {}
  ip = plain(ip)
  local class, family = core.inet.class(ip)
  local is_known = class == "global" or INNER[class] or class == "loopback" or is_example(ip)
  local is_many = core.inet.is_subnet_broadcast(ip, route.nic, route.prefix or PREFIX)
  if not is_known or family ~= route.family or is_many then
    return refuse(ip, "is no address to connect to")
  end
  if class == "loopback" then
    if route.loopback then return true end
    return refuse(ip, "is on this machine")
  end
  if who.typed and who.typed[ip] then return true end
  if is_own(route, ip) then return refuse(ip, "is on this machine") end
  if is_own_external(route, ip, who) then
    if who.is_trusted and external == ip then return true end
    return refuse(ip, "is our own")
  end
  if INNER[class] and is_outside_inner(route) and not is_on_lan(route, ip) then return true end
  if INNER[class] or is_on_lan(route, ip) then return check_inside(route, ip, who, external) end
  return true
end

--- The same for a candidate pair, with what is known of its peer.
-- @tparam table pair route, remote, who
-- @tparam string ip
-- @treturn boolean true; or nil, message, code
function reach.check_pair(pair, ip)
  return reach.check(pair.route, ip, pair.who, pair.remote.external)
end

return reach
