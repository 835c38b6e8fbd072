--- The memory of a command that runs for long: what start alone needed is given back.
-- @module p2pd.cli.footprint
local core = require "p2pd.core"
local task = require "p2pd.task"

local footprint = {}

local SETTLE_S = 1   -- after which what a node's start has left to be done is done
local AGAIN_S = 600  -- between two times: dials, too, run code that idle nodes don't

local function trim()
  collectgarbage()
  collectgarbage() -- what finalizers have kept
  core.memory.trim()
end

--- Gives memory back once a node is ready, and now and then. Waits for ever: to be spawned.
-- @tparam node node
function footprint.keep_small(node)
  node:ready()
  package.loaded.argparse = nil -- the command line has been read
  task.sleep(SETTLE_S)
  while not node.closed do
    trim()
    task.sleep(AGAIN_S)
  end
end

return footprint
