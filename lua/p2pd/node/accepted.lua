--- The pipes that peers have made and nobody has accepted yet, by protocol.
-- A pipe is for one protocol, or (without a name) for whoever accepts any. A protocol is spoken once the node
-- was told of it, or somebody has waited for a pipe of it.
-- @classmod p2pd.node.accepted
local deadline = require "p2pd.deadline"
local task = require "p2pd.task"

local accepted = {}

local ANY = "" -- pipes for no protocol in particular

local NAME_MAX = 64

local Accepted = { __name = "p2pd.node.accepted" }
Accepted.__index = Accepted

--- Whether it may be a protocol's name: 1 to 64 letters, digits and `. _ / + -`.
-- @param value
-- @treturn boolean
function accepted.is_protocol(value)
  return type(value) == "string" and #value >= 1 and #value <= NAME_MAX and not value:find "[^%w._/+-]"
end

--- The pipes that wait to be accepted, by protocol.
-- @tparam[opt] {string,...} protocols that are spoken from the beginning
function accepted.new(protocols)
  local self = setmetatable({ queues = {}, length = 0 }, Accepted)
  for _, protocol in ipairs(protocols or {}) do self:speak(protocol) end
  return self:speak(ANY)
end

--- From now on pipes for this protocol are taken.
-- @tparam[opt] string protocol
function Accepted:speak(protocol)
  protocol = protocol or ANY
  self.queues[protocol] = self.queues[protocol] or { waiting = task.condition() }
  return self
end

--- Whether pipes for this protocol are taken.
-- @tparam[opt] string protocol
function Accepted:speaks(protocol)
  return self.queues[protocol or ANY] ~= nil
end

--- Hands a pipe to whoever waits for it next.
-- @tparam pipe pipe of a protocol that is spoken
-- @tparam closable place held until somebody has taken it
function Accepted:add(pipe, place)
  local queue = self.queues[pipe.protocol or ANY]
  table.insert(queue, { pipe = pipe, place = place })
  self.length = self.length + 1
  queue.waiting:signal()
end

--- Waits for a pipe.
-- @tparam[opt] string protocol
-- @tparam[opt] number timeout seconds
-- @treturn pipe; or nil, message, code (EBADF once closed)
function Accepted:take(protocol, timeout)
  local queue, limit = self:speak(protocol).queues[protocol or ANY], deadline.after(timeout)
  while #queue == 0 do
    if self.closed then return nil, "the node is closed", "EBADF" end
    local ok, reason, code = queue.waiting:wait(limit:left())
    if not ok and #queue == 0 then return nil, reason, code end
  end
  local first = table.remove(queue, 1)
  self.length = self.length - 1
  first.place:close()
  return first.pipe
end

--- How many pipes wait.
function Accepted:count()
  return self.length
end

--- Closes the pipes that nobody has taken.
function Accepted:close()
  self.closed = true
  for _, queue in pairs(self.queues) do
    while #queue > 0 do
      local last = table.remove(queue)
      last.pipe:close()
      last.place:close()
    end
    queue.waiting:broadcast()
  end
  self.length = 0
end

return accepted
