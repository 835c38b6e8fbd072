--- Somebody on the way: connections that pass through a relay which may cut or change them.
local core = require "p2pd.core"
local task = require "p2pd.task"

local relays = {}

local Relay = {}
Relay.__index = Relay

-- Copies until either end is over; `filter(data, upwards)` may change what passes.
local function copy(self, from, to, upwards)
  while true do
    local data = from:recv()
    if not data then break end
    self.log[#self.log + 1] = { upwards = upwards, bytes = #data }
    if not to:write(self.filter and self.filter(data, upwards) or data) then break end
  end
  to:shutdown()
end

--- A connection through a relay: `local relay <close>, near, far = relays.new()`.
-- `relay.filter` may be set at any time; `relay.log` tells what passed, in order.
function relays.new()
  local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
  local _, port = listener:getsockname()
  local near = assert(core.tcp.connect("127.0.0.1", port, nil, 5))
  local self = setmetatable({ log = {}, inner = assert(listener:accept(5)) }, Relay)
  self.outer = assert(core.tcp.connect("127.0.0.1", port, nil, 5))
  local far = assert(listener:accept(5))
  self.near, self.far = near, far
  self.copiers = { task.spawn(copy, self, self.inner, self.outer, true),
    task.spawn(copy, self, self.outer, self.inner, false) }
  return self, near, far
end

--- Ends both connections at once, in the way that a lost machine would not: with a TCP end.
function Relay:cut()
  for _, copier in ipairs(self.copiers) do copier:cancel() end
  self.inner:close()
  self.outer:close()
end

--- How often the direction changed: 1 for a single flight.
function Relay:flights()
  local count, last = 0, nil
  for _, entry in ipairs(self.log) do
    if entry.upwards ~= last then count, last = count + 1, entry.upwards end
  end
  return count
end

function Relay:__close()
  self:cut()
  self.near:close()
  self.far:close()
end

return relays
