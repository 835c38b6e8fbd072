--- Tells when a pipe has lost its path, and when it goes on by another one.
-- @module p2pd.path_watch
local task = require "p2pd.task"

local path_watch = {}

local PAUSE_S = 0.5 -- between two looks

--- Watches a pipe that has had a path, until it is over; waits.
-- @tparam pipe pipe
-- @tparam function on_change called with the strategy that the pipe goes on by, or nil: it has no path
function path_watch.run(pipe, on_change)
  local has_path = true
  while pipe:info() do
    local strategy = pipe.strategy
    if (strategy ~= nil) ~= has_path then on_change(strategy) end
    has_path = strategy ~= nil
    task.sleep(PAUSE_S)
  end
end

return path_watch
