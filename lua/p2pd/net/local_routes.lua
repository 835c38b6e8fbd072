--- Routes as far as the host itself knows them: one for each of a node's interfaces and each address family.
-- p2pd.net.routes has their fields, and what servers add to them.
-- @module p2pd.net.local_routes
local core = require "p2pd.core"
local families = require "p2pd.families"
local list = require "p2pd.list"
local interfaces = require "p2pd.net.interfaces"
local nat = require "p2pd.nat"

local local_routes = {}

local_routes.MAX = 3 -- of a family, as in a peer address

local ADDRESSES_MAX = 8 -- of an interface and a family that are looked at

local DEFAULTS = { ipv4 = "default4", ipv6 = "default6" }
local GATEWAYS = { ipv4 = "gateway4", ipv6 = "gateway6" }

local function strip_scope(ip)
  return (ip:gsub("%%.*", ""))
end

local function link_local_of(netif)
  for _, candidate in ipairs(netif.ipv6) do
    local is_usable = not candidate.tentative and not candidate.failed
    if candidate.class == "link-local" and is_usable then return strip_scope(candidate.ip) end
  end
end

--- Whether a route's address is its own external one: a global IPv6 address is not translated on its way.
-- @tparam table route
-- @treturn boolean
function local_routes.is_own_external(route)
  return route.family == "ipv6" and core.inet.class(route.nic) == "global"
end

local function new_route(netif, place, family, nic)
  local link_local = family == "ipv6" and link_local_of(netif) or nil
  local route = {
    interface = place,
    name = netif.name,
    family = family,
    nic = nic.ip,
    prefix = nic.prefix,
    loopback = netif.loopback,
    default = netif[DEFAULTS[family]],
    gateway = netif[GATEWAYS[family]],
    way = netif.ways and netif.ways[family],
    internal = link_local or nic.ip,
    scope = link_local and netif.name,
    external = nic.ip,
    shared = {},
  }
  route.external_known = local_routes.is_own_external(route)
  if route.loopback then route.nat = nat.open() end
  return route
end

-- An interface's further addresses in a family, which may have an external address of their own. Of an IPv6
-- network's addresses one is enough.
local function further_routes(netif, first)
  local further = {}
  for i, nic in ipairs(interfaces.addresses(netif, first.family)) do
    local is_twin = first.family == "ipv6" and core.inet.same_subnet(nic.ip, first.nic, first.prefix)
    if i > 1 and i <= ADDRESSES_MAX and not is_twin then
      further[#further + 1] = new_route(netif, first.interface, first.family, nic)
    end
  end
  return further
end

-- What the host says of a route; the rest is what servers have said.
local OF_HOST = { "interface", "prefix", "loopback", "default", "way", "gateway", "internal", "scope",
  "further" }

-- A route that is known already stays the same table, so that who has it knows the present state.
local function renew(known, route)
  for _, old in ipairs(known) do
    if old.family == route.family and old.name == route.name and old.nic == route.nic then
      for _, field in ipairs(OF_HOST) do old[field] = route[field] end
      return old, true
    end
  end
  return route, false
end

-- Further addresses that had become routes are still routes.
local function take_known(found, route, known)
  local further = {}
  for _, one in ipairs(route.further) do
    local old, is_known = renew(known, one)
    table.insert(is_known and found or further, old)
  end
  route.further = further
end

-- Ways out first, then those with a default route of the family.
local function precedence_of(route, place)
  return (route.way or not route.default and 2e6 or 1e6) + place / 1e3
end

-- A family's routes, one for each interface. Each has `further` ones until they are complete.
local function add_family(found, chosen, family, known)
  local of_family, order = {}, {}
  for i, netif in ipairs(chosen) do
    local nic = interfaces.addresses(netif, family)[1]
    if nic then
      local route = new_route(netif, netif.place or i - 1, family, nic)
      route.further = further_routes(netif, route)
      of_family[#of_family + 1], order[route] = route, precedence_of(route, i)
    end
  end
  table.sort(of_family, function(a, b) return order[a] < order[b] end)
  for i = 1, math.min(#of_family, local_routes.MAX) do
    local route = renew(known, of_family[i])
    found[#found + 1] = route
    take_known(found, route, known)
  end
end

-- -- NAT64

local function is_usual(route)
  return not route.loopback and not route.nat64
end

--- The route by which a network of IPv6 alone leads to IPv4, as far as the host can tell: from its first
-- global IPv6 address, when no interface has IPv4. Its NAT64 is a NAT as others; its external address is
-- IPv4, and its `nic` the IPv6 address that sockets are bound to.
-- @tparam {table,...} found routes
-- @treturn ?table a route, with `nat64`; nil where there is IPv4, or no IPv6
function local_routes.nat64(found)
  local base
  for _, route in ipairs(found) do
    if is_usual(route) and route.family == "ipv4" then return nil end
    local is_fit = is_usual(route) and core.inet.class(route.nic) == "global"
    base = base or is_fit and route or nil
  end
  if not base then return nil end
  return {
    interface = base.interface, name = base.name, family = "ipv4", nic = base.nic, prefix = 128,
    default = base.default, port = base.port, way = base.way, external = base.nic, external_known = false,
    shared = {}, further = {}, nat64 = true,
  }
end

-- It stays as long as there is nothing better.
local function keep_nat64(found, known)
  local present = local_routes.nat64(found)
  local old = list.filter(known, function(route) return route.nat64 end)[1]
  if old and present and old.nic == present.nic then
    old.port, old.further = present.port, {}
    table.insert(found, 1, old)
  else
    core.nat64.forget()
  end
end

--- The routes of some interfaces, at most three of a family, as far as the host itself knows them. Waits for
-- nothing.
-- @tparam {table,...} chosen as @{p2pd.net.interfaces.list} gives them; `place` is to be the number of one in
-- a peer address (else its place in the list, from 0)
-- @tparam[opt] {table,...} known routes that were found before: those that are still there stay the same
-- tables, with what servers have told of them
-- @treturn {table,...} IPv4 routes, then IPv6 routes
function local_routes.find(chosen, known)
  local found = {}
  for _, family in ipairs(families.ALL) do add_family(found, chosen, family, known or {}) end
  if known then keep_nat64(found, known) end
  return found
end

return local_routes
