--- One allocation on a TURN server: an address of a relay that stands for ours, and what may be done with it.
-- p2pd.turn makes them; p2pd.turn.client speaks with the server.
-- @classmod p2pd.turn.allocation
local client = require "p2pd.turn.client"
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local task = require "p2pd.task"
local transport = require "p2pd.turn.transport"

local allocation = {}

local QUEUE_MAX = 512 -- datagrams that wait for receive()
local SPARE_S = 5     -- for opening a data connection ahead of its use

local Allocation = { __name = "p2pd.turn.allocation" }

function Allocation:__index(key)
  if key == "failure" then return self.client.failure end
  return Allocation[key]
end

-- -- what the server tells

local handlers = {}

function handlers.allocated(self, event)
  self.ip, self.port = event.ip, event.port
  self.relayed = { { ip = event.ip, port = event.port } }
  if event.other_ip then self.relayed[2] = { ip = event.other_ip, port = event.other_port } end
  self.mapped = { ip = event.mapped_ip, port = event.mapped_port }
  self.lifetime, self.rtt = event.lifetime, event.rtt
end

function handlers.attempt(self, event)
  table.insert(self.attempts, event)
end

local function pump_key(ip, port)
  return ip .. " " .. port
end

local function take_data(self, data, ip, port)
  local pump = self.pumps[pump_key(ip, port)]
  if pump then return pump:send(data) end
  if #self.queue < QUEUE_MAX then table.insert(self.queue, { data, ip, port }) end
  self.client.changed:broadcast()
end

local function take_down(self, reason)
  self.tasks:cancel()
  for _, pump in pairs(self.pumps) do pump:close(reason) end
  for _, spare in ipairs(self.spares) do spare:close() end
end

-- -- the allocation

--- The relayed address of a family.
-- @tparam string family "ipv4" or "ipv6"
-- @treturn ?table `ip`, `port`; nil when there is none
function Allocation:serves(family)
  for _, one in ipairs(self.relayed or {}) do
    if select(2, core.inet.class(one.ip)) == family then return one end
  end
end

--- Lets an address reach the relayed one. The permission is kept while the allocation lives.
-- @tparam string ip
-- @tparam[opt] number timeout seconds
-- @treturn boolean true; or nil, message, code
function Allocation:permit(ip, timeout)
  local known, reason = core.inet.parse(ip)
  if not known then return nil, reason, "EINVAL" end
  local ok, message, code = self.client:ask(deadline.after(timeout), "permit", known.ip)
  return ok and true, message, code
end

--- Binds a channel to a peer, so that its datagrams cost 4 bytes more instead of 36.
-- @tparam string ip
-- @tparam integer port
-- @tparam[opt] number timeout seconds
-- @treturn boolean true; or nil, message, code
function Allocation:bind(ip, port, timeout)
  local known, reason = core.inet.parse(ip)
  if not known then return nil, reason, "EINVAL" end
  local ok, message, code = self.client:ask(deadline.after(timeout), "bind", known.ip, port)
  return ok and true, message, code
end

--- Whether the server still answers: asks it.
-- @tparam[opt] number timeout seconds
-- @treturn boolean true; or nil, message, code
function Allocation:is_alive(timeout)
  return self:permit(self.ip, timeout)
end

--- Waits until the server has granted the allocation, or not.
-- @tparam deadline limit
-- @treturn boolean true; or nil, message, code, and the number of the server's error
function Allocation:ready(limit)
  local ok, reason, code, number = self.client:await(limit, function() return self.ip end)
  return ok and true, reason, code, number
end

--- Waits until the allocation has ended: closed, or lost.
-- @tparam[opt] number timeout seconds
-- @treturn string why, and a code; or nil, "timed out", "ETIMEDOUT"
function Allocation:wait(timeout)
  local _, reason, code = self.client:await(deadline.after(timeout), function() return false end)
  if self.failure then return self.failure.reason, self.failure.code end
  return nil, reason, code
end

--- Gives the allocation back. Does not wait: the server is told at once, and again in the background until
-- it has answered, for 1.5 s at most.
function Allocation:close()
  self.client:close()
end

Allocation.__close = Allocation.close

function Allocation:__tostring()
  local state = self.failure and "ended" or self.ip or "asked for"
  return ("allocation on %s (%s)"):format(client.describe(self.server), state)
end

-- -- datagrams

--- Sends a datagram to a permitted peer. Never waits on UDP.
-- @tparam string data
-- @tparam string ip
-- @tparam integer port
-- @treturn boolean true; or nil, message, code
function Allocation:send(data, ip, port)
  return self.client:send(data, ip, port)
end

--- Waits for a datagram from a permitted peer.
-- @tparam[opt] number timeout seconds
-- @treturn string data, and the peer's IP address and port; or nil, message, code
function Allocation:receive(timeout)
  local got, reason, code = self.client:await(deadline.after(timeout), function()
    return table.remove(self.queue, 1)
  end)
  if got then return table.unpack(got, 1, 3) end
  return nil, reason, code
end

-- Over a stream to the server a peer's datagrams pass through a task.
local function open_pump(self, ip, port)
  local key = pump_key(ip, port)
  local outer, inner = core.datagrams.pair()
  self.pumps[key] = inner
  self.tasks:detach(function()
    local data = inner:receive()
    while data and self:send(data, ip, port) do data = inner:receive() end
    inner:close()
    self.pumps[key] = nil
    self.client.changed:broadcast()
  end)
  return outer
end

-- Without a channel a peer's datagrams go by indications, which need its permission.
local function carry_unbound(self, ip, port, limit, refusal)
  local ok, reason, code = self:permit(ip, limit:left())
  if not ok then return nil, reason, code end
  core.log.write("debug", ("%s; going on by indications"):format(refusal))
  return open_pump(self, ip, port)
end

--- What carries datagrams to one peer and back, see core.datagrams. Where the server binds no channel, each
-- datagram is an indication.
-- @tparam string ip
-- @tparam integer port
-- @tparam[opt] number timeout seconds
-- @treturn p2pd.datagrams; or nil, message, code
function Allocation:carrier(ip, port, timeout)
  local limit = deadline.after(timeout)
  local ok, reason, code = self:bind(ip, port, limit:left())
  if not ok and (self.failure or code == "EINVAL") then return nil, reason, code end
  if not ok then return carry_unbound(self, ip, port, limit, reason) end
  local way = self.client.transport
  if not way.channel then return open_pump(self, ip, port) end
  return way:channel((">I2"):unpack(self.client.machine:wrap("", ip, port)))
end

--- Waits until no carrier is in use any more, or the allocation has ended.
function Allocation:idle()
  local way = self.client.transport
  self.client:await(deadline.after(nil), function() return next(self.pumps) == nil end)
  if way.idle then way:idle() end
end

-- -- connections (RFC 6062)

local function connect_data(self, limit)
  return transport.connect(self.server, self.address, limit)
end

-- A new connection to the server, or one opened ahead, that becomes the one of `connection`.
local function join(self, connection, limit)
  local stream, reason, code = table.remove(self.spares), nil, nil
  if not stream then stream, reason, code = connect_data(self, limit) end
  if not stream then return nil, reason, code end
  local held <close> = task.hold(stream)
  local ok
  ok, reason, code = self.client:join(limit, connection, stream, transport.read_frame)
  if not ok then return nil, reason, code end
  return held:release()
end

--- Waits for a permitted peer to connect to the relayed address of a TCP allocation (RFC 6062).
-- @tparam[opt] number timeout seconds
-- @treturn stream the peer's bytes, and its IP address and port; or nil, message, code
function Allocation:accept(timeout)
  local limit = deadline.after(timeout)
  local attempt, reason, code = self.client:await(limit, function()
    return table.remove(self.attempts, 1)
  end)
  if not attempt then return nil, reason, code end
  local stream
  stream, reason, code = join(self, attempt.connection, limit)
  if not stream then return nil, reason, code end
  return stream, attempt.ip, attempt.port
end

--- Has the server connect to a peer from the relayed address of a TCP allocation (RFC 6062).
-- @tparam string ip
-- @tparam integer port
-- @tparam[opt] number timeout seconds
-- @treturn stream; or nil, message, code
function Allocation:connect(ip, port, timeout)
  local known, message = core.inet.parse(ip)
  if not known then return nil, message, "EINVAL" end
  local limit = deadline.after(timeout)
  local connected, reason, code = self.client:ask(limit, "connect", known.ip, port)
  if not connected then return nil, reason, code end
  return join(self, connected.connection, limit)
end

--- Opens data connections ahead, so that the next ones that are needed cost no round trip.
-- @tparam integer count
function Allocation:prepare(count)
  for _ = 1, count do
    self.tasks:detach(function()
      local stream = connect_data(self, deadline.after(SPARE_S))
      if stream and self.failure then return stream:close() end
      table.insert(self.spares, stream)
    end)
  end
end

-- -- making one

--- Asks for an allocation, over a transport to the server that is taken over. It is there once `ip` is set.
-- @tparam table server an entry of the settings' list
-- @tparam string address the server's
-- @tparam table options as for `turn.allocate`
-- @tparam table way see p2pd.turn.transport
-- @treturn allocation
function allocation.start(server, address, options, way)
  local self = setmetatable({
    relay = options.relay or "udp",
    server = server,
    address = address,
    attempts = {}, queue = {}, spares = {}, pumps = {},
    tasks = task.group(),
    client = false,
  }, Allocation)
  self.client = client.start {
    server = server, transport = way, permit = options.permit,
    machine = {
      user = server.user, pass = server.pass, realm = server.realm,
      reliable = way.reliable, tcp = options.relay == "tcp", family = options.family,
      lifetime = options.lifetime, rto = options.rto, rc = options.rc, rm = options.rm, ti = options.ti,
    },
    on_event = function(event) handlers[event.kind](self, event) end,
    on_data = function(data, ip, port) take_data(self, data, ip, port) end,
    on_end = function(reason) take_down(self, reason) end,
  }
  return self
end

return allocation
