--- Turns at a NAT's counter: between looking at the last port that it gave out and the SYNs that take the
-- next ones, no other punch of ours may take a port.
-- @module p2pd.punch.counter
local deadline = require "p2pd.deadline"
local task = require "p2pd.task"

local counter = {}

local AFTER_S, AFTER_DELAYS = 0.02, 4 -- seconds, and delays, after the instant, for SYNs that are sent again

local Turn = { __name = "p2pd.punch.turn" }
Turn.__index = Turn

--- Lets the next one have its turn.
function Turn:close()
  local queue = self.queue
  if queue.holder ~= self then return end
  queue.holder = nil
  queue.changed:signal()
end

Turn.__close = Turn.close

--- Ends the turn once the SYNs have left, and those that were refused have left again. Waits.
-- @tparam number at the instant
-- @tparam number delay seconds, one way over signalling
function Turn:close_after(at, delay)
  task.sleep(deadline.at(at):left() + AFTER_S + AFTER_DELAYS * delay)
  self:close()
end

--- Waits for a turn, but no longer than `patience`: two nodes that dial each other could wait for ever.
-- @tparam node node
-- @tparam table pair
-- @tparam number patience seconds
-- @treturn turn to be closed
function counter.take(node, pair, patience)
  local queues = node:keep("punch.counters", function() return {} end)
  local key = pair.family .. pair.route.nic
  local queue = queues[key] or { changed = task.condition() }
  queues[key] = queue
  local limit = deadline.after(patience)
  while queue.holder and not limit:has_passed() do queue.changed:wait(limit:left()) end
  queue.holder = setmetatable({ queue = queue }, Turn)
  return queue.holder
end

return counter
