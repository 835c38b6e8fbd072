--- Ports on routers: each route's listener is asked to be reachable from outside, by PCP (RFC 6887), NAT-PMP
-- (RFC 6886) and UPnP, in the background. Nobody waits for it, and a gateway that is silent costs a few
-- datagrams.
--
-- A route that is mapped has `mapping`, see @{describe}; whether peers are told is @{is_verified}.
-- @classmod p2pd.port_mapping
local announcements = require "p2pd.port_mapping.announcements"
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local keeper = require "p2pd.port_mapping.keeper"
local nat = require "p2pd.nat"
local task = require "p2pd.task"

local port_mapping = {}

local TRY_S = 4 -- seconds

local PortMapping = { __name = "p2pd.port_mapping" }
PortMapping.__index = PortMapping

-- A public IPv4 address has no NAT in front of it; of IPv6 the global ones may have a firewall.
local WORTH_IT = {
  ipv4 = { private = true, shared = true },
  ipv6 = { global = true },
}
local INNER = { private = true, shared = true, ["link-local"] = true, loopback = true, unspecified = true,
  reserved = true, multicast = true, broadcast = true }

-- -- targets

local function to_target(route)
  if not route.gateway or route.loopback then return nil end
  if not WORTH_IT[route.family][core.inet.class(route.nic)] then return nil end
  return { family = route.family, gateway = route.gateway, nic = route.nic, name = route.name,
    link_local = route.scope and ("%s%%%s"):format(route.internal, route.scope) }
end

local function find_target(routes, route)
  local target = to_target(route)
  if not target or route.family == "ipv4" then return target end
  for _, other in ipairs(routes) do
    if other.family == "ipv4" and other.name == route.name and other.gateway then
      target.ipv4 = { family = "ipv4", gateway = other.gateway, nic = other.nic, name = other.name }
      break
    end
  end
  return target
end

-- -- what is known

--- What there is to be said of a route's mapping.
-- @tparam table route
-- @treturn ?table `state` ("asking", "mapped", "none"), `protocol`, `ip` and `port` (external), `reasons`
-- (sentences), `fault`; nil when none was asked for
function port_mapping.describe(route)
  return route.mapping and route.mapping:describe()
end

--- Whether a mapping makes a route reachable, as far as one can know: the router's address is the one that
-- the outside sees.
-- @tparam table route
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] ?string why not, when there is a mapping
function port_mapping.is_verified(route)
  local one = port_mapping.describe(route)
  if not one or one.state ~= "mapped" then return nil end
  if INNER[core.inet.class(one.ip)] then
    return nil, ("the router is behind another NAT: its own address is %s"):format(one.ip)
  end
  if not route.external_known then return nil, "no server outside has confirmed the router's address" end
  if one.ip ~= route.external then
    return nil, ("another NAT lies beyond the router: its address is %s, not %s"):format(one.ip,
      route.external)
  end
  return true
end

-- What peers are told of a route whose port is mapped: everybody gets in. IPv6 is not translated.
local OPENED = {
  ipv4 = { type = nat.TYPES["full cone"], delta = nat.DELTA_EQUAL, value = 0 },
  ipv6 = nat.open(),
}

--- What peers are told of a route that a verified mapping makes reachable.
-- @tparam table route
-- @treturn ?table a NAT: type, delta, value; nil for another route
-- @treturn ?integer the external port
function port_mapping.opened(route)
  if not port_mapping.is_verified(route) then return nil end
  return OPENED[route.family], port_mapping.describe(route).port
end

-- -- the routes of a node

local function key_of(target, route)
  return table.concat({ target.gateway, target.nic, route.port }, " ")
end

local function start(self, route, target)
  return keeper.start {
    target = target,
    port = route.port,
    listen = function(port) return self.listen(route, port) end,
    on_change = function() self.on_change(route) end,
  }
end

-- A router has spoken of itself.
local function hear(self, ip)
  local is_known = false
  for _, one in pairs(self.keepers) do
    if one.target.gateway == ip then
      one:refresh()
      is_known = true
    end
  end
  return is_known
end

local function listen_to_routers(self)
  for _, one in pairs(self.keepers) do
    local family = one.target.family
    if not self.hearing[family] then
      self.hearing[family] = self.tasks:spawn(announcements.listen, family,
        function(ip) return hear(self, ip) end)
    end
  end
end

--- The list of routes has changed: those that are new are mapped, mappings of those that have gone are
-- removed.
-- @tparam[opt] {table,...} routes as for @{open}, when it is another list
function PortMapping:update(routes)
  local before = self.keepers
  self.routes, self.keepers = routes or self.routes, {}
  for _, route in ipairs(self.routes) do
    local target = route.port and find_target(self.routes, route)
    route.mapping = nil
    if target then
      local key = key_of(target, route)
      route.mapping = before[key] or self.keepers[key] or start(self, route, target)
      self.keepers[key], before[key] = route.mapping, nil
    end
  end
  listen_to_routers(self)
  for _, gone in pairs(before) do gone:close() end
end

--- The network may have changed, or the router: like @{update}, and mappings that stay are looked at now.
-- @tparam[opt] {table,...} routes as for @{open}, when it is another list
function PortMapping:refresh(routes)
  for _, one in pairs(self.keepers) do one:refresh() end
  self:update(routes)
end

--- What lies beyond the routers may have changed, their addresses too: they are asked for them now.
function PortMapping:renew()
  for _, one in pairs(self.keepers) do one:renew() end
end

--- Begins; waits for nothing.
-- @tparam table options `routes` (the list of @{p2pd.net.routes}, with `port` each; may change before
-- @{refresh}), `listen` (function(route, port): listens on that port too; true or nil and why not),
-- `on_change` (function(route): its mapping has changed)
-- @treturn port_mapping to be closed
function port_mapping.open(options)
  local self = setmetatable({ routes = options.routes, listen = options.listen, on_change = options.on_change,
    keepers = {}, hearing = {}, tasks = task.group() }, PortMapping)
  self:update()
  return self
end

local function is_settled(self)
  for _, one in pairs(self.keepers) do
    if one.state == "asking" then return false end
  end
  return true
end

--- Removes the mappings. May be called twice.
function PortMapping:close()
  self.tasks:cancel()
  local all = self.keepers
  self.keepers = {}
  for _, one in pairs(all) do one:close() end
end

PortMapping.__close = PortMapping.close

-- -- trying

local function listen_for_all(list)
  local held = task.hold()
  for _, route in ipairs(list) do
    local listener = to_target(route) and core.tcp.listen { ip = route.nic }
    if listener then
      local _
      _, route.port = listener:getsockname()
      held.n = held.n + 1
      held[held.n] = listener
    end
  end
  return held
end

--- Has a port of each route mapped, and removes the mappings again. Waits, two to three seconds where a
-- gateway is silent.
-- @tparam {table,...} list routes; afterwards @{describe} and @{is_verified} tell what came of it
function port_mapping.try(list)
  local limit, changed = deadline.after(TRY_S), task.condition()
  local listeners <close> = listen_for_all(list)
  local self <close> = port_mapping.open {
    routes = list,
    listen = function() return listeners ~= nil end,
    on_change = function() changed:broadcast() end,
  }
  while not is_settled(self) and not limit:has_passed() do changed:wait(limit:left()) end
  for _, route in ipairs(list) do
    local found = port_mapping.describe(route)
    route.mapping = found and { describe = function() return found end }
    route.port = nil
  end
end

return port_mapping
