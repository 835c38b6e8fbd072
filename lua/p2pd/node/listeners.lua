--- A node's listeners: one for each route, at the address of its NIC.
-- @classmod p2pd.node.listeners
local core = require "p2pd.core"

local listeners = {}

local Listeners = { __name = "p2pd.node.listeners" }
Listeners.__index = Listeners

--- None yet.
-- @tparam table options port (0: any), on_listener (called with each listener)
-- @treturn listeners
function listeners.new(options)
  return setmetatable({
    port = options.port,
    on_listener = options.on_listener,
    by_route = {},
    ports = {}, -- the last ones, by family and interface
    told = {},
    is_open = false, -- whether it has been possible to listen
  }, Listeners)
end

local function listen_on(route, port)
  local ip = route.nic
  if core.inet.class(ip) == "link-local" then ip = ip .. "%" .. route.name end
  return core.tcp.listen { ip = ip, port = port }
end

-- A new address is listened on by the port of the last one, where that is free: others may know it.
local function listen_anywhere(self, route)
  local last = self.ports[route.family .. route.name]
  if self.port == 0 and last then
    local listener = listen_on(route, last)
    if listener then return listener end
  end
  return listen_on(route, self.port)
end

-- The link-local address beside a route's own has the same port, from when it can be bound.
local function open_twin(self, route)
  local held = self.by_route[route]
  if route.family ~= "ipv6" or route.internal == route.nic or held[route.internal] then return end
  local twin = listen_on({ nic = route.internal, name = route.name }, route.port)
  if not twin then return end
  table.insert(held, twin)
  held[route.internal] = true
  self.on_listener(twin)
end

-- A listener for a route's NIC address.
local function open(self, route)
  local listener, reason, code = listen_anywhere(self, route)
  if not listener then return nil, reason, code end
  self.by_route[route] = { listener }
  local _
  _, route.port = listener:getsockname()
  self.ports[route.family .. route.name] = route.port
  self.on_listener(listener)
  return true
end

-- Once for as long as it lasts.
local function tell(self, what, reason)
  if self.told[what] ~= reason then core.log.write("warn", reason) end
  self.told[what] = reason
end

--- Listens for each route that has no port. A route whose listener can't be had stays without one; only when
-- that is so of all, or of a port that was asked for, the first time, there is an error.
-- @tparam {table,...} routes
-- @treturn boolean true; or nil, message, code
function Listeners:open(routes)
  local count, failure = 0, nil
  for _, route in ipairs(routes) do
    local ok, reason, code = true, nil, nil
    if not route.port then ok, reason, code = open(self, route) end
    if ok then
      open_twin(self, route)
      count, self.told[route.nic] = count + 1, nil
    else
      if code == "EADDRINUSE" and self.port ~= 0 and not self.is_open then return nil, reason, code end
      failure = failure or { reason, code }
      tell(self, route.nic, ("%s is not in the address: %s"):format(route.nic, reason))
    end
  end
  if failure and count == 0 and not self.is_open then return nil, table.unpack(failure) end
  self.is_open = true
  return true
end

--- Listens by another port as well: the one by which a router makes a route reachable is the one in our
-- address, so it is ours on the LAN too.
-- @tparam table route
-- @tparam integer port
-- @treturn boolean true; or nil, message, code
function Listeners:open_port(route, port)
  local held = self.by_route[route]
  if not held then return nil, route.nic .. " is not listened on any more", "ENOENT" end
  for _, listener in ipairs(held) do
    if select(2, listener:getsockname()) == port then return true end
  end
  local listener, reason, code = listen_on(route, port)
  if not listener then return nil, reason, code end
  table.insert(held, listener)
  self.on_listener(listener)
  return true
end

--- Closes the listeners of all routes but these.
-- @tparam {table,...} routes
function Listeners:keep(routes)
  local kept = {}
  for _, route in ipairs(routes) do kept[route] = true end
  for route, held in pairs(self.by_route) do
    if not kept[route] then
      for _, listener in ipairs(held) do listener:close() end
      self.by_route[route], route.port = nil, nil
    end
  end
end

--- Closes them all. May be called twice.
function Listeners:close()
  self:keep {}
end

return listeners
