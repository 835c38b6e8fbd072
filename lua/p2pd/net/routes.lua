--- Routes: for each of a node's interfaces and each address family the NIC's address, the external address
-- that the outside sees, and the NAT in between.
--
-- They come in two steps. @{plain} tells at once what the host itself knows; @{complete} asks STUN servers
-- and fills in the rest while others use the list already.
--
-- A route's fields: `interface` (its place in the list of interfaces, from 0), `name`, `family`, `nic` (the
-- address to bind), `prefix` (bits), `internal` (IPv4: the NIC's; IPv6: its link-local, without a scope, or
-- else the NIC's), `scope` (the interface's name, when `internal` is link-local), `loopback`, `default` (has
-- a default route), `gateway` (its next hop, or nil), `way` (its place among the ways that the kernel takes
-- to the servers, or nil), `external` (the NIC's address until another one is known), `external_known` (false
-- when nobody has told it yet, or when no server answers), `nat` (nil until it is known; then
-- `{ type, delta, value, mapping, filtering, tcp_mapping, ... }`, see @{p2pd.nat.evidence.judge}), `shared`
-- (the interface's other addresses with the same external one), `shut` (why nothing can leave by it, or nil),
-- `mapping` (its port on a router, see @{p2pd.port_mapping.describe}), `nat64` (true of a route to IPv4 whose
-- `nic` is an IPv6 address, see @{p2pd.net.local_routes.nat64}).
-- @module p2pd.net.routes
local core = require "p2pd.core"
local classify = require "p2pd.nat.classify"
local discovery = require "p2pd.net.discovery"
local families = require "p2pd.families"
local list = require "p2pd.list"
local local_routes = require "p2pd.net.local_routes"
local nat = require "p2pd.nat"
local task = require "p2pd.task"

local routes = {}

routes.MAX = local_routes.MAX     -- of a family, as in a peer address
routes.TIMEOUT = classify.TIMEOUT -- seconds for all of it, unless all servers are far away

local SILENCES_MAX = 2  -- times that no server answers, until what they said before is not believed any more


--- The routes of some interfaces, at most three of a family, as far as the host itself knows them. Waits for
-- nothing.
-- @tparam {table,...} chosen as @{p2pd.net.interfaces.list} gives them; `place` is to be the number of one in
-- a peer address (else its place in the list, from 0)
-- @tparam[opt] {table,...} known routes that were found before: those that are still there stay the same
-- tables, with what servers have told of them
-- @treturn {table,...} IPv4 routes, then IPv6 routes
function routes.plain(chosen, known)
  return local_routes.find(chosen, known)
end

-- -- completing one route

local function note_external(route, ip)
  route.external, route.external_known = ip, true
  if route.nat64 then route.internal = ip end -- it has no other IPv4 address
end

local function set_external(self, route, ip)
  if route.external_known and route.external == ip then return end
  note_external(route, ip)
  if not route.is_candidate then self.changed(route) end
end

local function complete_loopback(self, route)
  local ip, reasons, asked = self:find_external(route)
  if ip then return set_external(self, route, ip) end
  if asked then self:note(route, reasons) end
end

local function complete_unasked(self, route)
  route.nat = route.external_known and nat.firewall() or nat.unknown()
  if not route.external_known then self:note(route, "no STUN server to ask") end
  self.changed(route)
end

-- What is known of a global IPv6 address when no server answered.
local function doubt(found)
  local unsure = nat.firewall()
  unsure.missing = { "whether anything is let in is not known: " .. found.reason }
  return unsure
end

-- One time that all servers are silent may be bad luck: what they have said before counts until the next.
local function is_bad_luck(route, found)
  if found.external or route.shut or not route.nat or not route.external_known then return false end
  route.silences = (route.silences or 0) + 1
  return route.silences < SILENCES_MAX
end

local function conclude(self, route, found)
  local is_own = local_routes.is_own_external(route)
  local ip = found.external or is_own and route.nic
  if is_bad_luck(route, found) then return self:note(route, found.reason) end
  route.silences = nil
  if ip then note_external(route, ip) else route.external, route.external_known = route.nic, false end
  route.nat = is_own and not found.external and doubt(found) or found
  if not ip then self:note(route, found.reason) end
  if not route.is_candidate then self.changed(route) end
end

-- Classifies what is between the route's address and the outside.
local function complete(self, route)
  if route.loopback then return complete_loopback(self, route) end
  if not self.servers[1] then return complete_unasked(self, route) end
  local binding = self:binding(route)
  local found, reason, code = classify.run {
    ip = binding.ip, interface = binding.interface, family = route.family,
    servers = self.servers, timeout = self.limit:left(),
    resolve = function(host, family) return self:lookup(host, family) end,
    hairpin = self.hairpin,
    on_external = function(ip) set_external(self, route, ip) end,
  }
  route.shut = code and reason
  conclude(self, route, found or { type = nat.BLOCKED, delta = nat.DELTA_NONE, value = 0, reason = reason })
end

-- -- all routes of a family

-- Does an interface's further address share the route's external one?
local function compare(self, further)
  if not further.external_known then
    local ip = self:find_external(further)
    further.external, further.external_known = ip or further.external, ip ~= nil
  end
end

local function insert(found, route)
  local place = #found + 1
  for i, other in ipairs(found) do
    if other.family == route.family then place = i + 1 end
  end
  table.insert(found, place, route)
end

-- Those further addresses that have an external address of their own become routes; the others are kept with
-- the route they share it with.
local function add_further(self, found, family)
  local searches = {}
  local of_family = list.filter(found, function(route) return route.family == family end)
  local count = #of_family
  for _, route in ipairs(of_family) do
    local by_external = { [route.external] = route }
    for _, further in ipairs(route.further or {}) do
      local known = not further.external_known and route or by_external[further.external]
      if known then
        table.insert(known.shared, further.nic)
      elseif count < routes.MAX then
        by_external[further.external], count = further, count + 1
        insert(found, further)
        self.changed(further)
        searches[#searches + 1] = function() complete(self, further) return true end
      end
    end
  end
  task.all(searches)
end

-- Nobody can be reached where nothing can leave; unless that is all there is.
local function leave_out(self, found, family)
  if not list.filter(found, function(route) return route.family == family and not route.shut end)[1] then
    return
  end
  for i = #found, 1, -1 do
    local route = found[i]
    if route.family == family and route.shut then
      table.remove(found, i)
      table.insert(self.notes, ("%s (%s) is left out: %s"):format(route.name, route.nic, route.shut))
      self.changed()
    end
  end
end

-- An interface's addresses that had different external ones may share one now.
local function drop_twins(self, found, family)
  local seen = {}
  for i, route in ipairs(found) do
    local key = route.family == family and route.external_known and route.name .. " " .. route.external
    if key and seen[key] then
      table.remove(found, i)
      table.insert(seen[key].shared, route.nic)
      self.changed()
      return drop_twins(self, found, family)
    elseif key then
      seen[key] = route
    end
  end
end

local function complete_family(self, found, family)
  local searches = {}
  for _, route in ipairs(found) do
    if route.family == family then
      route.shared = {}
      searches[#searches + 1] = function() complete(self, route) return true end
      for _, further in ipairs(route.further or {}) do
        searches[#searches + 1] = function() compare(self, further) return true end
      end
    end
  end
  task.all(searches)
  drop_twins(self, found, family)
  add_further(self, found, family)
  for _, route in ipairs(found) do
    if route.family == family then route.further = nil end
  end
  leave_out(self, found, family)
end

-- -- NAT64

-- The prefix is looked for when a server turns out to be an IPv4 address that cannot be reached.
local function has_nat64(self)
  for _, server in ipairs(self.servers) do
    self:lookup(server.host, "ipv4")
    if core.nat64.prefix() then return true end
  end
  return false
end

-- A network of IPv6 alone may lead to IPv4 all the same.
local function find_nat64(self, found)
  local route = local_routes.nat64(found)
  if not route or not has_nat64(self) then return end
  route.is_candidate = true
  complete(self, route)
  route.is_candidate, route.further = nil, nil
  if not route.external_known then return end
  table.insert(found, 1, route)
  self.changed(route)
end

-- One that was there and has become useless has no address that could be told.
local function drop_nat64(self, found)
  local route = found[1]
  if not (route and route.nat64) or route.external_known then return end
  table.remove(found, 1)
  self.changed()
end

local function complete_ipv4(self, found)
  local is_known = found[1] and found[1].nat64
  complete_family(self, found, "ipv4")
  if not is_known then return find_nat64(self, found) end
  drop_nat64(self, found)
end

local function is_multihomed(found)
  local first
  for _, route in ipairs(found) do
    if not route.loopback then
      if first and route.name ~= first then return true end
      first = route.name
    end
  end
  return false
end

--- Asks STUN servers from each route's own address what its external address is, and classifies what lies
-- between (see @{p2pd.nat.classify}). All routes ask all servers at once, so a dead server, or a dead name,
-- delays nobody who gets another answer. Changes the list in place: an external address is filled in with
-- the first answer, the NAT when it is classified; further addresses of an interface that have an external
-- address of their own become routes too, as long as there are at most three of a family; a route by which
-- nothing can leave is removed, unless there is no other. Waits; call it in a task.
-- @tparam {table,...} found as @{plain} gives it
-- @tparam[opt] {table,...} servers each `{ host = string, port = integer, behaviour = boolean }`
-- @tparam[opt] table options `timeout`: seconds for all of it (0.8; more when all servers are far away);
-- `changed`: function(route), called when something of a route has become known, and without one when a route
-- has been removed; `resolved`: function(ip), called with each server's address; `hairpin`:
-- true to learn that of a NAT too, which takes longer
-- @treturn {string,...} why an external address is not known, and what is left out, for people
function routes.complete(found, servers, options)
  options = options or {}
  local self <close> = discovery.open {
    servers = servers or {},
    timeout = options.timeout or routes.TIMEOUT,
    is_multihomed = is_multihomed(found),
    resolved = options.resolved,
  }
  self.changed = options.changed or function() end
  self.hairpin = options.hairpin
  local searches = {}
  local complete_of = { ipv4 = complete_ipv4, ipv6 = complete_family }
  for i, family in ipairs(families.ALL) do
    searches[i] = function() complete_of[family](self, found, family) return true end
  end
  task.all(searches)
  return self.notes
end

--- Both steps at once. Waits.
-- @tparam {table,...} chosen as for @{plain}
-- @tparam[opt] {table,...} servers as for @{complete}
-- @tparam[opt] table options as for @{complete}
-- @treturn {table,...} the routes
-- @treturn {string,...} notes, as @{complete} returns them
function routes.find(chosen, servers, options)
  local found = routes.plain(chosen)
  return found, routes.complete(found, servers, options)
end

return routes
