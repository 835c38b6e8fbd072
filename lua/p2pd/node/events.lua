--- What happens to a node, for whoever wants to know: each listener has a queue of its own.
-- @classmod p2pd.node.events
local options = require "p2pd.options"
local task = require "p2pd.task"

local events = {}

events.QUEUE_MAX = 256 -- events that wait for a listener

local Events = { __name = "p2pd.node.events" }
Events.__index = Events

--- The events of a node, and who listens.
-- @tparam function present returns a list of events that tell the present state
function events.new(present)
  return setmetatable({ present = present, listeners = setmetatable({}, { __mode = "k" }) }, Events)
end

local Listener = { __name = "p2pd.node.listener" }
Listener.__index = Listener
Listener.__dir = { "close", "next" } -- for people at a prompt

-- A slow listener loses the oldest ones, and is told how many those were.
local function push(listener, event)
  local queue = listener.queue
  if #queue >= events.QUEUE_MAX then
    table.remove(queue, 1)
    listener.missed = listener.missed + 1
  end
  queue[#queue + 1] = event
  listener.waiting:signal()
end

--- The next event. Waits.
-- @tparam[opt] number timeout seconds
-- @treturn table; or nil, message, code (EBADF once the node is closed)
function Listener:next(timeout)
  local queue = self.queue
  while not queue[1] do
    if self.closed then return nil, "the node is closed", "EBADF" end
    local ok, reason, code = self.waiting:wait(timeout)
    if not ok and not queue[1] then return nil, reason, code end
  end
  local event = table.remove(queue, 1)
  if self.missed > 0 then
    event, self.missed = options.merge({ missed = self.missed }, event), 0
  end
  return event
end

--- No more events. May be called twice.
function Listener:close()
  self.closed, self.queue = true, {}
  self.waiting:broadcast()
end

Listener.__close = Listener.close
Listener.__call = function(self) return (self:next()) end

--- Begins to listen: the present state comes first.
-- @treturn listener call it, or its `next`, for the next event; to be closed (`<close>`), or forgotten
function Events:listen()
  local listener = setmetatable({ queue = {}, missed = 0, waiting = task.condition() }, Listener)
  if self.closed then listener:close() else self.listeners[listener] = true end
  for _, event in ipairs(self.closed and {} or self.present()) do push(listener, event) end
  return listener
end

--- Whether anybody listens.
function Events:is_heard()
  return next(self.listeners) ~= nil
end

--- Tells every listener.
-- @tparam string kind the event's `type`
-- @tparam table fields of the event; every listener gets the same table
function Events:emit(kind, fields)
  fields.type = kind
  for listener in pairs(self.listeners) do push(listener, fields) end
end

--- Every listener has heard the last of it.
function Events:close()
  self.closed = true
  for listener in pairs(self.listeners) do
    listener.closed = true
    listener.waiting:broadcast()
  end
end

Events.__close = Events.close

return events
