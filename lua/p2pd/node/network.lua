--- What a node knows of its network: interfaces, routes, and a listener on each.
-- The routes are there at once, with the NIC's addresses; what is outside becomes known while the node
-- already listens and dials.
-- @classmod p2pd.node.network
local core = require "p2pd.core"
local interfaces = require "p2pd.net.interfaces"
local nat = require "p2pd.nat"
local predict = require "p2pd.punch.predict"
local routes = require "p2pd.net.routes"

local network = {}

local Network = { __name = "p2pd.node.network" }
Network.__index = Network

local function listen_on(route, port)
  local ip = route.nic
  if core.inet.class(ip) == "link-local" then ip = ip .. "%" .. route.name end
  return core.tcp.listen { ip = ip, port = port }
end

-- A listener for a route's NIC address; where the kernel chose the port, its link-local twin has the same.
local function listen(self, route)
  local listener, reason, code = listen_on(route, self.port)
  if not listener then return nil, reason, code end
  table.insert(self.listeners, listener)
  local _
  _, route.port = listener:getsockname()
  self.on_listener(listener)
  if route.family ~= "ipv6" or route.internal == route.nic then return true end
  local twin = listen_on({ nic = route.internal, name = route.name }, route.port)
  if not twin then return true end
  table.insert(self.listeners, twin)
  self.on_listener(twin)
  return true
end

--- Looks at the interfaces and listens on each route; waits for nothing.
-- @tparam table options interfaces (names; nil: those that lead out), port (0: any), on_listener (called with
-- each listener), on_change (called when more is known of the routes)
-- @treturn network; or nil, message, code. Closing it closes the listeners.
function network.open(options)
  local chosen, left_out, code = interfaces.list { names = options.interfaces }
  if not chosen then return nil, left_out, code end
  for _, why in ipairs(left_out or {}) do core.log.write("info", "interface left out: " .. why) end
  local self = setmetatable({ interfaces = chosen, routes = routes.plain(chosen), listeners = {},
    port = options.port or 0, on_listener = options.on_listener, on_change = options.on_change }, Network)
  for _, route in ipairs(self.routes) do
    local ok, reason, errno = listen(self, route)
    if not ok then
      self:close()
      return nil, reason, errno
    end
  end
  return self
end

--- Asks the servers what is outside; waits.
-- @tparam {table,...} servers the settings' `stun`
function Network:discover(servers)
  local notes = routes.complete(self.routes, servers, { changed = function(route)
    if route and not route.port then
      local ok, reason = listen(self, route)
      if not ok then core.log.write("warn", reason) end
    end
    self.on_change()
  end })
  for _, note in ipairs(notes or {}) do core.log.write("warn", note) end
end

--- The records of our address, by family.
-- @treturn table ipv4, ipv6: lists as p2pd.address has them
function Network:records()
  local records = { ipv4 = {}, ipv6 = {} }
  for _, route in ipairs(self.routes) do
    if route.port then
      table.insert(records[route.family], {
        interface = route.interface,
        external = route.external,
        internal = route.internal,
        port = route.port,
        nat = predict.advertise(route.nat or nat.unknown()),
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
  for _, listener in ipairs(self.listeners) do listener:close() end
end

Network.__close = Network.close

return network
