--- Tells when a pipe has lost its path, and when it goes on by another one.
-- @module p2pd.path_watch
local task = require "p2pd.task"

local path_watch = {}

local PAUSE_S = 0.5 -- between two looks

--- Watches until the pipe is over; waits.
-- @tparam pipe pipe
-- @tparam function on_change called with the strategy that the pipe goes on by, or nil: it has no path
function path_watch.run(pipe, on_change)
  local was = pipe.strategy
  while pipe:info() do
    local now = pipe.strategy
    if (now == nil) ~= (was == nil) then on_change(now) end
    was = now
    task.sleep(PAUSE_S)
  end
end

return path_watch
