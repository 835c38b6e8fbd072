--- Somebody who listens on the wire: a listener that hands every connection on, and keeps what passed.
local core = require "p2pd.core"
local task = require "p2pd.task"

local taps = {}

local Tap = {}
Tap.__index = Tap

local function copy(from, to, log)
  while true do
    local data = from:recv()
    if not data then break end
    log[#log + 1] = data
    if not to:write(data) then break end
  end
  to:shutdown()
end

local function relay(self, accepted)
  local inner <close> = accepted
  local outer <close> = core.tcp.connect("127.0.0.1", self.target, nil, 5)
  if not outer then return end
  local up, down = {}, {}
  table.insert(self.connections, { up = up, down = down })
  local _ <close> = task.spawn(copy, inner, outer, up)
  copy(outer, inner, down)
end

--- A tap before a port of this machine; `tap.port` is where it listens.
-- @tparam ?integer target may be set later
function taps.new(target)
  local listener = assert(core.tcp.listen { ip = "127.0.0.1" })
  local self = setmetatable({ listener = listener, target = target, connections = {}, tasks = task.group() },
    Tap)
  self.port = select(2, listener:getsockname())
  self.tasks:spawn(function()
    while true do
      local stream = listener:accept()
      if not stream then return end
      self.tasks:detach(relay, self, stream)
    end
  end)
  return self
end

--- All that passed, as one string.
function Tap:all()
  local parts = {}
  for _, connection in ipairs(self.connections) do
    parts[#parts + 1] = table.concat(connection.up)
    parts[#parts + 1] = table.concat(connection.down)
  end
  return table.concat(parts, "\n")
end

function Tap:__close()
  self.tasks:cancel()
  self.listener:close()
end

return taps
