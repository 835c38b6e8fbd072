--- The lines of a stream: by Lua's formats, or those that match a pattern. A method of streams and pipes.
-- Several tasks may go through one stream by patterns of their own: whoever waits first reads for all.
-- @module p2pd.stream.lines
local task = require "p2pd.task"

local lines = {}

local QUEUE_MAX = 64 -- lines that wait for a loop, before they hold the others up

local hubs = setmetatable({}, { __mode = "k" }) -- by stream: who goes through its lines

local Hub = {}
Hub.__index = Hub

local function hub_of(stream)
  hubs[stream] = hubs[stream] or setmetatable({
    listeners = setmetatable({}, { __mode = "k" }),
    changed = task.condition(),
  }, Hub)
  return hubs[stream]
end

local function is_any_full(self)
  for listener in pairs(self.listeners) do
    if #listener >= QUEUE_MAX then return true end
  end
  return false
end

local function hand_out(self, line)
  for listener in pairs(self.listeners) do
    local found = table.pack(line:find(listener.pattern))
    if found[1] then table.insert(listener, { line, table.unpack(found, 3, found.n) }) end
  end
end

-- Reads a line for all.
local function read_line(self, stream)
  self.is_reading = true
  local _ <close> = setmetatable({}, { __close = function()
    self.is_reading = false
    self.changed:broadcast()
  end })
  while is_any_full(self) do self.changed:wait() end
  local line, message, code = stream:read "l"
  if line then
    hand_out(self, line)
  elseif code == "ETIMEDOUT" then
    return message
  else
    self.is_over, self.failure = true, message
  end
end

-- What the listener gets next; nil, and why there is nothing.
local function next_of(self, stream, listener)
  while #listener == 0 do
    if self.is_over then return nil, self.failure end
    if self.is_reading then
      self.changed:wait()
    else
      local message = read_line(self, stream)
      if message then return nil, message end
    end
  end
  self.changed:broadcast()
  return table.remove(listener, 1)
end

local function matching(stream, pattern)
  string.find("", pattern) -- raises when it is none
  local hub, listener = hub_of(stream), { pattern = pattern }
  hub.listeners[listener] = true
  local leaving = setmetatable({}, { __close = function()
    hub.listeners[listener] = nil
    hub.changed:broadcast()
  end })
  return function()
    local found, message = next_of(hub, stream, listener)
    if message then error(message, 2) end
    if found then return table.unpack(found) end
  end, nil, nil, leaving
end

local function is_format(value)
  return type(value) ~= "string" or value:find "^%*?[lLa]$" ~= nil
end

--- An iterator over `read` with the same formats, or over the lines that match a pattern; it ends at the
-- stream's end and raises on a failure.
-- @tparam stream|pipe stream
-- @param ... formats; or one pattern of Lua's that is no format: then each step gives a line and what the
-- pattern captures of it
function lines.iterate(stream, ...)
  local formats = table.pack(...)
  if formats.n == 1 and not is_format(formats[1]) then return matching(stream, formats[1]) end
  return function()
    local results = table.pack(stream:read(table.unpack(formats, 1, formats.n)))
    if results[1] == nil and results[2] then error(results[2], 2) end
    return table.unpack(results, 1, results.n)
  end
end

return lines
