--- What a node knows of its network: interfaces, routes, and a listener on each.
-- The routes are there at once, with the NIC's addresses; what is outside becomes known while the node
-- already listens and dials. The network may be looked at again at any time: what is still there stays.
-- @classmod p2pd.node.network
local core = require "p2pd.core"
local families = require "p2pd.families"
local interfaces = require "p2pd.net.interfaces"
local list = require "p2pd.list"
local listeners = require "p2pd.node.listeners"
local nat = require "p2pd.nat"
local port_mapping = require "p2pd.port_mapping"
local predict = require "p2pd.punch.predict"
local routes = require "p2pd.net.routes"

local network = {}

local TARGETS_MAX = 8 -- addresses of servers that are remembered

local Network = { __name = "p2pd.node.network" }
Network.__index = Network

-- -- ports on routers

-- Where no server outside tells our address, the router's word has to do, and its next one.
local function adopt(route)
  local one = port_mapping.describe(route)
  if not one or one.state ~= "mapped" or core.inet.class(one.ip) ~= "global" then return end
  if route.external_known and route.external ~= route.adopted then return end
  route.external, route.external_known, route.adopted = one.ip, true, one.ip
end

-- Whether a server has told the external address, the last time.
local function is_confirmed(route)
  return route.external_known and not route.silences and route.external ~= route.adopted
end

local function on_mapping(self, route)
  if self.is_discovered then adopt(route) end
  local verified, reason = port_mapping.is_verified(route)
  if not verified and reason and self.is_discovered then core.log.write("info", reason) end
  self.on_change()
end

local function open_mapping(self)
  self.mapping = port_mapping.open {
    routes = self.routes,
    listen = function(route, port) return self.listeners:open_port(route, port) end,
    on_change = function(route) on_mapping(self, route) end,
  }
end

--- What lies beyond the routers may have changed: they are asked for their addresses. Waits for nothing.
function Network:renew_mapping()
  if self.mapping then self.mapping:renew() end
end

-- -- looking at the interfaces

-- An interface keeps its number, so that an address that has become stale names the same one.
local function number(self, chosen)
  for _, netif in ipairs(chosen) do
    if not self.places[netif.name] then
      self.places[netif.name], self.place_count = self.place_count, self.place_count + 1
    end
    netif.place = self.places[netif.name]
  end
end

-- Every address of this machine that is up, with its interface.
local function collect_addresses(all)
  local own = {}
  for _, netif in ipairs(all) do
    for _, family in ipairs(families.ALL) do
      for _, one in ipairs(netif[family]) do own[one.ip] = netif.up and netif.name or own[one.ip] end
    end
  end
  return own
end

local function describe(route)
  return table.concat({ route.name, route.interface, route.nic, tostring(route.prefix), route.internal,
    tostring(route.way), tostring(route.default), tostring(route.gateway) }, " ")
end

-- What makes it another network, as far as the host can tell.
local function signature_of(found)
  local lines = {}
  for _, route in ipairs(found) do
    lines[#lines + 1] = describe(route)
    for _, further in ipairs(route.further or {}) do lines[#lines + 1] = describe(further) end
  end
  table.sort(lines)
  return table.concat(lines, "\n")
end

-- The routes that are told of: those by which something can leave, unless there are none in the family. The
-- list stays the same table.
local function publish(self)
  local is_open = {}
  for _, route in ipairs(self.known) do
    if not route.shut then is_open[route.family] = true end
  end
  local shown = list.filter(self.known, function(route)
    return not route.shut or not is_open[route.family]
  end)
  for i = 1, math.max(#shown, #self.routes) do self.routes[i] = shown[i] end
end

local function replace(self, found)
  self.listeners:keep(found)
  self.known = found
  publish(self)
  if self.mapping then self.mapping:update() end
end

-- Interfaces that were asked for by name and are not there, or down, are waited for; once they are missing
-- that is said once.
local function tell_missing(self, left_out)
  if not self.names or not self.names[1] then return end
  local missing = {}
  for _, why in ipairs(left_out) do
    if not self.missing[why] then core.log.write("warn", why .. ": it is waited for") end
    missing[why] = true
  end
  self.missing = missing
end

--- Looks at the interfaces again, and listens on what is new. Waits for nothing.
-- @treturn boolean whether this is another network, or a part of it is; or nil, message, code
function Network:look()
  local chosen, left_out, all = interfaces.list { names = self.names, is_patient = true,
    targets = self.targets }
  if not chosen then return nil, left_out, all end
  tell_missing(self, left_out)
  number(self, chosen)
  local found = routes.plain(chosen, self.known)
  local ok, reason, code = self.listeners:open(found)
  if not ok then return nil, reason, code end
  self.interfaces, self.left_out, self.own = chosen, left_out, collect_addresses(all)
  replace(self, found)
  local signature, last = signature_of(found), self.signature
  self.signature = signature
  if signature ~= last and self.mapping then self.mapping:refresh() end
  return signature ~= last
end

-- Addresses among the servers' names; names are resolved later.
local function literals(servers)
  local ips = {}
  for _, server in ipairs(servers or {}) do
    if #ips < TARGETS_MAX and core.inet.class(server.host) then ips[#ips + 1] = server.host end
  end
  return ips
end

--- Looks at the interfaces and listens on each route; waits for nothing.
-- @tparam table options interfaces (names, of which those that are not there, or down, are waited for; nil:
-- those that lead out), port (0: any), servers (those whose
-- addresses say which way is out), on_listener (called with each listener), on_change (called when more is
-- known of the routes), port_mapping (false: routers are not asked to map ports)
-- @treturn network; or nil, message, code. Closing it closes the listeners.
function network.open(options)
  local self = setmetatable({ names = options.interfaces, targets = literals(options.servers),
    listeners = listeners.new { port = options.port or 0, on_listener = options.on_listener },
    on_change = options.on_change, interfaces = {}, routes = {}, known = {}, places = {}, place_count = 0,
    missing = {}, own = {} }, Network)
  local ok, reason, code = self:look()
  if ok == nil then
    self:close()
    return nil, reason, code
  end
  for _, why in ipairs(self.names and {} or self.left_out) do
    core.log.write("info", "interface left out: " .. why)
  end
  if options.port_mapping ~= false then open_mapping(self) end
  return self
end

-- -- what is outside

local function remember_target(self, ip)
  for _, known in ipairs(self.targets) do
    if known == ip then return end
  end
  table.insert(self.targets, 1, ip)
  self.targets[TARGETS_MAX + 1] = nil
end

-- Routes that nothing can leave by are asked again the next time.
local function keep_shut(self, found)
  local kept = {}
  for _, route in ipairs(found) do kept[route] = true end
  for _, route in ipairs(self.known) do
    if route.shut and not kept[route] then found[#found + 1] = route end
  end
end

--- Asks the servers what is outside; waits. What has become known meanwhile stays when it is cancelled.
-- @tparam {table,...} servers the settings' `stun`
-- @treturn {string,...} what is not known and why, for people
function Network:discover(servers)
  local found = table.move(self.known, 1, #self.known, 1, {})
  for _, route in ipairs(found) do
    if not route.external_known and not route.loopback then route.nat = nil end -- it was not to be found out
  end
  local notes = routes.complete(found, servers, {
    changed = function(route)
      if route then
        if not route.port then self.listeners:open { route } end
        adopt(route)
      end
      self.on_change()
    end,
    resolved = function(ip) remember_target(self, ip) end,
  })
  keep_shut(self, found)
  self.is_discovered = true
  for _, route in ipairs(found) do
    if route.nat and route.nat.external then route.adopted = nil end
    adopt(route)
  end
  replace(self, found)
  self.on_change()
  return notes
end

--- Whether nobody outside has told our address by any route, though servers were asked.
-- @treturn boolean
function Network:is_offline()
  for _, route in ipairs(self.routes) do
    if is_confirmed(route) and not route.loopback then return false end
  end
  return true
end

--- Whether some route has no listener yet.
-- @treturn boolean
function Network:is_short()
  for _, route in ipairs(self.routes) do
    if not route.port then return true end
  end
  return false
end

--- Is that address one of this machine's?
-- @tparam string ip
-- @treturn boolean
function Network:has(ip)
  return self.own[ip] ~= nil or core.inet.class(ip) == "loopback"
end

--- The name of the interface that has an address, used or not; or nil.
-- @tparam string ip
-- @treturn ?string
function Network:owner(ip)
  return self.own[ip]
end

--- The records of our address, by family.
-- @treturn table ipv4, ipv6: lists as p2pd.address has them
function Network:records()
  local records = { ipv4 = {}, ipv6 = {} }
  for _, route in ipairs(self.routes) do
    if route.port then
      local opened, port = port_mapping.opened(route)
      table.insert(records[route.family], {
        interface = route.interface,
        external = route.external,
        internal = route.internal,
        port = port or route.port,
        nat = opened or predict.advertise(route.nat or nat.unknown()),
      })
    end
  end
  return records
end

--- The interface of ours that has an address, or nil.
function Network:interface_of(ip)
  for _, route in ipairs(self.routes) do
    if ip == route.nic or ip == route.internal then return route.name end
  end
end

--- Stops listening. May be called twice.
function Network:close()
  if self.mapping then self.mapping:close() end
  self.listeners:close()
end

Network.__close = Network.close

return network
