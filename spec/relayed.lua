--- Carriers through UDP allocations of a TURN server: the datagrams do not pass through the script.
local core = require "p2pd.core"
local task = require "p2pd.task"

local relayed = {}

local WAIT = 10

local Way = {}
Way.__index = Way

local function flush(self)
  while true do
    local action, bytes = self.client:poll()
    if action == "wait" then return bytes end
    self.way:send(bytes)
  end
end

-- Sends and receives until `kind` has happened.
local function await(self, kind)
  while true do
    local event = self.client:event()
    if event and event.kind == kind then return event end
    if event then error(("%s: %s"):format(event.kind, event.reason), 0) end
    local due = flush(self)
    local bytes = self.way:receive(math.max(0, math.min(WAIT, due - core.clock.monotonic())))
    if bytes then self.client:feed(bytes) end
  end
end

--- An allocation over UDP on a server of p2pd.lab.servers.
function relayed.allocate(server)
  local socket = assert(core.udp.bind { ip = server.host })
  local self = setmetatable({
    way = assert(socket:datagrams(server.host, server.port)),
    client = core.turn.client { user = server.user, pass = server.pass },
  }, Way)
  local event = await(self, "allocated")
  self.ip, self.port = event.ip, event.port
  return self
end

--- The carrier to a peer's relayed address.
function Way:carrier(peer)
  assert(self.client:bind(peer.ip, peer.port))
  await(self, "bound")
  return assert(self.way:channel((">I2"):unpack(self.client:wrap("", peer.ip, peer.port))))
end

function Way:__close()
  self.client:close()
  pcall(flush, self)
  self.way:close "the relay is closed"
end

--- Two carriers, each through its own allocation.
-- @return owns the allocations
-- @treturn p2pd.datagrams
-- @treturn p2pd.datagrams
function relayed.carriers(server)
  local a, b = relayed.allocate(server), relayed.allocate(server)
  local held = task.hold(a, b)
  local near = a:carrier(b)
  return held, near, b:carrier(a)
end

return relayed
